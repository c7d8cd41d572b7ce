"""The gradients of average and maximum pooling, windows that overlap included.

average   dx[i] = sum over the windows that hold i of g / divisor; a float32 evaluation is within
          gamma(n + 2) sum |g / divisor| for n windows, in any order
maximum   the gradient of a window goes to its first largest element, in the order (d, h, w), as in PyTorch
          and TensorFlow; other choices among elements that tie: the last one, all of them, equal shares
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.tracing.backward.sums import scattered
from precision.tracing.backward.verdict import FLUSH, INFLATION, UNIT, Elsewhere, Pullback, bounded, gamma
from reference.escalate import finish
from reference.window import Window, window

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Params = Mapping[str, Any]
_U64 = 2.0**-53
_WINDOW = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")


def pool_pullback(op: str, x: Float32, gradient: Float32, params: Params) -> Pullback:
    """The gradient of avg_pool{1,2,3}d or max_pool{1,2,3}d, channels first.

    Raises ValueError for parameters and shapes that do not fit.
    """
    at = window(x.ndim - 2, x.shape, **{name: params[name] for name in _WINDOW if name in params})
    if gradient.shape != at.shape:
        raise ValueError(
            f"a gradient has the shape of the pooling's output, {list(at.shape)}; it is "
            f"{list(gradient.shape)}; give the gradient of this unit"
        )
    return _average(at, x, gradient, params) if op.startswith("avg") else _maximum(at, x, gradient)


def _taps(at: Window) -> Iterator[tuple[slice, ...]]:
    """Of each element of the window the places in the padded input where it comes to lie."""
    for taps in np.ndindex(*at.kernel):
        steps = (
            slice(tap * d, tap * d + (o - 1) * s + 1, s)
            for tap, d, o, s in zip(taps, at.dilation, at.out, at.stride, strict=True)
        )
        yield slice(None), slice(None), *steps


def _padded_shape(at: Window) -> tuple[int, ...]:
    sizes = (n + before + after for n, (before, after) in zip(at.size, at.reach, strict=True))
    return (at.batch, at.channels, *sizes)


def _inside(at: Window) -> tuple[slice, ...]:
    """Where the input lies in its padded array."""
    inner = (slice(before, before + n) for n, (before, _) in zip(at.size, at.reach, strict=True))
    return slice(None), slice(None), *inner


def _average(at: Window, x: Float32, gradient: Float32, params: Params) -> Pullback:
    include, override = params.get("count_include_pad"), params.get("divisor_override")
    counted = at.counts(not at.by_rule if include is None else bool(include))
    divisor = (counted if override is None else np.full(at.out, int(override))).astype(np.float64)
    g = gradient.astype(np.float64)
    share, shape, inside = g / divisor, _padded_shape(at), _inside(at)
    value, total, count = np.zeros(shape), np.zeros(shape), np.zeros(shape, np.int64)
    for where in _taps(at):
        value[where] += share
        total[where] += np.abs(share)
        count[where] += 1
    value, total = np.ascontiguousarray(value[inside]), np.ascontiguousarray(total[inside])
    count = np.ascontiguousarray(count[inside])
    bound = np.where(total > 0.0, total * gamma(count + 2, _U64) + 2.0**-1000, 0.0)
    sources = np.arange(gradient.size, dtype=np.int64).reshape(gradient.shape)
    spread, flat = np.broadcast_to(divisor, gradient.shape).reshape(-1), gradient.reshape(-1)

    def refine(index: int, bits: int) -> tuple[Fraction, Fraction]:
        place = tuple(
            int(i) + side.start if side.start else int(i)
            for i, side in zip(np.unravel_index(index, x.shape), inside, strict=True)
        )
        found = Fraction(0)
        for j in _windows_at(at, place, sources):
            found += Fraction(float(flat[j])) / Fraction(float(spread[j]))
        return found, Fraction(0)

    truth = finish(value, np.zeros_like(value), bound, total.copy(), refine, signed=False)
    with np.errstate(over="ignore"):
        limit = gamma(count + 2, UNIT) * total * INFLATION + (2.0 + count) * FLUSH
    return Pullback(truth, np.where(total > 0.0, bounded(limit, total), 0.0))


def _windows_at(at: Window, place: tuple[int, ...], sources: NDArray[np.int64]) -> Iterator[int]:
    """The windows, as flat indices, that hold a place of the padded input."""
    for taps in np.ndindex(*at.kernel):
        window_at = []
        for i, tap, d, o, s in zip(place[2:], taps, at.dilation, at.out, at.stride, strict=True):
            step, rest = divmod(i - tap * d, s)
            if rest or not 0 <= step < o:
                break
            window_at.append(step)
        else:
            yield int(sources[(*place[:2], *window_at)])


def _maximum(at: Window, x: Float32, gradient: Float32) -> Pullback:
    shape = _padded_shape(at)
    widths = [(0, 0), (0, 0), *at.reach]
    filled = np.pad(x, widths, constant_values=-np.inf)
    own = np.full(shape, -1, np.int64)  # of padding, which is never chosen
    own[_inside(at)] = np.arange(x.size, dtype=np.int64).reshape(x.shape)
    best = np.full(at.shape, -np.inf, np.float32)
    first, last = np.full(at.shape, -1, np.int64), np.full(at.shape, -1, np.int64)
    ties = np.zeros(at.shape, np.int64)
    for where in _taps(at):
        here, place = filled[where], own[where]
        larger, same = here > best, (here == best) & (place >= 0)
        ties = np.where(larger, 1, ties + same)
        first = np.where(larger, place, first)
        last = np.where(larger | same, place, last)
        best = np.where(larger, here, best)

    def routed(places: NDArray[np.int64]) -> Pullback:
        flat = gradient.reshape(-1)
        return scattered(gradient.astype(np.float64), places, x.shape, lambda j: Fraction(float(flat[j])))

    def shared(parts: bool) -> Pullback:
        terms, places, numbers = [], [], gradient.astype(np.float64)
        divisor = ties if parts else np.ones_like(ties)
        for where in _taps(at):
            terms.append(numbers / divisor)
            places.append(np.where((filled[where] == best) & (own[where] >= 0), own[where], -1))
        flat, by = gradient.reshape(-1), divisor.reshape(-1)
        return scattered(
            np.stack(terms), np.stack(places), x.shape,
            lambda j: Fraction(float(flat[j % flat.size])) / int(by[j % flat.size]),
            off=2.0 * _U64, roundings=3, lost=2.0 * FLUSH,
        )  # fmt: skip

    def others() -> Iterator[tuple[str, Pullback]]:
        if (ties > 1).any():
            yield "the last of them", routed(last)
            yield "equal shares", shared(True)
            yield "all of them", shared(False)

    fix = "two elements are the largest of a window: look at data that repeat, or at relu's zeros"
    found = routed(first)
    return Pullback(found.truth, found.limit, (Elsewhere("ties", "the first of them", others, fix),))
