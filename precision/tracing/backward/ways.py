"""Do the gradients of two models take the same ways?  What no layer by itself can show.

`x.detach()`, `no_grad` and `stop_gradient` leave every number of the forward pass and every layer's own
gradient as it is, and cut the way between two layers. The pass over the whole model says which operands
nothing flows back through; what that does not show, the totals do at last.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from precision.tracing.backward.chain import STOPPED, GradientRow, word_of
from precision.tracing.backward.totals import Totals
from precision.tracing.judge import FINE, RANDOM, Finding
from precision.tracing.run import Row
from precision.tracing.units import Unit

_FAR, _TIMES = 2.0**-6, 16.0
"""Relative error of one model's total gradient, and how much more it is than the other's, that no rounding of
well-conditioned layers makes."""
_FIX = "stop gradients at the same places (no_grad, detach, stop_gradient)"


@dataclass(frozen=True)
class Ways:
    """Where gradients go in one model: its units, and what the pass over all of it gave."""

    units: Sequence[Unit]
    totals: Totals

    def cuts(self, number: int) -> set[str]:
        """Operands of a unit at which the way back ends: not those of units after it, which get no gradient
        for what they would hand on."""
        groups = self.units[number].sources
        found = set()
        for name in self.totals.stopped.get(number, ()):
            k = int(name.removeprefix("in"))
            before = groups[k] if k < len(groups) else ()
            if not before or not all(s >= 0 and self._dead(s) for s in before):
                found.add(name)
        return found

    def _dead(self, number: int) -> bool:
        """Whether nothing flows back through a unit, neither to its operands nor to a weight."""
        stopped = self.totals.stopped.get(number, set())
        count = len(self.units[number].sources)
        weights = [name for name in self.totals.parts.get(number, {}) if not name.startswith("in")]
        return bool(stopped) and len(stopped) == count and not weights


def compare_ways(
    rows: list[GradientRow],
    layers: Sequence[Row],
    a: Ways,
    b: Ways,
    partner: Mapping[int, int],
    swapped: Collection[int],
) -> None:
    """Put a finding on each gradient of the inputs of a layer that goes on in one model alone, and on the
    first total that nothing explains.

    rows: changed, and added to where A's way ends before it comes to that layer. layers: A's.  partner: A's
    unit of each of B's; swapped: units of B that take A's two operands the other way round.
    """
    at = {(row.row.a.number, row.name): row for row in rows if row.row is not None}
    for theirs, ours in partner.items():
        turn = {"in0": "in1", "in1": "in0"} if theirs in swapped else {}
        others = {turn.get(name, name) for name in b.cuts(theirs)}
        for name in a.cuts(ours) ^ others:
            row = at.get((ours, name))
            if row is None:
                row = at[ours, name] = _stopped(layers[ours], name)
                rows.append(row)
            elif not _fine(row):
                continue
            cut, goes = ("B", "A") if name in others else ("A", "B")
            words = ("stopped", "flows") if cut == "A" else ("flows", "stopped")
            detail = f"in {cut} {STOPPED}, in {goes} it goes on to the layers before"
            row.b = Finding("semantics", "gradient", *words, "proved", detail, _FIX)
    rows.sort(key=lambda row: len(layers) if row.row is None else -row.row.a.number)
    _unexplained(rows)


def _stopped(layer: Row, name: str) -> GradientRow:
    shape = layer.a.main.shapes[0] if layer.a.main.shapes else ()
    return GradientRow(layer, name, word_of(name, len(layer.inputs)), shape, Finding(RANDOM, detail=STOPPED))


def _unexplained(rows: Sequence[GradientRow]) -> None:
    """Call the first total unexplained that is far off in one model, every layer after it being fine.

    Where terms cancel (the bias of an attention's keys has no gradient at all), rounding is large beside what
    is left, and nothing can be told; nor of what is handed on from there.
    """
    for row in rows:
        if not _fine(row) or row.notes:
            return
        a, b = row.split_a.total_relative, row.split_b.total_relative
        if a is None or b is None or max(a, b) <= _FAR:
            continue
        far = "a" if a > b else "b"
        if max(a, b) > _TIMES * min(a, b) and row.scaled.get(far, 0.0) > _FAR:
            detail = (
                f"the total gradient of {far.upper()} is {max(a, b):.2g} of it away from the truth chain's, "
                f"the other model's {min(a, b):.2g}, and every layer by itself is exact or rounding: "
                "gradients take another way"
            )
            row.b = Finding("unexplained", detail=detail, mend=_FIX)
            return
        if row.name.startswith("in"):
            return


def _fine(row: GradientRow) -> bool:
    return row.a.verdict in FINE and row.b is not None and row.b.verdict in FINE
