"""The truth of the functions of one number: elementary functions and activations.

Every function takes an array of any shape and returns a `Truth` of that shape. Infinite arguments give the
limit, or what IEEE 754 makes of the formula: silu and gelu of -Inf are -Inf * 0 = NaN. Zeros are +0
whatever the sign of the argument. exp and expm1 beyond float64's range (above 709) hold infinity: every
format rounds them to it. A truth too small for float64 (gelu of -50) is held as a number below 2**-1000 of
its sign, within its bound; magnitude is the truth's own size. `refine` evaluates the
formula in intervals (see `intervals`).

Parameters are exact float64 numbers, 0 or of a size within `RANGE`. Every function raises ValueError for
dtypes that `operand` refuses and for parameters out of that range.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from reference import pointwise
from reference.escalate import exact, finish
from reference.formats import Array
from reference.intervals import Interval, Reals, enclose
from reference.operands import Single, operand
from reference.truth import Refine, Truth

RANGE = (2.0**-300, 2.0**300)
SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946
"""Klambauer, Unterthiner, Mayr & Hochreiter 2017, "Self-normalizing neural networks", as float64."""

Like = npt.ArrayLike
Formula = Callable[[Reals, Interval], Interval]
Known = Callable[[Fraction], Fraction | None]  # the value, where it is rational


def exp(input: Like) -> Truth:
    """exp(x)."""
    return _function(input, pointwise.EXP, lambda reals, x: reals.exp(x), _at(0, 1))


def expm1(input: Like) -> Truth:
    """exp(x) - 1."""
    return _function(input, pointwise.EXPM1, Reals.expm1, _at(0, 0))


def log(input: Like) -> Truth:
    """The natural logarithm; -Inf at zero, NaN below."""
    return _function(input, pointwise.LOG, lambda reals, x: reals.log(x), _at(1, 0))


def log1p(input: Like) -> Truth:
    """log(1 + x); -Inf at -1, NaN below."""
    return _function(input, pointwise.LOG1P, lambda reals, x: reals.log(1 + x), _at(0, 0))


def erf(input: Like) -> Truth:
    """2/sqrt(pi) times the integral of exp(-t**2) from 0 to x."""
    return _function(input, pointwise.ERF, Reals.erf, _at(0, 0))


def erfc(input: Like) -> Truth:
    """1 - erf(x)."""
    return _function(input, pointwise.ERFC, Reals.erfc, _at(0, 1))


def tanh(input: Like) -> Truth:
    """The hyperbolic tangent."""
    return _function(input, pointwise.TANH, Reals.tanh, _at(0, 0))


def sigmoid(input: Like) -> Truth:
    """1 / (1 + exp(-x))."""
    return _function(input, pointwise.SIGMOID, Reals.sigmoid, _at(0, Fraction(1, 2)))


def silu(input: Like) -> Truth:
    """x / (1 + exp(-x)), also called swish."""
    return _function(input, pointwise.SILU, lambda reals, x: x * reals.sigmoid(x), _at(0, 0))


def gelu(input: Like, *, approximate: str = "none") -> Truth:
    """x (1 + erf(x / sqrt 2)) / 2; with approximate="tanh" x (1 + tanh(sqrt(2/pi) (x + 0.044715 x**3))) / 2.

    The constants are real numbers, 0.044715 the decimal (Hendrycks & Gimpel 2016, "Gaussian error linear
    units"). PyTorch's default is "none"; tf.keras's is "none" too, tf.nn's older models use "tanh".
    """
    if approximate == "none":
        return _function(
            input, pointwise.GELU, lambda r, x: x * r.erfc(-x / r.sqrt(r.rational(2))) / 2, _at(0, 0)
        )
    if approximate != "tanh":
        raise ValueError(f"approximate must be 'none' or 'tanh', got {approximate!r}: name one of them")

    def formula(reals: Reals, x: Interval) -> Interval:
        cubic = x + reals.rational(Fraction(44715, 1000000)) * x * x * x
        return x * reals.sigmoid(reals.sqrt(8 / reals.pi) * cubic)

    return _function(input, pointwise.GELU_TANH, formula, _at(0, 0))


def softplus(input: Like, *, beta: float = 1.0, threshold: float = 20.0) -> Truth:
    """log(1 + exp(beta x)) / beta, and x itself where beta x > threshold (all exact, beta x too).

    tf.nn.softplus has no threshold: give threshold=float("inf").
    """
    slope = _number(beta, "beta", zero=False)
    limit = float(threshold)
    if isinstance(threshold, bool) or np.isnan(limit):
        raise ValueError(f"threshold must be a number, got {threshold!r}: give e.g. 20.0")
    exact_slope = Fraction(slope)

    def formula(reals: Reals, x: Interval) -> Interval:
        return reals.softplus(x * reals.rational(exact_slope)) / reals.rational(exact_slope)

    def linear(x: Fraction) -> Fraction | None:
        above = np.isneginf(limit) or (np.isfinite(limit) and exact_slope * x > Fraction(limit))
        return x if above else None

    return _function(input, pointwise.SOFTPLUS, formula, linear, slope, limit)


def relu(input: Like) -> Truth:
    """max(x, 0); NaN stays NaN."""
    x = operand(input, "input")
    return exact(np.where(x < 0, np.float32(0), x))


def leaky_relu(input: Like, *, negative_slope: float = 0.01) -> Truth:
    """x, or negative_slope * x where x < 0: 0.01 in PyTorch, 0.2 in tf.nn, 0.3 in older Keras layers."""
    slope = _number(negative_slope, "negative_slope")
    return _scaled(operand(input, "input"), np.array([slope]), slope=slope)


def prelu(input: Like, weight: Like, *, layout: str = "NCHW") -> Truth:
    """x, or w x where x < 0: one w for all, or one for each channel.

    layout "NCHW": the channels are axis 1 (or the only axis); "NHWC": they are the last axis.
    """
    x, slopes = prelu_slopes(input, weight, layout)
    return _scaled(x, slopes.astype(np.float64).reshape(-1))


def elu(input: Like, *, alpha: float = 1.0) -> Truth:
    """x, or alpha (exp(x) - 1) where x < 0."""
    return _elu(input, _number(alpha, "alpha"), 1.0)


def selu(input: Like) -> Truth:
    """scale * elu(x, alpha) with SELU_SCALE and SELU_ALPHA."""
    return _elu(input, SELU_ALPHA, SELU_SCALE)


def prelu_slopes(input: Like, weight: Like, layout: str = "NCHW") -> tuple[Single, Single]:
    """The operands of prelu; the weight with the input's shape unless it is one number."""
    x, w = operand(input, "input"), operand(weight, "weight")
    if layout not in {"NCHW", "NHWC"}:
        raise ValueError(f"layout must be 'NCHW' or 'NHWC', got {layout!r}: name the layout of your arrays")
    axis = x.ndim - 1 if layout == "NHWC" or x.ndim < 2 else 1
    channels = x.shape[axis] if x.ndim else 1
    if w.ndim > 1 or w.size not in {1, channels}:
        raise ValueError(
            f"the weight has one number, or one for each of the {channels} channels, got shape {w.shape}: "
            "reshape it, or check the layout"
        )
    if w.size == 1:
        return x, w.reshape(1)
    shape = [1] * x.ndim
    shape[axis] = channels
    return x, np.ascontiguousarray(np.broadcast_to(w.reshape(shape), x.shape))


def _number(value: float, name: str, *, zero: bool = True) -> float:
    good = not isinstance(value, bool) and isinstance(value, int | float | np.floating)
    if not good or not (RANGE[0] <= abs(value) <= RANGE[1] or (zero and value == 0)):
        low, high = (f"2**{int(np.log2(end))}" for end in RANGE)
        also = "0 or " if zero else ""
        raise ValueError(f"{name} must be {also}of a size within {low}..{high}, got {value!r}: give e.g. 0.5")
    return float(value)


def _at(argument: int, value: int | Fraction) -> Known:
    return lambda x: Fraction(value) if x == argument else None


def _function(
    input: Like,
    kind: int,
    formula: Formula,
    known: Known,
    a: float = 0.0,
    b: float = 0.0,
) -> Truth:
    x = operand(input, "input")
    flat = x.reshape(-1)

    def refine(index: int, bits: int) -> tuple[Fraction, Fraction]:
        exact_x = Fraction(float(flat[index]))
        found = known(exact_x)
        if found is not None:
            return found, Fraction(0)
        return enclose(lambda reals: formula(reals, reals.rational(exact_x)), bits)

    return _applied(x, kind, np.array([a]), b, refine)


def _applied(x: Single, kind: int, a: Array, b: float, refine: Refine, first: bool = True) -> Truth:
    value, residual, bound, magnitude = (np.empty(x.size) for _ in range(4))
    settled = pointwise.apply(kind, x.reshape(-1), a, b, first, value, residual, bound, magnitude)
    found = finish(
        value, residual, bound, magnitude, refine, signed=True, first=settled,
        finer=lambda: _applied(x.reshape(-1), kind, a, b, refine, False),
    )  # fmt: skip
    return found.arranged(lambda array: array.reshape(x.shape))


def _scaled(x: Single, slopes: Array, slope: float | None = None) -> Truth:
    flat = x.reshape(-1)

    def refine(index: int, bits: int) -> tuple[Fraction, Fraction]:
        number = Fraction(float(flat[index]))
        factor = slopes[index % slopes.size] if slope is None else slope
        return (number * Fraction(float(factor)) if number < 0 else number), Fraction(0)

    return _applied(x, pointwise.SCALE, slopes, 1.0, refine)


def _elu(input: Like, alpha: float, scale: float) -> Truth:
    x = operand(input, "input")
    flat = x.reshape(-1)
    factor = Fraction(alpha) * Fraction(scale)

    def refine(index: int, bits: int) -> tuple[Fraction, Fraction]:
        number = Fraction(float(flat[index]))
        if number >= 0 or factor == 0:
            return (number * Fraction(scale) if number > 0 else Fraction(0)), Fraction(0)
        return enclose(lambda r: r.expm1(r.rational(number)) * r.rational(factor), bits)

    return _applied(x, pointwise.ELU, np.array([alpha]), scale, refine)
