"""Every kind of adapter that mamba-train trains: does peft load it, with the same logits?

Twelve kinds for each family: DoRA, rsLoRA, patterns of ranks, whole modules, row groups, single parameters, and others.
out-proj-refused.py has the one target that peft refuses. Needs torch, transformers and peft.
"""
from common import *
import torch, transformers, peft

KINDS = {
    "LoRA": dict(target_modules=["in_proj"]),
    "DoRA": dict(target_modules=["in_proj", "embeddings"], use_dora=True),
    "rsLoRA": dict(target_modules=["in_proj"], use_rslora=True, lora_alpha=5),
    "PiSSA": dict(target_modules=["in_proj"], init_lora_weights="pissa"),
    "rank_pattern, alpha_pattern": dict(target_modules=["in_proj", "embeddings"], rank_pattern={"layers.0.mixer.in_proj": 2}, alpha_pattern={"embeddings": 3}),
    "layers_to_transform": dict(target_modules=["in_proj"], layers_to_transform=[1]),
    "lm_head": dict(target_modules=["in_proj", "lm_head"]),
    "modules_to_save: norm_f": dict(target_modules=["in_proj"], modules_to_save=["norm_f"]),
    "modules_to_save: conv1d": dict(target_modules=["in_proj"], modules_to_save=["conv1d"]),
    "row group in_proj.x": dict(target_modules=["in_proj.x"]),
    "target_parameters: A_log, D": dict(target_modules=["in_proj"], target_parameters=["A_log", "D"]),
    "bias: all": dict(target_modules=["in_proj"], bias="all"),
}

header("Adapters in peft", "peft", "transformers", "torch")
text = ids(30)
rows, right = [("model", "adapter", "logits move by", "peft against mamba-train")], True
for family in SIZES:
    path = model(family, family, QUICKSTART)
    plain = ours(model=path, ids=[text])["logits"][0]
    for n, (kind, lora) in enumerate(KINDS.items()):
        config, run = WORK / "c.yaml", WORK / ("%s-%d" % (family, n))
        config.write_text(json.dumps({
            "model": str(path), "output_dir": str(run), "data": {"train": str(QUOTES), "dataset_text_field": "quote", "max_train_samples": 4},
            "train": {"max_steps": 3, "learning_rate": 0.02, "per_device_train_batch_size": 2}, "lora": {"r": 4} | lora,
        }))
        mamba_train("train", "--quiet", "-c", config)
        mine = ours(model=path, adapter=run, ids=[text])["logits"][0]
        m = peft.PeftModel.from_pretrained(transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32), run).eval()
        with torch.no_grad():
            d = largest(mine, m(torch.tensor([text])).logits[0])
        rows.append((family, kind, largest(mine, plain), d))
        right = right and d < ROUNDING
table(*rows)
verdict(right, "peft " + ("computes the same with all of them" if right else "computes something else with some of them"))
