"""What a mode needs of the machine, checked without importing a framework.

A requirement is a word: `compiler` (for C++), `cuda` (an NVIDIA GPU and its driver), `cpu:avx2`, `cpu:bf16`
(a processor with bfloat16 dot products: AVX512_BF16, AMX-BF16, or Arm's BF16).
"""

from __future__ import annotations

import importlib.util
import shutil
from functools import cache
from pathlib import Path

from precision.modes import FRAMEWORKS, Mode

_CPU_FLAGS = {
    "cpu:avx2": ({"avx2"}, "no AVX2 unit"),
    "cpu:bf16": ({"avx512_bf16", "amx_bf16", "bf16"}, "no bfloat16 unit (AVX512_BF16 or AMX-BF16)"),
}


# The driver's own files; the last is the GPU of a Linux inside Windows.
_NVIDIA = ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg")


def missing(mode: Mode) -> str:
    """Return why this machine cannot run `mode`, or an empty string where nothing is missing."""
    framework = FRAMEWORKS[mode.framework]
    if framework.backend.startswith("precision.") and importlib.util.find_spec(mode.framework) is None:
        return f"{mode.framework} is not installed; pip install 'precision[{mode.framework}]'"
    for requirement in mode.requires:
        if requirement == "compiler":
            if not any(shutil.which(name) for name in ("c++", "g++", "clang++")):
                return "no C++ compiler on this machine, which torch.compile needs"
        elif requirement == "cuda":
            if not any(Path(path).exists() for path in _NVIDIA):
                return "no NVIDIA GPU or driver on this machine"
        else:
            flags, reason = _CPU_FLAGS[requirement]
            if not flags & cpu_flags():
                return f"{reason} in this processor ({cpu_model()})"
    return ""


@cache
def _cpu_info() -> dict[str, str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def cpu_flags() -> frozenset[str]:
    """Return the processor's feature flags (empty where the system does not list them)."""
    info = _cpu_info()
    return frozenset((info.get("flags") or info.get("Features") or "").split())


def cpu_model() -> str:
    """Return the processor's name."""
    import platform

    return _cpu_info().get("model name") or platform.processor() or platform.machine()
