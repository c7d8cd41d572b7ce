"""A mode of one's own, in one file: PyTorch with oneDNN held to AVX2, beside the default.

    python examples/extend/a_mode.py

A mode is data: a framework, a device, the environment to start it in, the switches to set and read back.  One
that the package shall keep, for suites and reports, is an entry in `precision/modes.py`.
"""

from __future__ import annotations

import numpy as np

from precision.extend import measure
from precision.modes import Mode

NARROW = Mode(
    name="torch.cpu.onednn_avx2",
    title="oneDNN limited to AVX2, one thread",
    framework="torch",
    device="cpu",
    environment={"CUDA_VISIBLE_DEVICES": "", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    switches={"threads": 1},
)


def main() -> None:
    """One convolution in both modes: the verdicts, and whether the bits are the same."""
    random = np.random.default_rng(0)
    shapes = {"input": (1, 64, 28, 28), "weight": (32, 64, 3, 3), "bias": (32,)}
    arrays = {name: random.random(shape, np.float32) for name, shape in shapes.items()}
    case = {"op": "conv2d", "params": {"padding": 1}, "arrays": arrays}
    found = measure({"conv2d-3x3": case}, ["torch.cpu", NARROW])
    print(found[["mode", "verdict", "error_ulp_median", "bits_group"]].to_string(index=False))


if __name__ == "__main__":
    main()
