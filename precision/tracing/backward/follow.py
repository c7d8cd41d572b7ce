"""B's gradients, on A's numbers, judged on what A declares; and all gradients of two models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.errors import UserError
from precision.judging.case_folder import CaseError
from precision.tracing.backward.chain import CHOICES, STOPPED, GradientChain, GradientRow, kinks, pulled
from precision.tracing.backward.pullback import Pullback
from precision.tracing.backward.totals import TotalPass, Totals, asked, input_keys, input_split
from precision.tracing.backward.ways import Ways, compare_ways
from precision.tracing.declared import Declared
from precision.tracing.fitting import distance, equal_inputs, fitted, swapped
from precision.tracing.follow import AGREED, Follower, with_weights
from precision.tracing.judge import FINE, RANDOM, UNKNOWN, Finding, finding_of
from precision.tracing.process import ModelError
from precision.tracing.run import Chain, Progress, Row, count_inputs

Float32 = NDArray[np.float32]
Arrays = Mapping[str, Float32]
_NEARER = 1.0 / 64.0
"""What B's own gradient leaves of the error against A's, at most, where it is the nearer one."""
_ONE_CHOICE = "keep arguments off the kink and maxima apart, or give both models one convention there"


class GradientFollower:
    """B's gradients on A's numbers, judged on what A declares."""

    def __init__(self, follower: Follower, chain: GradientChain, total: TotalPass | None) -> None:
        self.follower, self.chain, self.side = follower, chain, follower.side
        self.partner, self.total = follower.partner, Totals() if total is None else total.found
        self._unfed: set[int] = set()
        self.swapped: set[int] = set()

    def run(self) -> None:
        """The whole pass."""
        self.side.process.run(asked(self.side, "gradients"), self.side.arrays, self._answer)
        for row in self.chain.rows:
            if row.row is None:
                found = self.chain.of_inputs[-1 - int(row.name.removeprefix("in"))].astype(np.float32)
                row.split_b = input_split(self.total, row.name, found, self.chain.store)
                row.keys |= input_keys(self.total, row.name, "total_b")
                row.b = row.a

    def _answer(self, head: Mapping[str, Any], arrays: dict[str, Float32]) -> tuple[dict[str, Any], Arrays]:
        number, event = int(head["unit"]), head["event"]
        at = self.partner.get(number)
        if at is None:
            return ({"skip": True}, {}) if event == "pull" else ({}, {})
        row, store = self.chain.chain.rows[at], self.chain.store
        if event == "start":
            return self._start(number, row, arrays)
        if event == "end":
            truth = (
                fitted(store.get(row.keys["truth"]), arrays["output"].shape) if "truth" in row.keys else None
            )
            return {}, {} if truth is None else {"output": truth}
        if event == "pull":
            gradient = self._arriving(number, at)
            return ({"skip": True}, {}) if gradient is None else ({}, {"gradient": gradient})
        self._judge(number, at, head, arrays)
        return {}, {}

    def _start(self, number: int, row: Row, arrays: Arrays) -> tuple[dict[str, Any], Arrays]:
        own = [arrays[f"in{k}"] for k in range(count_inputs(arrays))]
        wanted = self.chain.store.all(row.inputs)
        if equal_inputs(own, wanted, row.a.op):
            if swapped(own, wanted, row.a.op):
                self.swapped.add(number)
            return {}, {}
        shaped = [fitted(a, b.shape) for a, b in zip(wanted, own, strict=False)]
        if len(own) != len(wanted) or row.a.op == "concat" or any(each is None for each in shaped):
            self._unfed.add(number)
            return {}, {}
        return {"feed": True}, {f"in{k}": each for k, each in enumerate(shaped) if each is not None}

    def _arriving(self, number: int, at: int) -> Float32 | None:
        if at not in self.chain.arriving:
            return None
        return fitted(self.chain.store.get(self.chain.arriving[at]), self.side.units[number].shape)

    def _judge(self, number: int, at: int, head: Mapping[str, Any], arrays: Arrays) -> None:
        found = {name.removeprefix("weight."): array for name, array in arrays.items()}
        found = {self._own_name(number, name): array for name, array in found.items()}
        row, mine = self.chain.chain.rows[at], self.chain.own(at)
        for name in sorted({name for unit, name in self.chain.at if unit == at}):
            of, own = self.chain.at[at, name], found.get(name)
            if own is None or name not in mine:
                of.b = self._without(number, name, head, own is not None, name in mine)
                continue
            known = self.chain.pullbacks(at).get(name)
            if known is None:
                of.b = self._between(own, mine.get(name))
                continue
            of_a = mine.get(name)
            pull: Pullback | None = known
            settled = of.a.verdict in FINE or of.a.parameter in CHOICES
            if of_a is not None and settled and np.array_equal(own, of_a):
                of.b = of.a  # the same bits on the same numbers
            else:
                of.b, pull = self._finding(number, row, name, own, known)
                of.b = _chosen(of.a, of.b)
            ordinary = self.chain.store.all(self.follower.ordinary.inputs[number])
            of.notes += kinks(row, name, ordinary, self.chain.store, "B")
            if pull is not None:
                self.chain.measure(of, "b", self.total, number, self._own_name(number, name), pull, own)

    def _without(self, number: int, name: str, head: Mapping[str, Any], in_b: bool, in_a: bool) -> Finding:
        """What is said where an autograd gives no such gradient."""
        if not name.startswith("in") and name not in self.side.units[number].weights:
            return Finding(RANDOM, detail=f"B's layer has no {name}")
        if head.get("error"):
            return Finding("not run", detail=str(head["error"]))
        if in_a == in_b:
            return Finding(RANDOM, detail=STOPPED)
        words = {True: "flows", False: "stopped"}
        detail = f"{'A' if in_b else 'B'}'s {STOPPED}; the other's does"
        fix = "stop gradients at the same places (no_grad, detach, stop_gradient, trainable)"
        return Finding("semantics", "gradient", words[in_a], words[in_b], "proved", detail, fix)

    def _finding(
        self, number: int, row: Row, name: str, own: Float32, pull: Pullback
    ) -> tuple[Finding, Pullback | None]:
        """The verdict, and the exact gradient that its figures are measured against; pull: A's."""
        at, framework = row.a.number, self.side.framework
        shaped = fitted(own, pull.truth.value.shape)
        within = shaped is not None and pull.explains(shaped)
        told = _searched(pull, framework, shaped) if shaped is not None and within else None
        if told is not None and shaped is not None and told.verdict in FINE:
            return self._nearer(number, row, name, pull, shaped) or told, pull
        differ = row.weights.startswith("differ")
        other = self._with_its_weights(number, at, name) if differ else None
        if other is not None and shaped is not None and other.explains(shaped):
            detail = f"with its own weights every gradient is within the bound, but {row.weights}"
            fix = "copy A's weights, --weights a carries them"
            return Finding("data", "weights", "A's", row.weights, "proved", detail, fix), pull
        of_b = self._of_b(number, at, name)
        if of_b is not None and of_b.explains(own):
            found = _as_declared(row, finding_of(of_b.explained(framework, own)), within)
            return found, of_b if shaped is None or found.verdict in FINE else pull
        return self._unsettled(number, pull, own, told)

    def _nearer(self, number: int, row: Row, name: str, pull: Pullback, shaped: Float32) -> Finding | None:
        """The finding of a layer that is known to compute something else, where its gradient is far nearer to
        that of what B declares, though the bound of A's, wide as it is, allows it."""
        if row.finding_b is None or row.finding_b.verdict != "semantics":
            return None
        of_b = self._of_b(number, row.a.number, name)
        if of_b is None or of_b.truth.value.shape != shaped.shape or not of_b.explains(shaped):
            return None
        left, right = (np.abs(each.truth.error(shaped)) for each in (pull, of_b))
        visible = bool((left > 8.0 * pull.truth.ulp(np.float32)).any())
        if not visible or not float(np.sum(right)) < _NEARER * float(np.sum(left)):
            return None
        return _as_declared(row, Finding("rounding"), True)

    def _unsettled(
        self, number: int, pull: Pullback, own: Float32, told: Finding | None
    ) -> tuple[Finding, Pullback | None]:
        """What is said where neither declaration explains the gradient; told: what the search found."""
        shaped = fitted(own, pull.truth.value.shape)
        if number in self._unfed:
            detail = "the layer takes another input in B, which could not be made A's: see the layers"
            return Finding(RANDOM, detail=detail), None
        if shaped is None:
            detail = f"its shape is {list(own.shape)}, not {list(pull.truth.value.shape)}"
            return Finding("unexplained", detail=detail), None
        return told or _searched(pull, self.side.framework, shaped), pull

    def _of_b(self, number: int, at: int, name: str) -> Pullback | None:
        """The exact gradient of what B's own unit declares, on what it was fed."""
        return self._pull(self.follower.declaration(number), number, at).get(self._own_name(number, name))

    def _with_its_weights(self, number: int, at: int, name: str) -> Pullback | None:
        ours = self.chain.chain.known(at)
        if ours is None:
            return None
        theirs = self.follower.declaration(number)
        return self._pull(with_weights(ours.flattened(theirs.flatten), theirs), number, at).get(name)

    def _own_name(self, number: int, name: str) -> str:
        turn = {"in0": "in1", "in1": "in0"} if number in self.swapped else {}
        return turn.get(name, name)

    def _pull(self, declared: Declared, number: int, at: int) -> dict[str, Pullback]:
        gradient = self._arriving(number, at)
        return {} if gradient is None or not declared.known else pulled(declared, gradient)

    def _between(self, own: Float32, of_a: Float32 | None) -> Finding:
        """Of a gradient that the reference does not have: how far the two frameworks are apart."""
        shaped = None if of_a is None else fitted(own, of_a.shape)
        if shaped is None or of_a is None:
            return Finding(UNKNOWN, detail="the reference has no gradient of it, and A's has another shape")
        apart = 0.0 if np.array_equal(shaped, of_a, equal_nan=True) else distance([shaped], [of_a])
        size = "by nothing" if apart == 0 else f"by {apart:.2g} of it (Euclidean norms)"
        detail = f"the reference has no gradient of it; on the same numbers A and B differ {size}"
        if apart is None or not apart < AGREED:
            return Finding("unexplained", detail=detail, mend="compare the layer's parameters by hand")
        return Finding(UNKNOWN, detail=detail)


def _as_declared(row: Row, verdict: Finding, within: bool) -> Finding:
    """The verdict on a gradient that is the one of what B's own layer declares, and not of what A's does.

    within: whether the bound of A's allows it all the same, though the search finds that it is no rounding.
    """
    evidence = "consistent" if within else "proved"
    changed, visible = row.finding_b, [each for each in row.differences if not each.silent]
    if changed is not None and changed.verdict == "semantics":
        detail = "it is the gradient of what B's layer computes, and that is not what A declares"
        return replace(changed, evidence=evidence, detail=detail)
    if not visible or verdict.verdict not in FINE:
        return verdict  # declared in other words: an image taken apart in another order, weights to match
    words = ", ".join(each.parameter for each in visible)
    detail = f"B's gradient is that of what it declares; {'; '.join(each.words for each in visible)}"
    declared: Any = [each.declared for each in visible]
    found: Any = [each.found for each in visible]
    if len(visible) == 1:
        declared, found = declared[0], found[0]
    return Finding("semantics", words, declared, found, evidence, detail, "give both layers the same")


def _chosen(a: Finding, b: Finding) -> Finding:
    """B's finding where A chooses among several right values: as A, or otherwise than A."""
    if a.parameter not in CHOICES or b.verdict not in (*FINE, "semantics"):
        return b
    if b.verdict in FINE:
        return replace(a, verdict="semantics", declared=a.found, found=a.declared, mend=_ONE_CHOICE)
    if b.parameter != a.parameter:
        return b
    return a if b.found == a.found else replace(b, declared=a.found)


def _searched(pull: Pullback, framework: str, output: Float32) -> Finding:
    """What the search says of a gradient; a cause that it cannot prove is a guess beside the layers' own."""
    try:
        found = finding_of(pull.explained(framework, output))
    except (CaseError, ValueError) as error:
        return Finding("unexplained", detail=str(error))
    if found.verdict in ("semantics", "data") and found.evidence != "proved":
        detail = f"it is no rounding of A's gradient, nor what B declares; nearest: {found.detail}"
        return Finding("unexplained", detail=detail, mend="look at how both models differentiate this layer")
    return found


def gradient_rows(
    follower: Follower, chain: Chain, seed: int, progress: Progress
) -> tuple[list[GradientRow], list[str]]:
    """All gradients of both models, from the outputs back to the inputs, and notes.

    Raises UserError where A's gradients cannot be computed.
    """
    notes = []
    total_a = TotalPass(chain.side, chain.store, seed).run()
    back = GradientChain(chain, total_a, lambda name: progress(f"gradient {name}"))
    back.run()
    total_b: TotalPass | None = None
    try:
        total_b = TotalPass(follower.side, chain.store, seed, total_a.cotangents).run()
    except UserError as error:
        notes.append(f"B's total gradients are not measured: {error}")
    gradients = GradientFollower(follower, back, total_b)
    try:
        gradients.run()
    except ModelError as error:
        notes.append(f"B's gradients were not computed on A's values: {error}")
    rows = [row.finding_b for row in chain.rows]
    if total_b is not None and all(found is not None and found.verdict in FINE for found in rows):
        ways = Ways(chain.side.units, total_a.found), Ways(follower.side.units, total_b.found)
        compare_ways(back.rows, chain.rows, *ways, follower.partner, gradients.swapped)
    return back.rows, notes
