"""A framework of one's own, in one file: NumPy, in one thread or as many as its BLAS likes.

    python examples/extend/a_framework.py

The file is the backend: `configure`, `versions` and `run` are what a worker process asks of it.  The modes
say what environment and switches it is asked with.  A framework that the package shall keep is this file in
`precision/frameworks/` and its entries in `precision/modes.py`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]


def configure(device: str, switches: Mapping[str, Any]) -> dict[str, Any]:
    """Set the switches and return them as read back: a worker refuses what did not take."""
    if device != "cpu":
        raise ValueError(f"NumPy runs on the cpu; got {device!r}; name that")
    return {name: int(os.environ["OPENBLAS_NUM_THREADS"]) for name in switches if name == "threads"}


def versions() -> dict[str, str]:
    """What the report shall say that this ran on."""
    return {"numpy": np.__version__}


def run(op: str, params: Mapping[str, Any], arrays: Mapping[str, Float32]) -> Float32:
    """One call of `op`; an exception is that cell's answer, `error` with its text."""
    if op != "linear":
        raise NotImplementedError(f"this backend has linear; got {op!r}")
    output = arrays["input"] @ arrays["weight"].T
    return np.asarray(output + arrays["bias"] if "bias" in arrays else output, np.float32)


def main() -> None:
    """The same layer in NumPy and in PyTorch, judged by the same truth."""
    # Late: a worker imports this file too, and needs none of it.
    from precision.extend import add_framework, measure  # noqa: PLC0415
    from precision.modes import Framework, Mode  # noqa: PLC0415

    add_framework(Framework("numpy", "a_framework", ("numpy",)), __file__)
    modes = [
        Mode("numpy.cpu", "default", "numpy", "cpu"),
        Mode(
            "numpy.cpu.threads1", "one thread", "numpy", "cpu", {"OPENBLAS_NUM_THREADS": "1"}, {"threads": 1}
        ),
        "torch.cpu",
    ]
    random = np.random.default_rng(0)
    shapes = {"input": (32, 512), "weight": (64, 512), "bias": (64,)}
    arrays = {name: random.random(shape, np.float32) for name, shape in shapes.items()}
    found = measure({"linear-512": {"op": "linear", "params": {}, "arrays": arrays}}, modes)
    print(found[["mode", "verdict", "error_ulp_median", "bits_group"]].to_string(index=False))


if __name__ == "__main__":
    main()
