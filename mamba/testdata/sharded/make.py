"""Writes the checkpoint next to this file in two shards, as torch 2 saves it and transformers 4 indexed it.

The model is that of ../original under transformers' names: element j of tensor i is ((7919*i + 104729*j) % 2003 - 1001)
/ 1000. The head is a separate tensor in the second shard, equal to the table in the first.
"""
import json, os
import torch

here = os.path.dirname(os.path.abspath(__file__))
V, M, D, N, R, K, L = 24, 8, 16, 4, 1, 4, 2
shapes = [("backbone.embeddings.weight", (V, M))]
for i in range(L):
    p = "backbone.layers.%d." % i
    shapes += [(p + "mixer.A_log", (D, N)), (p + "mixer.D", (D,)), (p + "mixer.in_proj.weight", (2 * D, M)),
               (p + "mixer.conv1d.weight", (D, 1, K)), (p + "mixer.conv1d.bias", (D,)), (p + "mixer.x_proj.weight", (R + 2 * N, D)),
               (p + "mixer.dt_proj.weight", (D, R)), (p + "mixer.dt_proj.bias", (D,)), (p + "mixer.out_proj.weight", (M, D)),
               (p + "norm.weight", (M,))]
shapes += [("backbone.norm_f.weight", (M,))]

tensors = {}
for i, (name, shape) in enumerate(shapes):
    n = torch.Size(shape).numel()
    values = torch.tensor([((7919 * i + 104729 * j) % 2003 - 1001) / 1000 for j in range(n)], dtype=torch.float64)
    tensors[name] = values.to(torch.float32).reshape(shape)
tensors["lm_head.weight"] = tensors["backbone.embeddings.weight"].clone()

names = list(tensors)
shards = [names[: len(names) // 2], names[len(names) // 2 :]]
weight_map = {}
for i, part in enumerate(shards):
    file = "pytorch_model-%05d-of-%05d.bin" % (i + 1, len(shards))
    torch.save({name: tensors[name] for name in part}, os.path.join(here, file))
    weight_map.update({name: file for name in part})
size = sum(t.numel() * 4 for t in tensors.values())
with open(os.path.join(here, "pytorch_model.bin.index.json"), "w") as f:
    json.dump({"metadata": {"total_size": size}, "weight_map": weight_map}, f, indent=2)
with open(os.path.join(here, "config.json"), "w") as f:
    json.dump({"architectures": ["MambaForCausalLM"], "model_type": "mamba", "vocab_size": V, "hidden_size": M, "intermediate_size": D,
               "state_size": N, "time_step_rank": R, "conv_kernel": K, "num_hidden_layers": L, "torch_dtype": "float32"}, f, indent=2)
