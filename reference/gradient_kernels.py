"""Gradients of the normalizations in double-word arithmetic, with their bounds.

The statistics of a row are those of `moments`: m^ within em of the mean m, s^ = sqrt(t) within rel
relatively, t = variance + eps, D the divisor in variance = sum (x - m)**2 / D. E is STEP; products g = dy w
of two float32 numbers are exact in float64.

Input. With d = x - m, P = sum g (0 if not centred), c = g - P/N, Q = sum c d and K = Q / (D t),

    dx_j = A_j / s,  A_j = c_j - d_j K.

sum c d is sum g d, for sum d is 0; it is c that makes the gradient of a mean exactly zero. The errors of the
computed ones, second order terms included or covered by the factor 1.001:

    ed = E |d| + em
    eP = E |P/N| + E sum|g|, without the second where the sum is exact, 0 where P/N is
    ec = E |c| + eP
    eQ = (N + 3) E sum|c d| + em sum|c| + eP sum|d| + N eP em
    eK = |K| (2 rel + 5 E) + eQ / (D t)
    eA = ec + E |d K| + |d| eK + |K| ed + ed eK + E |A|
    |dx^ - dx| <= |dx^| (rel + E) + eA / s

With fixed statistics dx = g / s. Weight: dw_e = sum over rows of q / s, q = sum dy d over the n elements of
the row that use the entry e:

    eq = (n + 2) E sum |dy d| + em sum |dy|
    eq / s + |q / s| (rel + 2 E) for each row, and R E sum |q| / s for R additions.

2**-1000 is added where a product may have underflowed: eps has a wide range.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference.certify import certain
from reference.doubleword import STEP, over, plus, plus_float, times, times_float
from reference.jit import compiled
from reference.moments import mean_of_sum, row_sum

_UNDERFLOW = 2.0**-1000


@compiled
def input_gradients(
    x: Any, grad: Any, stats: Any, skipped: Any, fixed: Any, centred: bool, divisor: float, grid: int,
    out: Any, unsure: Any,
) -> int:  # fmt: skip
    """(value, residual, bound, magnitude) of dx for each element; returns how many are unsure.

    2**grid divides every element of `grad`, which is g in float64; rows marked `skipped` are left alone,
    those marked `fixed` have constant statistics.
    """
    escalated = 0
    count = np.float64(x.shape[1])
    for row in range(x.shape[0]):
        mean, mean_low, error, sh, sl, relative, _, _ = stats[row]
        if skipped[row]:
            continue
        ph, pl, p_error = 0.0, 0.0, 0.0
        kh, kl, k_error = 0.0, 0.0, 0.0
        if not fixed[row]:
            if centred:
                th, tl, total, exact = row_sum(grad[row], grid)
                ph, pl, p_error = mean_of_sum(th, tl, total, exact, count)
            qh, ql, products, sizes, distances = 0.0, 0.0, 0.0, 0.0, 0.0
            for j in range(x.shape[1]):
                ch, cl = plus_float(-ph, -pl, grad[row, j])
                dh, dl = plus_float(-mean, -mean_low, np.float64(x[row, j]))
                th, tl = times(ch, cl, dh, dl)
                products += abs(th)
                sizes += abs(ch)
                distances += abs(dh)
                qh, ql = plus(qh, ql, th, tl)
            q_error = (count + 3.0) * STEP * products + error * sizes + p_error * (distances + count * error)
            th, tl = times(sh, sl, sh, sl)
            th, tl = times_float(th, tl, divisor)
            kh, kl = over(qh, ql, th, tl)
            k_error = abs(kh) * (2.0 * relative + 5.0 * STEP) + q_error / th
        for j in range(x.shape[1]):
            gradient = grad[row, j]
            ah, al = plus_float(-ph, -pl, gradient)
            a_error = STEP * abs(ah) + p_error if ph != 0.0 or p_error != 0.0 else 0.0
            size = abs(gradient) + abs(ph)
            if kh != 0.0 or k_error != 0.0:
                dh, dl = plus_float(-mean, -mean_low, np.float64(x[row, j]))
                d_error = STEP * abs(dh) + error if mean != 0.0 or error != 0.0 else 0.0
                ch, cl = times(dh, dl, kh, kl)
                a_error += STEP * abs(ch) + abs(dh) * k_error + d_error * (abs(kh) + k_error)
                size += abs(ch)
                if ch != 0.0:
                    ah, al = plus(ah, al, -ch, -cl)
                    a_error += STEP * abs(ah)
            high, low = over(ah, al, sh, sl)
            bound = 0.0
            if ah != 0.0 or a_error != 0.0:
                bound = (abs(high) * (relative + STEP) + a_error / sh) * 1.001 + _UNDERFLOW
            out[0, row, j], out[1, row, j], out[2, row, j] = high + 0.0, low, bound
            out[3, row, j] = (size / sh + bound) * (1.0 + 2.0**-20)
            unsure[row, j] = not certain(high, low, bound)
            escalated += unsure[row, j]
    return escalated


@compiled
def weight_gradients(
    x: Any, grad: Any, stats: Any, row_step: int, inner: int, finite: Any, out: Any, unsure: Any
) -> int:
    """(value, residual, bound, magnitude) of dw for each entry, from elements marked finite; returns the
    number that is unsure."""
    entries = out.shape[1]
    out[:] = 0.0
    additions = np.zeros(entries)
    for row in range(x.shape[0]):
        mean, mean_low, error, sh, sl, relative, plain, _ = stats[row]
        if plain:
            continue
        for start in range(0, x.shape[1], inner):
            entry = (row * row_step + start // inner) % entries
            qh, ql, absolute, total = 0.0, 0.0, 0.0, 0.0
            for j in range(start, start + inner):
                if finite[row, j] and grad[row, j] != 0.0:
                    gradient = np.float64(grad[row, j])
                    dh, dl = plus_float(-mean, -mean_low, np.float64(x[row, j]))
                    if dh == 0.0 and error == 0.0:
                        continue
                    th, tl = times_float(dh, dl, gradient)
                    absolute += abs(th)
                    total += abs(gradient)
                    qh, ql = plus(qh, ql, th, tl)
            if total == 0.0:
                continue
            q_error = (inner + 2.0) * STEP * absolute + error * total
            qh, ql = over(qh, ql, sh, sl)
            out[0, entry], out[1, entry] = plus(out[0, entry], out[1, entry], qh, ql)
            out[2, entry] += (q_error / sh + abs(qh) * (relative + 2.0 * STEP)) * 1.001 + _UNDERFLOW
            out[3, entry] += (absolute + error * total) / sh
            additions[entry] += 1.0
    escalated = 0
    for entry in range(entries):
        out[0, entry] += 0.0
        # The partial sums of the q are within the sum of the absolute terms.
        out[2, entry] += additions[entry] * STEP * out[3, entry] * 1.001
        out[3, entry] = (out[3, entry] + out[2, entry]) * (1.0 + 2.0**-20)
        unsure[entry] = not certain(out[0, entry], out[1, entry], out[2, entry])
        escalated += unsure[entry]
    return escalated
