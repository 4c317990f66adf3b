"""Prints what the Python package gguf (0.19.0) reads in a GGUF file, in the form of golden.json next to this file.

    python golden.py FILE.gguf > golden.json
"""
import json, sys
import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize

r = GGUFReader(sys.argv[1])
keys = []
for name, f in r.fields.items():
    if name.startswith("GGUF."):
        continue
    value = f.contents()
    keys.append({"key": name, "types": [t.name for t in f.types], "value": value})
tensors = []
for t in r.tensors:
    v = dequantize(t.data, t.tensor_type).astype(np.float64).reshape(-1)
    tensors.append({"name": t.name, "type": t.tensor_type.name, "dims": [int(d) for d in t.shape], "offset": int(t.data_offset),
                    "sum": float(np.abs(v).sum()), "last": float(v[-1])})
json.dump({"keys": keys, "tensors": tensors}, sys.stdout, indent=1)
