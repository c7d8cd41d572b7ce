"""Channels in another order: the output's by comparing them, the input's by solving for the weights.

With L the terms' left factors (an output position a row, an input channel and tap a column) and Y the outputs
less the bias, Y = L W has the weights that were used as its solution; each channel of these is that of a
declared one. With fewer positions than terms the left factors are solved for in their place, from at least as
many outputs; with few of both each channel takes the one whose part correlates the most with the output.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from precision.meaning.bench import Bench
from precision.meaning.gather import SUMS, left_factors
from precision.meaning.hypotheses import DATA, Change, Declaration, Float64, step

_TERMS, _ROWS, _CHANNELS = 1200, 3, 4096
_WIDEST = 1 << 23
"""Terms that are solved for; positions for each term; channels that are compared; numbers of left factors."""
_RIDGE = 1e-12


def permuted_channels(bench: Bench) -> Iterator[Declaration]:
    """Declarations with the channels of the output or of the input in the order that explains the output."""
    if bench.output.ndim < 2 or not bench.fits_shape:
        return
    yield from _outputs(bench)
    declared = bench.declared
    if declared.op in SUMS and int(declared.params.get("groups", 1)) == 1:
        order = _input_order(bench)
        if order is not None:
            x = np.asarray(declared.arrays["input"])
            axis = x.ndim - 1 if declared.op == "linear" or _last(declared) else 1
            change = Change(
                "channel order",
                "as declared",
                {"input": order},
                "the channels of the input are permuted, or those of the weights that meet them",
                DATA,
            )
            yield declared.with_arrays(change, input=np.take(x, order, axis))


def _last(declared: Declaration) -> bool:
    return str(declared.params.get("layout", "NCHW")).endswith("C")


def _outputs(bench: Bench) -> Iterator[Declaration]:
    declared, out = bench.declared, bench.output
    last = declared.op in ("linear", "layer_norm", "rms_norm", "matmul") or _last(declared)
    axis = out.ndim - 1 if last else 1
    count = out.shape[axis]
    truth = bench.known.value + bench.known.rest
    if count < 2 or count > _CHANNELS or not np.isfinite(truth).all():
        return
    rows, columns = (np.moveaxis(a, axis, 0).reshape(count, -1) for a in (out, truth))
    chosen = np.random.default_rng(7).permutation(rows.shape[1])[:16]
    order = _nearest(rows[:, chosen], columns[:, chosen])
    if order is None:
        return
    change = Change(
        "channel order",
        "as declared",
        order,
        "the channels of the output are permuted: filters, or entries of the weight, in another order",
        DATA,
    )
    yield declared.then(change, step(change, arrange=lambda a: np.take(a, order, axis)))


def _input_order(bench: Bench) -> list[int] | None:
    """Channel c of the weights met channel order[c] of the declared input; None where nothing is found."""
    declared, out = bench.declared, bench.output
    x, w = np.asarray(declared.arrays["input"]), np.asarray(declared.arrays["weight"], np.float64)
    turned, last = declared.op.startswith("conv_transpose"), _last(declared)
    if declared.op == "linear":
        channels, weights = x.shape[-1], w.T[:, None, :]
    else:
        channels = x.shape[-1 if last else 1]
        w = np.moveaxis(w, (-1, -2), (0, 1)) if last else w
        w = w if turned else np.swapaxes(w, 0, 1)  # (c, o, taps)
        weights = np.moveaxis(w.reshape(*w.shape[:2], -1), 1, 2)  # (c, taps, o)
    if channels < 3 or channels > _CHANNELS or not np.isfinite(out).all():
        return None
    count = channels * weights.shape[1]
    values = out if declared.op == "linear" or last else np.moveaxis(out, 1, -1)
    values = values.reshape(-1, values.shape[-1])
    bias = declared.arrays.get("bias")
    if bias is not None:
        values = values - np.asarray(bias, np.float64)
    most = max(4, min(_ROWS * count, _WIDEST // count))
    rows = np.random.default_rng(7).permutation(len(values))[:most]
    left = left_factors(declared, rows, values.shape[0], out.shape).reshape(len(rows), channels, -1)
    return _matched(left, weights, values[rows])


def _matched(left: Float64, weights: Float64, values: Float64) -> list[int] | None:
    """The order from left factors (row, c, tap), weights (c, tap, o) and outputs less the bias (row, o)."""
    channels, taps, outputs = weights.shape
    count, rows = channels * taps, len(values)
    flat, factors = left.reshape(rows, count), weights.reshape(count, outputs)
    with np.errstate(all="ignore"):
        centred = values - values.mean(axis=0)
        if rows > count and count <= _TERMS:
            used = _solved(flat - flat.mean(axis=0), centred).reshape(channels, -1)
            return _inverse(_nearest(used, weights.reshape(channels, -1)))
        if outputs >= count and count <= _TERMS:
            met = _solved(factors.T, values.T).reshape(channels, -1)
            return _nearest(met, np.moveaxis(left, 0, -1).reshape(channels, -1))
        flat = left - left.mean(axis=0)
        score = np.zeros((channels, channels))
        for tap in range(taps):
            score += (centred @ weights[:, tap].T).T @ flat[:, :, tap]
        size = np.sqrt((flat**2).sum(axis=(0, 2)))
        return _permutation(np.argmax(score / np.where(size > 0, size, np.inf), axis=1))


def _solved(a: Float64, b: Float64) -> Float64:
    """The least squares solution of a z = b by normal equations of columns of length one.

    Only the nearest of some known numbers is asked for, so that half of the digits may be lost.
    """
    size = np.sqrt((a * a).sum(axis=0))
    size = np.where(size > 0, size, 1.0)
    unit = a / size
    square = unit.T @ unit + _RIDGE * np.eye(a.shape[1])
    return np.asarray(np.linalg.solve(square, unit.T @ b) / size[:, None])


def _nearest(rows: Float64, columns: Float64) -> list[int] | None:
    """For each row the nearest of the columns, where that is a permutation and not the identity."""
    if not (np.isfinite(rows).all() and np.isfinite(columns).all()):
        return None
    top = max(float(np.max(np.abs(columns), initial=0.0)), 2.0**-900)
    a, b = rows / top, columns / top
    distance = (b * b).sum(axis=1)[None, :] - 2.0 * a @ b.T
    return _permutation(np.argmin(distance, axis=1))


def _permutation(order: Any) -> list[int] | None:
    found = [int(i) for i in order]
    whole = list(range(len(found)))
    return found if sorted(found) == whole and found != whole else None


def _inverse(order: list[int] | None) -> list[int] | None:
    return None if order is None else [int(i) for i in np.argsort(order)]
