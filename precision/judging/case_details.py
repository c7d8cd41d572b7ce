"""Where a cell's errors lie along its channels and conditions, and what a known order lets expect of them.

The rows are those of the tables `profiles`, `orders` and `expected` of `reports.schema`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.errors import UserError
from precision.judging.case_folder import Case
from precision.judging.distribution import EDGES
from precision.judging.finding import OutputExplained
from precision.orders.match import OrderMatch
from precision.orders.moments import error_variance
from precision.orders.sum_kernel import SumKernel, SumPart
from precision.score import Errors
from reference import Truth
from reference.tree import Indices, SummationTree

Float64 = NDArray[np.float64]
Row = dict[str, Any]

MOST_CHANNELS = 64
"""Blocks of channels, at most."""

MOST_CONDITION = 40
"""Doublings of the condition that have blocks of their own; what is above is one block."""

SAMPLE = 24
"""Channels, and positions, of the outputs whose variance is computed: they stand for the others."""

MOST_LETTERS = 20_000
"""Of a tree that is kept to be drawn."""

TABLES = ("profiles", "orders", "expected")


def profiles(truth: Truth, found: Errors, params: Mapping[str, Any] | None = None) -> list[Row]:
    """Errors by block of channels, where there are some, and by octave of the condition."""
    return [*_channels(found, params or {}), *_conditions(truth, found)]


def _channels(found: Errors, params: Mapping[str, Any]) -> list[Row]:
    shape = found.scaled.shape
    if len(shape) < 2 or str(params.get("layout", "NCHW")).endswith("C"):
        return []
    axis = 1
    count = shape[axis]
    if count < 2:
        return []
    first = np.linspace(0, count, min(count, MOST_CHANNELS) + 1).astype(int)
    block = np.searchsorted(first, np.arange(count), side="right") - 1
    place = np.broadcast_to(block.reshape([-1 if i == axis else 1 for i in range(len(shape))]), shape)
    return [
        {"axis": "channel", "low": float(first[i]), "high": float(first[i + 1] - 1), **figures}
        for i, figures in _grouped(found, place.reshape(-1), len(first) - 1)
    ]


def _conditions(truth: Truth, found: Errors) -> list[Row]:
    with np.errstate(all="ignore"):
        condition = truth.magnitude / np.abs(truth.value)
    usable = found.in_ulp & np.isfinite(condition) & (condition >= 0.5)
    octave = np.full(condition.shape, -1, np.int64)
    octave[usable] = np.clip(np.floor(np.log2(np.maximum(condition[usable], 1.0))), 0, MOST_CONDITION)
    return [
        {
            "axis": "condition",
            "low": 2.0**i,
            "high": 2.0 ** (i + 1) if i < MOST_CONDITION else math.inf,
            **figures,
        }
        for i, figures in _grouped(found, octave.reshape(-1), MOST_CONDITION + 1)
    ]


def _grouped(found: Errors, place: NDArray[np.int64], blocks: int) -> list[tuple[int, Row]]:
    """Figures of each block that has elements; -1 is no block."""
    scaled, ulp = found.scaled.reshape(-1), found.ulp.reshape(-1)
    used = found.counted.reshape(-1) & (place >= 0)
    in_ulp = found.in_ulp.reshape(-1) & used
    counts = np.bincount(place[used], minlength=blocks)
    ulps = np.bincount(place[in_ulp], minlength=blocks)
    with np.errstate(all="ignore"):
        squares = np.bincount(place[used], scaled[used] ** 2, blocks) / counts
        means = np.bincount(place[used], scaled[used], blocks) / counts
        ulp_squares = np.bincount(place[in_ulp], ulp[in_ulp] ** 2, blocks) / ulps
    return [
        (
            int(i),
            {
                "count": int(counts[i]),
                "error_ulp_rms": float(np.sqrt(ulp_squares[i])) if ulps[i] else None,
                "error_scaled_ulp_rms": float(np.sqrt(squares[i])),
                "error_scaled_ulp_mean": float(means[i]),
            },
        )
        for i in np.flatnonzero(counts)
    ]


class Details:
    """Collects the rows of one case: once for every distinct output, of the mode that gave it first."""

    def __init__(self, case: Case, truth: Truth) -> None:
        self._case, self._truth = case, truth
        self._seen: set[str] = set()
        self.tables: dict[str, list[Row]] = {name: [] for name in TABLES}

    def add(self, where: Row, digest: str, found: Errors | None, explained: OutputExplained) -> None:
        """Rows of the output with that digest; found: None where not all of its elements are known."""
        match = explained.order
        if digest in self._seen:
            return
        self._seen.add(digest)
        rows: dict[str, list[Row]] = {"profiles": [], "orders": [], "expected": []}
        if found is not None:
            rows["profiles"] = profiles(self._truth, found, self._case.params)
        if match is not None:
            rows["orders"], rows["expected"] = order_rows(
                self._case, self._truth, match, _declared(explained)
            )
        for name, some in rows.items():
            self.tables[name] += [{**where, **row} for row in some]


def _declared(explained: OutputExplained) -> bool:
    """Whether the order is one of the declared function on the declared operands."""
    return explained.verdict == "rounding" and not (explained.meaning and explained.meaning.findings)


def order_rows(
    case: Case, truth: Truth, match: OrderMatch, declared: bool = True
) -> tuple[list[Row], list[Row]]:
    """Rows of `orders` and of `expected` for an output of a known order.

    declared: whether the order is one of the declared function, whose errors it lets expect.  An expectation
    is given only where all outputs follow one order, bit for bit, of single additions in float32.
    """
    evidence = "proved" if match.proved else "bounded" if match.bound is not None else "none"
    row: Row = {"words": match.words, "evidence": evidence, "tree": None, "expected_ulp_rms": None}
    if not match.trees:
        return [{"where": "all outputs", **row}], []
    single = declared and match.proved and len(match.trees) == 1
    sigma = expected_sigma(case, truth, match.trees[0][1]) if single else None
    rms = None if sigma is None else float(np.sqrt(np.mean(sigma**2)))
    rows = {
        where: {"where": where, **row, "tree": _drawable(tree), "expected_ulp_rms": rms}
        for where, tree in match.trees
    }
    return list(rows.values()), [] if sigma is None else expected_counts(sigma, truth.value.size)


def _drawable(tree: SummationTree) -> str | None:
    text = json.dumps(tree.to_json())
    return text if len(text) <= MOST_LETTERS else None


def expected_sigma(case: Case, truth: Truth, tree: SummationTree) -> Float64 | None:
    """Standard deviation of the error, in ulp of the truth, of a sample of outputs added by a tree.

    None where the tree's arithmetic is another than single additions in float32, or the op has no such sums.
    """
    shapes = {name: np.shape(array) for name, array in case.arrays.items()}
    try:
        kernel = SumKernel(case.op, case.params, shapes, _never)
        if len(kernel.parts) != 1 or kernel.divisor is not None or tree.operands != "binary32":
            return None
        part = kernel.parts[0]
        channels, positions = _spread(part.channels, SAMPLE), _spread(part.positions, SAMPLE)
        variance = _variance(part, tree, case.arrays, channels, positions)
    except (ValueError, UserError):
        return None
    unit = part.output(truth.ulp(np.float32).reshape(kernel.shape))
    sigma: Float64 = (np.sqrt(variance) / unit[np.ix_(channels, positions)]).reshape(-1)
    sigma = sigma[np.isfinite(sigma)]
    return sigma if sigma.size else None


def _variance(
    part: SumPart, tree: SummationTree, arrays: Any, channels: Indices, positions: Indices
) -> Float64:
    """(channels, positions): the expected square of the error of these outputs."""
    bias, other = arrays.get("bias"), part.kernel.other
    filters = part.channels if part.left is None else int(part.part.weight.shape[1])
    found = np.empty((channels.size, positions.size))
    for group in np.unique(channels // filters):
        here = np.flatnonzero(channels // filters == group)
        left = part.lefts(None if other is None else arrays[other], int(group), positions)
        rows = [part.rights(arrays[part.kernel.carrier], slice(c, c + 1)) for c in channels[here]]
        right = np.ascontiguousarray(np.concatenate(rows).T)
        shift = None if bias is None else np.ascontiguousarray(bias[channels[here]])
        found[here] = error_variance(tree, left, right, shift).T
    return found


def expected_counts(sigma: Float64, elements: int) -> list[Row]:
    """Elements that normal errors of these standard deviations are expected to put into each bin."""
    scales = np.maximum(sigma, 1e-30) * math.sqrt(2.0)  # an order without roundings has none
    cdf = np.array([[0.5 * (1.0 + math.erf(_quotient(edge, scale))) for edge in EDGES] for scale in scales])
    probable = np.diff(cdf, axis=1).mean(axis=0)
    return [
        {
            "bin_left_ulp": float(EDGES[i]),
            "bin_right_ulp": float(EDGES[i + 1]),
            "expected": float(elements * probable[i]),
        }
        for i in np.flatnonzero(elements * probable >= 0.005)
    ]


def _quotient(edge: float, scale: float) -> float:
    return math.copysign(math.inf, edge) if abs(edge) > 1e3 * scale else float(edge) / float(scale)


def _spread(count: int, most: int) -> Indices:
    """At most so many of the numbers below count, evenly apart."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))


def _never(arrays: Any) -> Any:
    raise NotImplementedError("a kernel is not run to expect its errors")
