"""Mamba-2 with several groups in mlx-lm: does the gated norm work per group, as in the paper's code and in Codestral?

Shown: the logits of each program against transformers', for one and for two groups. Needs torch, transformers, mlx and
mlx-lm (on Linux: pip install mlx-cpu mlx-lm).
"""
from common import *
import mlx.core as mx
import torch, transformers
from mlx_lm.utils import load_model

header("Mamba-2's norm with several groups", "mlx-lm", "mlx", "transformers", "torch")
mx.set_default_device(mx.cpu)
text = ids(24)
rows, right = [("groups", "mamba-train", "mlx-lm")], True
for groups in [1, 2]:
    path = model("groups-%d" % groups, "mamba2", n_groups=groups)
    with torch.no_grad():
        expected = transformers.AutoModelForCausalLM.from_pretrained(path).eval()(torch.tensor([text])).logits[0]
    m, _ = load_model(path)
    theirs = largest(expected, np.array(m(mx.array([text]))[0].astype(mx.float32)))
    rows.append((groups, largest(expected, ours(model=path, ids=[text])["logits"][0]), theirs))
    right = right and theirs < ROUNDING
print("Largest difference from the logits of transformers:\n")
table(*rows)
verdict(right, "mlx-lm " + ("norms each group" if right else "norms the whole row instead of each group"))
