"""Mamba-2 with a time_step_limit: does generation apply the limit that training applied?

Shown: the logits of a text decoded token by token against those of the text at once. Needs torch and transformers.
"""
from common import *
import torch, transformers

header("time_step_limit in decoding", "transformers", "torch")
text = ids(24)
rows, right = [("time_step_limit", "mamba-train", "transformers")], True
for limit in [0.0, 3.4028234663852886e38], [0.01, 0.05]:
    path = model("mamba2-%g" % limit[1], "mamba2", time_step_limit=limit)
    whole = ours(model=path, ids=[text])["logits"][0]
    mine = largest(whole, ours(model=path, ids=[text], pieces=[4] + [1] * 20)["logits"][0])
    m = transformers.AutoModelForCausalLM.from_pretrained(path).eval()
    with torch.no_grad():
        expected = m(torch.tensor([text])).logits[0]
        out = m(torch.tensor([text[:4]]), use_cache=True)
        steps = [out.logits[0]]
        for t in text[4:]:
            out = m(torch.tensor([[t]]), cache_params=out.cache_params, use_cache=True)
            steps.append(out.logits[0])
    theirs = largest(expected, torch.cat(steps))
    rows.append(("none" if limit[1] > 1 else "%g to %g" % tuple(limit), mine, theirs))
    right = right and theirs < ROUNDING
print("Largest difference between the logits token by token and at once:\n")
table(*rows)
verdict(right, "transformers " + ("applies the limit everywhere" if right else "does not apply the limit in single-token steps"))
