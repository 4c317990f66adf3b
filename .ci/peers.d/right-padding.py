"""Prompts of unequal length, padded on the right: is the cache that of the prompts?

Shown: the logits of the first decoded token after a right-padded prompt against those without padding. Needs torch and
transformers.
"""
from common import *
import torch, transformers

header("Decoding after right padding", "transformers", "torch")
short, long, token = ids(9), ids(14, seed=2), 77
rows, wrong = [("model", "mamba-train", "transformers")], []
for family in SIZES:
    path = model(family, family)
    alone = ours(model=path, ids=[short + [token]])["logits"][0][-1]
    pad = [0] * (len(long) - len(short))
    mine = ours(model=path, ids=[short + pad, long], mask=[[1] * len(short) + pad, [1] * len(long)], then=[[token], [token]])["logits"][0][-1]
    m = transformers.AutoModelForCausalLM.from_pretrained(path).eval()
    with torch.no_grad():
        expected = m(torch.tensor([short + [token]])).logits[0, -1]
        mask = torch.tensor([[1] * len(short) + pad, [1] * len(long)])
        out = m(torch.tensor([short + pad, long]), attention_mask=mask, use_cache=True)
        mask = torch.cat([mask, torch.ones(2, 1, dtype=mask.dtype)], 1)
        got = m(torch.tensor([[token], [token]]), cache_params=out.cache_params, attention_mask=mask, use_cache=True).logits[0, -1]
    theirs = largest(expected, got)
    rows.append((family, largest(alone, mine), theirs))
    if theirs > ROUNDING:
        wrong.append(family)
print("Largest difference between the logits of the next token with and without padding before it:\n")
table(*rows)
verdict(not wrong, "transformers' cache takes in the padding: " + ", ".join(wrong) if wrong else "transformers leaves the padding out")
