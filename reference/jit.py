"""Compiling kernels: IEEE 754 arithmetic only, and a cache on disk that can never be stale.

numba's own cache notices a change of the file that a kernel stands in, but not of a file whose kernels
it calls.  A truth from an old kernel would be a wrong truth, so the cache lies in a folder named after the
bytes of every file of this package: after any change, everything is compiled anew.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """`numba.njit` with the only settings that keep IEEE 754 arithmetic: no reassociation, no contraction.

    Compiled at the first call, then cached on disk; kernels are called with one set of types each.
    """
    return _compile(function, nogil=False)


def compiled_nogil(function: Function) -> Function:
    """As `compiled`, and the interpreter's lock is released: threads run such kernels side by side."""
    return _compile(function, nogil=True)


def _compile(function: Function, *, nogil: bool) -> Function:
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = _FOLDER  # read while decorating, so nobody else's kernels are moved
    try:
        decorate = numba.njit(cache=bool(_FOLDER), fastmath=False, error_model="numpy", nogil=nogil)
        return cast("Function", decorate(function))
    finally:
        numba.config.CACHE_DIR = before


def source_digest(folder: Path) -> str:
    """SHA-256 (16 digits) over names and bytes of the Python files in `folder`, and numba's version."""
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(folder.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _cache_folder() -> str:
    """First of NUMBA_CACHE_DIR, this package, the user's cache that can be written; empty for none."""
    package = Path(__file__).parent
    name = f"kernels-{source_digest(package)}"
    user = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "precision"
    given = os.environ.get("NUMBA_CACHE_DIR")
    for base in ([Path(given)] if given else []) + [package / "__pycache__", user]:
        try:
            (base / name).mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(base / name, os.W_OK):
            return str(base / name)
    return ""


_FOLDER = _cache_folder()
