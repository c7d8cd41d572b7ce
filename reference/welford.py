"""Mean and variance of a row by Welford's updates in vector lanes, merged pairwise as in a binary counter.

    d = x - m;  m += c_j d;  s += d (x - m),  c_j = 1 / j       (Welford 1962)
    two sets:  d = m_b - m_a;  m_a += d n_b / n;  s_a += s_b + d**2 n_a n_b / n   (Chan et al. 1983, eq. 2.1)

Lane l takes elements l, l + V, l + 2 V, …  Every `chunk` vectors the running pair is put on a stack whose
level j holds 2**j chunks, like the digits of a counter; at the end all levels go into level 0, elements that
fill no vector have a pair of their own, and lanes 0 to V - 1 are merged into that one by one.  `fused` says
where the three updates contract to fused multiply-adds, which is a choice of the compiler that made the
kernel.

Sources: Welford 1962, Technometrics 4(3); Chan, Golub & LeVeque 1983, Am. Stat. 37(3).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference.jit import compiled
from reference.replay_kernels import fma


@compiled
def welford_rows(x: Any, lanes: int, chunk: int, fused: bool, mean: Any, square: Any) -> None:
    """Fill mean (R,) and square (R,), the sum of (x - mean)**2, both float32, of the rows of x (R, N)."""
    vectors = x.shape[1] // lanes
    depth = 2
    while (1 << (depth - 1)) <= vectors // chunk + 1:
        depth += 1
    counts = np.zeros(depth, np.int64)
    means, squares = np.zeros((depth, lanes), np.float32), np.zeros((depth, lanes), np.float32)
    m, s = np.zeros(lanes, np.float32), np.zeros(lanes, np.float32)
    for r in range(x.shape[0]):
        counts[:] = 0
        means[:] = np.float32(0.0)
        squares[:] = np.float32(0.0)
        done = 0
        while done * chunk < vectors:
            count = min(chunk, vectors - done * chunk)
            m[:] = np.float32(0.0)
            s[:] = np.float32(0.0)
            for j in range(count):
                first = (done * chunk + j) * lanes
                share = np.float32(1.0) / np.float32(j + 1)
                for k in range(lanes):
                    value = x[r, first + k]
                    d = value - m[k]
                    m[k] = fma(share, d, m[k]) if fused else m[k] + share * d
                    s[k] = fma(d, value - m[k], s[k]) if fused else s[k] + d * (value - m[k])
            done += 1
            _merge(counts, means, squares, 0, count, m, s, fused)
            level, digits = 1, done
            while level < depth and digits % 2 == 0:
                _merge(
                    counts,
                    means,
                    squares,
                    level,
                    counts[level - 1],
                    means[level - 1],
                    squares[level - 1],
                    fused,
                )
                counts[level - 1] = 0
                means[level - 1] = np.float32(0.0)
                squares[level - 1] = np.float32(0.0)
                level, digits = level + 1, digits // 2
        for level in range(1, depth):
            _merge(counts, means, squares, 0, counts[level], means[level], squares[level], fused)
        mean[r], square[r] = _gather(x[r], vectors, means[0], squares[0], fused)


@compiled
def _merge(
    counts: Any, means: Any, squares: Any, level: int, count: int, m: Any, s: Any, fused: bool
) -> None:
    """Add `count` vectors with means m and squares s to a level of the stack."""
    if count == 0:
        return
    before = counts[level]
    share = np.float32(count) / np.float32(before + count)
    for k in range(m.size):
        d = m[k] - means[level, k]
        step = share * d
        means[level, k] = means[level, k] + step
        both, weighed = s[k] + squares[level, k], d * np.float32(before)
        squares[level, k] = fma(weighed, step, both) if fused else both + weighed * step
    counts[level] = before + count


@compiled
def _gather(x: Any, vectors: int, means: Any, squares: Any, fused: bool) -> tuple[Any, Any]:
    """The elements that fill no vector one by one, then the lanes."""
    lanes = means.size
    m, s = np.float32(0.0), np.float32(0.0)
    count = 0
    for j in range(vectors * lanes, x.size):
        count += 1
        d = x[j] - m
        m = m + d / np.float32(count)
        s = s + d * (x[j] - m)
    if vectors > 0:
        for k in range(lanes):
            share = np.float32(vectors) / np.float32(count + vectors)
            d = means[k] - m
            m = fma(share, d, m) if fused else m + share * d
            weighed = (d * d) * share
            n = np.float32(count)
            s = s + (fma(weighed, n, squares[k]) if fused else squares[k] + weighed * n)
            count += vectors
    return m, s
