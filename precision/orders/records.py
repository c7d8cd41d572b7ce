"""The order of a kernel's sums from the recorded answers of an `order` probe: nothing is run.

The walk that asks a live kernel (`precision.orders.probe`, `precision.orders.join_probe`) asks the records
instead. A question that was not recorded is named, never guessed.  The tree found is replayed on the seeded
data of the probe, and is proved where every recorded element comes back bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from precision.capture import Capture
from precision.cases import load_probes
from precision.errors import UserError
from precision.inputs import Float32
from precision.modes import CAPTURE_MODES
from precision.orders.join_probe import assemble
from precision.orders.probe import MASK, Ask, NoTree, reveal_order
from precision.orders.revealed import Revealed, TreeClass
from precision.orders.sum_kernel import SumKernel
from precision.orders.words import leaf_axes
from precision.recording import RecordedProbe
from precision.recording.order import DATA, FEW, sparse
from precision.recording.product import Product
from reference.formats import FORMATS, round_to

Tensors = Mapping[str, npt.NDArray[Any]]
ROUNDINGS = ("RNE", "RNA", "RZ")
OPERAND_FORMATS = ("binary32", "tf32", "bfloat16", "binary16")


class MissingProbe(NoTree):
    """A question whose answer was not recorded; the message names it."""


@dataclass(frozen=True)
class RecordedOrder:
    """An order revealed from a capture, with the rounding of operands that its probes show.

    revealed.equal is of the recorded elements (`elements` of each kind of data).  rounding: how operands get
    their format (RNE, RNA or RZ; empty for float32 operands).
    """

    probe: str
    revealed: Revealed
    rounding: str
    elements: int

    def replay(self, arrays: Mapping[str, Float32]) -> Float32:
        """Every output of the op's arrays in this order, operands rounded first, outputs in float32."""
        return self.revealed.replay(rounded(arrays, self.revealed.left_format, self.rounding))


def reveal_recorded(capture: Capture, probe: RecordedProbe) -> RecordedOrder:
    """Reveal the order that a capture's answers to one `order` probe belong to.

    A kernel without an order is an answer too, with its reason.  Raises `UserError` for a probe that was not
    recorded or does not fit the suite, or whose file was changed.
    """
    notes, tensors = _answers(capture, probe)
    began = time.perf_counter()
    shapes = {name: tuple(shape) for name, shape in notes["shapes"].items()}
    kernel = SumKernel(notes["op"], notes["params"], shapes, _never)
    empty = Revealed(
        notes["op"],
        notes["params"],
        shapes,
        owner=np.full(kernel.shape, -1, np.int16),
        mode=capture.mode,
        calls=int(notes["calls"]),
        probes=int(notes["questions"]),
    )
    taps = shapes["weight"][-1] if notes["op"] == "conv2d" else 0
    operands = _operands(capture, f"operands-{notes['op']}" + ("-1x1" if taps == 1 else ""))
    if operands is None:
        reason = "the operands probe shows none of the known roundings, or was not recorded"
        return RecordedOrder(probe.id, replace(empty, reason=reason), "", 0)
    name, rounding = operands
    elements = int(tensors[DATA[0]].size)
    ask, terms = asker(tensors, int(notes["terms"])), int(notes["terms"])
    try:
        if notes["stopped"]:
            raise NoTree(str(notes["stopped"]))
        order = reveal_order(ask, range(terms), terms)
        tree = assemble(ask, order, terms, False, exact=name != "binary32")
    except NoTree as reason_:
        words = "; ".join(filter(None, (str(reason_), _uneven(notes))))
        return RecordedOrder(probe.id, replace(empty, reason=words), rounding, elements)
    tree = replace(tree, axes=leaf_axes(kernel, kernel.parts[0]))
    found = replace(
        empty,
        classes=(TreeClass(tree, 0, int(np.prod(kernel.shape)), "all outputs"),),
        owner=np.zeros(kernel.shape, np.int16),
        left_format=name,
        right_format=name,
    )
    product = Product(_NoKernel(), notes["op"], terms)
    output_format = next((m.output_format for m in CAPTURE_MODES if m.name == capture.mode), "binary32")
    equal = {}
    for kind in DATA:
        replayed = found.replay(rounded(product.data(probe.id, kind), name, rounding)).reshape(-1)
        kept = replayed[tensors["data_index"]] if "data_index" in tensors else replayed
        if output_format != "binary32":
            kept = round_to(kept, FORMATS[output_format]).astype(np.float32)
        equal[kind] = float(np.mean(kept.view(np.uint32) == tensors[kind].view(np.uint32)))
    reason = "" if min(equal.values()) == 1.0 else "the order found does not give all recorded outputs"
    reason = "; ".join(filter(None, (reason, _uneven(notes) if reason else "")))
    found = replace(found, equal=equal, reason=reason, seconds=time.perf_counter() - began)
    return RecordedOrder(probe.id, found, rounding, elements)


def recorded_orders(capture: Capture, suite: str) -> Iterator[RecordedOrder]:
    """Reveal every order that was probed in a capture."""
    for probe in load_probes(suite):
        cell = capture.cells.get(probe.id)
        if probe.kind == "order" and cell is not None and cell["status"] == "ok":
            yield reveal_recorded(capture, probe)


def asker(tensors: Tensors, terms: int) -> Ask:
    """Return a kernel that answers from a probe's records.  It raises `MissingProbe` for other questions."""
    known: dict[tuple[Any, ...], float] = {}
    for (i, j), answer in zip(tensors["pairs"].tolist(), tensors["answer"].tolist(), strict=True):
        known[(1.0, 1.0, (i, j), (MASK, -MASK))] = answer
    others = (tensors[name].tolist() for name in ("background", "alpha", "places", "values", "other_answer"))
    for background, alpha, places, values, answer in zip(*others, strict=True):
        count = sum(place >= 0 for place in places)
        known[(background, alpha, tuple(places[:count]), tuple(values[:count]))] = answer

    def ask(rows: Float32, alpha: float) -> Float32:
        if rows.shape[1] != terms:
            raise MissingProbe(f"the probe recorded sums of {terms} terms; {rows.shape[1]} were asked")
        answers = np.empty(len(rows), np.float32)
        for number, row in enumerate(rows):
            background, places, values = sparse(row)
            key = (background, float(np.float32(alpha)), tuple(places), tuple(values))
            if key not in known:
                what = f"terms {', '.join(map(str, places[:FEW]))} = {', '.join(f'{v:g}' for v in values)}"
                raise MissingProbe(
                    f"the answer to {what} (others {background:g}, first factors {alpha:g}) was not recorded"
                )
            answers[number] = known[key]
        return answers

    return ask


def rounded(arrays: Mapping[str, Float32], name: str, rounding: str) -> dict[str, Float32]:
    """Return arrays with every number rounded to a format of operands."""
    if name == "binary32":
        return dict(arrays)
    return {key: round_to(a, FORMATS[name], rounding).astype(np.float32) for key, a in arrays.items()}


def _operands(capture: Capture, probe: str) -> tuple[str, str] | None:
    """Format and rounding that explain the recorded answers to an operands probe; None for none."""
    cell = capture.cells.get(probe)
    if cell is None or cell["status"] != "ok":
        return None
    _, tensors = capture.answers(probe)
    asked, answers = tensors["operand"], (tensors["left"], tensors["right"])
    for name in OPERAND_FORMATS:
        for rounding in ROUNDINGS if name != "binary32" else ("",):
            wanted = asked if not rounding else round_to(asked, FORMATS[name], rounding).astype(np.float32)
            if all(_same(wanted, answer) for answer in answers):
                return name, rounding
    return None


def _same(wanted: Float32, answer: Float32) -> bool:
    # An operand beyond the format's range is infinite; beside zeros in the same sum it gives NaN.
    finite = np.isfinite(wanted)
    return bool(np.array_equal(wanted[finite], answer[finite]) and not np.isfinite(answer[~finite]).any())


def _answers(capture: Capture, probe: RecordedProbe) -> tuple[dict[str, Any], Tensors]:
    cell = capture.cells.get(probe.id)
    if probe.kind != "order" or cell is None or cell["status"] != "ok":
        why = "" if cell is None or cell["status"] == "ok" else f" ({cell['reason']})"
        raise UserError(
            f"an order comes from an answered probe of that kind; {capture.folder} has none of "
            f"{probe.id}{why}; capture it with `precision run gpu`"
        )
    if cell["fingerprint"] != probe.fingerprint():
        raise UserError(
            f"a capture fits the suite that reads it; {capture.folder} was made for another declaration of "
            f"{probe.id}; capture again into another folder"
        )
    return capture.answers(probe.id)


def _uneven(notes: Mapping[str, Any]) -> str:
    count = int(notes["uneven"])
    return (
        f"{count} of {notes['questions']} questions were not answered alike at all positions" if count else ""
    )


class _NoKernel:
    def run(self, op: str, params: Mapping[str, Any], arrays: Mapping[str, Float32]) -> Float32:
        raise NotImplementedError("records are read, not asked")

    def varied(self, factor: str, value: Any) -> Any:
        raise NotImplementedError("records are read, not asked")


def _never(arrays: Mapping[str, Float32]) -> Float32:
    raise NotImplementedError("records are read, not asked")
