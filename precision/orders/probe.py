"""Reveals the order of a sum from outside, by masks of two huge terms that cancel.

With every summand 1, summand i = +M and summand j = -M, all that is added while M is alive is swamped: the
answer is n minus the number of leaves below the lowest common ancestor of i and j (FPRev: Xie et al., arXiv
2411.00442, section 4).  From these counts the tree follows, leaf by leaf.  Beyond FPRev, additions of many
terms that are exact are recognised: there nothing is swamped but what lies in the same term as a mask, so
the count is that of the leaves of two terms, not of all.

The first leaf asked about is taken from either end of its set in turn, which makes a sum that runs
backwards as cheap as one that runs forwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]

Ask = Callable[[Float32, float], Float32]
"""ask(values, alpha): the sum of alpha * values[r, k] for each row r; a last column may be the bias."""

MASK = 2.0**60
"""Swamps any sum of 2**24 ones in float32 and in float64, and passes through Winograd's transforms."""

LIMIT = 2**24
"""Ones are counted exactly in float32 up to here."""


class NoTree(Exception):
    """The kernel is no sum of its products in a fixed order; the message says what was seen."""


@dataclass
class Step:
    """One addition to an accumulator: of one term, or of several at once."""

    terms: list[int | Path]
    exact: bool = False
    """Of several terms: added exactly, so that no term swamps another."""
    last_leaf: int = -1
    """A leaf of the terms that were found last."""


@dataclass
class Path:
    """A start and what is added to it, in order.  Terms are leaves or paths of their own."""

    start: int | Path
    steps: list[Step] = field(default_factory=list)

    @property
    def first_leaf(self) -> int:
        """The leaf from which the path was asked."""
        return self.start if isinstance(self.start, int) else self.start.first_leaf


@dataclass
class _Task:
    """A set of leaves whose order is wanted, and the addition that they join."""

    leaves: list[int]
    joins: Step
    joined: int = -1
    """Leaves below that addition.  A term of the set with as many below it is a further term there."""
    each: int = 0
    """Leaves of a term, where the set is made of several terms of an exact addition."""
    backwards: bool = False


@dataclass(frozen=True)
class Order:
    """The tree of a sum: its top, and all paths, each before those that hang on it."""

    top: int | Path
    paths: tuple[Path, ...]


def reveal_order(ask: Ask, live: Sequence[int], columns: int) -> Order:
    """Return the order in which the leaves `live` are added, of a sum with that many columns.

    Raises `NoTree` where an answer is no count of leaves or the counts belong to no tree, and ValueError for
    more leaves than float32 counts.
    """
    if len(live) >= LIMIT:
        raise ValueError(
            f"a sum of fewer than {LIMIT} terms can be revealed; got {len(live)}; take a smaller op"
        )
    if not live:
        raise NoTree("no term reaches this output")
    if len(live) == 1:
        return Order(live[0], ())

    def swamped(first: int, second: int, third: int) -> bool:
        values = np.zeros((1, columns), np.float32)
        values[0, [first, second, third]] = MASK, -MASK, 1.0
        return float(ask(values, 1.0)[0]) == 0.0

    holder = Step([])
    paths: list[Path] = []
    pending = [_Task(list(live), holder)]
    while pending:
        anchors = [task.leaves[-1 if task.backwards else 0] for task in pending]
        pairs = [
            (a, other)
            for a, task in zip(anchors, pending, strict=True)
            for other in task.leaves
            if other != a
        ]
        counts = iter(pair_counts(ask, pairs, live, columns))
        found: list[_Task] = []
        for anchor, task in zip(anchors, pending, strict=True):
            sets: dict[int, list[int]] = {}
            for other in task.leaves:
                if other != anchor:
                    sets.setdefault(next(counts), []).append(other)
            path = _walk(anchor, task, sorted(sets.items()), found, swamped)
            if path.steps:
                paths.append(path)
            task.joins.terms.append(path if path.steps else anchor)
        pending = found
    if len(holder.terms) != 1:
        raise NoTree("the counts of terms belong to no tree")
    return Order(holder.terms[0], tuple(paths))


def _walk(
    anchor: int,
    task: _Task,
    sets: list[tuple[int, list[int]]],
    found: list[_Task],
    swamped: Callable[[int, int, int], bool],
) -> Path:
    """Follow the additions from a leaf upwards; what else they add becomes tasks."""
    path = Path(anchor)
    size, before = 1, 0  # leaves below the last addition, and below the term of it that holds the anchor
    for position, (number, others) in enumerate(sets):
        rest = sets[position + 1 :]
        if task.each == size and task.each:
            if number != 2 * size or rest:
                raise NoTree(_no_tree(number))
            found.append(_Task(others, task.joins, each=task.each, backwards=not task.backwards))
            return path
        total = size + len(others)
        if number > total:
            if number != task.joined or rest:
                raise NoTree(_no_tree(number))
            found.append(_Task(others, task.joins, task.joined, backwards=not task.backwards))
            return path
        if number == total:
            path.steps.append(Step([]))
            _hang(others, path.steps[-1], number, 0, task, found)
            before = size
        else:
            # Fewer than all leaves so far were swamped: this addition is exact, and adds several terms.
            base = _base(path, number, others, size, before, swamped)
            if base == size:
                path.steps.append(Step([], exact=True))
                before = size
            path.steps[-1].exact = True
            _hang(others, path.steps[-1], -1, number - base, task, found)
        size = total
    return path


def _base(
    path: Path,
    number: int,
    others: list[int],
    size: int,
    before: int,
    swamped: Callable[[int, int, int], bool],
) -> int:
    """Leaves of the term of an exact addition that holds the anchor: all so far, or all before the last.

    Counts do not tell which: a leaf of the last step does, which masks on the anchor and on a new leaf swamp
    if it lies in the anchor's term.
    """
    base = size
    if path.steps and not swamped(path.first_leaf, others[0], path.steps[-1].last_leaf):
        base = before
    if number <= base or len(others) % (number - base):
        raise NoTree(_no_tree(number))
    return base


def _hang(leaves: list[int], step: Step, joined: int, each: int, task: _Task, found: list[_Task]) -> None:
    step.last_leaf = leaves[0]
    if len(leaves) == 1 or each == 1:
        step.terms += leaves
    else:
        each = 0 if each == len(leaves) else each
        found.append(_Task(leaves, step, joined, each, not task.backwards))


def _no_tree(number: int) -> str:
    return f"the counts of terms belong to no tree: a mask left all but {number} terms"


def pair_counts(
    ask: Ask, pairs: Sequence[tuple[int, int]], live: Sequence[int], columns: int, mask: float = MASK
) -> list[int]:
    """Leaves below the lowest common ancestor of each pair.  Raises `NoTree` where there is no such count."""
    if not pairs:
        return []
    answers: list[float] = []
    # A block of rows at a time: a row for each pair would be a matrix of n x n.
    rows = max(1, 2**24 // columns)
    for first in range(0, len(pairs), rows):
        some = pairs[first : first + rows]
        answers += ask(masks(some, live, columns, mask), 1.0).astype(np.float64).tolist()
    for (i, j), answer in zip(pairs, answers, strict=True):
        if not np.isfinite(answer) or answer != round(answer) or not 0 <= answer <= len(live) - 2:
            raise NoTree(
                f"the mask on terms {i} and {j} of {len(live)} gave {answer:g}, which is no number of terms: "
                "this is no sum of its products"
            )
    return [len(live) - int(answer) for answer in answers]


def masks(pairs: Sequence[tuple[int, int]], live: Sequence[int], columns: int, mask: float = MASK) -> Float32:
    """Rows of ones at the live leaves, +mask and -mask at each pair."""
    row = np.zeros(columns, np.float32)
    row[np.array(live)] = 1.0
    values = np.tile(row, (len(pairs), 1))
    both = np.array(pairs, np.int64).reshape(-1, 2)
    rows = np.arange(len(pairs))
    values[rows, both[:, 0]] = mask
    values[rows, both[:, 1]] = -mask
    return values
