"""In which order a kernel adds: the masks that reveal it, asked where the kernel is, kept with the answers.

The walk of `precision.orders.probe` decides each question by the answers before; it needs NumPy alone, so it
runs here, and every question it asks is recorded.  The same walk over the records, anywhere, asks the
same questions and finds them all (`precision.orders.records`).  Where the walk stops, some leaves are asked
against all others: what was seen is still there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from precision.inputs import Float32
from precision.orders.join_questions import ALPHA, join_rows, joins_of, several_terms, truncation_rows
from precision.orders.probe import MASK, NoTree, masks, reveal_order
from precision.recording import Kernel, Notes, Tensors
from precision.recording.product import Product
from precision.sampling import sample_index

DATA = ("uniform", "normal")
KEPT = 2048
FEW = 3
"""Numbers that differ from the background in one question: two masks and a one, or two factors."""


@dataclass
class Records:
    """Questions as rows of few numbers, and their answers.

    A row is `background` (0 or 1) everywhere but at up to FEW places (-1: unused); it is asked with `alpha`.
    """

    background: list[float] = field(default_factory=list)
    places: list[list[int]] = field(default_factory=list)
    values: list[list[float]] = field(default_factory=list)
    alpha: list[float] = field(default_factory=list)
    answer: list[float] = field(default_factory=list)

    def add(self, rows: Float32, alpha: float, answers: Float32) -> None:
        """Keep some questions and their answers."""
        for (background, places, values), answer in zip(map(sparse, rows), answers, strict=True):
            self.background.append(background)
            self.places.append([*places, *[-1] * (FEW - len(places))])
            self.values.append([*values, *[0.0] * (FEW - len(values))])
            self.alpha.append(alpha)
            self.answer.append(float(answer))

    def tensors(self) -> Tensors:
        """The masks (+M, -M, ones elsewhere) as pairs of places, all else in full."""
        pair = [
            background == 1.0 and alpha == 1.0 and values == [MASK, -MASK, 0.0]
            for background, alpha, values in zip(self.background, self.alpha, self.values, strict=True)
        ]
        is_pair = np.array(pair, np.bool_)
        places = np.array(self.places, np.int32).reshape(-1, FEW)
        answer = np.array(self.answer, np.float32)
        return {
            "pairs": places[is_pair, :2],
            "answer": answer[is_pair],
            "places": places[~is_pair],
            "values": np.array(self.values, np.float32).reshape(-1, FEW)[~is_pair],
            "background": np.array(self.background, np.float32)[~is_pair],
            "alpha": np.array(self.alpha, np.float32)[~is_pair],
            "other_answer": answer[~is_pair],
        }


def sparse(row: Float32) -> tuple[float, list[int], list[float]]:
    """Return a row's background and what differs from it, +M before -M.  Raises `NoTree` for too much."""
    ones = int(np.sum(row == 1.0))
    background = 1.0 if ones > FEW else 0.0
    places = np.flatnonzero(row != np.float32(background))
    if places.size > FEW:
        raise NoTree(f"a question has at most {FEW} numbers of its own; got {places.size}")
    order = sorted(places.tolist(), key=lambda place: (-float(row[place]), place))
    if background == 1.0:
        order = sorted(order, key=lambda place: float(row[place]) <= 0)
    return background, order, [float(row[place]) for place in order]


def record(kernel: Kernel, probe_id: str, op: str, terms: int) -> tuple[Tensors, Notes]:
    """Ask for the order of `terms` products, for how they are joined, and for answers to seeded data."""
    product = Product(kernel, op, terms)
    records = Records()

    def ask(rows: Float32, alpha: float) -> Float32:
        answers = product.ask(rows, alpha)
        records.add(rows, alpha, answers)
        return answers

    notes: Notes = {"op": op, "terms": terms, "shapes": {n: list(s) for n, s in product.shapes.items()}}
    notes["params"] = product.params
    live = range(terms)
    product.find_range()
    try:
        if not product.counts():
            raise NoTree(f"outputs of this format do not count {terms} terms one by one")
        order = reveal_order(ask, live, terms)
        joins = list(dict.fromkeys(join for path in order.paths for join in joins_of(path, terms)))
        if joins:
            ask(join_rows(joins, terms, terms), ALPHA)
        several = several_terms(order, terms)
        if several is not None:
            ask(truncation_rows(several, terms), 1.0)
        notes["stopped"] = ""
    except NoTree as reason:
        notes["stopped"] = str(reason)
        for anchor in (0, terms // 2, terms - 1):
            ask(masks([(anchor, other) for other in live if other != anchor], live, terms), 1.0)
    tensors = records.tensors()
    for kind in DATA:
        tensors |= _data(product, probe_id, kind, notes)
    notes |= {"uneven": product.uneven, "calls": product.calls, "questions": len(records.answer)}
    return tensors, notes


def _data(product: Product, probe_id: str, kind: str, notes: dict[str, Any]) -> Tensors:
    output = product.kernel.run(product.op, product.params, product.data(probe_id, kind))
    notes["output_shape"] = list(output.shape)
    index = sample_index(probe_id, output.shape, KEPT, KEPT)
    if index is None:
        return {kind: output.reshape(-1)}
    return {kind: output.reshape(-1)[index], "data_index": index}
