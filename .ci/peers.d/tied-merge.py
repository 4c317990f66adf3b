"""An adapter on the embeddings of a model with a tied head: is the merged model the adapted one?

The adapter changes the lookup, and the head keeps the old table. Shown: the logits of the merged model against those
of the adapted one, for each program's own merge. Needs torch, transformers and peft.
"""
from common import *
import torch, transformers, peft

header("Merging an adapter on tied embeddings", "peft", "transformers", "torch")
text = ids(30)
rows, wrong = [("model", "mamba-train merge", "peft merge_and_unload, in memory", "saved and loaded again")], []
for family in SIZES:
    path = model(family, family)
    torch.manual_seed(1)
    m = peft.get_peft_model(transformers.AutoModelForCausalLM.from_pretrained(path), peft.LoraConfig(r=4, init_lora_weights=False, target_modules=["embeddings", "in_proj"], task_type="CAUSAL_LM"))
    for name, p in m.named_parameters():
        if "lora_embedding_B" in name:
            p.data.mul_(0.005)
    adapter = WORK / (family + "-adapter")
    m.save_pretrained(adapter)
    mamba_train("merge", "--quiet", "--model", path, "--adapter", adapter, "--output", WORK / (family + "-merged"))
    adapted = ours(model=path, adapter=adapter, ids=[text])["logits"][0]
    mine = largest(adapted, ours(model=WORK / (family + "-merged"), ids=[text])["logits"][0])
    t = torch.tensor([text])
    with torch.no_grad():
        before = m(t).logits
        merged = m.merge_and_unload()
        theirs = largest(before, merged(t).logits)
        merged.save_pretrained(WORK / (family + "-theirs"))
        again = largest(before, transformers.AutoModelForCausalLM.from_pretrained(WORK / (family + "-theirs"))(t).logits)
    assert largest(adapted, before[0]) < ROUNDING, "the adapted models differ"
    rows.append((family, mine, theirs, again))
    if max(theirs, again) > ROUNDING:
        wrong.append(family)
print("Largest difference between the logits of the merged and the adapted model:\n")
table(*rows)
verdict(not wrong, "peft's merge changes the tied head as well: " + ", ".join(wrong) if wrong else "merged is adapted")
