"""The derivatives of functions of one number: in float64, to any precision, and as float32 code has them.

With g the gradient, dx = g f'(x).  u is the unit roundoff of float32; a library's exp, erf and tanh are right
within F = 32 u (16 ulp, as in the bounds of the functions), the logistic function s within P = F + 4 u.  s
beyond 64, and tanh beyond 32 (20 in gelu), is exactly 1: what they lack is below 2**-57.  Bounds on the error
of f', before the product with g; e, the error of s or of t = tanh, is P s, P |t|, or what they lack of 1:

    sigmoid     s (1 - s) from the output s: e |1 - 2 s| + e**2 + (P + 8 u) s (1 - s)
    tanh        1 - t**2 from the output t: 2 |t| e + e**2 + 8 u (1 - t**2 + t**2 where t is not 1)
    silu        s (1 + x (1 - s)), 1 - s off by d = e + u (1 - s):
                e |1 + x (1 - s)| + s |x| d (1 + P) + 8 u s (1 + |x| (1 - s))
    elu, selu   a exp(x), or y + a from the output y: |a| (F max(exp, 1 - exp) + 7 u + (F + 6 u) exp)
    gelu        cdf + x pdf: that of erf as for gelu itself, and |x| pdf (F + 8 u + 3 u x**2)
    gelu tanh   (1 + t) / 2 + x (1 - t**2) z' / 2, z = sqrt(2/pi) (x + 0.044715 x**3): t is off by
                e = F |t| + 11 u |z| (1 - t**2); e / 2 + |x| z' / 2 (2 |t| e + e**2 + 3 u) + 8 u of all terms
    softplus    1 / (1 + exp(-z)), z = b x: s (F + 6 u + 3 u |z| (1 - s)), and what is between the branches
                where z is within 4 u |z| of the threshold
    leaky_relu  the slope within 2 u;  relu, clamp: 0

The product with g is rounded at most three times; what is flushed to zero costs 4 * 2**-126 (1 + |g|)
(1 + min(|x|, 128)), with 3 x**2 more for gelu tanh.  selu's branch may be chosen by the sign of an output
that has been rounded: for -F <= x < 0 either slope is allowed.  An argument below 2**-126 may be flushed.

At a kink the truth is the slope from the left: relu 0, leaky_relu its slope (PyTorch and TensorFlow), elu and
selu alpha's (PyTorch); clamp passes the gradient at both ends (torch.clamp), but relu6 does not, in either
framework.  Formulas: Hendrycks & Gimpel 2016 (gelu), Klambauer et al. 2017 (selu), Clevert et al. 2016 (elu).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.tracing.backward.verdict import FLUSH, INFLATION, UNIT, Kinks, Pullback, bounded
from reference import Truth, evaluate
from reference.activations import SELU_ALPHA, SELU_SCALE
from reference.escalate import finish, settle
from reference.intervals import Interval, Reals, enclose

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Bools = NDArray[np.bool_]
Params = Mapping[str, Any]

_U64 = 2.0**-53
_F = 32.0 * UNIT
_P = _F + 4.0 * UNIT
_DEEP = 2.0**-900
"""A slope below this is nothing in float32, whatever it is multiplied with; its sign is known."""
_TINY = 2.0**-960
_ROOT_8_BY_PI, _CUBIC = 1.5957691216057308, 0.044715


@dataclass(frozen=True)
class Slope:
    """f' at each x: |f' - value| <= own, 0 where exact; a float32 evaluation is within `single` of f'.

    sign: of f' where |f'| < 2**-900, else 0.  rational: f' where it is a fraction; formula: where it is not.
    kink: where f has no derivative, with the least and the largest slope that are chosen there.  peak: the
    largest factor that g may be multiplied with on the way; reach: that of what is flushed, if not 1 + |x|.
    """

    value: Float64
    own: Float64
    single: Float64
    rational: Callable[[Fraction], Fraction | None]
    formula: Callable[[Reals, Interval], Interval] | None = None
    sign: Float64 | None = None
    kink: tuple[Bools, Float64, Float64] | None = None
    peak: Float64 | float = 2.0
    reach: Float64 | None = None


def elementwise(op: str, x: Float32, gradient: Float32, params: Params) -> Pullback:
    """The gradient g f'(x) of a function of one number.  ValueError for an op that is not in `FUNCTIONS`."""
    if op not in FUNCTIONS:
        raise ValueError(f"a function of one number is one of {sorted(FUNCTIONS)}, got {op!r}: name one")
    with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):
        return pulled(x, gradient, FUNCTIONS[op](x.astype(np.float64), params))


def pulled(x: Float32, gradient: Float32, slope: Slope) -> Pullback:
    """g f'(x) with its bounds, from f' and its own."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        g = gradient.astype(np.float64)
        truth = _truth(x, g, slope)
        size = np.abs(g)
        rounds = slope.single > 0.0
        single = slope.single + np.where(rounds, 3.0 * UNIT * np.abs(slope.value), 0.0)
        reach = 1.0 + np.minimum(np.abs(x.astype(np.float64)), 128.0) if slope.reach is None else slope.reach
        lost = np.where(rounds, 4.0 * FLUSH * (1.0 + size) * reach, np.minimum(np.abs(truth.value), FLUSH))
        # What does not round is flushed as a whole, or not at all.
        lost = np.where(~rounds & (np.abs(truth.value) >= FLUSH), 0.0, lost)
        limit = np.where(size > 0.0, size * single * INFLATION + lost, 0.0)
        limit = np.where(np.isposinf(single), np.inf, limit)  # 0 * Inf is NaN
        kinks: tuple[Kinks, ...] = ()
        if slope.kink is not None:
            where, low, high = slope.kink
            near = where & (x != 0) & (np.abs(x) < FLUSH)
            most = np.maximum(np.abs(low), np.abs(high))
            limit = np.where(near, limit + size * (high - low + 4.0 * UNIT * most) + FLUSH, limit)
            kinks = (Kinks(where & ~near, g, slope.value, (low, high)),)
        whole = np.where(rounds | (slope.formula is not None), size * slope.peak, 0.0)
        return Pullback(truth, bounded(limit, whole), kinks)


def _truth(x: Float32, g: Float64, slope: Slope) -> Truth:
    value = g * slope.value
    short = slope.value.astype(np.float32).astype(np.float64) == slope.value
    exact = (g == 0.0) | ((slope.own == 0.0) & short)
    size = np.abs(g)
    bound = np.where(exact, 0.0, size * slope.own + np.abs(value) * 2.0**-52 + 2.0**-1000)
    sure = exact | (np.abs(slope.value) > 2.0 * slope.own)
    if slope.sign is not None:
        deep = (slope.sign != 0.0) & ~exact
        value = np.where(deep, np.sign(g) * slope.sign * _TINY, value)
        bound = np.where(deep, size * 2.0 * _DEEP + 2.0**-950, bound)
        sure |= deep
    arguments, factors = x.reshape(-1), g.reshape(-1)

    def refine(index: int, bits: int) -> tuple[Fraction, Fraction]:
        at, by = Fraction(float(arguments[index])), Fraction(float(factors[index]))
        known = slope.rational(at)
        if known is not None or slope.formula is None:
            return by * (known or Fraction(0)), Fraction(0)
        formula = slope.formula
        return enclose(lambda reals: formula(reals, reals.rational(at)) * reals.rational(by), bits)

    return certified(value, bound, refine, sure)


def certified(value: Float64, bound: Float64, refine: Any, sure: Bools) -> Truth:
    """The certified truth; sure: where the value has the sign of the truth, the others are refined first."""
    residual = np.zeros_like(value)
    magnitude = np.abs(value) + bound
    v, r, b = (each.reshape(-1) for each in (value, residual, bound))
    for i in np.flatnonzero(~sure.reshape(-1)):
        v[i], r[i], b[i] = settle(refine, int(i))
    return finish(value, residual, bound, magnitude, refine, signed=True)


def _never(x: Fraction) -> Fraction | None:
    return None


def _at_zero(number: Fraction) -> Callable[[Fraction], Fraction | None]:
    return lambda x: number if x == 0 else None


def _logistic(x: Float64) -> tuple[Float64, Float64]:
    """s(x) and 1 - s(x), each within 12 u of itself."""
    e = np.exp(-np.abs(x))
    large, small = 1.0 / (1.0 + e), e / (1.0 + e)
    above = x >= 0.0
    return np.where(above, large, small), np.where(above, small, large)


def _smooth(
    x: Float64, value: Float64, own: Float64, single: Float64, at_zero: Fraction | None,
    formula: Callable[[Reals, Interval], Interval], sign: float = 1.0,
) -> Slope:  # fmt: skip
    deep = np.abs(value) + own < _DEEP
    rational = _never if at_zero is None else _at_zero(at_zero)
    if at_zero is not None:
        value = np.where(x == 0.0, float(at_zero), value)
        exact = Fraction(float(at_zero)) == at_zero
        own = np.where((x == 0.0) & exact, 0.0, own)
    return Slope(value, own, single, rational, formula, np.where(deep & (x != 0.0), sign, 0.0))


def _sigmoid(x: Float64, params: Params) -> Slope:
    s, rest = _logistic(x)
    value = s * rest
    off = np.where(x > 64.0, rest, _P * s)
    single = off * np.abs(1.0 - 2.0 * s) + off * off + (_P + 8.0 * UNIT) * value
    return _smooth(
        x, value, 32.0 * _U64 * value, single, Fraction(1, 4), lambda r, at: r.sigmoid(at) * r.sigmoid(-at)
    )


def _tanh(x: Float64, params: Params) -> Slope:
    s, rest = _logistic(2.0 * x)
    value, t = 4.0 * s * rest, np.abs(np.tanh(x))
    near = np.abs(x) <= 32.0
    off = np.where(near, _P * t, 2.0 * np.minimum(s, rest))
    single = 2.0 * t * off + off * off + 8.0 * UNIT * (value + np.where(near, t * t, 0.0))

    def formula(r: Reals, at: Interval) -> Interval:
        return 4 * r.sigmoid(2 * at) * r.sigmoid(-2 * at)

    return _smooth(x, value, 32.0 * _U64 * value, single, Fraction(1), formula)


def _silu(x: Float64, params: Params) -> Slope:
    s, rest = _logistic(x)
    size = np.abs(x)
    inner = 1.0 + x * rest
    terms = s * (1.0 + size * rest)
    off = np.where(x > 64.0, rest, _P * s + UNIT * rest)
    first = np.where(x > 64.0, rest, _P * s)
    single = first * np.abs(inner) + s * size * off * (1.0 + _P) + 8.0 * UNIT * terms
    return _smooth(
        x, s * inner, 48.0 * _U64 * terms, single, Fraction(1, 2),
        lambda r, at: r.sigmoid(at) * (1 + at * r.sigmoid(-at)), -1.0,
    )  # fmt: skip


def _elu(x: Float64, params: Params) -> Slope:
    return _exponential(x, float(params.get("alpha", 1.0)), 1.0)


def _selu(x: Float64, params: Params) -> Slope:
    return _exponential(x, SELU_ALPHA, SELU_SCALE)


def _exponential(x: Float64, alpha: float, scale: float) -> Slope:
    """scale where x > 0, alpha scale exp(x) elsewhere."""
    left, right = Fraction(alpha) * Fraction(scale), Fraction(scale)
    a = abs(float(left))
    e = np.exp(np.minimum(x, 0.0))
    below = a * (_F * np.maximum(e, 1.0 - e) + 7.0 * UNIT + (_F + 6.0 * UNIT) * e)
    jump = abs(float(right - left))
    if scale != 1.0:
        below = below + np.where((x < 0.0) & (x >= -_F), jump, 0.0)
    above = 0.0 if scale == 1.0 else 2.0 * UNIT * abs(scale)
    value = np.where(x > 0.0, scale, float(left) * e)
    own = np.where(x > 0.0, 0.0, 16.0 * _U64 * np.abs(value))
    own = np.where((x == 0.0) & (Fraction(float(left)) == left), 0.0, own)

    def rational(at: Fraction) -> Fraction | None:
        return right if at > 0 else left if at == 0 or left == 0 else None

    deep = (x < 0.0) & (np.abs(value) < _DEEP) & (left != 0)
    found = Slope(
        value, own, np.where(x > 0.0, above, below if a else 0.0), rational,
        lambda r, at: r.exp(at) * r.rational(left), np.where(deep, float(np.sign(float(left))), 0.0),
        peak=np.where(x > 0.0, abs(scale), max(2.0, a)),
    )  # fmt: skip
    return found if not jump else _with_kink(found, np.abs(x) < FLUSH, float(left), float(right))


def _with_kink(slope: Slope, where: Bools, *chosen: Any) -> Slope:
    full = [np.broadcast_to(np.asarray(each, np.float64), slope.value.shape) for each in chosen]
    low, high = np.minimum.reduce(full), np.maximum.reduce(full)
    return replace(slope, kink=(where, low, high))


def _relu(x: Float64, params: Params) -> Slope:
    return sloped(x, 0.0)


def _leaky_relu(x: Float64, params: Params) -> Slope:
    return sloped(x, float(params.get("negative_slope", 0.01)))


def sloped(x: Float64, slope: Any, *chosen: float) -> Slope:
    """1 where x > 0, `slope` (a number, or one an element) elsewhere; chosen: more slopes at the kink."""
    value = np.where(x > 0.0, 1.0, slope)
    rounds = (value != 0.0) & (value != 1.0)
    single = np.where(rounds, 2.0 * UNIT * np.abs(value), 0.0)
    one = Fraction(float(slope)) if np.ndim(slope) == 0 else Fraction(0)

    def rational(at: Fraction) -> Fraction | None:
        return Fraction(1) if at > 0 else one

    found = Slope(value, np.zeros_like(value), single, rational)
    return _with_kink(found, np.abs(x) < FLUSH, slope, 1.0, *chosen)


def _clamp(x: Float64, params: Params) -> Slope:
    """1 within the ends, 0 outside; the ends are float32 numbers, as those that x is compared with."""
    low, high = (
        None if params.get(name) is None else float(np.float32(params[name])) for name in ("low", "high")
    )
    inside, ends = np.ones(x.shape, np.bool_), np.zeros(x.shape, np.bool_)
    for end, keeps in ((low, np.greater_equal), (high, np.less_equal)):
        if end is not None:
            inside &= keeps(x, end)
            ends |= (x == end) | ((np.abs(x) < FLUSH) & (abs(end) < FLUSH))
    if (low, high) == (0.0, 6.0):
        inside &= (x > 0.0) & (x < 6.0)
    value = inside.astype(np.float64)
    found = Slope(value, np.zeros_like(value), np.zeros_like(value), _never)
    return _with_kink(found, ends, 0.0, 1.0)


def _gelu(x: Float64, params: Params) -> Slope:
    if params.get("approximate", "none") == "tanh":
        return _gelu_tanh(x)
    size = np.abs(x)
    whole = evaluate("gelu", {"input": x.astype(np.float32)}, {})
    small = size < 2.0**-20
    safe = np.where(small, 1.0, x)
    cdf = np.where(small, 0.5 + x * 0.3989422804014327, whole.value / safe)
    off = np.where(small, 2.0**-52, (whole.bound + np.abs(whole.residual)) / np.abs(safe) + 2.0**-51 * cdf)
    pdf = np.exp(-0.5 * x * x) * 0.3989422804014327
    value = cdf + x * pdf
    own = off + 16.0 * _U64 * (cdf + size * pdf)
    z = size / np.sqrt(2.0)
    slope = 2.0 / np.sqrt(np.pi) * np.exp(-np.minimum((z * (1.0 - 4.0 * UNIT)) ** 2, 600.0))
    twice = 2.0 * cdf
    of_cdf = 0.5 * (
        4.0 * UNIT * np.minimum(z, 1e30) * slope
        + _F * np.maximum(np.abs(1.0 - twice), twice)
        + 4.0 * UNIT * twice
    )
    of_pdf = size * pdf * (_F + 8.0 * UNIT + 3.0 * UNIT * np.minimum(x * x, 1e4))
    single = of_cdf + of_pdf + 4.0 * UNIT * (cdf + size * pdf)

    def formula(r: Reals, at: Interval) -> Interval:
        square = at * at
        density = r.exp(-square / 2) / r.sqrt(2 * r.pi)
        if at.b < -150:  # Mills' ratio; the two terms would not be told apart
            away = -at
            return density * (at + r.between(away / (square + 1), 1 / away))
        return r.erfc(-at / r.sqrt(r.rational(2))) / 2 + at * density

    far = x < -35.0
    found = _smooth(x, value, own, single, Fraction(1, 2), formula, -1.0)
    deep = far & (size * pdf < _DEEP / 2.0)
    return replace(
        found, own=np.where(deep, 0.0, found.own), sign=np.where(deep, -1.0, 0.0), peak=2.0 + 2.0 * size
    )


def _gelu_tanh(x: Float64) -> Slope:
    size = np.abs(x)
    w = _ROOT_8_BY_PI * (x + _CUBIC * x * x * x)
    s, rest = _logistic(w)
    rise = _ROOT_8_BY_PI * (1.0 + 3.0 * _CUBIC * x * x)
    inner = np.where(rest > 0.0, x * rest * rise, 0.0)
    terms = s * (1.0 + np.abs(inner))
    own = terms * _U64 * (64.0 + 32.0 * np.minimum(np.abs(w), 2000.0))
    z, t = 0.5 * np.abs(w), np.abs(s - rest)
    flat = 4.0 * s * rest
    one = z > 20.0
    off = np.where(one, 2.0 * np.minimum(s, rest), _F * t + 11.0 * UNIT * np.minimum(z, 20.0) * flat)
    square = 2.0 * t * off + off * off + np.where(one, 0.0, 3.0 * UNIT)
    half = np.where(square > 0.0, 0.25 * size * rise, 0.0)
    single = 0.5 * off + half * square + 8.0 * UNIT * terms
    single = np.where(size > 6e12, np.inf, single)  # its cube overflows

    def formula(r: Reals, at: Interval) -> Interval:
        root, cubic = r.sqrt(8 / r.pi), r.rational(Fraction(44715, 1000000))
        inside = root * (at + cubic * at * at * at)
        return r.sigmoid(inside) * (1 + at * r.sigmoid(-inside) * root * (1 + 3 * cubic * at * at))

    found = _smooth(x, s * (1.0 + inner), own, single, Fraction(1, 2), formula, -1.0)
    return replace(found, peak=2.0 + 2.0 * size, reach=1.0 + size + 3.0 * np.minimum(size, 64.0) ** 2)


def _softplus(x: Float64, params: Params) -> Slope:
    beta, threshold = float(params.get("beta", 1.0)), float(params.get("threshold", 20.0))
    z = beta * x
    s, rest = _logistic(z)
    by = Fraction(beta)
    near = np.abs(z - threshold) <= 4.0 * UNIT * np.abs(z)
    beyond = z > threshold
    for i in np.flatnonzero(z == threshold):  # the product may have been rounded
        beyond.reshape(-1)[i] = by * Fraction(float(x.reshape(-1)[i])) > Fraction(threshold)
    size = np.abs(z)
    single = s * (_F + 6.0 * UNIT + 3.0 * UNIT * np.minimum(size, 1e4) * rest)
    single = np.where(z > 88.0, np.inf, single)  # exp(z) overflows
    single = np.where(beyond, 2.0 * UNIT, single) + np.where(near, rest, 0.0)
    own = s * _U64 * (16.0 + 4.0 * np.minimum(size, 2000.0) * rest)

    def rational(at: Fraction) -> Fraction | None:
        if np.isneginf(threshold) or (np.isfinite(threshold) and by * at > Fraction(threshold)):
            return Fraction(1)
        return Fraction(1, 2) if at == 0 else None

    found = _smooth(x, s, own, single, Fraction(1, 2), lambda r, at: r.sigmoid(at * r.rational(by)))
    return replace(
        found,
        value=np.where(beyond, 1.0, found.value),
        own=np.where(beyond, 0.0, found.own),
        rational=rational,
        peak=np.where(beyond, 2.0, 2.0 + 2.0 * np.exp(np.minimum(z, 90.0))),  # g exp(z) / (1 + exp(z))
    )


FUNCTIONS: Mapping[str, Callable[[Float64, Params], Slope]] = {
    "relu": _relu,
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "selu": _selu,
    "sigmoid": _sigmoid,
    "tanh": _tanh,
    "silu": _silu,
    "gelu": _gelu,
    "softplus": _softplus,
    "clamp": _clamp,
}
"""Of each op f'(x), from x and the op's parameters."""
