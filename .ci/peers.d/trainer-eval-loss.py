"""Evaluation in batches of unequal size: is the loss the mean over tokens?

Shown: eval_loss of the same model on the same texts in batches of 1, 3 and 8, against the mean over all tokens. Needs
torch, transformers and accelerate.
"""
from common import *
import torch, transformers

header("eval_loss", "transformers", "torch")
path = model("base", "mamba", QUICKSTART)
texts = [ids(n, seed=n) for n in (3, 40, 5, 31, 4, 4, 27, 6, 9, 3, 22)]
(WORK / "texts.jsonl").write_text("".join(json.dumps({"input_ids": t}) + "\n" for t in texts))
mine = json.loads(mamba_train("eval", "--quiet", "--json", "--model", path, "--data", WORK / "texts.jsonl"))["loss"]
m = transformers.AutoModelForCausalLM.from_pretrained(path)


def pad(rows):
    n = max(len(r) for r in rows)
    return {"input_ids": torch.tensor([r + [0] * (n - len(r)) for r in rows]), "labels": torch.tensor([r + [-100] * (n - len(r)) for r in rows]),
            "attention_mask": torch.tensor([[1] * len(r) + [0] * (n - len(r)) for r in rows])}


class Texts(torch.utils.data.Dataset):
    def __len__(self):
        return len(texts)

    def __getitem__(self, i):
        return texts[i]


rows, right = [("", "loss, nats per token")], True
rows.append(("mamba-train eval, any batch", "%.6f" % mine))
with torch.no_grad():
    sums = [torch.nn.functional.cross_entropy(m(torch.tensor([t])).logits[0, :-1], torch.tensor(t[1:]), reduction="sum").item() for t in texts]
mean = sum(sums) / sum(len(t) - 1 for t in texts)
rows.append(("mean over all tokens, by torch", "%.6f" % mean))
for size in [1, 3, 8]:
    args = transformers.TrainingArguments(output_dir=str(WORK / "t"), per_device_eval_batch_size=size, report_to=[], use_cpu=True, disable_tqdm=True, remove_unused_columns=False)
    theirs = transformers.Trainer(model=m, args=args, data_collator=pad, eval_dataset=Texts()).evaluate()["eval_loss"]
    rows.append(("Trainer, batches of %d" % size, "%.6f" % theirs))
    right = right and abs(theirs - mean) < 1e-4
table(*rows)
verdict(right and abs(mine - mean) < 1e-4, "the Trainer's eval_loss " + ("is the mean over tokens" if right else "depends on the batch size: it averages the batches' means"))
