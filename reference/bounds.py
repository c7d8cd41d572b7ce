"""How far a float32 evaluation may be from the truth, whatever the order of its sums.

Notation: u the unit roundoff, gamma_n = n u / (1 - n u) (Higham 2002, "Accuracy and Stability of Numerical
Algorithms", lemma 3.1). Everything is evaluated in float64, whose own errors are below 2**-26 of the terms
here, and multiplied by 1 + 2**-20.

Sums of products, n terms (the bias is one). Each product is rounded once and passes through at most n - 1
additions, in any tree, fused or not: |y^ - y| <= gamma_n sum|ab|. With operands rounded beforehand by a
relative q the factor is (1 + q)**2 (1 + gamma_n) - 1. An average has two more roundings, for its division. An
output narrower than its accumulator is rounded once more.

Normalizations, N elements a statistic; m^, v^, r^ are computed for the mean m, the variance v, r = 1/sqrt(v +
eps).

- Mean: N - 1 additions, then a division by N or a product with the rounded 1/N:
      |m^ - m| <= dm = gamma_{N+2} mean|x|.
- Variance, two passes: mean (x - m^)**2 = v + (m^ - m)**2 exactly. Its terms are rounded three times (the
  difference counts twice), then by N - 1 additions and the division:
      |v^ - v| <= dv = dm**2 + gamma_{N+5} (v + dm**2).
- Variance, one pass, mean x**2 - m^**2, with E = mean x**2:
      e = gamma_{N+3} E + (2|m| + dm) dm + u (|m| + dm)**2,  dv = e + u (v + e).
- Variance, Welford's update or Chan's merge of two parts (Chan, Golub & LeVeque 1983, "Algorithms for
  computing the sample variance", Am. Stat. 37(3)), in any tree. A merge, m_A + (m_B - m_A) n_B/n, rounds by
  at most 20 u X, X = max|x|, and averages the errors of its parts, so every mean is within E = dm = 20 N u X
  (if 40 N u <= 1). An increment w d**2, w = n_A n_B/n, d = m_B - m_A, is off by at most w (4 E |d| + 4 E**2);
  sum w d**2 = N v and sum w <= N L, L = 1 + log2(N)/2, so by Cauchy's inequality
      h = 4 E sqrt(L v) + 4 E**2 L,  dv = h + gamma_{2N+12} (v + h).
- Root: eps is rounded to float32, t = (dv + u eps) / (v + eps); then one rounding of v^ + eps, and a root and
  a division, or a table and one Newton step, all within ROOT_ULPS u:
      |r^/r - 1| <= rho = (1 + ROOT_ULPS u) / sqrt((1 - t) (1 - u)) - 1.
- Output, (x - m^) r^ w + b, or folded, x a + (b - m^ a) with a = r^ w, fused or not: at most 4 roundings on
  x r w and on m r w, 2 on b:
      B = r|w| [(1 + rho) (dm + gamma_4 (|x| + |m| + dm)) + rho |x - m|] + gamma_2 |b|,  and u (|y| + B).

Where t >= 1 nothing is known and the bound is infinite.

Underflow, gradual or flushed to zero, of operands too: an operation loses at most 2**-126, times whatever
still multiplies it. Overflow: where the sum of absolute terms comes near the largest number some order
overflows, and the bound is infinite.

Probabilistic (Higham & Mary 2019, "A new approach to probabilistic rounding error analysis", SIAM J. Sci.
Comput. 41(5), theorem 2.4): the gamma_n of a sum becomes exp(LAMBDA sqrt(n) u + n u**2 / (1 - u)) - 1, which
a sum of n terms exceeds with a probability of at most 2 n exp(-LAMBDA**2 (1 - u)**2 / 2) if rounding errors
are independent and of mean zero. They are not in truncating tensor cores, nor in long sums of one sign that
stagnate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from reference import grouped
from reference.formats import BINARY32, Array
from reference.operands import operand, survey
from reference.ops import Arrays, Params, checked, terms
from reference.sum_ops import FACTORS
from reference.truth import Truth

LAMBDA = 8.0
"""Deviations allowed to a probabilistic bound: failure below 3e-14 * n for each sum of n terms."""
ROOT_ULPS = 8.0
"""Error of 1/sqrt in units of u: 2 for sqrt and division, 4 on CUDA, below 7 for rsqrtps with Newton."""
INFLATION = 1.0 + 2.0**-20
FLUSH = 2.0**-126

KINDS = ("deterministic", "probabilistic")
ALGORITHMS = ("two_pass", "one_pass", "welford")
Gamma = Callable[[float], float]


def error_bound(
    op: str,
    arrays: Arrays,
    params: Params,
    truth: Truth,
    *,
    unit_roundoff: float = BINARY32.unit_roundoff,
    operand_roundoff: float = 0.0,
    kind: str = "deterministic",
    algorithm: str = "two_pass",
) -> Array:
    """Elementwise bound on |output - truth|, in the truth's shape; derived in the module's docstring.

    unit_roundoff is the accumulator's; operand_roundoff that of a format to which input and weight are
    rounded first (2**-11 for TF32 and float16 within its range, 2**-8 for bfloat16); algorithm, for
    normalizations, how the variance is computed. Raises ValueError for unknown names, for operand_roundoff
    with a normalization, and for ops that are neither sums nor normalizations.
    """
    found = checked(op, arrays, params)
    for value, known, name in ((kind, KINDS, "kind"), (algorithm, ALGORITHMS, "algorithm")):
        if value not in known:
            raise ValueError(f"{name} must be one of {known}, got {value!r}: name a known one")
    gamma_n = (
        (lambda n: probabilistic_gamma(n, unit_roundoff))
        if kind == KINDS[1]
        else (lambda n: gamma(n, unit_roundoff))
    )
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        if op in FACTORS:
            count = terms(op, arrays, params) + (arrays.get("bias") is not None)
            factors = [arrays[name] for name in FACTORS[op]]
            bound = _sum_bound(count, factors, truth, operand_roundoff, gamma_n)
        elif found.rows is None:
            raise ValueError(f"{op} has no bound of its own: compare the output with the truth instead")
        elif operand_roundoff:
            raise ValueError(
                f"operand_roundoff is for sums of products, got {operand_roundoff!r} with {op}: leave it out"
            )
        else:
            keywords = {name: value for name, value in params.items() if name not in ("eps", "momentum")}
            rows = found.rows(**arrays, **keywords)
            bound = _norm_bound(rows, float(params.get("eps", found.eps)), unit_roundoff, gamma_n, algorithm)
        output = unit_roundoff * (np.abs(truth.value) + bound)
        reach = (truth.magnitude + bound) * (1.0 + unit_roundoff)
        result = np.where(reach < BINARY32.largest, (bound + output) * INFLATION, np.inf)
    return np.where(np.isnan(result), np.inf, result)


def _welford(count: int, u: float) -> float:
    """Error of every running mean over max|x|; infinite where the derivation does not hold."""
    return 20.0 * count * u if 40.0 * count * u <= 1.0 else math.inf


def gamma(n: float, u: float) -> float:
    """n u / (1 - n u), infinite from n u = 1 on."""
    return n * u / (1.0 - n * u) if n * u < 1.0 else math.inf


def probabilistic_gamma(n: float, u: float, deviations: float = LAMBDA) -> float:
    """Higham & Mary's gamma; never above the deterministic one."""
    exponent = deviations * math.sqrt(n) * u + n * u * u / (1.0 - u)
    return min(math.expm1(exponent) if exponent < 700.0 else math.inf, gamma(n, u))


def _sum_bound(
    count: int, factors: list[Any], truth: Truth, operand_roundoff: float, gamma_n: Gamma
) -> Array:
    if not factors:  # a selection: nothing is rounded
        return np.zeros_like(truth.value)
    if len(factors) == 1:  # a sum or an average: the other factor is 1, and a division may follow
        count, factors = count + 2, [*factors, np.ones(1, np.float32)]
    factor = (1.0 + operand_roundoff) ** 2 * (1.0 + gamma_n(count)) - 1.0
    x, w = (survey(operand(array, "an operand")) for array in factors)
    flushed = (w.largest if x.smallest < FLUSH else 0.0) + (x.largest if w.smallest < FLUSH else 0.0)
    underflow = count * FLUSH * (2.0 + flushed) * (1.0 + factor)
    return factor * truth.magnitude + (underflow if truth.magnitude.any() else 0.0)


def _norm_bound(rows: grouped.Grouped, eps: float, u: float, gamma_n: Gamma, algorithm: str) -> Array:
    x = rows.x.astype(np.float64)
    count = x.shape[1]
    weight, bias = (rows.entries(a) for a in rows.affine(np.float64))
    mean, dm = np.zeros((x.shape[0], 1)), np.zeros((x.shape[0], 1))
    if rows.given is not None:
        mean, v = (a.astype(np.float64)[:, None] for a in rows.given)
        dv: Array = np.zeros_like(v)
    else:
        if rows.centred:
            mean = x.mean(axis=1, keepdims=True)
            dm = gamma_n(count + 2) * np.abs(x).mean(axis=1, keepdims=True)
            if algorithm == "welford":
                dm = _welford(count, u) * np.abs(x).max(axis=1, keepdims=True)
            dm = dm + 4.0 * FLUSH
        v = ((x - mean) ** 2).mean(axis=1, keepdims=True)
        if algorithm == "one_pass" and rows.centred:
            dv = gamma_n(count + 3) * (x * x).mean(axis=1, keepdims=True)
            dv = dv + (2.0 * np.abs(mean) + dm) * dm + u * (np.abs(mean) + dm) ** 2
            dv = dv + u * (v + dv)
        elif algorithm == "welford" and rows.centred:
            levels = 1.0 + math.log2(count) / 2.0
            shift = 4.0 * dm * np.sqrt(levels * v) + 4.0 * dm**2 * levels
            dv = shift + gamma_n(2 * count + 12) * (v + shift)
        else:
            dv = dm**2 + gamma_n(count + 5) * (v + dm**2)
        dv = dv + FLUSH * (4.0 + 4.0 * np.sqrt(v))
    t = (dv + u * eps) / (v + eps) * INFLATION
    rho = np.where(
        t < 1.0, (1.0 + ROOT_ULPS * u) / np.sqrt((1.0 - np.minimum(t, 1.0)) * (1.0 - u)) - 1.0, np.inf
    )
    scale = np.abs(weight) / np.sqrt(v + eps)
    size = np.abs(x) + np.abs(mean) + dm
    bound = scale * ((1.0 + rho) * (dm + gamma(4, u) * size) + rho * np.abs(x - mean)) + gamma(2, u) * np.abs(
        bias
    )
    bound = bound + FLUSH * (4.0 + 2.0 * size + 2.0 * scale * (1.0 + rho) + 2.0 * np.abs(weight))
    return np.asarray(rows.restore(bound))
