"""The model page's LoRA recipe names out_proj. Does peft accept it?

Needs torch, transformers and peft.
"""
from common import *
import torch, transformers, peft

header("LoRA on out_proj", "peft", "transformers", "torch")
path = model("base", "mamba", QUICKSTART)
targets = ["x_proj", "embeddings", "in_proj", "out_proj"]
config = WORK / "c.yaml"
config.write_text(json.dumps({
    "model": str(path), "output_dir": str(WORK / "run"), "data": {"train": str(QUOTES), "dataset_text_field": "quote", "max_train_samples": 4},
    "train": {"max_steps": 2, "learning_rate": 0.01}, "lora": {"r": 4, "target_modules": targets},
}))
mamba_train("train", "--quiet", "-c", config)
text = ids(20)
moved = largest(ours(model=path, ids=[text])["logits"][0], ours(model=path, adapter=WORK / "run", ids=[text])["logits"][0])
rows = [("", "mamba-train", "peft"), ]
base = transformers.AutoModelForCausalLM.from_pretrained(path)
try:
    peft.get_peft_model(base, peft.LoraConfig(r=4, target_modules=targets, task_type="CAUSAL_LM"))
    trains = "yes"
except ValueError as e:
    trains = "refused: " + str(e).splitlines()[0][:90]
rows.append(("trains " + ", ".join(targets), "yes, logits move by %.1g in two steps" % moved, trains))
try:
    peft.PeftModel.from_pretrained(transformers.AutoModelForCausalLM.from_pretrained(path), WORK / "run")
    loads = "yes"
except ValueError as e:
    loads = "refused: " + str(e).splitlines()[0][:90]
rows.append(("loads such an adapter", "yes", loads))
table(*rows)
verdict(trains == loads == "yes", "peft " + ("takes out_proj" if trains == loads == "yes" else "refuses out_proj, in training and in loading; mamba-train merge writes a model that transformers loads"))
