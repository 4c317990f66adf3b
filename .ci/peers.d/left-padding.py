"""Prompts padded on the left: does padding reach the text?

Shown: the logits of a left-padded text against those of the text alone, in batches of one and two, without and with
biases on the projections. Needs torch and transformers.
"""
from common import *
import torch, transformers

header("Left padding", "transformers", "torch")
text, pads, other = ids(12), 7, ids(19, seed=2)
rows, wrong = [("model", "use_bias", "mamba-train", "transformers, batch of 1", "batch of 2")], []
for family in SIZES:
    for bias in [False, True]:
        path = model("%s-%s" % (family, bias), family, use_bias=bias)
        if bias:
            biased(path)
        alone = ours(model=path, ids=[text])["logits"][0]
        batch, mask = [[0] * pads + text, other], [[0] * pads + [1] * len(text), [1] * len(other)]
        mine = max(largest(alone, ours(model=path, ids=batch[:n], mask=mask[:n])["logits"][0]) for n in [1, 2])
        m = transformers.AutoModelForCausalLM.from_pretrained(path).eval()
        with torch.no_grad():
            expected = m(torch.tensor([text])).logits[0]
            theirs = [largest(expected, m(torch.tensor(batch[:n]), attention_mask=torch.tensor(mask[:n])).logits[0, pads:]) for n in [1, 2]]
        rows.append((family, "yes" if bias else "no", mine, *theirs))
        if max(theirs) > ROUNDING:
            wrong.append(family)
print("Largest difference between the logits with and without padding:\n")
table(*rows)
verdict(not wrong, "with use_bias, padding on the left changes the logits of the text" if wrong else "padding changes nothing")
