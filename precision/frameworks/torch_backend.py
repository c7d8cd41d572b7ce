"""Runs one op in PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from precision.errors import CannotRun
from precision.frameworks import torch_sums
from precision.frameworks.nvidia import nvidia_versions
from precision.frameworks.torch_norm_gradients import gradient_ops
from precision.frameworks.torch_settings import varied
from precision.frameworks.torch_tensors import narrowed, placed, state

__all__ = ["configure", "kernels", "run", "varied", "versions"]

Float32 = NDArray[np.float32]


def _attribute(path: str) -> tuple[Callable[[Any], None], Callable[[], Any]]:
    """Return setter and getter of an attribute below torch.backends, such as `cudnn.benchmark`."""
    *owners, name = path.split(".")
    owner: Any = torch.backends
    for part in owners:
        owner = getattr(owner, part)
    return (lambda value: setattr(owner, name, value)), (lambda: getattr(owner, name))


def _set_mkldnn(value: bool) -> None:
    torch.backends.mkldnn.set_flags(value)


_PLAIN_SWITCHES: Mapping[str, tuple[Callable[[Any], Any], Callable[[], Any]]] = {
    "threads": (torch.set_num_threads, torch.get_num_threads),
    "mkldnn.enabled": (_set_mkldnn, lambda: bool(torch.backends.mkldnn.enabled)),
    "deterministic_algorithms": (
        torch.use_deterministic_algorithms,
        torch.are_deterministic_algorithms_enabled,
    ),
    "memory_format": (
        lambda value: state.update(memory_format=value),
        lambda: state["memory_format"],
    ),
    "operands": (lambda value: state.update(operands=value), lambda: state["operands"]),
}


def _set_compile(value: bool) -> None:
    state.update(compile=value)
    if value:
        import torch._dynamo

        # One compilation for each declaration; beyond these limits the call would silently not be compiled.
        torch._dynamo.config.recompile_limit = 4096
        torch._dynamo.config.accumulated_recompile_limit = 4096
        torch._dynamo.config.fail_on_recompile_limit_hit = True


_SWITCHES: Mapping[str, tuple[Callable[[Any], Any], Callable[[], Any]]] = {
    **_PLAIN_SWITCHES,
    "compile": (_set_compile, lambda: state["compile"]),
}


def configure(device: str, switches: Mapping[str, Any]) -> dict[str, Any]:
    """Set every switch, and return all that can be read back, also of switches left alone."""
    if device == "cuda" and not torch.cuda.is_available():
        raise CannotRun(f"this PyTorch ({torch.__version__}) finds no usable CUDA device")
    state["device"] = device
    names = list(switches)
    for name in names:
        setter, _ = _SWITCHES.get(name) or _attribute(name)
        setter(switches[name])
    names += [name for name in _ALWAYS_READ if name not in switches]
    return {name: (_SWITCHES.get(name) or _attribute(name))[1]() for name in names}


_ALWAYS_READ = (
    "threads",
    "deterministic_algorithms",
    "mkldnn.enabled",
    "mkldnn.conv.fp32_precision",
    "mkldnn.matmul.fp32_precision",
    "cudnn.enabled",
    "cudnn.benchmark",
    "cudnn.deterministic",
    "cudnn.conv.fp32_precision",
    "cuda.matmul.fp32_precision",
)


def versions() -> dict[str, str]:
    """Return versions of PyTorch and its libraries, and the device."""
    found = {"torch": torch.__version__, "cpu capability": torch.backends.cpu.get_cpu_capability()}
    if state["device"] == "cuda":
        major, minor = torch.cuda.get_device_capability()
        found["gpu"] = torch.cuda.get_device_name()
        found["compute capability"] = f"{major}.{minor}"
        found["cuda"] = str(torch.version.cuda)
        found["cudnn"] = str(torch.backends.cudnn.version())
        torch.ones(8, 8, device="cuda").mm(torch.ones(8, 8, device="cuda"))  # loads cuBLAS
        found |= nvidia_versions()
    return found


def kernels(op: str, params: Mapping[str, Any], arrays: Mapping[str, Float32]) -> list[str]:
    """Return the names of what ran on the device in one more call, as torch.profiler gives them.

    On a GPU its kernels, in order, copies and fills left out; on a CPU the operators.
    """
    device = torch.autograd.DeviceType.CUDA if state["device"] == "cuda" else torch.autograd.DeviceType.CPU
    with torch.profiler.profile() as profile:
        run(op, params, arrays)
    names = (event.name for event in profile.events() if event.device_type == device)
    return list(dict.fromkeys(name for name in names if not name.startswith(("Memcpy", "Memset"))))


def run(op: str, params: Mapping[str, Any], arrays: Mapping[str, Float32]) -> Float32:
    """Return the output of one call of `op`."""
    image = not op.startswith(_NO_IMAGES)
    tensors = {name: placed(array, image) for name, array in arrays.items()}
    if op in torch_sums.OPS:
        tensors = {name: narrowed(tensor) for name, tensor in tensors.items()}
    with torch.no_grad():
        output: torch.Tensor = _call(op, params, tensors)(tensors)
    return np.asarray(output.detach().float().contiguous().cpu().numpy(), order="C")


def _call(op: str, params: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> Any:
    """Return the call of an op; in a compiled mode made once for each declaration."""

    def call(given: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return _OPS[op](given, params)

    if not state["compile"]:
        return call
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    key = f"{op}/{sorted(params.items())}/{sorted(shapes.items())}"
    if key not in _compiled:
        _compiled[key] = torch.compile(call, dynamic=False)
    return _compiled[key]


_compiled: dict[str, Any] = {}
_NO_IMAGES = ("linear", "matmul")  # four axes are no image there: the memory format is not for them


def _batch_norm(t: Mapping[str, torch.Tensor], p: Mapping[str, Any]) -> torch.Tensor:
    training = p["training"]
    return F.batch_norm(
        t["input"],
        None if training else t["running_mean"],
        None if training else t["running_var"],
        t.get("weight"),
        t.get("bias"),
        training=training,
        eps=p["eps"],
    )


_NORMS: Mapping[str, Callable[[Mapping[str, torch.Tensor], Mapping[str, Any]], torch.Tensor]] = {
    "batch_norm": _batch_norm,
    "instance_norm": lambda t, p: F.instance_norm(
        t["input"], weight=t.get("weight"), bias=t.get("bias"), eps=p["eps"]
    ),
    "group_norm": lambda t, p: F.group_norm(
        t["input"], p["num_groups"], t.get("weight"), t.get("bias"), p["eps"]
    ),
    "layer_norm": lambda t, p: F.layer_norm(
        t["input"], p["normalized_shape"], t.get("weight"), t.get("bias"), p["eps"]
    ),
    "rms_norm": lambda t, p: F.rms_norm(t["input"], p["normalized_shape"], t.get("weight"), p["eps"]),
}

_OPS: Mapping[str, Callable[[Mapping[str, torch.Tensor], Mapping[str, Any]], torch.Tensor]] = {
    **torch_sums.OPS,
    **_NORMS,
    **gradient_ops(_NORMS),
}
