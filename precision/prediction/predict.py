"""What TF32, bfloat16 or float16 on a GPU's tensor cores would do to a layer, without the GPU.

predict("conv2d-5x5-s2-uniform", architecture="h100", format="tf32") -> Prediction

The output is that of the tensor-core model (`reference.tensorcore`), for one order of the products and one
rounding of the operands; both are stated, and the others that a library may choose are shown beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from precision.capture import write_atomically
from precision.cases import Case
from precision.judging.finding import plain
from precision.prediction.figures import Part, Variant
from precision.prediction.orders import DEFAULT
from reference.tensorcore import Unit
from reference.truth import Truth

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1
LIMIT = 500_000_000
"""Multiply-adds of one emulation; of more a sample is taken. An order takes about a second for them."""

Float32 = npt.NDArray[np.float32]
Booleans = npt.NDArray[np.bool_]


@dataclass(frozen=True, repr=False)
class Prediction:
    """What a tensor core would return, its error against the certified truth, and how sure that is.

    Where the layer is large, all arrays are rows of a seeded sample, and `index` holds its places in the flat
    result; else they have the result's shape and `index` is None. unit is None for an op that no tensor core
    computes: the prediction is then float32's.
    """

    title: str
    op: str
    format: str
    unit: Unit | None
    rounding: str
    rounding_reason: str
    terms: int
    """The most products in one sum."""
    outputs: int
    """Elements of the whole result."""
    truth: Truth
    predicted: Variant
    others: tuple[Variant, ...]
    """The same under other orders ("order"), roundings ("rounding") and compilations ("unit"); then what
    plain float32 would give ("float32")."""
    index: npt.NDArray[np.int64] | None = None
    parts: Mapping[str, Part] = field(default_factory=dict)
    """By cause: the parts of the error, which add up to it."""
    agreement: tuple[Mapping[str, Any], ...] = ()
    """How well recorded outputs agree; see `precision.prediction.agreement`."""
    worst: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def output(self) -> Float32:
        """The predicted numbers, float32."""
        return self.predicted.output

    def certain(self, *kinds: str) -> Booleans | None:
        """Elements whose bits are the same in every variant of these kinds; None where no unit is modelled.

        A sum that fits one fused step has one order, and is the same in it.
        """
        compared = [each for each in self.others if each.kind in kinds]
        if self.unit is None:
            return None
        same = np.ones(self.output.shape, np.bool_)
        for each in compared:
            same &= each.output.view(np.uint32) == self.output.view(np.uint32)
        return same

    def share_certain(self, *kinds: str) -> float | None:
        """The share of such elements."""
        same = self.certain(*kinds)
        return None if same is None or not same.size else float(np.mean(same))

    def bracket(self, figure: str, *kinds: str) -> tuple[float, float] | None:
        """Least and most of a figure over the prediction and its variants of these kinds."""
        found = [self.predicted, *(each for each in self.others if each.kind in kinds)]
        values = [value for each in found if (value := each.figures.get(figure)) is not None]
        return (min(values), max(values)) if values else None

    def interval(self) -> tuple[Float32, Float32]:
        """The least and the largest result of each element over all orders that were evaluated."""
        found = [self.output, *(each.output for each in self.others if each.kind == "order")]
        with np.errstate(invalid="ignore"):
            return np.minimum.reduce(found), np.maximum.reduce(found)

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row for the prediction and for each variant; the unit stands in the column's name."""
        import pandas as pd

        return pd.DataFrame([each.row for each in (self.predicted, *self.others)])

    @property
    def budget(self) -> pd.DataFrame:
        """A row for each cause of the predicted error; the shares add up to 1."""
        import pandas as pd

        return pd.DataFrame([part.row for part in self.parts.values()])

    def to_json(self) -> dict[str, Any]:
        """The schema of `precision predict --json`."""
        unit = self.unit
        orders = self.bracket("accumulation_bias_u", "order")
        return {
            "schema": SCHEMA,
            "target": self.title,
            "op": self.op,
            "format": self.format,
            "unit": None
            if unit is None
            else {
                "architecture": unit.architecture,
                "terms_a_step": unit.terms,
                "fraction_bits": unit.fraction_bits,
                "compared_with_hardware": unit.recorded,
            },
            "operand_rounding": {"mode": self.rounding, "reason": self.rounding_reason},
            "order": {"name": self.predicted.name, "words": self.predicted.words},
            "products_a_sum": self.terms,
            "outputs": self.outputs,
            "predicted_outputs": self.output.size,
            "accumulation_bias_u": {
                "predicted": plain(self.predicted.figures.get("accumulation_bias_u")),
                "least": None if orders is None else plain(orders[0]),
                "most": None if orders is None else plain(orders[1]),
            },
            "share_certain": {
                "orders": self.share_certain("order"),
                "orders_roundings_units": self.share_certain("order", "rounding", "unit"),
            },
            "table": [plain(each.row) for each in (self.predicted, *self.others)],
            "parts": [plain(part.row) for part in self.parts.values()],
            "worst": [plain(each) for each in self.worst],
            "agreement": [plain(each) for each in self.agreement],
            "notes": list(self.notes),
        }

    def save(self, path: Path) -> None:
        """Write the predicted numbers as a safetensors file: `output`, and of a sample also `index`."""
        from safetensors.numpy import save

        tensors: dict[str, npt.NDArray[Any]] = {"output": np.ascontiguousarray(self.output)}
        if self.index is not None:
            tensors["index"] = self.index
        facts = {
            "target": self.title,
            "op": self.op,
            "format": self.format,
            "architecture": "none" if self.unit is None else self.unit.architecture,
            "operand_rounding": self.rounding,
            "order": self.predicted.name,
            "origin": "predicted by a model, not recorded",
        }
        write_atomically(path, save(tensors, metadata=facts))

    def __repr__(self) -> str:
        unit = "float32" if self.unit is None else self.unit.name
        return f"<Prediction of {self.op} on {unit}: {self.output.size} outputs>"

    def __str__(self) -> str:
        from precision.prediction.text import text

        return text(self)

    def _repr_html_(self) -> str:
        from precision.prediction.text import html

        return html(self)


def predict(
    case: Mapping[str, Any] | str | Path | Case,
    architecture: str = "h100",
    format: str = "tf32",
    *,
    rounding: str = "auto",
    order: str = DEFAULT,
    bias_joins: str = "last",
    limit: int = LIMIT,
    seed: int = 0,
    against: str | Path | None = None,
) -> Prediction:
    """Emulate a layer on an architecture's tensor cores and score that against the certified truth.

    case: a mapping with `op`, `params`, `layout` and `arrays`, the path of a case folder, or the id of a
    suite's case. architecture: "volta" ... "blackwell", a card ("h100") or "sm_90". format: "tf32", "bf16",
    "fp16"; "tf32.wmma" for kernels compiled through WMMA since Hopper. rounding: of the operands, "rna",
    "rne", "rz", or "auto" for what the architecture's own templates do. order: of the products, one of
    `precision.prediction.orders`. bias_joins: "last", in one more float32 addition, or "first", as the
    accumulator that the sum starts from. limit: multiply-adds above which a sample, drawn by `seed`, is
    predicted. against: a folder of captures that hold the case's output; the outputs of a case folder are
    always compared.

    Raises UserError (a ValueError where the case itself is wrong), in one line.
    """
    from precision.prediction.judge import predicted

    return predicted(
        case, architecture, format, rounding, order, bias_joins, limit, seed,
        None if against is None else Path(against),
    )  # fmt: skip
