"""Two documents packed into one row of tokens: does the second see the first?

trl's packing lays documents end to end and passes their boundaries to models that can use them. Shown: the logits of
the second document in the pack against the same document alone. The batch comes from trl's own collator. Needs torch, transformers and trl.
"""
from common import *
import torch, transformers
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

header("Packed documents", "trl", "transformers", "torch")
first, second = ids(23), ids(17, seed=2)
pack = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)([{"input_ids": first + second, "seq_lengths": [len(first), len(second)]}])
print("trl passes", ", ".join(pack), end="\n\n")
rows, right = [("model", "mamba-train, its training graph", "transformers", "both programs, alone")], True
for family in SIZES:
    path = model(family, family)
    alone = ours(model=path, ids=[second])["logits"][0]
    mine = largest(alone, ours(model=path, train=True, ids=[first, second])["logits"][1])
    m = transformers.AutoModelForCausalLM.from_pretrained(path).eval()
    with torch.no_grad():
        packed = m(**pack).logits[0, len(first):]
        single = m(torch.tensor([second])).logits[0]
    theirs = largest(single, packed)
    rows.append((family, mine, theirs, largest(single, alone)))
    right = right and theirs < ROUNDING
print("Largest difference between the logits of the second document in the pack and alone:\n")
table(*rows)
verdict(right, "transformers " + ("keeps packed documents apart" if right else "lets the state of the first document into the second"))
