"""mamba-ssm's fused training function on a CPU: its own Python code, with PyTorch in place of its compiled parts.

transformers calls mamba_inner_fn whenever a Mamba-1 or FalconMamba trains on a GPU with mamba-ssm installed. Its
inputs and computation are defined in Python (mamba_ssm/ops/selective_scan_interface.py); only the scan, the convolution
and the norm are compiled. load() loads that file from the package's source and replaces these three, forward and
backward: the convolution and the scan with autograd over PyTorch's convolution and mamba-ssm's own reference of the scan.

    pip download --no-deps --no-build-isolation --no-binary :all: mamba-ssm   # MAMBA_SKIP_CUDA_BUILD=TRUE
    tar xzf mamba_ssm-*.tar.gz; pip install einops
    export MAMBA_SSM=mamba_ssm-2.3.2.post1
"""
import importlib, importlib.util, os, pathlib, re, sys, types

import torch
import torch.nn.functional as F


def causal_conv(x, weight, bias):
    out = F.conv1d(x, weight.unsqueeze(1), bias, padding=weight.shape[1] - 1, groups=x.shape[1])[..., :x.shape[-1]]
    return F.silu(out)


def with_gradients(function, inputs, outputs, gradients):
    """The gradients of function's outputs with respect to its inputs."""
    with torch.enable_grad():
        leaves = [x.detach().requires_grad_() if x is not None else None for x in inputs]
        out = function(*leaves)
        return torch.autograd.grad(out, [x for x in leaves if x is not None], gradients)


def conv_backward(x, weight, bias, dout, _seq, _initial, _final, dx, _return, _silu):
    got = list(with_gradients(causal_conv, [x, weight, bias], None, dout))
    dx.copy_(got[0])
    return dx, got[1], got[2] if bias is not None else None, None


class Scan:
    """Replaces the module selective_scan_cuda."""

    reference = None  # mamba-ssm's selective_scan_ref

    @classmethod
    def fwd(cls, u, delta, A, B, C, D, z, bias, softplus):
        out = cls.reference(u, delta, A, B, C, D, None, bias, softplus)
        return out, torch.zeros(1), out * F.silu(z)

    @classmethod
    def bwd(cls, u, delta, A, B, C, D, z, bias, dout, x, out, dz, softplus, recompute):
        def function(u, delta, A, B, C, D, z, bias):
            return cls.reference(u, delta, A, B, C, D, z, bias, softplus)

        du, ddelta, dA, dB, dC, dD, dz_, dbias = with_gradients(function, [u, delta, A, B, C, D, z, bias], None, dout)
        dz.copy_(dz_)
        return du, ddelta, dA, dB, dC, dD, dbias, dz, function(u, delta, A, B, C, D, z, bias)


def rms_norm(x, weight, bias, eps, *_, **__):
    return (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * weight,)


def load():
    """Returns mamba_inner_fn and the version of its package."""
    root = pathlib.Path(os.environ.get("MAMBA_SSM", "mamba_ssm"))
    if not (root / "mamba_ssm").is_dir():
        sys.exit("MAMBA_SSM: name the folder of mamba-ssm's source; see .ci/peers.d/fused.py")

    def module(name, **content):
        m = types.ModuleType(name)
        m.__dict__.update(content)
        sys.modules[name] = m

    module("selective_scan_cuda", fwd=Scan.fwd, bwd=Scan.bwd)
    module("causal_conv1d", causal_conv1d_fn=None)
    module("causal_conv1d.cpp_functions", causal_conv1d_update_function=None, causal_conv1d_bwd_function=conv_backward,
           causal_conv1d_fwd_function=lambda x, w, b, *_: causal_conv(x, w, b))
    for name in ["mamba_ssm", "mamba_ssm.ops", "mamba_ssm.ops.triton", "mamba_ssm.utils"]:
        module(name)
    module("mamba_ssm.ops.triton.layer_norm", _layer_norm_fwd=rms_norm)
    for name in ["utils.torch", "ops.selective_scan_interface"]:
        spec = importlib.util.spec_from_file_location("mamba_ssm." + name, root / "mamba_ssm" / (name.replace(".", "/") + ".py"))
        m = importlib.util.module_from_spec(spec)
        sys.modules["mamba_ssm." + name] = m
        spec.loader.exec_module(m)
    Scan.reference = m.selective_scan_ref
    version = re.search(r'__version__ = "(.*)"', (root / "mamba_ssm/__init__.py").read_text()).group(1)
    for name in [n for n in sys.modules if n == "mamba_ssm" or n.startswith("mamba_ssm.")]:
        del sys.modules[name]  # transformers must not mistake the replacements for the package
    return m.mamba_inner_fn, version
