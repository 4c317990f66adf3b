"""FalconMamba on a GPU with mamba-ssm installed: does training use the function that evaluation computes?

Shown, on a CPU and without compiled kernels (see fused.py): the logits of train mode against eval mode, and the
gradients of train mode against those of PyTorch's own path. Needs torch, transformers, einops and mamba-ssm's source in
MAMBA_SSM.
"""
import importlib

from common import *
import torch, transformers
import fused

inner, version = fused.load()
header("FalconMamba in training", "transformers", "torch")
print("mamba-ssm %s, its Python code with PyTorch in place of the compiled parts\n" % version)
text = ids(20)
rows, wrong = [("model", "what", "mamba-train", "transformers, PyTorch path", "transformers, fused function")], []
for family in ["mamba", "falcon_mamba"]:
    path = model(family, family)
    module = importlib.import_module("transformers.models.%s.modeling_%s" % (family, family))
    m = transformers.AutoModelForCausalLM.from_pretrained(path)
    t = torch.tensor([text])
    with torch.no_grad():
        evaluated = m.eval()(t, use_cache=False).logits[0]
    m.train()

    def train():
        m.zero_grad()
        out = m(t, labels=t, use_cache=False)
        out.loss.backward()
        return out.logits[0].detach(), {n: p.grad.clone() for n, p in m.named_parameters()}

    plain, plain_gradients = train()
    original, module.mamba_inner_fn = module.mamba_inner_fn, inner
    fast, fast_gradients = train()
    module.mamba_inner_fn = original
    mine = largest(ours(model=path, train=True, ids=[text])["logits"][0], ours(model=path, ids=[text])["logits"][0])
    rows.append((family, "logits, train against eval", mine, largest(plain, evaluated), largest(fast, evaluated)))
    worst = max((float((fast_gradients[n] - g).abs().max() / g.abs().max()), n) for n, g in plain_gradients.items() if g.abs().max() > 0)
    rows.append((family, "gradients, largest error by the tensor's largest entry", "–", 0.0, "%.2g (%s)" % (worst[0], worst[1])))
    if largest(fast, evaluated) > ROUNDING or worst[0] > 0.01:
        wrong.append(family)
table(*rows)
verdict(not wrong, "the fused function trains another function than evaluation computes: " + ", ".join(wrong) if wrong else "training and evaluation agree")
