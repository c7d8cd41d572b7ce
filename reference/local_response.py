"""Local response normalization across channels (Krizhevsky et al. 2012, section 3.3), and its gradient.

    y_c = x_c D_c**-beta,  D_c = k + a sum over the window of c of x**2

| form                                                  | a            | window of c                       |
|-------------------------------------------------------|--------------|-----------------------------------|
| average=True, torch.nn.functional.local_response_norm | alpha / size | c - size//2 ... c + (size - 1)//2 |
| average=False, tf.nn.local_response_normalization     | alpha        | the same                          |

TensorFlow's depth_radius r is size = 2 r + 1, its bias is k. Channels beyond the first and the last count as
zeros. alpha, beta and k are the exact float64 given, alpha / size the exact quotient.

    dx_c = g_c D_c**-beta - 2 a beta x_c sum over the d whose window holds c of g_d x_d D_d**(-beta - 1)

magnitude is |y|, and the sum of the absolute terms of dx. D = 0 gives NaN, 0/0; NaN and infinity have what
IEEE 754 makes of the formulas, and reach no further than their windows.

Double-double tier. D is a sum of non-negative terms: relative error rel_D = (size + 6) STEP. e = -beta log D
is off by beta (|log D| LOG + 1.01 rel_D) + STEP |e| =: ee, exp(e) relatively by ee + EXP.

Last tier: beta = p / 2**q, and D**-beta is a fraction if and only if the 2**q-th root of D is one. In a
gradient the terms are sorted into classes whose ratio (D / D')**beta is a fraction; positive radicals of
pairwise irrational ratio are linearly independent over the rationals (proved in `surds`), so the sum is a
fraction exactly when no irrational class is left. Everything else is an interval, narrowed until it is narrow
enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from reference.doubleword import STEP, over, plus, plus_float, times, times_float
from reference.elementary import EXP, LOG, exp, log
from reference.escalate import finish
from reference.formats import Array
from reference.gradient_rows import given_gradient
from reference.grouped import channelled
from reference.intervals import Reals, enclose
from reference.jit import compiled
from reference.operands import Single
from reference.surds import rational_root
from reference.truth import Truth

Like = npt.ArrayLike
LIMITS = 2.0**-60, 2.0**60  # with beta <= SAFE no result leaves float64
SAFE, MOST = 2.0, 64.0
REACH = 500.0  # |log2 D| (beta + 1) beyond SAFE: with factors of 2**450 at most no product leaves float64


@dataclass(frozen=True)
class Windows:
    """The problem as rows of channels."""

    x: Single  # (positions, channels)
    axes: tuple[int, ...]
    shape: tuple[int, ...]  # the input's
    size: int
    scale: Fraction  # a
    beta: float
    k: float

    def flatten(self, array: Single) -> Single:
        return np.ascontiguousarray(array.transpose(self.axes)).reshape(self.x.shape)

    def restore(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        moved = array.reshape([self.shape[a] for a in self.axes])
        return np.ascontiguousarray(moved.transpose(np.argsort(self.axes)))

    @cached_property
    def packed(self) -> Array:
        """What the kernels need: a in two words, beta, k."""
        high = float(self.scale)
        return np.array([high, float(self.scale - Fraction(high)), self.beta, self.k])

    def denominator(self, row: int, channel: int) -> Fraction | None:
        """D, exactly; None where it is infinite."""
        first = max(0, channel - self.size // 2)
        window = self.x[row, first : channel + (self.size - 1) // 2 + 1]
        if not np.isfinite(window).all():
            return None
        return Fraction(self.k) + self.scale * sum((Fraction(float(v)) ** 2 for v in window), Fraction(0))


def local_response_norm(
    input: Like,
    size: int,
    *,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 1.0,
    average: bool = True,
    layout: str = "NCHW",
) -> Truth:
    """Certified local response normalization.

    Raises ValueError for a size that is no whole number >= 1, for alpha or k that are neither 0 nor within
    2**-60 ... 2**60, for beta outside [0, 64], above 2 also where D**(beta + 1) may leave 2**-500 ... 2**500,
    and for shapes and layouts that do not fit.
    """
    windows = windows_of(input, size, alpha, beta, k, average, layout)
    out = np.zeros((4, *windows.x.shape))
    with np.errstate(all="ignore"):
        _normalize(windows.x, windows.size, windows.packed, out)

    def refine(index: int, bits: int) -> tuple[Fraction, Fraction]:
        row, channel = divmod(index, windows.x.shape[1])
        below = windows.denominator(row, channel)
        terms = [] if below is None else [(Fraction(float(windows.x[row, channel])), below)]
        return _refined(terms, windows.beta, bits)

    return finish(out[0], out[1], out[2], out[3], refine, signed=True).arranged(windows.restore)


def local_response_norm_input_grad(
    grad_output: Like,
    input: Like,
    size: int,
    *,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 1.0,
    average: bool = True,
    layout: str = "NCHW",
) -> Truth:
    """Certified dx of `local_response_norm`. Errors as there, and for a grad_output of another shape."""
    windows = windows_of(input, size, alpha, beta, k, average, layout)
    dy = windows.flatten(given_gradient(grad_output, windows.shape))
    out = np.zeros((4, *windows.x.shape))
    with np.errstate(all="ignore"):
        _gradient(windows.x, dy, windows.size, windows.packed, out)

    def refine(index: int, bits: int) -> tuple[Fraction, Fraction]:
        row, channel = divmod(index, windows.x.shape[1])
        if windows.beta == 0.0:
            return Fraction(float(dy[row, channel])), Fraction(0)
        x, g = windows.x[row], dy[row]
        slope = -2 * windows.scale * Fraction(windows.beta) * Fraction(float(x[channel]))
        parts = [(Fraction(float(g[channel])), windows.denominator(row, channel))]
        for d in range(max(0, channel - (size - 1) // 2), min(x.size, channel + size // 2 + 1)):
            below = windows.denominator(row, d)
            if below is not None:
                parts.append((slope * Fraction(float(g[d])) * Fraction(float(x[d])) / below, below))
        terms = [(c, below) for c, below in parts if below is not None]
        return _refined(terms, windows.beta, bits)

    return finish(out[0], out[1], out[2], out[3], refine, signed=False).arranged(windows.restore)


def terms(input: Like, size: int, **_: Any) -> int:
    """Squares in one denominator."""
    return size


def windows_of(
    input: Like, size: int, alpha: float, beta: float, k: float, average: bool, layout: str
) -> Windows:
    """The problem, checked; raises ValueError."""
    x, channel = channelled(input, layout)
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
        raise ValueError(f"size must be a whole number >= 1, got {size!r}: give e.g. 5")
    if not isinstance(average, bool | np.bool_):
        raise ValueError(f"average must be True or False, got {average!r}: True divides alpha by size")
    for value, name, low, high in ((alpha, "alpha", *LIMITS), (k, "k", *LIMITS), (beta, "beta", 0.0, MOST)):
        if isinstance(value, bool) or not isinstance(value, int | float | np.floating):
            raise ValueError(f"{name} must be a number, got {value!r}: give e.g. 1.0")
        if value != 0 and not low <= value <= high:
            raise ValueError(f"{name} must be 0 or within ({low}, {high}), got {value!r}: give e.g. 1.0")
    scale = Fraction(float(alpha)) / (size if average else 1)
    axes = (*(a for a in range(x.ndim) if a != channel), channel)
    rows = np.ascontiguousarray(x.transpose(axes)).reshape(-1, x.shape[channel])
    if beta > SAFE:
        _check_reach(rows, float(scale) * int(size), float(beta), float(k))
    return Windows(rows, axes, x.shape, int(size), scale, float(beta), float(k))


def _check_reach(rows: Single, scale: float, beta: float, k: float) -> None:
    """A steep power must stay in range: D lies between k and k + a size max x**2."""
    sizes = np.abs(rows[np.isfinite(rows)]).astype(np.float64)
    largest = k + scale * float(sizes.max(initial=0.0)) ** 2
    most = max(abs(float(np.log2(d))) if d > 0.0 else np.inf for d in (k, largest))
    if most * (beta + 1.0) > REACH:
        raise ValueError(
            f"beta must be at most {SAFE}, or D**(beta + 1) within 2**-{REACH:g}..2**{REACH:g} for D from k "
            f"to k + alpha * max(x)**2, got beta {beta!r}, k {k!r} and D up to {largest:g}: scale the input"
        )


def _refined(terms: list[tuple[Fraction, Fraction]], beta: float, bits: int) -> tuple[Fraction, Fraction]:
    """(centre, radius) of sum c D**-beta, D > 0."""
    classes: dict[Fraction, Fraction] = {Fraction(1): Fraction(0)}
    for c, below in terms:
        for known in classes:
            ratio = rational_power(below / known, -Fraction(beta))
            if ratio is not None:
                classes[known] += c * ratio
                break
        else:
            classes[below] = c
    left = [(c, below) for below, c in classes.items() if c]
    if not any(below != 1 for _, below in left):
        return sum((c for c, _ in left), Fraction(0)), Fraction(0)

    def formula(reals: Reals) -> Any:
        power = reals.rational(-Fraction(beta))
        return sum(reals.rational(c) * reals.exp(power * reals.log(reals.rational(d))) for c, d in left)

    return enclose(formula, bits)


def rational_power(base: Fraction, exponent: Fraction) -> Fraction | None:
    """base**exponent where it is a fraction, else None; base > 0, the exponent's denominator a power of 2."""
    for _ in range(exponent.denominator.bit_length() - 1):
        root = rational_root(base)
        if root is None:
            return None
        base = root
        if base == 1:
            return base
    return base**exponent.numerator


@compiled
def _power(
    x: Any, row: int, channel: int, size: int, packed: Any
) -> tuple[float, float, float, float, float]:
    """D and D**-beta in two words each, and the relative error of the power; D not finite or 0: IEEE 754."""
    scale, scale_low, beta, k = packed
    high, low, plain = 0.0, 0.0, 0.0
    for c in range(max(0, channel - size // 2), min(x.shape[1], channel + (size - 1) // 2 + 1)):
        value = np.float64(x[row, c])
        high, low = plus_float(high, low, value * value)
        plain += value * value
    if not np.isfinite(plain):
        plain = scale * plain + k
        return plain, 0.0, plain**-beta, 0.0, 0.0
    high, low = times(high, low, scale, scale_low)
    high, low = plus_float(high, low, k)
    if high == 0.0:
        return high, 0.0, high**-beta, 0.0, 0.0
    eh, el = log(high, low)
    error = beta * (abs(eh) * LOG + 1.01 * (size + 6) * STEP)
    eh, el = times_float(eh, el, -beta)
    if abs(eh) > 600.0:
        return high, low, high**-beta, 0.0, np.inf
    ph, pl = exp(eh, el)
    return high, low, ph, pl, (error + STEP * abs(eh) + EXP) * 1.01


@compiled
def _normalize(x: Any, size: int, packed: Any, out: Any) -> None:
    for row in range(x.shape[0]):
        for c in range(x.shape[1]):
            value = np.float64(x[row, c])
            below, _, ph, pl, relative = _power(x, row, c, size, packed)
            if np.isfinite(value) and 0.0 < below < np.inf:
                high, low = times_float(ph, pl, value)
                bound = abs(high) * (relative + STEP) * 1.001 if value != 0.0 else 0.0
                magnitude = abs(high) * (1.0 + 2.0**-20)
            else:
                high, low, bound = value * ph, 0.0, 0.0
                magnitude = np.inf if not np.isfinite(high) else abs(high)
            out[0, row, c], out[1, row, c], out[2, row, c] = high + 0.0, low, bound
            out[3, row, c] = magnitude


@compiled
def _gradient(x: Any, grad: Any, size: int, packed: Any, out: Any) -> None:
    scale, scale_low, beta, _ = packed
    channels = x.shape[1]
    powers = np.empty((channels, 3))
    products = np.empty((channels, 3))
    wild = np.empty(channels, np.bool_)
    for row in range(x.shape[0]):
        for c in range(channels):
            value, g = np.float64(x[row, c]), np.float64(grad[row, c])
            below, below_low, ph, pl, relative = _power(x, row, c, size, packed)
            powers[c] = (ph, pl, relative)
            wild[c] = not (np.isfinite(value) and np.isfinite(g) and 0.0 < below < np.inf)
            if not wild[c]:
                high, low = times_float(ph, pl, g * value)
                high, low = over(high, low, below, below_low)
                products[c] = (high, low, relative + (size + 8) * STEP)
            else:
                products[c] = (g * value * ph / below, 0.0, 0.0)
        for c in range(channels):
            value, g = np.float64(x[row, c]), np.float64(grad[row, c])
            high, low, error, total, plain = 0.0, 0.0, 0.0, 0.0, 0.0
            ieee = wild[c]
            for d in range(max(0, c - (size - 1) // 2), min(channels, c + size // 2 + 1)):
                high, low = plus(high, low, products[d, 0], products[d, 1])
                plain += products[d, 0]
                ieee = ieee or wild[d]
                total += abs(products[d, 0])
                error += abs(products[d, 0]) * products[d, 2]
            factor = 2.0 * beta * value
            plain = powers[c, 0] * g - factor * scale * plain
            if not np.isfinite(plain):  # of finite operands: an intermediate overflowed, so nothing is known
                high, error = (plain, 0.0) if ieee else (0.0, np.inf)
                out[0, row, c], out[1, row, c], out[2, row, c], out[3, row, c] = high, 0.0, error, np.inf
                continue
            error += total * size * STEP
            high, low = times_float(high, low, 2.0 * beta)
            high, low = times_float(high, low, value)
            high, low = times(high, low, scale, scale_low)
            error = error * abs(factor) * scale + 3.0 * STEP * abs(high)
            total *= abs(factor) * scale
            ah, al = times_float(powers[c, 0], powers[c, 1], g)
            error += abs(ah) * (powers[c, 2] + STEP)
            total += abs(ah)
            high, low = plus(ah, al, -high, -low)
            error = (error + STEP * abs(high)) * 1.001
            if error != 0.0:
                error += 2.0**-1000
            out[0, row, c], out[1, row, c], out[2, row, c] = high + 0.0, low, error
            out[3, row, c] = (total + error) * (1.0 + 2.0**-20)
