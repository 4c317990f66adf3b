"""mlx-lm on a cache: in two pieces, token by token, and with a time_step_limit.

Shown: the logits of mlx-lm in pieces and in single steps against its own logits for the whole text, and those against mamba-train.
Needs mlx and mlx-lm (on Linux: pip install mlx-cpu mlx-lm).
"""
from common import *
import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.utils import load_model

header("Caches in mlx-lm", "mlx-lm", "mlx")
mx.set_default_device(mx.cpu)
text = ids(40)
rows, right = [("model", "at once, against mamba-train", "in two pieces", "token by token")], True
for name, family, changes in [("mamba", "mamba", {}), ("falcon_mamba", "falcon_mamba", {}), ("mamba2", "mamba2", dict(n_groups=1)),
                              ("mamba2, time_step_limit", "mamba2", dict(n_groups=1, time_step_limit=[0.01, 0.05]))]:
    path = model(name, family, **changes)
    m, _ = load_model(path)

    def pieces(*lengths):
        cache, out, start = make_prompt_cache(m), [], 0
        for n in lengths:
            out.append(np.array(m(mx.array([text[start:start + n]]), cache=cache)[0].astype(mx.float32)))
            start += n
        return np.concatenate(out)

    whole = pieces(len(text))
    differences = [largest(whole, other) for other in (ours(model=path, ids=[text])["logits"][0], pieces(25, 15), pieces(4, *[1] * 36))]
    rows.append((name, *differences))
    right = right and max(differences) < ROUNDING
table(*rows)
verdict(right, "mlx-lm " + ("continues its caches" if right else "computes something else with a cache"))
