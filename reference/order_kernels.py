"""The loops of `reference.recipe_orders`: sums of the rows of x (R, N) into out (R,), term by term in a named
order.

Terms are x - 0 = x, or (x - m)**2; `fused` says whether a square joins its accumulator by a fused multiply-
add.  All is float32 unless a kernel's name says wide.  `bounds` (parts + 1,) are the first terms of the
parts.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference.jit import compiled
from reference.replay_kernels import fma


@compiled
def _joined(total: Any, value: Any, mean: Any, squares: bool, fused: bool) -> Any:
    if not squares:
        return total + value
    d = value - mean
    if fused:
        return fma(d, d, total)
    return total + d * d


@compiled
def sequential(x: Any, m: Any, squares: bool, fused: bool, bounds: Any, wide: bool, out: Any) -> None:
    """One accumulator a part; the parts are added in order, in double if `wide`.  out is float64."""
    for r in range(x.shape[0]):
        single: Any = np.float32(0.0)
        double = 0.0
        for p in range(bounds.size - 1):
            part: Any = np.float32(0.0)
            for j in range(bounds[p], bounds[p + 1]):
                part = _joined(part, x[r, j], m[r], squares, fused)
            single, double = single + part, double + part
        out[r] = double if wide else single


@compiled
def wide_sequential(x: Any, m: Any, squares: bool, wide_terms: bool, bounds: Any, out: Any) -> None:
    """As `sequential` with accumulators, m and out in float64; squares are of float32 unless `wide_terms`."""
    for r in range(x.shape[0]):
        total = 0.0
        for p in range(bounds.size - 1):
            part = 0.0
            for j in range(bounds[p], bounds[p + 1]):
                if not squares:
                    part += x[r, j]
                elif wide_terms:
                    part += (np.float64(x[r, j]) - m[r]) ** 2
                else:
                    d = x[r, j] - np.float32(m[r])
                    part += d * d
            total += part
        out[r] = total


@compiled
def _cascade(x: Any, m: Any, squares: bool, first: int, count: int, acc: Any) -> None:
    """Add `count` vectors of acc.shape[1] terms from `first` on; the sums are in acc[0] at the end."""
    levels, width = acc.shape
    bits = 0
    while (1 << bits) < count:
        bits += 1
    power = max(4, bits // levels)
    step = 1 << power
    acc[:] = np.float32(0.0)
    done = 0
    while done + step <= count:
        for _ in range(step):
            for k in range(width):
                acc[0, k] = _joined(acc[0, k], x[first + done * width + k], m, squares, False)
            done += 1
        for level in range(1, levels):
            for k in range(width):
                acc[level, k] = acc[level, k] + acc[level - 1, k]
                acc[level - 1, k] = np.float32(0.0)
            if done & ((step - 1) << (level * power)):
                break
    while done < count:
        for k in range(width):
            acc[0, k] = _joined(acc[0, k], x[first + done * width + k], m, squares, False)
        done += 1
    for level in range(1, levels):
        for k in range(width):
            acc[0, k] = acc[0, k] + acc[level, k]


@compiled
def _cascade_streams(x: Any, m: Any, squares: bool, first: int, vectors: int, streams: int, acc: Any) -> None:
    """Interleaved streams of vectors; what does not come out even joins stream 0; the sums are in acc[0,
    :lanes].
    """
    lanes = acc.shape[1] // streams
    _cascade(x, m, squares, first, vectors // streams, acc)
    for v in range(vectors // streams * streams, vectors):
        for k in range(lanes):
            acc[0, k] = _joined(acc[0, k], x[first + v * lanes + k], m, squares, False)
    for stream in range(1, streams):
        for k in range(lanes):
            acc[0, k] = acc[0, k] + acc[0, stream * lanes + k]


@compiled
def cascade(x: Any, m: Any, squares: bool, lanes: int, streams: int, bounds: Any, out: Any) -> None:
    """Each part in lanes, its tail in order before the lanes; less than one vector as single terms."""
    acc, narrow = np.zeros((4, lanes * streams), np.float32), np.zeros((4, streams), np.float32)
    for r in range(x.shape[0]):
        total = np.float32(0.0)
        for p in range(bounds.size - 1):
            first, size = bounds[p], bounds[p + 1] - bounds[p]
            part = np.float32(0.0)
            if size < lanes:
                _cascade_streams(x[r], m[r], squares, first, size, streams, narrow)
                part = narrow[0, 0]
            else:
                vectors = size // lanes
                _cascade_streams(x[r], m[r], squares, first, vectors, streams, acc)
                for j in range(first + vectors * lanes, first + size):
                    part = _joined(part, x[r, j], m[r], squares, False)
                for k in range(lanes):
                    part = part + acc[0, k]
            total = total + part
        out[r] = total


@compiled
def cascade_columns(x: Any, m: Any, squares: bool, place: Any, columns: int, out: Any) -> None:
    """place (R,) is the column of each row: it decides between one stream and four."""
    one, four = np.zeros((4, 1), np.float32), np.zeros((4, 4), np.float32)
    for r in range(x.shape[0]):
        single = place[r] < columns // 32 * 32 if columns >= 8 else place[r] < columns // 4 * 4
        if single:
            _cascade(x[r], m[r], squares, 0, x.shape[1], one)
            out[r] = one[0, 0]
        else:
            _cascade_streams(x[r], m[r], squares, 0, x.shape[1], 4, four)
            out[r] = four[0, 0]


@compiled
def packs(x: Any, m: Any, squares: bool, lanes: int, streams: int, starts: Any, out: Any) -> None:
    """Packs in `streams` accumulators, other packs, lanes in halves, the tail; in two beyond 8192 terms.

    It is halved where a vector of the whole array begins: starts (R,) are the places of the rows in it.
    """
    acc = np.zeros(lanes * streams, np.float32)
    # Halves wait as (first, size, 0) to sum or (0, 0, 1) to add: a kernel that calls itself cannot be cached.
    todo, values = np.zeros((128, 3), np.int64), np.zeros(128, np.float32)
    for r in range(x.shape[0]):
        waiting, ready = 1, 0
        todo[0] = (0, x.shape[1], 0)
        while waiting:
            waiting -= 1
            first, size = todo[waiting, 0], todo[waiting, 1]
            if todo[waiting, 2]:
                ready -= 1
                values[ready - 1] = values[ready - 1] + values[ready]
            elif size > 8192:
                middle = starts[r] + first + (size + 1) // 2
                half = (middle + lanes - 1) // lanes * lanes - starts[r] - first
                todo[waiting] = (0, 0, 1)
                todo[waiting + 1] = (first + half, size - half, 0)
                todo[waiting + 2] = (first, half, 0)
                waiting += 3
            else:
                values[ready] = _packs(x[r, first : first + size], m[r], squares, lanes, acc)
                ready += 1
        out[r] = values[0]


@compiled
def _packs(x: Any, m: Any, squares: bool, lanes: int, acc: Any) -> Any:
    width, size = acc.size, x.size
    acc[:] = np.float32(0.0)
    whole = size // width * width
    for j in range(0, whole, width):
        for k in range(width):
            acc[k] = _joined(acc[k], x[j + k], m, squares, False)
    for stream in range(1, width // lanes):
        for k in range(lanes):
            acc[k] = acc[k] + acc[stream * lanes + k]
    packed = size // lanes * lanes
    for j in range(whole, packed, lanes):
        for k in range(lanes):
            acc[k] = _joined(acc[k], x[j + k], m, squares, False)
    total = np.float32(0.0)
    for j in range(packed, size):
        total = _joined(total, x[j], m, squares, False)
    return np.float32(total + _halved(acc, lanes))


@compiled
def _halved(acc: Any, lanes: int) -> Any:
    """Lanes added in halves: k + (k + lanes / 2), and so on."""
    while lanes > 1:
        lanes //= 2
        for k in range(lanes):
            acc[k] = acc[k] + acc[k + lanes]
    return acc[0]


@compiled
def lanes(x: Any, m: Any, squares: bool, fused: bool, width: int, group: int, out: Any) -> None:
    """Term j joins lane j % width, the last ones too; groups of lanes in pairs, then lanes in pairs."""
    acc, other = np.zeros(width, np.float32), np.zeros(width, np.float32)
    for r in range(x.shape[0]):
        acc[:] = np.float32(0.0)
        whole = x.shape[1] // width * width
        for j in range(0, whole, width):
            for k in range(width):
                acc[k] = _joined(acc[k], x[r, j + k], m[r], squares, fused)
        for j in range(whole, x.shape[1]):
            acc[j - whole] = _joined(acc[j - whole], x[r, j], m[r], squares, fused)
        for k in range(width):  # lane k of group g to place g of run k
            other[k % group * (width // group) + k // group] = acc[k]
        size = width
        while size > 1:
            size //= 2
            for k in range(size):
                other[k] = other[2 * k] + other[2 * k + 1]
        out[r] = other[0]


@compiled
def windows(x: Any, m: Any, squares: bool, window: int, out: Any) -> None:
    """Windows of neighbouring terms in order, then windows of their sums, until one is left.

    What is missing in windows that do not come out even is missing on both sides, the odd term at the end.
    """
    sums = np.zeros(x.shape[1], np.float32)
    for r in range(x.shape[0]):
        size, level = x.shape[1], 0
        while size > window or level == 0:
            count = (size + window - 1) // window
            before = (count * window - size) // 2
            for i in range(count):
                total = np.float32(0.0)
                for j in range(max(0, i * window - before), min(size, (i + 1) * window - before)):
                    first = level == 0
                    total = _joined(total, x[r, j], m[r], squares, False) if first else total + sums[j]
                sums[i] = total
            size, level = count, level + 1
        total = np.float32(0.0)
        for j in range(size):
            total = total + sums[j]
        out[r] = total


@compiled
def line_lanes(x: Any, m: Any, squares: bool, fused: bool, lanes: int, width: int, out: Any) -> None:
    """Lines of `width` terms, line i in lane i % lanes; lanes in halves, then the lines left over."""
    acc = np.zeros(lanes, np.float32)
    for r in range(x.shape[0]):
        whole = x.shape[1] // width // lanes * lanes
        acc[:] = np.float32(0.0)
        for line in range(0, whole, lanes):
            for j in range(width):
                for k in range(lanes):
                    acc[k] = _joined(acc[k], x[r, (line + k) * width + j], m[r], squares, fused)
        total = _halved(acc, lanes)
        for j in range(whole * width, x.shape[1]):
            total = _joined(total, x[r, j], m[r], squares, fused)
        out[r] = total


@compiled
def interleaved(x: Any, m: Any, squares: bool, streams: int, packed: Any, out: Any) -> None:
    """Terms in turn to `streams` accumulators; what does not come out even joins their sum; packed (R,): or
    not.
    """
    acc = np.zeros(streams, np.float32)
    for r in range(x.shape[0]):
        size = x.shape[1]
        whole = size // streams * streams if packed[r] and size >= 4 * streams else 0
        acc[:] = np.float32(0.0)
        for j in range(0, whole, streams):
            for k in range(streams):
                acc[k] = _joined(acc[k], x[r, j + k], m[r], squares, False)
        total = acc[0]
        for k in range(1, streams):
            total = total + acc[k]
        for j in range(whole, size):
            total = _joined(total, x[r, j], m[r], squares, False)
        out[r] = total


@compiled
def channel_lanes(x: Any, m: Any, squares: bool, fused: bool, lanes: int, depth: int, out: Any) -> None:
    """Rows are pixels of `depth` channels each; channel d joins lane d % lanes."""
    acc = np.zeros(lanes, np.float32)
    for r in range(x.shape[0]):
        acc[:] = np.float32(0.0)
        for p in range(0, x.shape[1], depth):
            for d in range(depth):
                k = d % lanes
                acc[k] = _joined(acc[k], x[r, p + d], m[r], squares, fused)
        out[r] = _halved(acc, lanes)


@compiled
def channel_parts(
    x: Any, m: Any, squares: bool, fused: bool, depth: int, sample: Any, chunk: int, out: Any
) -> None:
    """Rows as for `channel_lanes`; sample (R,) is its image; a part is `chunk` pixels of all images."""
    for r in range(x.shape[0]):
        pixels = x.shape[1] // depth
        before = sample[r] * pixels
        total = np.float32(0.0)
        for d in range(depth):
            p = 0
            while p < pixels:
                end = min(pixels, ((before + p) // chunk + 1) * chunk - before)
                part = np.float32(0.0)
                for q in range(p, end):
                    part = _joined(part, x[r, q * depth + d], m[r], squares, fused)
                total = total + part
                p = end
        out[r] = total
