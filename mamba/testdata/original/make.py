"""Writes the original-format checkpoint next to this file, as torch.save would write it, without torch.

Classes with the names that torch's pickles mention replace torch's own: the pickle's bytes depend only on the names.
Element j of tensor i is ((7919*i + 104729*j) % 2003 - 1001) / 1000; convert_test.go uses the same rule.
"""
import collections, json, pickle, struct, sys, types, zipfile

torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
sys.modules["torch"], sys.modules["torch._utils"] = torch, utils


def _rebuild_tensor_v2(*args): ...
_rebuild_tensor_v2.__module__ = "torch._utils"
utils._rebuild_tensor_v2 = _rebuild_tensor_v2
for kind in ("FloatStorage", "HalfStorage", "BFloat16Storage"):
    setattr(torch, kind, type(kind, (), {"__module__": "torch"}))


class Storage:
    def __init__(self, kind, key, data, elements):
        self.kind, self.key, self.data, self.elements = kind, key, data, elements


class Tensor:
    def __init__(self, storage, offset, size, stride):
        self.args = (storage, offset, tuple(size), tuple(stride), False, collections.OrderedDict())

    def __reduce_ex__(self, protocol):
        return _rebuild_tensor_v2, self.args


class Pickler(pickle._Pickler):
    def persistent_id(self, x):
        if isinstance(x, Storage):
            return "storage", getattr(torch, x.kind), x.key, "cpu", x.elements
        return None


def strides(size):
    step, out = 1, []
    for dim in reversed(size):
        out.insert(0, step)
        step *= dim
    return out


def encode(kind, values):
    if kind == "FloatStorage":
        return struct.pack("<%df" % len(values), *values)
    if kind == "HalfStorage":
        return struct.pack("<%de" % len(values), *values)
    return b"".join(struct.pack("<f", v)[2:] for v in values)  # toward zero, which suffices for a file format


V, M, D, N, R, K, L = 24, 8, 16, 4, 1, 4, 2  # 23 tokens, padded to 24
shapes = [("backbone.embedding.weight", (V, M))]
for i in range(L):
    p = "backbone.layers.%d." % i
    shapes += [(p + "mixer.A_log", (D, N)), (p + "mixer.D", (D,)), (p + "mixer.in_proj.weight", (2 * D, M)),
               (p + "mixer.conv1d.weight", (D, 1, K)), (p + "mixer.conv1d.bias", (D,)),
               (p + "mixer.x_proj.weight", (R + 2 * N, D)), (p + "mixer.dt_proj.weight", (D, R)),
               (p + "mixer.dt_proj.bias", (D,)), (p + "mixer.out_proj.weight", (M, D)), (p + "norm.weight", (M,))]
shapes += [("backbone.norm_f.weight", (M,))]

state, storages = collections.OrderedDict(), []
for i, (name, size) in enumerate(shapes):
    n = 1
    for dim in size:
        n *= dim
    values = [((7919 * i + 104729 * j) % 2003 - 1001) / 1000 for j in range(n)]
    kind = "HalfStorage" if name.endswith("layers.1.mixer.in_proj.weight") else "FloatStorage"
    step = strides(size)
    if name.endswith("layers.0.mixer.out_proj.weight"):  # stored transposed, after three other elements
        turned = [values[r * size[1] + c] for c in range(size[1]) for r in range(size[0])]
        storages.append(Storage(kind, str(i), encode(kind, [9, 9, 9] + turned), n + 3))
        state[name] = Tensor(storages[-1], 3, size, (1, size[0]))
        continue
    storages.append(Storage(kind, str(i), encode(kind, values), n))
    state[name] = Tensor(storages[-1], 0, size, step)
state["lm_head.weight"] = Tensor(storages[0], 0, shapes[0][1], strides(shapes[0][1]))  # tied: the same storage

with zipfile.ZipFile("pytorch_model.bin", "w", zipfile.ZIP_STORED) as z:
    def put(name, data):
        z.writestr(zipfile.ZipInfo("archive/" + name, (1980, 1, 1, 0, 0, 0)), data)
    import io
    out = io.BytesIO()
    Pickler(out, protocol=2).dump(state)
    put("data.pkl", out.getvalue())
    put("byteorder", b"little")
    for s in storages:
        put("data/" + s.key, s.data)
    put("version", b"3\n")

json.dump({"d_model": M, "n_layer": L, "vocab_size": 23, "ssm_cfg": {"d_state": N}, "rms_norm": True, "residual_in_fp32": True,
           "fused_add_norm": True, "pad_vocab_size_multiple": 8}, open("config.json", "w"))
