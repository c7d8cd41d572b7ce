"""What PyTorch tells of itself in this shell: libraries, devices, and how its switches stand by default.

Run in a process that is thrown away: the last facts are found by setting switches.
"""

from __future__ import annotations

import re
from typing import Any

import torch

from precision.frameworks.nvidia import nvidia_versions

_PRECISIONS = (
    "cudnn.conv",
    "cudnn.rnn",
    "cuda.matmul",
    "mkldnn.conv",
    "mkldnn.matmul",
    "mkldnn.rnn",
)


def facts() -> dict[str, Any]:
    """Return versions, devices, switches, and what mixing old and new names of switches does."""
    backends = torch.backends
    switches: dict[str, Any] = {f"{name}.fp32_precision": _precision(name) for name in _PRECISIONS}
    switches |= {
        "cudnn.allow_tf32": bool(backends.cudnn.allow_tf32),
        "cuda.matmul.allow_tf32": bool(backends.cuda.matmul.allow_tf32),
        "cudnn.enabled": bool(backends.cudnn.enabled),
        "cudnn.benchmark": bool(backends.cudnn.benchmark),
        "cudnn.deterministic": bool(backends.cudnn.deterministic),
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "mkldnn.enabled": bool(backends.mkldnn.enabled),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "threads": torch.get_num_threads(),
        "interop threads": torch.get_num_interop_threads(),
    }
    return {
        "versions": {"torch": torch.__version__, **_libraries(), **nvidia_versions()},
        "devices": _devices(),
        "switches": switches,
        **_by_trying(),
    }


def _precision(name: str) -> str:
    owner: Any = torch.backends
    for part in name.split("."):
        owner = getattr(owner, part, None)
    return str(getattr(owner, "fp32_precision", "not known to this version"))


def _libraries() -> dict[str, str]:
    text = torch.__config__.show()
    found = {}
    for name, pattern in (
        ("oneDNN", r"MKL-DNN v([\d.]+)"),
        ("MKL", r"Math Kernel Library Version ([\w.]+)"),
        ("OpenMP", r"OpenMP (\d+)"),
        ("NNPACK", r"NNPACK is (\w+)"),
    ):
        match = re.search(pattern, text)
        if match:
            found[name] = match.group(1)
    found["CPU capability"] = torch.backends.cpu.get_cpu_capability()
    found["CUDA of the build"] = str(torch.version.cuda or "none: a build for the CPU")
    cudnn = torch.backends.cudnn.version() if torch.backends.cudnn.is_available() else None
    return found | ({"cuDNN": str(cudnn)} if cudnn else {})


def _devices() -> list[str]:
    found = ["cpu"]
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            major, minor = torch.cuda.get_device_capability(number)
            found.append(
                f"cuda:{number} {torch.cuda.get_device_name(number)}, compute capability {major}.{minor}"
            )
    return found


def _by_trying() -> dict[str, Any]:
    """Return which switches the generic "ieee" does not reach, and whether mixing names then raises."""
    if not hasattr(torch.backends, "fp32_precision"):
        return {"generic_ieee_misses": None, "mixing_raises": None}
    torch.backends.fp32_precision = "ieee"
    missed = [name for name in _PRECISIONS if _precision(name) == "tf32"]
    torch.backends.cudnn.conv.fp32_precision = "ieee"
    try:
        bool(torch.backends.cudnn.allow_tf32)
    except RuntimeError:
        return {"generic_ieee_misses": missed, "mixing_raises": True}
    return {"generic_ieee_misses": missed, "mixing_raises": False}
