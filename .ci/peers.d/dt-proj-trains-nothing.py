"""LoRA on dt_proj: does it train, and does it act?

Shown: the largest gradient of the adapter on dt_proj after one backward pass, and how far the logits move when its B is
not zero. Needs torch, transformers and peft.
"""
from common import *
import torch, transformers, peft

header("LoRA on dt_proj", "transformers", "peft", "torch")
text = ids(20)
rows, dead = [("model", "what", "mamba-train", "transformers + peft")], []
for family in ["mamba", "falcon_mamba"]:
    path = model(family, family)
    torch.manual_seed(1)
    base = transformers.AutoModelForCausalLM.from_pretrained(path)
    m = peft.get_peft_model(base, peft.LoraConfig(r=4, init_lora_weights=False, target_modules=["dt_proj", "x_proj"], task_type="CAUSAL_LM"))
    for name, p in m.named_parameters():  # x_proj is there so that the backward pass has something to do
        if "x_proj.lora_B" in name:
            p.data.zero_()
    m.save_pretrained(WORK / (family + "-adapter"))
    t = torch.tensor([text])
    with torch.no_grad():
        plain = transformers.AutoModelForCausalLM.from_pretrained(path)(t).logits
        moved = largest(m(t).logits, plain)
    m(input_ids=t, labels=t).loss.backward()
    grads = [p.grad for name, p in m.named_parameters() if "dt_proj.lora" in name]
    theirs = max((float(g.abs().max()) for g in grads if g is not None), default=0.0)
    a = ours(model=path, adapter=WORK / (family + "-adapter"), train=True, ids=[text])
    mine = max(g for name, g in a["gradients"].items() if "dt_proj" in name)
    rows.append((family, "largest gradient", mine, theirs))
    only = peft.get_peft_model(transformers.AutoModelForCausalLM.from_pretrained(path), peft.LoraConfig(r=4, target_modules=["dt_proj"], task_type="CAUSAL_LM"))
    try:
        only(input_ids=t, labels=t).loss.backward()
        alone = "trains"
    except RuntimeError as e:
        alone = "fails: " + str(e).splitlines()[0][:60]
    only.save_pretrained(WORK / (family + "-only"))
    mine_alone = max(ours(model=path, adapter=WORK / (family + "-only"), train=True, ids=[text])["gradients"].values())
    rows.append((family, "as the only target", "trains" if mine_alone > 0 else "nothing trains", alone))
    rows.append((family, "logits move by", largest(a["logits"][0], plain[0]), moved))
    if theirs == 0 or moved < ROUNDING:
        dead.append(family)
table(*rows)
verdict(not dead, "in transformers an adapter on dt_proj neither acts nor trains: " + ", ".join(dead) if dead else "it trains and acts")
