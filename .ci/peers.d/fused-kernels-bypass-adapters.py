"""LoRA on a GPU with mamba-ssm installed: which adapters train?

transformers passes the weights of x_proj, dt_proj and out_proj to mamba-ssm's fused function; for an adapted layer,
that is the base weight. Shown, on a CPU and without compiled kernels (see fused.py): the largest gradient of each
adapter after one backward pass. Needs torch, transformers, peft, einops and mamba-ssm's source in MAMBA_SSM.
"""
import importlib

from common import *
import torch, transformers, peft
import fused

inner, version = fused.load()
header("Adapters next to fused kernels", "transformers", "peft", "torch")
print("mamba-ssm %s, its Python code with PyTorch in place of the compiled parts\n" % version)
text = ids(20)
rows, dead = [("model", "adapter on", "mamba-train", "transformers + peft, as on a CPU", "with the fused function")], []
for family in ["mamba", "falcon_mamba"]:
    path = model(family, family)
    module = importlib.import_module("transformers.models.%s.modeling_%s" % (family, family))
    torch.manual_seed(1)
    m = peft.get_peft_model(transformers.AutoModelForCausalLM.from_pretrained(path),
                            peft.LoraConfig(r=4, init_lora_weights=False, target_modules=["in_proj", "x_proj", "dt_proj"], task_type="CAUSAL_LM")).train()
    m.save_pretrained(WORK / (family + "-adapter"))
    mine = ours(model=path, adapter=WORK / (family + "-adapter"), train=True, ids=[text])["gradients"]

    def gradients():
        m.zero_grad()
        m(input_ids=torch.tensor([text]), labels=torch.tensor([text]), use_cache=False).loss.backward()
        return {n: float(p.grad.abs().max()) if p.grad is not None else 0.0 for n, p in m.named_parameters() if "lora_" in n}

    plain = gradients()
    original, module.mamba_inner_fn = module.mamba_inner_fn, inner
    with_kernel = gradients()
    module.mamba_inner_fn = original
    for target in ["in_proj", "x_proj", "dt_proj"]:
        rows.append((family, target, *(max(g for n, g in grads.items() if target in n) for grads in (mine, plain, with_kernel))))
        if rows[-1][-1] == 0:
            dead.append(target)
table(*rows)
verdict(not dead, "with the fused function nothing trains on " + ", ".join(sorted(set(dead))) if dead else "all adapters train")
