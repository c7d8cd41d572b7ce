"""Versions of what lies below a framework on an NVIDIA GPU: driver, CUDA, cuBLAS, the wheels they came in.

Asked of the libraries that the framework has loaded, so a library of another version on the disk does not
matter.  What a library does not tell is left out.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import re
from pathlib import Path

_CUBLAS = ("libcublas.so.13", "libcublas.so.12", "libcublas.so.11")


def nvidia_versions() -> dict[str, str]:
    """Return the versions found, by name."""
    found = {
        "driver": _driver(Path("/proc/driver/nvidia/version")),
        "cuda driver": _cuda_driver(),
        "cublas": _cublas(),
    }
    wheels = {
        f"distribution {name}": wheel.version
        for wheel in importlib.metadata.distributions()
        if (name := str(wheel.metadata["Name"]).lower()).startswith(("nvidia-", "triton"))
    }
    return {name: value for name, value in found.items() if value} | dict(sorted(wheels.items()))


def _driver(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    number = re.search(r"\b\d+\.\d+(\.\d+)?\b", text.partition("\n")[0])
    return number.group() if number else ""


def _cuda_driver() -> str:
    """Return the newest CUDA version that the driver supports, such as 12.8."""
    version = ctypes.c_int(0)
    try:
        failed = ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version))
    except (OSError, AttributeError):
        return ""
    return "" if failed else f"{version.value // 1000}.{version.value % 1000 // 10}"


def _cublas() -> str:
    """Return the version of a loaded cuBLAS.  Its properties 0, 1 and 2 are major, minor and patch level."""
    for name in _CUBLAS:
        if not _loaded(name):
            continue
        try:
            library = ctypes.CDLL(name)
            numbers = []
            for part in range(3):
                number = ctypes.c_int(0)
                if library.cublasGetProperty(part, ctypes.byref(number)):
                    return ""
                numbers.append(str(number.value))
        except (OSError, AttributeError):
            return ""
        return ".".join(numbers)
    return ""


def _loaded(name: str) -> bool:
    try:
        return f"/{name}" in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
