"""What is timed: each task makes its operands once and returns the call to time, its work and its figures.

Work is counted in multiply-adds for sums of products and in elements for normalizations. Libraries are
imported by the tasks that need them, so that a worker holds no second thread pool.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Call = Callable[[], Any]
Task = tuple[Call, int]


def operands(spec: dict[str, Any]) -> tuple[Any, ...]:
    rng = np.random.default_rng(0)
    draw = rng.random if spec["data"] == "uniform" else rng.standard_normal
    return tuple(draw(tuple(shape), np.float32) for shape in spec["shapes"])


def conv_macs(spec: dict[str, Any]) -> int:
    """Multiply-adds of the convolution, those with the padding included."""
    (n, _, *size), (filters, channels, *kernel), _ = spec["shapes"]
    pads = spec["padding"]
    rooms = (size[0] + pads[0] + pads[1] - kernel[0], size[1] + pads[2] + pads[3] - kernel[1])
    out = [room // spec["stride"] + 1 for room in rooms]
    return int(np.prod([n, filters, *out, channels, *kernel]))


def truth_conv(spec: dict[str, Any]) -> Task:
    """reference.conv2d: certified for float32."""
    import reference

    x, w, b = operands(spec)
    return lambda: reference.conv2d(x, w, b, stride=spec["stride"], padding=spec["padding"]), conv_macs(spec)


def exact_conv(spec: dict[str, Any]) -> Task:
    """Every element exact (bound 0), by sliced products of gathered columns; channels last."""
    from reference import sliced

    x, w, b = operands(spec)
    top, bottom, left, right = spec["padding"]
    stride, terms = spec["stride"], int(np.prod(w.shape[1:]))
    start, matrix = b.astype(np.float64), w.reshape(len(w), -1).T

    def call() -> Any:
        padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
        views = np.lib.stride_tricks.sliding_window_view(padded, w.shape[2:], axis=(2, 3))
        views = views[:, :, ::stride, ::stride].transpose(0, 2, 3, 1, 4, 5)
        prepared = sliced.right(matrix, sliced.spans(x.reshape(1, -1)))
        parts = [np.empty((*views.shape[:3], len(w))) for _ in range(3)]
        lines = max(1, (1 << 21) // (terms * views.shape[2]))  # output rows whose columns take 8 MiB
        for image in range(views.shape[0]):
            for i in range(0, views.shape[1], lines):
                some = views[image, i : i + lines]
                columns = np.ascontiguousarray(some).reshape(-1, terms)
                for part, found in zip(parts, prepared.times(columns, start), strict=True):
                    part[image, i : i + lines] = found.reshape(*some.shape[:2], -1)
        return parts

    return call, conv_macs(spec)


def torch_conv(spec: dict[str, Any]) -> Task:
    """torch's float64 convolution of the same operands."""
    import torch

    torch.set_num_threads(spec["threads"])
    torch.set_grad_enabled(False)
    x, w, b = (torch.from_numpy(a).double() for a in operands(spec))
    top, bottom, left, right = spec["padding"]
    x = torch.nn.functional.pad(x, (left, right, top, bottom))
    return lambda: torch.nn.functional.conv2d(x, w, b, stride=spec["stride"]), conv_macs(spec)


def truth_product(spec: dict[str, Any]) -> Task:
    """reference.linear: certified for float32."""
    import reference

    x, w = operands(spec)
    return lambda: reference.linear(x, w), x.shape[0] * w.size


def arb_product(spec: dict[str, Any]) -> Task:
    """python-flint's ball arithmetic at 53 bits, which certify these sums; operands converted beforehand."""
    import flint

    flint.ctx.threads = spec.get("flint_threads", spec["threads"])
    x, w = operands(spec)
    a, b = (flint.arb_mat(m.astype(np.float64).tolist()) for m in (x, w.T))
    return lambda: a * b, x.shape[0] * w.size


def mpmath_product(spec: dict[str, Any]) -> Task:
    """mpmath's fdot at 53 bits, one call an element; operands converted beforehand."""
    import mpmath

    context = mpmath.MPContext()
    x, w = operands(spec)
    rows, columns = ([[context.mpf(v) for v in row] for row in m.astype(float).tolist()] for m in (x, w))
    return lambda: [[context.fdot(r, c) for c in columns] for r in rows], x.shape[0] * w.size


def _norm(spec: dict[str, Any]) -> tuple[Any, ...]:
    (x,) = operands(spec)
    channels = x.shape[-1 if spec["op"] == "layer_norm" else 1]
    rng = np.random.default_rng(1)
    return x, rng.random(channels, np.float32), rng.random(channels, np.float32)


def truth_norm(spec: dict[str, Any]) -> Task:
    """A normalization in double-word arithmetic: certified for float32."""
    import reference

    x, w, b = _norm(spec)
    params = {"batch_norm": {"training": True}, "layer_norm": {"normalized_shape": x.shape[-1]}}[spec["op"]]
    return lambda: reference.evaluate(spec["op"], {"input": x, "weight": w, "bias": b}, params), x.size


def numpy_norm(spec: dict[str, Any]) -> Task:
    """The two-pass formula in NumPy's float64: mean, then mean of squared differences."""
    x, w, b = _norm(spec)
    axes = (1,) if spec["op"] == "layer_norm" else (0, 2, 3)
    shape = (1, -1) if spec["op"] == "layer_norm" else (1, -1, 1, 1)
    w, b = w.astype(np.float64).reshape(shape), b.astype(np.float64).reshape(shape)

    def call() -> Any:
        centred = x.astype(np.float64)
        centred -= centred.mean(axes, keepdims=True)
        variance = (centred * centred).mean(axes, keepdims=True)
        return centred / np.sqrt(variance + 1e-5) * w + b

    return call, x.size


TASKS: dict[str, Callable[[dict[str, Any]], Task]] = {
    task.__name__: task
    for task in (
        truth_conv, exact_conv, torch_conv, truth_product, arb_product, mpmath_product, truth_norm, numpy_norm
    )
}  # fmt: skip
