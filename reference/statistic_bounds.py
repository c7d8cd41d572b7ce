"""How far float32 statistics and normalizations may be from the truth, whatever the order of their sums.

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
      B = r|w| [(1 + rho) (dm + gamma_4 (|x| + |m| + dm)) + rho |x - m|] + gamma_2 |b|.

Where t >= 1 nothing is known and the bound is infinite.

A variance divided by N - c is N/(N - c) times the biased one, and so is its error, but for two roundings
more; a standard deviation has the error dv / (s + sqrt(max(0, v - dv))), and u s. Running statistics,
(1 - a) old + a new or old + a (new - old), a off by u of itself, have a dnew + gamma_4 (|old| + a (|old| +
|new|)).

normalize: the squares of a vector sum to S within t = gamma_{N+1} + N 2**-126 / S, so 1/sqrt(S) is within
rho of above; the least norm eps is off by u, or u/2, of it, and a product or a quotient adds two roundings.

local_response_norm: D = k + a sum x**2 is a sum of terms >= 0, each rounded at most size + 8 times, a and k
included, so relatively within d = gamma_{size+8}; D**-beta, as a power or by exp and log, is then within
exp(beta d / (1 - d) + |beta log D| (2 F + 3 u)) (1 + 2 F + ROOT_ULPS u) - 1, relatively.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from reference import reductions
from reference.batch_statistics import new_share
from reference.formats import Array
from reference.grouped import Grouped, batch_norm_rows
from reference.jit import compiled
from reference.local_response import Windows, windows_of
from reference.operands import Single, operand
from reference.tracked import FLUSH, INFLATION, Rules, gamma
from reference.truth import Truth
from reference.vector_norm import filters_of, vectors_of

ROOT_ULPS = 8.0
"""Error of 1/sqrt in units of u: 2 for sqrt and division, 4 on CUDA, below 7 for rsqrtps with Newton."""

RESPONSE: dict[str, Any] = {"alpha": 1e-4, "beta": 0.75, "k": 1.0, "average": True, "layout": "NCHW"}
"""Defaults of local_response_norm."""

Given = Mapping[str, Any]


def normalization(rows: Grouped, eps: float, rules: Rules) -> Array:
    """The bound of a normalization, in the input's shape."""
    u, weight, bias = rules.u, *rows.affine(np.float64)
    if rows.given is not None:
        mean, v = (a.astype(np.float64) for a in rows.given)
        dm, dv = np.zeros_like(mean), np.zeros_like(v)
    else:
        mean, dm, v, dv = moments(rows.x, rules, rows.centred)
    rho = inverse_root((dv + u * eps) / (v + eps) * INFLATION, u)
    bound = np.empty(rows.x.shape)
    _of_elements(
        rows.x, mean, dm, np.sqrt(v + eps), rho, np.abs(weight), np.abs(bias), rows.row_step, rows.inner,
        gamma(4, u), gamma(2, u), bound,
    )  # fmt: skip
    return np.asarray(rows.restore(bound))


@compiled
def _of_elements(
    x: Any, mean: Any, dm: Any, root: Any, rho: Any, weight: Any, bias: Any, row_step: int, inner: int,
    four: float, two: float, bound: Any,
) -> None:  # fmt: skip
    """B of the docstring, and what may underflow; affine entries as in `moments.normalize`."""
    for row in range(x.shape[0]):
        entry, left = row * row_step % weight.size, inner
        centre, off, part, grown = mean[row], dm[row], rho[row], 1.0 + rho[row]
        for j in range(x.shape[1]):
            if left == 0:
                entry, left = (entry + 1 if entry + 1 < weight.size else 0), inner
            left -= 1
            element = np.float64(x[row, j])
            scale = weight[entry] / root[row]
            size = abs(element) + abs(centre) + off
            error = scale * (grown * (off + four * size) + part * abs(element - centre)) + two * bias[entry]
            bound[row, j] = error + FLUSH * (4.0 + 2.0 * size + 2.0 * scale * grown + 2.0 * weight[entry])


def moments(rows: Single, rules: Rules, centred: bool = True) -> tuple[Array, Array, Array, Array]:
    """(m, dm, v, dv) of each row; a mean of zero, exactly, unless centred."""
    u, count = rules.u, rows.shape[1]
    mean, absolute, largest, square, v = (np.zeros(len(rows)) for _ in range(5))
    _moments(rows, centred, mean, absolute, largest, square, v)
    dm = np.zeros(len(rows))
    if centred:
        dm = rules.gamma(count + 2) * absolute
        if rules.algorithm == "welford":
            dm = _welford(count, u) * largest
        dm = dm + 4.0 * FLUSH
    if rules.algorithm == "one_pass" and centred:
        dv = rules.gamma(count + 3) * square
        dv = dv + (2.0 * np.abs(mean) + dm) * dm + u * (np.abs(mean) + dm) ** 2
        dv = dv + u * (v + dv)
    elif rules.algorithm == "welford" and centred:
        levels = 1.0 + math.log2(count) / 2.0
        shift = 4.0 * dm * np.sqrt(levels * v) + 4.0 * dm**2 * levels
        dv = shift + rules.gamma(2 * count + 12) * (v + shift)
    else:
        dv = dm**2 + rules.gamma(count + 5) * (v + dm**2)
    return mean, dm, v, dv + FLUSH * (4.0 + 4.0 * np.sqrt(v))


@compiled
def _moments(x: Any, centred: bool, mean: Any, absolute: Any, largest: Any, square: Any, v: Any) -> None:
    """Of each row: the mean (0 unless centred), those of |x| and x**2, max |x|, and mean (x - m)**2."""
    count = np.float64(x.shape[1])
    for row in range(x.shape[0]):
        total, size, power, top = 0.0, 0.0, 0.0, 0.0
        for j in range(x.shape[1]):
            element = np.float64(x[row, j])
            total += element
            size += abs(element)
            power += element * element
            top = max(top, abs(element))
        centre = total / count if centred else 0.0
        spread = 0.0
        for j in range(x.shape[1]):
            away = np.float64(x[row, j]) - centre
            spread += away * away
        mean[row], absolute[row], largest[row] = centre, size / count, top
        square[row], v[row] = power / count, spread / count


def _welford(count: int, u: float) -> float:
    """Error of every running mean over max|x|; infinite where the derivation does not hold."""
    return 20.0 * count * u if 40.0 * count * u <= 1.0 else math.inf


def inverse_root(t: Array, u: float) -> Array:
    """rho, from the relative error t of what the root is taken of."""
    known = (1.0 + ROOT_ULPS * u) / np.sqrt((1.0 - np.minimum(t, 1.0)) * (1.0 - u)) - 1.0
    return np.where(t < 1.0, known, np.inf)


def statistic(op: str, arrays: Given, params: Given, truth: Truth, rules: Rules) -> Array:
    """The bound of one of the statistics, or of what is scaled by one, in the truth's shape."""
    if op in ("var", "std"):
        v, dv = _spread(arrays, params, rules)
        return (dv if op == "var" else _root(v, dv, rules)).reshape(truth.value.shape)
    if op.startswith("batch_norm"):
        return _channel_statistic(op, arrays, params, rules)
    others = {"normalize": _unit_vectors, "weight_standardization": _filters}
    return others.get(op, _local_response)(arrays, params, rules)


def _spread(arrays: Given, params: Given, rules: Rules) -> tuple[Array, Array]:
    """(v, dv) with the divisor N - correction."""
    rows, _ = reductions.rows_of(operand(arrays["input"], "input"), params.get("dim"), False)
    count = rows.shape[1]
    divisor = count - reductions.checked_correction(params.get("correction", 1))
    if divisor <= 0:
        return np.full(len(rows), np.nan), np.full(len(rows), np.inf)
    _, _, v, dv = moments(rows, rules)
    ratio = count / divisor
    return v * ratio, dv * ratio + gamma(2, rules.u) * (v + dv) * ratio


def _root(v: Array, dv: Array, rules: Rules) -> Array:
    least = np.sqrt(v) + np.sqrt(np.maximum(0.0, v - dv))
    error = np.where(least > 0.0, dv / np.where(least > 0.0, least, 1.0), np.sqrt(dv))
    return np.asarray(error + rules.u * (np.sqrt(v) + error) + FLUSH)


def _channel_statistic(op: str, arrays: Given, params: Given, rules: Rules) -> Array:
    """batch_norm_mean, _var, _invstd and the running statistics."""
    rows = batch_norm_rows(arrays["input"], training=True, layout=params.get("layout", "NCHW"))
    u, count = rules.u, rows.x.shape[1]
    mean, dm, v, dv = moments(rows.x, rules)
    if op == "batch_norm_mean":
        return dm
    if op == "batch_norm_var":
        return dv
    if op == "batch_norm_invstd":
        eps = float(params.get("eps", 1e-5))
        return (inverse_root((dv + u * eps) / (v + eps) * INFLATION, u) + u) / np.sqrt(v + eps) + FLUSH
    convention = params.get("convention", "torch")
    share = float(new_share(params.get("momentum", 0.1), convention))
    new, error, name = mean, dm, "running_mean"
    if op == "batch_norm_running_var":
        ratio = count / (count - 1) if convention != "keras" and count > 1 else 1.0
        new, error, name = v * ratio, dv * ratio + gamma(2, u) * (v + dv) * ratio, "running_var"
    old = np.abs(np.asarray(arrays[name], np.float64))
    sizes = old + share * (old + np.abs(new) + error)
    return share * error + gamma(4, u) * sizes + 4.0 * FLUSH * (1.0 + old)


def _unit_vectors(arrays: Given, params: Given, rules: Rules) -> Array:
    """`normalize`."""
    squared, eps = params.get("squared_eps", False), float(params.get("eps", 1e-12))
    rows, floor = vectors_of(arrays["input"], params.get("dim", 1), eps, squared)
    square, _, rho = vector_root(rows.x, float(floor), eps, rules)
    size, scale = np.abs(rows.x.astype(np.float64)), 1.0 / np.sqrt(square)
    bound = size * scale * (rho + gamma(3, rules.u) * (1.0 + rho)) + FLUSH * (2.0 + scale + size)
    return np.asarray(rows.restore(bound))


def vector_root(rows: Single, floor: float, eps: float, rules: Rules) -> tuple[Array, Array, Array]:
    """max(S, floor) of each row, the relative errors t of S and rho of the root's inverse, as columns."""
    x, count = rows.astype(np.float64), rows.shape[1]
    square = np.maximum((x * x).sum(axis=1, keepdims=True), floor)
    lost = count * FLUSH
    if floor <= 4.0 * FLUSH or eps <= FLUSH:  # the floor itself may vanish
        lost = lost + 2.0 * floor + FLUSH
    t = (rules.gamma(count + 1) + lost / square) * INFLATION
    rho = np.maximum(inverse_root(t, rules.u), gamma(ROOT_ULPS, rules.u))
    largest = np.abs(x).max(axis=1, keepdims=True, initial=0.0)
    return square, t, np.where(np.maximum(square, count * largest**2) < 2.0**126, rho, np.inf)


def _filters(arrays: Given, params: Given, rules: Rules) -> Array:
    """`weight_standardization`: a normalization of each filter."""
    rows = filters_of(arrays["weight"], params.get("layout", "NCHW"))
    return normalization(rows, float(params.get("eps", 1e-5)), rules)


def _local_response(arrays: Given, params: Given, rules: Rules) -> Array:
    """`local_response_norm`."""
    windows = windows_of(arrays["input"], **RESPONSE | dict(params))
    power, relative = power_error(windows, windows.beta, rules)
    size = np.abs(windows.x.astype(np.float64))
    return np.asarray(windows.restore(size * power * relative + FLUSH * (2.0 + power + size)))


def power_error(windows: Windows, beta: float, rules: Rules) -> tuple[Array, Array]:
    """D**-beta and its relative error; infinite where it, or its inverse, may overflow."""
    x, scale, u = windows.x.astype(np.float64), float(windows.scale), rules.u
    wide = np.pad(x * x, ((0, 0), (windows.size // 2, (windows.size - 1) // 2)))
    squares = np.lib.stride_tricks.sliding_window_view(wide, windows.size, axis=1).sum(axis=2)
    below = windows.k + scale * squares
    # A term that underflows, or alpha / size or k themselves.
    lost = FLUSH * (windows.size * scale + 4.0 + squares) / below
    relative = rules.gamma(windows.size + 8) + lost
    known = relative < 0.5
    shifted = relative / (1.0 - np.where(known, relative, 0.5))  # |log(1 + d)| <= |d| / (1 - |d|)
    exponent = beta * (shifted + np.abs(np.log(below)) * (2.0 * rules.function + 3.0 * u))
    relative = np.expm1(exponent) * (1.0 + gamma(ROOT_ULPS, u) + 2.0 * rules.function)
    relative = relative + gamma(ROOT_ULPS + 2.0, u) + 2.0 * rules.function
    power = below**-beta
    reach = np.maximum(np.maximum(below, squares), np.maximum(power, 1.0 / power))
    return power, np.where(known & (reach < 2.0**126), relative, np.inf)
