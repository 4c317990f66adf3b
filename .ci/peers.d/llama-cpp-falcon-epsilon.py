"""FalconMamba in llama.cpp: the three inner norms use layer_norm_epsilon, not mixer_rms_eps.

A GGUF file has one epsilon. Shown: the log probabilities after a prompt against mamba-train's on the same weights, once
with the published 1e-6 and 1e-5, once with both equal. The published models' vectors are large, so the effect is small;
this model's x_proj is scaled down to make it visible. Needs torch, safetensors and xllamacpp (or LLAMA_SERVER).
"""
from common import *
import safetensors.torch

header("FalconMamba's epsilon in llama.cpp", "xllamacpp")
prompt = ids(24, 480)
rows, right = [("mixer_rms_eps", "layer_norm_epsilon", "x_proj", "llama.cpp against mamba-train")], True
for scale in [1.0, 0.01]:
    for eps in [1e-5, 1e-6]:
        path = model("falcon-%g-%g" % (eps, scale), "falcon_mamba", TOKENIZERS / "falcon.json", vocab_size=512, mixer_rms_eps=eps, layer_norm_epsilon=1e-5)
        tensors = safetensors.torch.load_file(path / "model.safetensors")
        for name in tensors:
            if "x_proj" in name:
                tensors[name] *= scale
        safetensors.torch.save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
        file = WORK / (path.name + ".gguf")
        mamba_train("export", "--quiet", "--format", "gguf", "--type", "F32", "--model", path, "--output", file)
        mine = ours(model=path, ids=[prompt])["logits"][0][-1].astype(np.float64)
        mine -= np.log(np.exp(mine - mine.max()).sum()) + mine.max()
        server = Llama(file)
        _, probabilities = server.greedy(prompt, 1, top=100)
        server.close()
        d = max(abs(mine[t] - p) for t, p in probabilities[0].items())
        rows.append(("%g" % eps, "1e-05", "as it is" if scale == 1 else "times %g" % scale, d))
        right = right and d < ROUNDING
table(*rows)
verdict(right, "llama.cpp " + ("uses both" if right else "uses layer_norm_epsilon in the inner norms"))
