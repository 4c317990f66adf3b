"""Full training with weight decay: which parameters decay?

The authors of Mamba exempt A_log, D and the time step's bias from decay. Shown: for transformers' Trainer, the names in
its group with decay; for mamba-train, the tensors that differ between two runs of one step, with and without decay. Needs torch, transformers and accelerate.
"""
from common import *
import safetensors.numpy, transformers

header("Weight decay", "transformers", "torch")
rows, wrong = [("model", "parameter", "mamba-train", "transformers' Trainer")], []
for family in SIZES:
    path = model(family, family, QUICKSTART)
    weights = []
    for decay in [0, 0.5]:
        run = WORK / ("%s-%g" % (family, decay))
        config = WORK / "c.yaml"
        config.write_text(json.dumps({
            "model": str(path), "output_dir": str(run), "data": {"train": str(QUOTES), "dataset_text_field": "quote", "max_train_samples": 4},
            "train": {"max_steps": 1, "learning_rate": 0.1, "lr_scheduler_type": "constant", "weight_decay": decay, "per_device_train_batch_size": 1},
        }))
        mamba_train("train", "--quiet", "-c", config)
        weights.append(safetensors.numpy.load_file(run / "model.safetensors"))
    m = transformers.AutoModelForCausalLM.from_pretrained(path)
    theirs = set(transformers.Trainer(model=m, args=transformers.TrainingArguments(output_dir=str(WORK / "t"), report_to=[])).get_decay_parameter_names(m))
    kinds = ["layers.0.mixer.A_log", "layers.0.mixer.D", "layers.0.mixer.dt_bias", "layers.0.mixer.dt_proj.bias", "layers.0.norm.weight", "norm_f.weight", "layers.0.mixer.in_proj.weight"]
    for kind in kinds:
        name = "backbone." + kind
        if name not in weights[0]:
            continue
        mine = bool((weights[0][name] != weights[1][name]).any())
        rows.append((family, kind, *("decays" if x else "does not" for x in (mine, name in theirs))))
        if name in theirs and "proj.weight" not in name:
            wrong.append(kind)
table(*rows)
verdict(not wrong, "the Trainer decays " + ", ".join(sorted(set(wrong))) if wrong else "only weights decay")
