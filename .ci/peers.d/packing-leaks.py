"""Two documents packed into one row of tokens: does the second see the first?

trl's packing (packing=True, strategy bfd) lays documents end to end and passes their borders as position_ids, for
models that know what to do with them. Shown: the logits of the second document in the pack against the same document
alone. Needs torch and transformers.
"""
from common import *
import torch, transformers

header("Packed documents", "transformers", "torch")
first, second = ids(23), ids(17, seed=2)
rows, right = [("model", "mamba-train, its training graph", "transformers, borders passed", "transformers, alone and in a pack of one")], True
for family in SIZES:
    path = model(family, family)
    alone = ours(model=path, ids=[second])["logits"][0]
    mine = largest(alone, ours(model=path, train=True, ids=[first, second])["logits"][1])
    m = transformers.AutoModelForCausalLM.from_pretrained(path).eval()
    with torch.no_grad():
        pack = torch.tensor([first + second])
        positions = torch.tensor([[*range(len(first)), *range(len(second))]])
        borders = torch.tensor([0, len(first), len(first) + len(second)], dtype=torch.int32)
        documents = torch.tensor([[0] * len(first) + [1] * len(second)], dtype=torch.int32)
        packed = m(pack, position_ids=positions, seq_idx=documents, cu_seq_lens_q=borders, cu_seq_lens_k=borders).logits[0, len(first):]
        single = m(torch.tensor([second])).logits[0]
    theirs = largest(single, packed)
    rows.append((family, mine, theirs, largest(single, alone)))
    right = right and theirs < ROUNDING
print("Largest difference between the logits of the second document in the pack and alone:\n")
table(*rows)
verdict(right, "transformers " + ("keeps packed documents apart" if right else "lets the state of the first document into the second"))
