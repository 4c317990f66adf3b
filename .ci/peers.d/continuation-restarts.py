"""A text in two pieces with a cache: does the second piece continue the first?

The second piece has several tokens, like the next message of a chat. Shown: its logits against those of the whole text.
Needs torch and transformers.
"""
from common import *
import torch, transformers

header("Continuing a cache with several tokens", "transformers", "torch")
text, cut = ids(40), 25
rows, wrong = [("model", "mamba-train", "transformers")], []
for family in SIZES:
    path = model(family, family)
    whole = ours(model=path, ids=[text])["logits"][0]
    mine = largest(whole, ours(model=path, ids=[text], pieces=[cut, 0])["logits"][0])
    m = transformers.AutoModelForCausalLM.from_pretrained(path).eval()
    with torch.no_grad():
        expected = m(torch.tensor([text])).logits[0, cut:]
        cache = m(torch.tensor([text[:cut]]), use_cache=True)
        key = "cache_params" if hasattr(cache, "cache_params") else "past_key_values"
        got = m(torch.tensor([text[cut:]]), use_cache=True, **{key: cache[key]}).logits[0]
    theirs = largest(expected, got)
    rows.append((family, mine, theirs))
    if theirs > ROUNDING:
        wrong.append(family)
print("Largest difference between the logits in pieces and whole:\n")
table(*rows)
verdict(not wrong, "transformers restarts the state in " + ", ".join(wrong) if wrong else "transformers continues")
