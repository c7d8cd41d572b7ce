"""Sums of square roots of fractions, to any precision: the last tier of everything that divides by a root.

A surd sum is sum c_i sqrt(d_i) with fractions c_i and d_i >= 0; a rational term has d = 1. Each root is taken
in integers, floor(sqrt(c**2 d 4**q)) 2**-q, so n terms are known within n 2**-q and a larger q narrows them.
That ends only where the sum is irrational. Roots of different square classes (d_i / d_j not the square of a
fraction) are linearly independent over the rationals, so after adding up each class the sum is rational
exactly when no irrational class is left, and zero exactly when no class is.

Proof, for radicals of any degree: real numbers r_i > 0, a power of each a fraction, no ratio of two a
fraction. If c_1 r_1 + ... + c_n r_n = 0 with fractions c_i, none of them 0, and n > 1, then c_1 + c_2 s_2 +
... + c_n s_n = 0, where s_i = r_i / r_1 > 0 is irrational and s_i**m is a fraction for some m. Let X**e + ...
+ a_0 be the minimal polynomial of s = s_i. It divides X**m - s**m, so its e roots all have the absolute value
s, and |a_0| = s**e is a fraction. So s is a root of X**e - s**e, which therefore is the minimal polynomial;
as e > 1 its roots add up to 0, and so the trace of s is 0 in every number field that holds it. The trace of
the whole sum in a field of degree N that holds all s_i is then N c_1 = 0: a contradiction.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction

from reference.certify import certain
from reference.compensated import split_fraction

SurdSum = list[tuple[Fraction, Fraction]]
"""Terms (c, d) of sum c sqrt(d)."""

_FIRST = 160  # bits that settle nearly every element
_UNDECIDED = 600  # bits from which on square classes are looked for, to settle a sum that may be rational
_FEW = 16  # so short a sum is always looked through
_PRIMES = 2147483647, 2147483629, 2147483587, 2147483579, 2147483563, 2147483549, 2147483543, 2147483497
_VAST = Fraction(
    2**129
)  # overflows float32 for certain, though two float64 may not hold it as finely as asked
_TINY = Fraction(1, 2**900)  # below, float64 has no room for a residual


def refine_surds(terms: SurdSum, bits: int) -> tuple[Fraction, Fraction]:
    """(centre, radius) of the sum: radius <= 2**-bits |centre|, or 0.

    The radius is 0 where the sum is rational: always where it is zero, or has at most `_FEW` roots, or
    bits >= `_UNDECIDED`.

    >>> refine_surds([(Fraction(1), Fraction(2)), (Fraction(-1, 2), Fraction(8))], 100)
    (Fraction(0, 1), Fraction(0, 1))
    """
    simple = _simplified(terms)
    # Comparing classes takes a root a pair, so a long sum is compared only once that has to be known.
    grouped = len(simple) <= _FEW or bits >= _UNDECIDED
    if grouped:
        simple = _by_square_class(simple)
    fraction = bits + 64
    while any(d != 1 for _, d in simple):
        total = sum(_scaled(c, d, fraction) for c, d in simple)
        if abs(total) > len(simple) << bits:
            return Fraction(total, 1 << fraction), Fraction(len(simple), 1 << fraction)
        if fraction > _UNDECIDED + bits and not grouped:
            simple, grouped = _by_square_class(simple), True
        fraction *= 2
    return sum((c for c, _ in simple), Fraction(0)), Fraction(0)


def settle_surds(terms: SurdSum) -> tuple[float, float, float]:
    """(value, residual, bound) of the sum, certain for float32 (ties and zeros exactly)."""
    bits = _FIRST
    while True:
        centre, radius = refine_surds(terms, bits)
        found = split_fraction(centre, radius)
        if radius == 0 or certain(*found) or not _TINY < abs(centre) < _VAST:
            return found
        bits *= 2


def rational_root(number: Fraction) -> Fraction | None:
    """sqrt(number) where it is a fraction, else None; number >= 0."""
    top, bottom = math.isqrt(number.numerator), math.isqrt(number.denominator)
    if top * top == number.numerator and bottom * bottom == number.denominator:
        return Fraction(top, bottom)
    return None


def _simplified(terms: Iterable[tuple[Fraction, Fraction]]) -> SurdSum:
    """Equal roots added up, rational ones turned into d = 1, zeros left out."""
    sums: dict[Fraction, Fraction] = {}
    for c, d in terms:
        if c == 0 or d == 0:
            continue
        root = Fraction(1) if d == 1 else rational_root(d)
        key, coefficient = (d, c) if root is None else (Fraction(1), c * root)
        sums[key] = sums.get(key, Fraction(0)) + coefficient
    return [(c, d) for d, c in sums.items() if c]


def _by_square_class(terms: SurdSum) -> SurdSum:
    """One term for each class of d up to squares of fractions, zeros left out."""
    buckets: dict[int, dict[Fraction, Fraction]] = {}
    for c, d in terms:
        classes = buckets.setdefault(_fingerprint(d) if len(terms) > _FEW else 0, {})
        for known in classes:
            ratio = rational_root(d / known)
            if ratio is not None:
                classes[known] += c * ratio
                break
        else:
            classes[d] = c
    return [(c, d) for classes in buckets.values() for d, c in classes.items() if c]


def _fingerprint(d: Fraction) -> int:
    """Equal for equal square classes: whether the class is a square modulo each of `_PRIMES`.

    Powers of p are divided out first: the class fixes whether an odd number of them was there.
    """
    bits = 0
    for p in _PRIMES:
        number, odd = d.numerator * d.denominator, 0
        while number % p == 0:
            number, odd = number // p, odd ^ 1
        symbol = 2 if odd else pow(number, (p - 1) // 2, p) == 1
        bits = 3 * bits + symbol
    return bits


def _scaled(c: Fraction, d: Fraction, fraction: int) -> int:
    """c sqrt(d) 2**fraction, less than 1 away."""
    top = c.numerator**2 * d.numerator
    size = math.isqrt((top << 2 * fraction) // (c.denominator**2 * d.denominator))
    return -size if c < 0 else size
