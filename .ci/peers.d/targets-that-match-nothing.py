"""Target names of another family, which match no module: an error, or silence?

x_proj exists in Mamba-1 and FalconMamba, not in Mamba-2. Shown: what each program does with it on Mamba-2. Needs torch,
transformers and peft.
"""
from common import *
import transformers, peft

header("Targets that match nothing", "peft", "transformers", "torch")
path = model("mamba2", "mamba2", QUICKSTART)
targets = ["x_proj", "in_proj"]
config = WORK / "c.yaml"
config.write_text(json.dumps({
    "model": str(path), "output_dir": str(WORK / "run"), "data": {"train": str(QUOTES), "dataset_text_field": "quote", "max_train_samples": 4},
    "train": {"max_steps": 1}, "lora": {"r": 4, "target_modules": targets},
}))
try:
    mamba_train("train", "--quiet", "-c", config)
    mine = "trains"
except RuntimeError as e:
    mine = "refused: " + str(e).split("mamba-train: ")[-1].strip()
with warnings.catch_warnings(record=True) as heard:
    warnings.simplefilter("always")
    try:
        m = peft.get_peft_model(transformers.AutoModelForCausalLM.from_pretrained(path), peft.LoraConfig(r=4, target_modules=targets, task_type="CAUSAL_LM"))
        adapted = sorted({n.split(".lora_")[0].split(".")[-1] for n, _ in m.named_parameters() if ".lora_" in n})
        named = [str(w.message) for w in heard if "x_proj" in str(w.message)]
        theirs = "adapts %s, %s" % (", ".join(adapted), "and warns of x_proj" if named else "no warning of x_proj")
    except ValueError as e:
        theirs, named = "refused: " + str(e)[:90], [str(e)]
table(("targets", "mamba-train", "peft"), (", ".join(targets), mine, theirs))
verdict(bool(named), "peft " + ("says that x_proj matches nothing" if named else "does not say that x_proj matches nothing"))
