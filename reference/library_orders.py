"""The orders in which NumPy, PyTorch and Eigen (TensorFlow) sum the numbers of an axis on the CPU.

These are sums of numbers, not of products, so fused and unfused runs are the same; the trees say fused.
Each was checked bit for bit against the library: see the tests.  Vectors hold eight numbers in all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from reference.tree import Item, Run, SummationTree, relabelled, series

LANES = 8
_STREAMS = 4  # independent accumulators of a loop
_LEVELS = 4
_NUMPY_BLOCK = 128
_EIGEN_LEAF = 1024  # vectors


def _numbers(first: int, count: int, step: int = 1) -> list[Item]:
    return [Run((first + i * step,)) for i in range(count)]


def _whole(item: Item | None, n: int, *, zero_start: bool = True) -> SummationTree:
    if item is None:
        raise ValueError(f"a sum has at least one term, got {n}: an empty sum has no order")
    return SummationTree(series(item), n, zero_start=zero_start)


def numpy_pairwise(n: int) -> SummationTree:
    """np.sum over n contiguous float32 numbers: up to 128 in eight interleaved chains, halves above.

    Source: NumPy, numpy/_core/src/umath/loops_utils.h.src, pairwise_sum.
    """
    return _whole(_numpy(0, n) if n else None, n, zero_start=False)


def _numpy(first: int, n: int) -> Item:
    if n < LANES:
        return series(*_numbers(first, n))
    if n <= _NUMPY_BLOCK:
        lanes = [series(*_numbers(first + lane, n // LANES, LANES)) for lane in range(LANES)]
        pairs = [series(lanes[i], lanes[i + 1]) for i in range(0, LANES, 2)]
        tail = _numbers(first + n // LANES * LANES, n % LANES)
        return series(series(series(pairs[0], pairs[1]), series(pairs[2], pairs[3])), *tail)
    half = n // 2 - n // 2 % LANES
    return series(_numpy(first, half), _numpy(first + half, n - half))


def _cascade(terms: Sequence[Item]) -> Item | None:
    """Accumulators of four levels; each is emptied into the next after 2**p additions."""
    size = len(terms)
    if not size:
        return None
    power = max(4, (size - 1).bit_length() // _LEVELS)
    step = 1 << power
    levels: list[list[Item]] = [[] for _ in range(_LEVELS)]
    done = 0
    while done + step <= size:
        levels[0] += terms[done : done + step]
        done += step
        for j in range(1, _LEVELS):
            levels[j].append(series(*levels[j - 1]))
            levels[j - 1] = []
            if done & (step - 1) << j * power:
                break
    levels[0] += terms[done:]
    filled = [series(*level) for level in levels if level]
    return series(*filled)


def _row(terms: Sequence[Item]) -> Item | None:
    """Four interleaved cascades; terms that are left over join the first."""
    rounds = len(terms) // _STREAMS
    streams = [_cascade(terms[k : rounds * _STREAMS : _STREAMS]) for k in range(_STREAMS)]
    first = [] if streams[0] is None else [streams[0]]
    head = [*first, *terms[rounds * _STREAMS :]]
    if not head:
        return None
    return series(series(*head), *(stream for stream in streams[1:] if stream is not None))


def _inner(first: int, n: int) -> Item | None:
    if n < LANES:
        return _row(_numbers(first, n))
    vectors = n // LANES
    lanes = [_row(_numbers(first + lane, vectors, LANES)) for lane in range(LANES)]
    tail = _numbers(first + vectors * LANES, n % LANES)
    parts = [lane for lane in lanes if lane is not None]
    return series(*([series(*tail)] if tail else []), *parts)


def torch_inner_sum(n: int) -> SummationTree:
    """torch.sum over a contiguous last axis of n float32 numbers, in eight lanes; the mean is this over n.

    Source: PyTorch, aten/src/ATen/native/cpu/SumKernel.cpp, vectorized_inner_sum and row_sum.
    """
    return _whole(_inner(0, n), n)


def torch_outer_sum(n: int, columns: int, column: int) -> SummationTree:
    """torch.sum over the first axis of (n, columns) contiguous numbers, for the sum of one column.

    Columns in whole groups of 32 (of four, if there are fewer than eight) are cascades, the others rows; one
    column alone is contiguous.
    Source: as `torch_inner_sum`, vectorized_outer_sum and scalar_outer_sum.
    """
    _check_column(columns, column)
    if columns == 1:
        return torch_inner_sum(n)
    group = LANES * _STREAMS if columns >= LANES else _STREAMS
    terms = _numbers(0, n)
    return _whole(_cascade(terms) if column < columns // group * group else _row(terms), n)


def torch_full_sum(n: int, threads: int) -> SummationTree:
    """torch.sum of all n contiguous numbers: beyond 32768 one chunk a thread, then the sum of the chunks.

    Source: PyTorch, aten/src/ATen/native/TensorIteratorReduce.cpp, two_pass_reduction.
    """
    used = min(threads, -(-n // 32768))
    if used < 2:
        return torch_inner_sum(n)
    chunk = -(-n // used)
    sums = [_inner(first, min(chunk, n - first)) for first in range(0, n, chunk)]
    # One number a thread; those of idle threads are zeros, which change nothing.
    places = {place: item for place, item in enumerate(sums) if item is not None}
    return _whole(relabelled(torch_inner_sum(used).root, places), n)


def eigen_inner_sum(n: int, first: int = 0) -> SummationTree:
    """Eigen's, hence tf.reduce_sum's, sum over a contiguous last axis of n float32 numbers.

    `first` is the place of the row's first number in the tensor: beyond 8192 numbers a row is halved where a
    vector of the tensor begins.  Source: Eigen, unsupported/Eigen/CXX11/src/Tensor/TensorReduction.h,
    InnerMostDimReducer.
    """
    return _whole(_eigen(first, n, first) if n else None, n)


def _eigen(at: int, n: int, origin: int) -> Item:
    if n > LANES * _EIGEN_LEAF:
        split = LANES * -(-(at + -(-n // 2)) // LANES)
        left = min(split - at, n)
        return series(_eigen(at, left, origin), _eigen(at + left, n - left, origin))
    start, packs = at - origin, n // LANES
    tail = _numbers(start + packs * LANES, n % LANES)
    if not packs:
        return series(*tail)
    unrolled = packs // _STREAMS * _STREAMS
    lanes = []
    for lane in range(LANES):
        streams = [
            series(*_numbers(start + q * LANES + lane, packs // _STREAMS, LANES * _STREAMS))
            for q in range(_STREAMS if unrolled else 0)
        ]
        rest = _numbers(start + unrolled * LANES + lane, packs - unrolled, LANES)
        lanes.append(series(*streams, *rest))
    for width in (4, 2, 1):
        lanes = [series(lanes[i], lanes[i + width]) for i in range(width)]
    return series(series(*tail), lanes[0]) if tail else lanes[0]


def eigen_outer_sum(n: int, columns: int, column: int) -> SummationTree:
    """tf.reduce_sum over the first axis of (n, columns) contiguous numbers, for the sum of one column.

    In whole vectors of columns, from 16 rows on: four interleaved chains, then the rows that are left over;
    one column alone is contiguous.
    Source: as `eigen_inner_sum`, InnerReducer and GenericReducer of the outer axis.
    """
    _check_column(columns, column)
    if columns == 1:
        return eigen_inner_sum(n)
    if n < 4 * _STREAMS or column >= columns // LANES * LANES:
        return _whole(series(*_numbers(0, n)) if n else None, n)
    rounds = n // _STREAMS
    chains = [series(*_numbers(q, rounds, _STREAMS)) for q in range(_STREAMS)]
    return _whole(series(*chains, *_numbers(rounds * _STREAMS, n % _STREAMS)), n)


def _check_column(columns: int, column: int) -> None:
    if not 0 <= column < columns:
        raise ValueError(f"a column of {columns} is 0 to {columns - 1}, got {column}: count from 0")
