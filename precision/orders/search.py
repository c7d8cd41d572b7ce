"""Reveals how a framework adds: probes, trees, replays, until every output is accounted for or refused.

The order of work: is the kernel the same from run to run; to which format does it round its operands; what
tree has the output with most terms; where does that tree give the framework's bits; the same again
for what is left; and at the end, with all trees frozen, fresh data.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from precision.live import KernelError, Live
from precision.orders.asking import Asker
from precision.orders.flush_probe import accumulator_flags
from precision.orders.join_probe import assemble
from precision.orders.operand_probe import operand_formats
from precision.orders.probe import LIMIT, MASK, NoTree, masks, reveal_order
from precision.orders.revealed import Revealed, TreeClass, evaluated
from precision.orders.sum_kernel import Run, SumKernel, SumPart
from precision.orders.transform_probe import recognised, winograd_variant
from precision.orders.trials import Trial, accepted, agreement, clusters, finals, fresh, trials
from precision.orders.words import leaf_axes, where_in_words
from reference.tree import SummationTree

Float32 = npt.NDArray[np.float32]
RUNS = 5
ROUNDS = 100
"""Different orders within one part of an op: kernels that leave out padding may have one for each border."""
FRESH = ("uniform", "normal")


def reveal(
    op: str,
    mode: str = "torch.cpu",
    *,
    shapes: Mapping[str, Sequence[int]],
    params: Mapping[str, Any] | None = None,
    seed: int = 0,
    timeout: float = 120.0,
) -> Revealed:
    """Return the order in which `mode` adds the sums of `op` for arrays of these shapes.

    op, params and array names as in `reference.OPS`; layout NCHW.  The framework runs in a process of its
    own.

    Raises UserError for an unknown mode or an op that is no sum, ValueError for shapes and parameters that do
    not fit, CannotRun where this machine or this framework cannot.
    """
    with Live(mode, timeout) as live:
        return reveal_live(live, op, shapes, params or {}, seed)


def reveal_live(
    live: Live, op: str, shapes: Mapping[str, Sequence[int]], params: Mapping[str, Any], seed: int = 0
) -> Revealed:
    """As `reveal`, in a process that is already there."""

    def run(arrays: Mapping[str, Float32]) -> Float32:
        return live.run(op, params, arrays)

    return replace(reveal_run(run, op, shapes, params, seed), mode=live.mode.name)


def reveal_run(
    run: Run, op: str, shapes: Mapping[str, Sequence[int]], params: Mapping[str, Any], seed: int = 0
) -> Revealed:
    """As `reveal`, of any function that takes the op's arrays and returns its output."""
    kernel = SumKernel(op, params, {name: tuple(shape) for name, shape in shapes.items()}, run)
    search = _Search(kernel, np.random.default_rng(seed))
    try:
        return search.result()
    except KernelError as reason:
        return search.refused(str(reason))
    except NoTree as reason:
        return search.transformed(str(reason))


@dataclass
class _Open:
    """A part and those of its outputs (channels, positions) whose order is still open."""

    part: SumPart
    tests: list[Trial]
    alike: npt.NDArray[np.int64] | None
    open: npt.NDArray[np.bool_]


class _Search:
    """One kernel under examination."""

    def __init__(self, kernel: SumKernel, rng: np.random.Generator) -> None:
        self.kernel, self.rng = kernel, rng
        self.began = time.perf_counter()
        self.classes: list[TreeClass] = []
        self.owner = np.full(kernel.shape, -1, np.int16)
        self.formats = ("binary32", "binary32")
        self.flags: dict[str, bool] = {}
        self.probes = 0
        self.deterministic = False
        self.reasons: dict[str, None] = {}

    def result(self) -> Revealed:
        self._check()
        self.deterministic = True
        self.formats = operand_formats(self.kernel, self.rng)
        tests = trials(self.kernel, self.rng)
        for part in self.kernel.parts:
            self._part(part, tests)
        if not self.classes:
            raise NoTree("; ".join(self.reasons) or "no output is a sum of products")
        self._set_flags()
        equal = {kind: self._validated(kind) for kind in FRESH}
        missing = int(np.sum(self.owner < 0)) - self._without_terms()
        reason = ""
        if missing:
            reason = (
                f"{missing} of {self.owner.size} outputs follow no order found: {'; '.join(self.reasons)}"
            )
        elif min(equal.values()) < 1.0:
            reason = "the orders found do not give all outputs of fresh data"
        return self._revealed(reason, equal)

    def transformed(self, reason: str) -> Revealed:
        """What is no sum of its products may be one of transformed operands."""
        if not self.deterministic:
            return self.refused(reason)
        found = winograd_variant(self.kernel, FRESH, self.rng)
        if found is None:
            like = recognised(self.kernel, self.rng)
            return self.refused("; ".join(filter(None, (reason, like))))
        return replace(self.refused(""), algorithm=f"Winograd {found[0].name}", equal=found[1])

    def refused(self, reason: str) -> Revealed:
        self.classes, self.owner = [], np.full(self.kernel.shape, -1, np.int16)
        return self._revealed(reason, {})

    def _revealed(self, reason: str, equal: Mapping[str, float]) -> Revealed:
        kernel = self.kernel
        return Revealed(
            kernel.op,
            kernel.params,
            kernel.shapes,
            tuple(self.classes),
            self.owner,
            equal,
            *self.formats,
            self.flags,
            kernel.calls,
            self.probes,
            time.perf_counter() - self.began,
            reason,
        )

    def _check(self) -> None:
        """Refuse what answers NaN, or differently from run to run."""
        terms = max((part.terms for part in self.kernel.parts), default=0)
        if terms + self.kernel.bias >= LIMIT:
            raise NoTree(f"{terms} terms: only sums of fewer than {LIMIT} can be revealed")
        arrays = fresh(self.kernel, "normal", self.rng)
        results = [self.kernel.call(arrays) for _ in range(RUNS)]
        bad = int(np.sum(~np.isfinite(results[0])))
        if bad:
            raise NoTree(f"{bad} of {results[0].size} outputs are NaN or infinite for normal random data")
        distinct = len({result.tobytes() for result in results})
        if distinct > 1:
            raise NoTree(f"not deterministic: {distinct} distinct results in {RUNS} runs on the same data")

    def _part(self, part: SumPart, tests: list[Trial]) -> None:
        at = _Open(part, tests, clusters(part, self.rng), np.ones((part.channels, part.positions), np.bool_))
        known = {(each.tree, each.final): None for each in self.classes if each.tree.leaves == part.terms}
        for tree, final in known:
            self._take(at, tree, final, strict=True)
        tries = ROUNDS
        while at.open.any() and tries:
            tries -= 1
            try:
                tree = self._tree(at, *part.fullest(at.open))
            except NoTree as reason:
                self.reasons[str(reason)] = None
                return
            # Outputs that answer alike are taken together; only where that fails, in smaller groups.
            final = self._final(at, tree)
            if not any(self._take(at, tree, final, strict) for strict in (True, False)):
                self.reasons["the revealed tree does not give the framework's bits"] = None
                return
        if at.open.any():
            self.reasons[f"more than {ROUNDS} different orders"] = None

    def _final(self, at: _Open, tree: SummationTree) -> str:
        """What follows the sum, by what most outputs agree with: a wrong one agrees on some, by chance."""
        ways = finals(self.kernel)
        if len(ways) == 1:
            return ways[0]
        return max(ways, key=lambda final: int(agreement(at.part, tree, final, at.tests, at.open).sum()))

    def _take(self, at: _Open, tree: SummationTree, final: str, strict: bool) -> bool:
        """Give the tree all open outputs for which it holds; False for none."""
        if not at.open.any():
            return True
        equal = agreement(at.part, tree, final, at.tests, at.open)
        taken = np.zeros_like(at.open)
        while (more := accepted(equal, at.open, len(at.tests), at.alike, strict)).any():
            taken |= more
            at.open &= ~more
        if not taken.any():
            return False
        self.owner.reshape(-1)[at.part.index[taken]] = len(self.classes)
        where = where_in_words(self.kernel, at.part, taken)
        self.classes.append(TreeClass(tree, at.part.number, int(taken.sum()), where, final))
        return True

    def _tree(self, at: _Open, channel: int, position: int) -> SummationTree:
        part = at.part
        asker = Asker(part, channel, position, self.rng, at.alike)
        live = part.live(channel, position).tolist()
        columns = part.terms + self.kernel.bias
        try:
            order = reveal_order(asker.ask, live, columns)
            exact = self.kernel.other is None or "binary32" not in self.formats
            tree = assemble(asker.ask, order, part.terms, self.kernel.bias, exact)
            double = self._in_double(asker, live, columns)
        finally:
            self.probes += asker.probes
        operands = next((name for name in self.formats if name != "binary32"), "binary32")
        return replace(
            tree,
            accumulator="binary64" if double else "binary32",
            operands=operands,
            axes=leaf_axes(self.kernel, part),
        )

    def _in_double(self, asker: Asker, live: Sequence[int], columns: int) -> bool:
        """Whether masks of 2**30 swamp no ones, as they do in float32, while 2**60 does."""
        if len(live) < 3:
            return False
        pair = [(live[0], live[-1])] if live[-1] < columns - 1 else [(live[0], live[-2])]
        small, large = (
            float(asker.ask(masks(pair, live, columns, size), 1.0)[0]) for size in (2.0**30, MASK)
        )
        return small == len(live) - 2 and small != large

    def _set_flags(self) -> None:
        self.flags = accumulator_flags(self.kernel, self.classes)
        flush = self.flags.get("daz", False) and self.flags.get("ftz", False)
        zero = self.flags.get("zero_start", False)
        self.classes = [
            replace(each, tree=replace(each.tree, flush=flush, zero_start=zero)) for each in self.classes
        ]

    def _validated(self, kind: str) -> float:
        """The share of outputs equal bit for bit on fresh data."""
        arrays = fresh(self.kernel, kind, self.rng)
        result = self.kernel.call(arrays)
        equal = 0
        for part in self.kernel.parts:
            owner = part.output(self.owner)
            wanted = part.output(result).view(np.uint32)
            for number in np.unique(owner[owner >= 0]):
                each = self.classes[number]
                positions = np.flatnonzero((owner == number).any(axis=0))
                got = evaluated(part, each.tree, each.final, arrays, positions).view(np.uint32)
                equal += int(np.sum((got == wanted[:, positions]) & (owner[:, positions] == number)))
        total = self.owner.size - self._without_terms()
        return equal / total if total else 1.0

    def _without_terms(self) -> int:
        """Outputs that are sums of nothing (the far side of a transposed convolution)."""
        return self.owner.size - sum(part.channels * part.positions for part in self.kernel.parts)
