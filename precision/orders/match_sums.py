"""Which known order gives an output's bits: every candidate on a few outputs, those that are left on all.

Orders agree on many outputs by chance, on integers always, so a match is worth no more than the outputs are
able to tell: it counts where so many orders would not fit so many outputs by chance, by the share of a sample
that those that fail give, and where the nearest of those differs on several outputs.  Outputs may follow up
to four orders, each on a box of rows, columns and channels: never one chosen for each output.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from precision.orders.known import (
    BIAS,
    Axes,
    Cuts,
    Order,
    more_cuts,
    other_trees,
    plain_cuts,
    term_axes,
    walks,
)
from precision.orders.match_boxes import NEAR, box_of
from precision.orders.match_kernels import chain_sums
from precision.orders.match_tally import Ending, Sample, Tally, share_of, sums_of
from precision.orders.revealed import evaluated
from precision.orders.sum_kernel import SumKernel, SumPart
from precision.orders.trials import finals
from precision.orders.words import where_in_words
from reference.tree import Indices, SummationTree

Float32 = npt.NDArray[np.float32]
Booleans = npt.NDArray[np.bool_]
Trees = Callable[[Axes, bool], Iterator[SummationTree]]

SAMPLE, SECOND, FEW = 32, 256, 8
CLASSES = 4
POSITIONS = 97
THOROUGH = 2
"""Walks whose blocks are tried in every length."""
FULL = 6
"""Orders that fit the samples and are replayed on all outputs."""
LUCK = 1e-4
"""Orders expected to give all outputs by chance, above which a fit proves nothing."""
APART = 3.0
"""Outputs of a box on which the nearest other order differs, at least."""


@dataclass(frozen=True)
class Found:
    """Outputs that follow one of some orders, all of which give the same bits there."""

    where: str
    outputs: int
    trees: tuple[SummationTree, ...]
    final: str
    tried: int
    fitting: int
    """How many of the orders that were tried give the bits of the first sample."""
    nearest: float
    """Largest share of the outputs, on a sample, that an order which does not fit gives; 0 where all fit."""


@dataclass
class SumMatch:
    """The replay of every output, NaN where no order is known, and the orders found."""

    replay: Float32
    known: Booleans
    found: list[Found] = field(default_factory=list)
    differing: int = 0
    """Outputs that differ from the replay where their order is taken for known."""


def matched_sum(
    op: str,
    arrays: Mapping[str, Float32],
    params: Mapping[str, Any],
    output: Float32,
    rounded: Float32,
    trees: Trees = other_trees,
    ending: Ending | None = None,
) -> SumMatch:
    """The known orders that give `output` for an op of `reference.sum_plans`.

    arrays, params: as for `reference.evaluate`; rounded: the truth, correctly rounded; trees: a function
    (terms axes, bias) of further candidates that are no chains; ending: what follows each sum.  Raises
    ValueError for what has no plan.
    """
    shapes = {name: array.shape for name, array in arrays.items()}
    kernel = SumKernel(op, params, shapes, _never)
    match = SumMatch(np.full(kernel.shape, np.nan, np.float32), np.zeros(kernel.shape, np.bool_))
    empty = np.ones(kernel.shape, np.bool_)
    followed: list[tuple[SummationTree, str]] = []
    for part in kernel.parts:
        _Search(part, arrays, output, rounded, match, followed, trees, ending).run()
        empty.reshape(-1)[part.index] = False
    nothing = empty & (output == rounded)  # sums without terms: a bias, or zero
    match.replay[nothing], match.known[nothing] = output[nothing], True
    same = (match.replay == output) | np.isnan(match.replay) & np.isnan(output)
    match.differing = int(np.sum(match.known & ~same))
    return match


class _Search:
    """The outputs of one part of an op."""

    def __init__(
        self, part: SumPart, arrays: Mapping[str, Float32], output: Float32, rounded: Float32,
        match: SumMatch, known: list[tuple[SummationTree, str]], trees: Trees, ending: Ending | None,
    ) -> None:  # fmt: skip
        self.ending, self.lenient = ending, False
        self.part, self.arrays, self.match, self.known, self.more = part, arrays, match, known, trees
        self.axes: Axes = term_axes(part.kernel, part)
        self.wanted = part.output(output)
        self.telling = self.wanted != part.output(rounded)
        self.replay = np.full(self.wanted.shape, np.nan, np.float32)
        self.open = np.ones(self.wanted.shape, np.bool_)
        self.rng = np.random.default_rng(20260728)

    def run(self) -> None:
        found, known = len(self.match.found), len(self.known)
        self._classes()
        if self.open.any() and len(self.match.found) > found:
            # Single outputs that were changed may be what the boxes leave: they belong in one of them.
            strict = self.replay.copy(), self.open.copy(), self.match.found[found:], self.known[known:]
            del self.match.found[found:], self.known[known:]
            self.lenient = True
            self.replay[:], self.open[:] = np.nan, True
            self._classes()
            if self.open.any():
                self.replay, self.open = strict[:2]
                self.match.found[found:], self.known[known:] = strict[2:]
        self.match.replay.reshape(-1)[self.part.index] = self.replay
        self.match.known.reshape(-1)[self.part.index] = ~self.open

    def _classes(self) -> None:
        for _ in range(CLASSES):
            if not self.open.any() or self._again() or not self._one_class():
                break

    def _again(self) -> bool:
        """Whether an order of other outputs of the op holds on all that is open."""
        count = int(self.open.sum())
        for tree, final in [one for one in self.known if one[0].leaves == self.part.terms]:
            equal = self._variant(tree, final)[1]
            # These orders are few and known to be the op's: half of the outputs by chance is much.
            if equal[self.open].all() and 2.0**-count <= LUCK:
                self._take(self.open.copy(), [(tree, final)], Tally(0), 0.0)
                return True
        return False

    def _one_class(self) -> bool:
        """Finds the order of what is open, or of most of it; False where there is none."""
        sample = self._sample(SAMPLE)
        for stage in (self._plain, self._laned):
            tally = Tally(sample.wanted.size)
            for walk, cuts in stage():
                self._try(sample, walk, cuts, tally)
            if self._settled(tally):
                return True
        return self._trees()

    def _plain(self) -> Iterator[tuple[Indices, Iterator[Cuts]]]:
        sizes = [size for _, size in self.axes]
        for number, walk in enumerate(walks(self.axes)):
            yield walk, plain_cuts(walk.size, sizes, number < THOROUGH)

    def _laned(self) -> Iterator[tuple[Indices, Iterator[Cuts]]]:
        sizes = [size for _, size in self.axes]
        for walk in walks(self.axes)[:THOROUGH]:
            yield walk, more_cuts(walk.size, sizes)

    def _try(self, sample: Sample, walk: Indices, cuts: Iterator[Cuts], tally: Tally) -> None:
        size = sample.wanted.size
        wanted = sample.wanted
        out = np.empty((3, size), np.float32)
        ways = BIAS if self.part.kernel.bias else ("",)
        for cut in cuts:
            room = np.empty((cut.lanes + 3, size), np.float32)
            chain_sums(
                sample.left, sample.right, walk, sample.bias, cut.starts, cut.opens, cut.lanes, cut.halves,
                cut.fused, room, out,
            )  # fmt: skip
            for way, bias in enumerate(ways):
                if (way == 1 and cut.starts.size == 2) or (way == 2 and cut.lanes > 1):
                    continue  # after the only block is last
                for final in finals(self.part.kernel):
                    got = sample.ends(out[way], final)
                    tally.add(got == wanted, Order(walk, cut, bias), final)

    def _settled(self, tally: Tally) -> bool:
        """Whether a candidate holds on all that is open, or else on a box of it."""
        fits = tally.fits
        if len(fits) > FULL and not isinstance(fits[0][0], SummationTree):
            second = self._sample(SECOND)
            if 2 * len(fits) > tally.tried:
                fits = fits[:: -(-len(fits) // (4 * FULL))]
            fits = [one for one in fits if share_of(second, *one) == 1.0]
        # Where most orders give the same bits, as integers make them, two stand for all.
        most = FULL if 2 * len(fits) <= tally.tried else 2
        unique: dict[Any, tuple[SummationTree, str]] = {}
        for order, final in [*fits[: 4 * most], *(tally.best if not fits else ())]:
            tree = order if isinstance(order, SummationTree) else order.tree(self.axes)
            if not fits and not self._promising(tree, final):
                continue
            unique.setdefault((tree.canonical(), final), (tree, final))
        kept: list[tuple[SummationTree, str]] = []
        partial: list[tuple[Booleans, SummationTree, str]] = []
        for tree, final in list(unique.values())[:most]:
            exact, equal = self._variant(tree, final)
            if equal[self.open].all():
                kept.append((exact, final))
            else:
                partial.append((equal, exact, final))
        if kept:
            away = [int(equal.sum()) for equal, _, _ in partial]
            near = self._nearest(tally, [tree for tree, _ in kept], away)
            if self._telling_enough(tally, near, self.open):
                self._take(self.open.copy(), kept, tally, near)
                return True
            return False
        partial.sort(key=lambda each: -int(each[0].sum()))
        return any(self._part_of(*each, tally) for each in partial)

    def _promising(self, tree: SummationTree, final: str) -> bool:
        """Whether an order holds on a box of the outputs at some positions, or on nearly all of them."""
        if self.part.positions <= POSITIONS:
            return True
        chosen = np.linspace(0, self.part.positions - 1, POSITIONS).astype(np.int64)
        there = np.zeros_like(self.open)
        there[:, chosen] = self.open[:, chosen]
        equal = np.zeros_like(self.open)
        got = self._evaluated(tree, final, chosen)
        equal[:, chosen] = (got == self.wanted[:, chosen]) & there[:, chosen]
        count, same = int(there.sum()), int(equal.sum())
        return count - same <= count // 50 or self._box(equal, there) is not None

    def _part_of(self, equal: Booleans, tree: SummationTree, final: str, tally: Tally) -> bool:
        """Takes an order on the box of outputs where it holds; where single outputs differ, on all."""
        count = int(self.open.sum())
        wrong = count - int(equal.sum())
        near = self._nearest(tally, [tree], [])
        if wrong <= max(1, count // NEAR) and (1.0 - near) * count > 10 * wrong - math.log(LUCK):
            self._take(self.open.copy(), [(tree, final)], tally, near)
            return True
        box = self._box(equal, self.open)
        # As many boxes could have been chosen as there are outputs.
        if box is None or not self._telling_enough(tally, near, box, math.log(count)):
            return False
        wrong = int((box & ~equal).sum())
        if wrong and (1.0 - near) * int(box.sum()) <= 10 * wrong - math.log(LUCK):
            return False
        self._take(box, [(tree, final)], tally, near)
        return True

    def _box(self, equal: Booleans, open_: Booleans) -> Booleans | None:
        return box_of(self.part, equal, open_, lenient=self.lenient)

    def _telling_enough(self, tally: Tally, near: float, taken: Booleans, more: float = 0.0) -> bool:
        """Whether these outputs tell orders apart: neither the nearest other nor chance gives them all."""
        count = int(taken.sum())
        # Where all outputs are given, one that the nearest does not give tells the two apart.
        apart = (1.0 - near) * count >= (APART if more else 0.5) or tally.tried == len(tally.fits)
        return apart and tally.lucky(count) + more <= math.log(LUCK)

    def _nearest(self, tally: Tally, taken: Sequence[SummationTree], away: Sequence[int]) -> float:
        """The largest share of the open outputs that another order gives; 0 where there is no other.

        away: how many those give that fit the samples, but not all outputs.
        """
        count = int(self.open.sum())
        shares = [each / count for each in away]
        own = {tree.canonical().root for tree in taken}
        sample = self._sample(SECOND, telling=False)
        for order, final in tally.best:
            share = share_of(sample, order, final)
            if share > max(shares, default=0.0):
                tree = order if isinstance(order, SummationTree) else order.tree(self.axes)
                if tree.canonical().root in own:
                    continue
                if share == 1.0:
                    share = int(self._variant(tree, final)[1].sum()) / count
                shares.append(share)
        return max(shares, default=0.5 if tally.others else 0.0)

    def _trees(self) -> bool:
        """Candidates that are no chains of blocks."""
        sample = self._sample(FEW)
        tally = Tally(sample.wanted.size)
        for tree in self.more(self.axes, self.part.kernel.bias):
            sums = sums_of(sample, tree)
            for final in finals(self.part.kernel):
                tally.add(sample.ends(sums, final) == sample.wanted, tree, final)
        return self._settled(tally)

    def _variant(self, tree: SummationTree, final: str) -> tuple[SummationTree, Booleans]:
        """The tree, with subnormal numbers flushed or accumulators started at +0 where that fits better."""
        best: tuple[SummationTree, Booleans] | None = None
        tiny = _has_tiny(self.arrays, self.wanted)
        for flush in (False, True) if tiny else (False,):
            for zero in (False, True):
                one = replace(tree, flush=flush, zero_start=zero)
                got = self._evaluated(one, final)
                equal = ((got == self.wanted) | np.isnan(got) & np.isnan(self.wanted)) & self.open
                signs = np.signbit(got) == np.signbit(self.wanted)
                if best is None or int(equal.sum()) > int(best[1].sum()):
                    best = one, equal
                if equal.all() or bool((signs | (got != 0)).all()):
                    break  # the sign of a zero is all that a start at +0 changes
        assert best is not None
        return best

    def _evaluated(self, tree: SummationTree, final: str, positions: Indices | None = None) -> Float32:
        got = evaluated(self.part, tree, final, self.arrays, positions)
        return got if self.ending is None else self.ending.of(got, np.arange(len(got)))

    def _sample(self, count: int, telling: bool = True) -> Sample:
        """Open outputs; with `telling`, half of them not correctly rounded: on those orders part."""
        part, kernel = self.part, self.part.kernel
        places = np.flatnonzero(self.open)
        apart = np.flatnonzero(self.open & self.telling) if telling else places
        chosen = [self.rng.choice(at, min(count // 2, at.size), replace=False) for at in (apart, places)]
        flat = np.unique(np.concatenate(chosen))
        channels, positions = np.unravel_index(flat, self.open.shape)
        carrier = self.arrays[kernel.carrier]
        other = None if kernel.other is None else self.arrays[kernel.other]
        right = np.concatenate([part.rights(carrier, slice(c, c + 1)) for c in channels])
        filters = 1 if part.left is None else int(part.part.weight.shape[1])
        left = np.concatenate(
            [
                part.lefts(other, int(c) // filters, np.array([p]))
                for c, p in zip(channels, positions, strict=True)
            ]
        )
        bias = self.arrays.get("bias")
        shift = np.full(flat.size, -0.0, np.float32) if bias is None else bias[channels]
        divisor = None
        if kernel.divisor is not None:
            divisor = part.output(kernel.divisor).reshape(-1)[flat].astype(np.float32)
        return Sample(
            np.ascontiguousarray(left.T),
            np.ascontiguousarray(right.T),
            np.ascontiguousarray(shift),
            divisor,
            self.wanted.reshape(-1)[flat],
            channels,
            self.ending,
        )

    def _take(
        self, taken: Booleans, trees: Sequence[tuple[SummationTree, str]], tally: Tally, near: float
    ) -> None:
        tree, final = trees[0]
        got = self._evaluated(tree, final)
        self.replay[taken] = got[taken]
        self.open &= ~taken
        if (tree, final) not in self.known:
            self.known.append((tree, final))
        count = int(taken.sum())
        self.match.found.append(
            Found(
                where_in_words(self.part.kernel, self.part, taken),
                count,
                tuple(each for each, _ in trees),
                final,
                tally.tried,
                len(tally.fits),
                near,
            )
        )


def _has_tiny(arrays: Mapping[str, Float32], wanted: Float32) -> bool:
    least = np.float32(2.0**-100)
    sizes = [float(np.min(np.abs(a[a != 0]), initial=1.0)) for a in (*arrays.values(), wanted)]
    return bool(min(sizes[:-1]) ** 2 < least or sizes[-1] < least)


def _never(arrays: Mapping[str, Float32]) -> Float32:
    raise NotImplementedError("a kernel is not run to match an order")
