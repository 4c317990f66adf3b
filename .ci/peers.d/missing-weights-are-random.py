"""Checkpoints that a program does not fully understand: an error, or random weights?

An untied model whose file has no lm_head, and an original state-spaces checkpoint, whose table has another name. Shown:
what each program does with it. Needs torch and transformers.
"""
from common import *
import safetensors.torch, torch, transformers

header("Checkpoints with a missing or differently named tensor", "transformers", "torch")
path = model("base", "mamba")
tensors = safetensors.torch.load_file(path / "model.safetensors")


expected = ours(model=path, ids=[ids(9)])["logits"][0]


def variant(name, tensors, **changes):
    out = WORK / name
    out.mkdir()
    (out / "config.json").write_text(json.dumps(json.loads((path / "config.json").read_text()) | changes))
    safetensors.torch.save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    return out


def loaded(path):
    try:
        m = transformers.AutoModelForCausalLM.from_pretrained(path)
    except Exception as e:
        return "refused: %s" % e, True
    with torch.no_grad():
        runs = [transformers.AutoModelForCausalLM.from_pretrained(path)(torch.tensor([ids(9)])).logits for _ in range(2)]
    d = largest(*runs)
    return "loads; two loads differ by %.2g in their logits" % d, d == 0


def mine(p):
    try:
        d = largest(expected, ours(model=p, ids=[ids(9)])["logits"][0])
        return "loads; logits differ by %.1g from the model's" % d
    except RuntimeError as e:
        return "refused: " + " ".join(str(e).replace(str(WORK) + "/", "").split())


cases = {
    "untied, without lm_head.weight": variant("no-head", tensors, tie_word_embeddings=False),
    "backbone.embedding.weight, as the originals name it": variant("original-names", {k.replace("embeddings", "embedding"): v for k, v in tensors.items()}),
}
rows, right = [("checkpoint", "mamba-train", "transformers")], True
for name, p in cases.items():
    theirs, ok = loaded(p)
    rows.append((name, mine(p), theirs))
    right = right and ok
table(*rows)
verdict(right, "no random weights" if right else "transformers fills what it does not find with random weights and says so in a report only; mamba-train convert reads original checkpoints")
