"""What the errors of many sums say of how they were added where no order is known: their sign, their size.

Sign. Rounding to nearest, in whatever order, leaves errors of mean zero. An accumulator that truncates loses
a part of every partial sum, and the partial sums have the sign of the sum more often than not: the error
leans toward zero, and grows like the number of steps instead of its root. After k of K terms a partial sum is
t k/K on average and scatters by up to m/sqrt(K) about it (t the sum, m the sum of the sizes), so roundings to
nearest make errors e of a variance that is like t**2 + m**2/K, and

    x = t e / (u (t**2 + m**2/K))          u = 2**-24

has mean zero under rounding to nearest and a negative one under truncation. `mean_test` tests it; outputs
that depend on each other count as one. On the bias of truncating accumulators see arXiv 2404.12556.

Size. With the variances of a known tree (`order_moments.error_variance`) the mean of e**2/variance is tested
against 1. Without it the expected root mean square lies between one rounding of the result and a chain, in an
order that is worst for its partial sums; balanced trees and chains in the order of chance lie in between.

Where the partial sums are so much larger than what distinguishes the outputs that all of them round alike,
errors have a mean of their own: nothing can be told then, and that is what is said.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from precision.judging.mean_test import Float64, MeanTest, mean_test, same_sums
from reference import Truth

ALARM = 1e-3
"""Probability, under rounding to nearest, of taking it for truncation or for another size."""
LEAST = 0.3
"""Of the result, in u: truncating it even once loses 0.7 u on average."""
_MANTISSAS = 0.54
"""Mean of (ulp/2)**2 / (u x)**2 over the mantissas of x: 3 / (8 ln 2)."""
_PRODUCTS = 2.5
"""Mean square of products over their squared mean size: 16/9 for uniform factors, 2.47 for normal ones."""
_SPREAD = 2.0
"""Ulp of the largest partial sum by which terms have to differ between outputs."""
_TINY = 2.0**-95
"""Times the number of terms: sums below it may lose what is flushed to zero."""
_U = 2.0**-24


@dataclass(frozen=True)
class AccumulationEvidence:
    """Statistics of the errors of sums of `terms` terms.

    outputs: sums that were looked at; independent: how many of them count. p_sign, mean_in_standard_errors:
    of the mean of x, see above; negative is toward zero. toward_zero: mean of -sign(truth) error, in
    2**-24 of the sum of the sizes. truncates: True where the errors lean toward zero beyond chance, and by as
    much as truncation does; False where they do not and would be seen to; None where it cannot be told.
    p_size, size_in_standard_errors: of the mean square against that of the known tree; None without one.
    rms: of the error; rms_range: what rounding to nearest is expected to make of it, from one rounding of
    the result to a chain in the worst order (with a tree: of that tree); chain_rms: a chain in an order of
    chance; all in 2**-24 of the sum of the sizes. consistent: whether sign and size are those of rounding to
    nearest; None where nothing can be told.
    """

    outputs: int
    independent: int
    terms: int
    p_sign: float | None
    mean_in_standard_errors: float | None
    toward_zero: float | None
    truncates: bool | None
    p_size: float | None
    size_in_standard_errors: float | None
    rms: float | None
    rms_range: tuple[float, float] | None
    chain_rms: float | None
    consistent: bool | None
    words: str


@dataclass(frozen=True)
class _Sums:
    """The sums that can be judged, flat: exact value, sum of sizes, error; their places in the output."""

    value: Float64
    size: Float64
    error: Float64
    places: NDArray[np.int64]
    shape: tuple[int, ...]
    terms: int

    @property
    def ulp_rms(self) -> float:
        """Of rounding the results once, in u of the sum of the sizes."""
        half = np.ldexp(1.0, np.frexp(self.value)[1] - 25)
        return _rms(half / math.sqrt(3.0) / (_U * self.size))


def accumulation_evidence(
    truth: Truth, output: NDArray[np.float32], terms: int, tree_moments: Float64 | None = None
) -> AccumulationEvidence:
    """Judge how `output` was summed, from nothing but its errors.

    truth: of sums of `terms` products (the bias is one more), or of another last sum whose sizes are
    `truth.magnitude`; where another function was found, or operands were rounded first, the truth of that.
    output: float32, in the truth's shape. tree_moments: the variances of a known order in the same shape,
    see `order_moments.error_variance`.

    Raises ValueError for shapes that differ and for a number of terms below 1.
    """
    if output.shape != truth.value.shape or (tree_moments is not None and tree_moments.shape != output.shape):
        given = [truth.value.shape, output.shape, *([] if tree_moments is None else [tree_moments.shape])]
        raise ValueError(f"truth, output and moments have one shape, got {given}: reshape them")
    if terms < 1:
        raise ValueError(f"a sum has at least one term, got {terms}: give reference.terms(...)")
    sums = _judged(truth, output, terms)
    if not sums.error.size or not sums.error.any():
        why = "no sums of ordinary size" if not sums.error.size else "every sum is exact"
        return _nothing(sums, f"{why}: there is no error to test")
    same = same_sums(np.abs(sums.value))
    sign = None
    if _distinct(sums, same):
        x = sums.value * sums.error / (_U * (sums.value**2 + sums.size**2 / terms))
        sign = mean_test(x, sums.shape, sums.places, same)
    size = None
    if tree_moments is not None:
        variance = tree_moments.reshape(-1)[sums.places]
        known = variance > 0
        ratio = sums.error[known] ** 2 / variance[known] - 1.0
        size = mean_test(ratio, sums.shape, sums.places[known], same[known])
    return _told(sums, sign, size, tree_moments)


def _judged(truth: Truth, output: NDArray[np.float32], terms: int) -> _Sums:
    error = truth.error(output).reshape(-1)
    value, size = truth.value.reshape(-1), truth.magnitude.reshape(-1)
    fine = np.isfinite(error) & np.isfinite(size) & (size > terms * _TINY) & (size < 2.0**127)
    fine &= np.abs(value) >= 2.0**-100
    places = np.flatnonzero(fine).astype(np.int64)
    return _Sums(value[places], size[places], error[places], places, output.shape, terms)


def _distinct(sums: _Sums, same: NDArray[np.int64]) -> bool:
    """Whether terms differ so much between the outputs that their sums do not round alike.

    Differences that terms make add up like their root, so one term's is at least the scatter of the
    sums over sqrt(K); within the slices of each axis, for a slice may have a level of its own.
    """
    _, first = np.unique(same, return_index=True)
    if first.size < 2:
        return False
    level = sums.value / float(np.mean(sums.size))
    index = np.unravel_index(sums.places, sums.shape)
    scatters = [float(np.std(level[first]))]
    for axis, length in enumerate(sums.shape):
        if 1 < length < math.prod(sums.shape):
            count = np.bincount(index[axis], minlength=length)
            mean = np.bincount(index[axis], level, length) / np.maximum(count, 1)
            scatters.append(float(np.sqrt(np.mean((level - mean[index[axis]]) ** 2))))
    spread = min(scatters) / math.sqrt(sums.terms)
    return spread >= _SPREAD * 2.0 * _U


def _rms(values: Float64) -> float:
    return math.sqrt(float(np.mean(values**2)))


def _ranges(sums: _Sums) -> tuple[float, float, float]:
    """Expected rms, in u of the sum of sizes: one rounding, a chain by chance, a chain in the worst order."""
    t, k = np.abs(sums.value) / sums.size, float(sums.terms)
    products = _PRODUCTS / k
    chance = k * t**2 / 3.0 + _PRODUCTS / 6.0 + products
    worst = k * ((1.0 + t) / 2.0) ** 2 + products
    scale = math.sqrt(_MANTISSAS / 3.0)
    once = sums.ulp_rms
    return once, max(once, scale * _rms(np.sqrt(chance))), max(once, scale * _rms(np.sqrt(worst)))


def _told(
    sums: _Sums, sign: MeanTest | None, size: MeanTest | None, moments: Float64 | None
) -> AccumulationEvidence:
    once, chain, worst = _ranges(sums)
    rms = _rms(sums.error / (_U * sums.size))
    low, high = once, worst
    if moments is not None:
        low = high = _rms(np.sqrt(moments.reshape(-1)[sums.places]) / (_U * sums.size))
    lean = -float(np.mean(np.sign(sums.value) * sums.error / (_U * sums.size)))
    truncates = None if sign is None else _truncates(sums, sign)
    by_sign = None if sign is None else sign.p >= ALARM
    if moments is not None:
        by_size = None if size is None else size.p >= ALARM
    else:
        # Rounding once is the least that can be; scatter of the estimate itself is left room for.
        room = 1.0 + 4.0 / math.sqrt(2.0 * (sign.independent if sign is not None else 1.0))
        by_size = rms <= high * room
    if sign is None and by_size is False:
        by_size = None  # errors that are alike have a mean, and no law says how large it may be
    consistent = None if by_sign is None or by_size is None else by_sign and by_size
    words = _words(sums, sign, lean, truncates, (rms, low, high), size, by_size)
    return AccumulationEvidence(
        outputs=sums.error.size,
        independent=0 if sign is None else sign.independent,
        terms=sums.terms,
        p_sign=None if sign is None else sign.p,
        mean_in_standard_errors=None if sign is None else sign.statistic,
        toward_zero=lean,
        truncates=truncates,
        p_size=None if size is None else size.p,
        size_in_standard_errors=None if size is None else size.statistic,
        rms=rms,
        rms_range=(low, high),
        chain_rms=chain,
        consistent=consistent,
        words=words,
    )


def _truncates(sums: _Sums, sign: MeanTest) -> bool | None:
    """Whether the lean is that of truncation: a least part of the result, beyond chance."""
    weight = sums.value**2 / (sums.value**2 + sums.size**2 / sums.terms)
    least = LEAST * float(np.mean(weight))  # what x is on average if every result loses LEAST u of itself
    if sign.p < ALARM and sign.mean < 0 and -sign.mean >= least:
        return True
    return False if sign.mean - 3.0 * sign.error > -least else None


def _words(
    sums: _Sums,
    sign: MeanTest | None,
    lean: float,
    truncates: bool | None,
    sizes: tuple[float, float, float],
    size: MeanTest | None,
    by_size: bool | None,
) -> str:
    rms, low, high = sizes
    if sign is None:
        first = (
            "the sign of the errors tells nothing: the sums are too few, or too much alike to be independent"
        )
    else:
        z = f"{abs(sign.statistic):.1f} standard errors, p = {sign.p:.2g}, {sign.independent:,} sums"
        if truncates:
            first = (
                f"the errors lean toward zero by {lean:.3g} · 2^-24 of the sum of the sizes ({z}): an "
                "accumulator that truncates, as tensor cores do"
            )
        elif sign.p < ALARM:
            way = "toward" if sign.mean < 0 else "away from"
            first = f"the errors lean {way} zero ({z}), but not as truncation makes them"
        else:
            first = f"the errors have no sign, as rounding to nearest leaves them ({z})"
            first += "" if truncates is False else "; truncation of this little could not be seen"
    second = f"rms {rms:.3g} · 2^-24 of the sizes"
    if size is not None:
        fits = "as this order makes" if by_size else "not what this order makes"
        second += f", {fits}: {low:.3g} expected (p = {size.p:.2g})"
    elif by_size:
        second += f", within what rounding to nearest makes in some order ({low:.2g} to {high:.2g})"
    else:
        second += f", more than rounding to nearest makes in any order ({low:.2g} to {high:.2g} expected)"
        second += "" if sign is not None else " where its errors have no mean, which cannot be told here"
    return f"{first}; {second}"


def _nothing(sums: _Sums, words: str) -> AccumulationEvidence:
    return AccumulationEvidence(
        sums.error.size, 0, sums.terms, None, None, None, None, None, None, None, None, None, None, words
    )
