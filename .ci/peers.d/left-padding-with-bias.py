"""Prompts padded on the left, in models with use_bias: does padding reach the text?

Shown: the logits of a left-padded text against those of the text alone. Needs torch and transformers.
"""
from common import *
import torch, transformers

header("Left padding with use_bias", "transformers", "torch")
text, pads = ids(12), 7
rows, wrong = [("model", "mamba-train", "transformers")], []
for family in SIZES:
    path = biased(model(family + "-bias", family, use_bias=True))
    alone = ours(model=path, ids=[text])["logits"][0]
    mask = [0] * pads + [1] * len(text)
    mine = ours(model=path, ids=[[0] * pads + text], mask=[mask])["logits"][0]
    m = transformers.AutoModelForCausalLM.from_pretrained(path).eval()
    with torch.no_grad():
        expected = m(torch.tensor([text])).logits[0]
        got = m(torch.tensor([[0] * pads + text]), attention_mask=torch.tensor([mask])).logits[0, pads:]
    theirs = largest(expected, got)
    rows.append((family, largest(alone, mine), theirs))
    if theirs > ROUNDING:
        wrong.append(family)
print("Largest difference between the logits with and without padding:\n")
table(*rows)
verdict(not wrong, "padding changes the text's logits in " + ", ".join(wrong) if wrong else "padding changes nothing")
