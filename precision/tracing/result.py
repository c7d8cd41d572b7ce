"""What a trace found: a row for each layer, in the order of A's calls."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from precision.capture import write_atomically
from precision.decisions import FLIPPED, SAFE, Decision
from precision.judging.finding import plain
from precision.tracing.judge import FINE, Finding
from precision.tracing.run import Row
from precision.tracing.store import read_layer

if TYPE_CHECKING:
    import pandas as pd

    from precision.tracing.backward.chain import GradientRow

SCHEMA = 1
HARMLESS = (*FINE, "unknown", "not comparable")
"""Verdicts that are no finding by themselves."""


@dataclass(frozen=True)
class Layer:
    """One layer: A's and B's names, its figures and its verdict, as the table's row has them."""

    values: Mapping[str, Any]

    def __getattr__(self, name: str) -> Any:
        try:
            return self.values[name]
        except KeyError:
            raise AttributeError(name) from None

    def __str__(self) -> str:
        v = self.values
        text = f"{v['layer_a']} ({v['op']}) in B {v['layer_b']}: {v['verdict']}"
        if v["parameter"]:
            text += f", {v['parameter']}: A {v['declared']!r}, B {v['found']!r} ({v['evidence']})"
        return text + (f"; mend: {v['mend']}" if v["mend"] else "")


@dataclass(frozen=True, repr=False)
class Trace:
    """The layers of two models, compared.

    unmatched: names of each model's layers without a partner; notes: what the user should know; decisions: of
    the last layers; modes: of A and B; versions of each. kept: the folder of the arrays, where one was named.
    """

    rows: Sequence[Mapping[str, Any]]
    unmatched: Mapping[str, Sequence[str]]
    notes: Sequence[str] = ()
    decision_list: Sequence[Decision] = ()
    modes: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    kept: Path | None = None
    incomplete: Sequence[str] = ()
    """Those of the unmatched that have weights or stand at a model's end: nothing is said of them."""
    gradient_list: Sequence[Mapping[str, Any]] = ()
    """The gradients, from the outputs back to the inputs, where they were asked for."""

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row for each layer of A; columns ending in _a and _b are of one model."""
        import pandas as pd

        return pd.DataFrame(list(self.rows), columns=list(COLUMNS))

    @cached_property
    def gradients(self) -> pd.DataFrame:
        """A row for each operand of each layer, last layer first: the gradient with respect to it.

        of: input, weight, …; the other columns as in `table`. Empty without `gradients=True`.
        """
        import pandas as pd

        return pd.DataFrame(list(self.gradient_list), columns=list(GRADIENT_COLUMNS))

    @property
    def first_difference(self) -> Layer | None:
        """The first layer that differs in meaning or cannot be explained; else the first of other weights."""
        return _first(self.rows)

    @property
    def first_gradient_difference(self) -> Layer | None:
        """The same of the gradients, on the way back: the layer nearest to the outputs."""
        return _first(self.gradient_list)

    @property
    def decisions(self) -> pd.DataFrame:
        """What is decided by the outputs: see `precision.decisions`."""
        from precision.decisions import table

        return table(list(self.decision_list))

    @property
    def fine(self) -> bool:
        """Whether every layer of both is exact or rounding (or cannot be told), all of them matched."""
        every = [*self.rows, *self.gradient_list]
        verdicts = [row["verdict"] for row in every] + [row["verdict_a"] for row in every]
        flipped = any(each.status == FLIPPED for each in self.decision_list)
        good = all(verdict in (*HARMLESS, "unmatched") for verdict in verdicts)
        return good and not flipped and not self.incomplete

    def layer(self, name: str) -> dict[str, NDArray[np.float32]]:
        """The arrays of a layer of A: truth, fed_a, fed_b, ordinary_a, ordinary_b.

        own = fed - truth and inherited = ordinary - fed. Raises ValueError for another name, or where the
        trace was made without an output folder.
        """
        found = [row for row in self.rows if row["layer_a"] == name]
        if not found:
            raise ValueError(f"a layer is named as in the table; got {name!r}; see trace.table['layer_a']")
        return self._read("layers", found[0])

    def gradient(self, layer: str, of: str) -> dict[str, NDArray[np.float32]]:
        """The arrays of a gradient: truth, fed_a, fed_b, total_a, total_b, those that there are.

        layer, of: as in `gradients`. own = fed - truth and inherited = total - fed. Raises ValueError for
        another name, or where the trace was made without an output folder.
        """
        found = [row for row in self.gradient_list if (row["layer_a"], row["of"]) == (layer, of)]
        if not found:
            raise ValueError(
                f"a gradient is named as in the table; got {layer!r}, {of!r}; see trace.gradients, which "
                "is empty without gradients=True"
            )
        return self._read("gradients", found[0])

    def _read(self, folder: str, row: Mapping[str, Any]) -> dict[str, NDArray[np.float32]]:
        if self.kept is None:
            raise ValueError("arrays are kept in an output folder; got none; trace with output=DIR")
        if row["file"] is None:
            raise ValueError(
                f"arrays are kept of what was computed; {row['layer_a']} has none: {row['detail']}"
            )
        return read_layer(self.kept / folder, str(row["file"]), str(row["sha256"]))

    def to_json(self) -> dict[str, Any]:
        """The schema of `precision trace --json`."""
        first = self.first_difference
        return {
            "schema": SCHEMA,
            "files": dict(self.files),
            "modes": dict(self.modes),
            "versions": {side: dict(found) for side, found in self.versions.items()},
            "fine": self.fine,
            "first_difference": None if first is None else plain(dict(first.values)),
            "unmatched": {side: list(names) for side, names in self.unmatched.items()},
            "notes": list(self.notes),
            "layers": [plain(dict(row)) for row in self.rows],
            "gradients": [plain(dict(row)) for row in self.gradient_list],
            "decisions": [
                {name: plain(getattr(each, name)) for name in Decision.__dataclass_fields__}
                for each in self.decision_list
            ],
        }

    def write(self, folder: Path) -> list[Path]:
        """Write trace.json, trace.csv and trace.txt into a folder; gradients.csv too where there are such."""
        folder.mkdir(parents=True, exist_ok=True)
        content = {
            "trace.json": json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n",
            "trace.csv": self.table.to_csv(index=False),
            "trace.txt": f"{self}\n",
        }
        if self.gradient_list:
            content["gradients.csv"] = self.gradients.to_csv(index=False)
        for name, text in content.items():
            write_atomically(folder / name, text.encode())
        return [folder / name for name in content]

    def __repr__(self) -> str:
        first = self.first_difference
        return f"<Trace of {len(self.rows)} layers: {'no difference of meaning' if first is None else first}>"

    def __str__(self) -> str:
        from precision.tracing.text import text

        return text(self)


def _first(rows: Sequence[Mapping[str, Any]]) -> Layer | None:
    for verdicts in (("semantics", "unexplained"), ("data",)):
        for row in rows:
            if row["verdict"] in verdicts:
                return Layer(row)
    return None


COLUMNS = (
    "layer_a", "layer_b", "op", "shape", "verdict", "parameter", "declared", "found", "evidence", "mend",
    "detail", "verdict_a", "differences", "weights",
    "own_ulp_rms_a", "own_ulp_rms_b", "own_ulp_max_a", "own_ulp_max_b", "own_relative_a", "own_relative_b",
    "total_ulp_rms_a", "total_ulp_rms_b", "total_relative_a", "total_relative_b",
    "total_abs_max_a", "total_abs_max_b", "inherited_ulp_rms_a", "inherited_ulp_rms_b",
    "inherited_relative_a", "inherited_relative_b", "amplification_a", "amplification_b", "file", "sha256",
)  # fmt: skip


def row_values(row: Row) -> dict[str, Any]:
    """A row of the table."""
    found = _joint(row.finding_a, row.finding_b, row.b is not None)
    values: dict[str, Any] = {
        "layer_a": row.a.name,
        "layer_b": row.b.name if row.b is not None else None,
        "op": row.a.op,
        "shape": list(row.a.shape),
        "verdict": found.verdict,
        "parameter": found.parameter,
        "declared": found.declared,
        "found": found.found,
        "evidence": found.evidence,
        "mend": found.mend,
        "detail": "; ".join([*([found.detail] if found.detail else []), *row.notes]),
        "verdict_a": row.finding_a.verdict,
        "differences": "; ".join(each.words for each in row.differences),
        "weights": row.weights,
        "file": None,
        "sha256": None,
        **row.split_a.named("a"),
        **row.split_b.named("b"),
    }
    return {name: values[name] for name in COLUMNS}


GRADIENT_COLUMNS = (
    "layer_a", "layer_b", "op", "of", "shape", "verdict", "parameter", "declared", "found", "evidence",
    "mend", "detail", "verdict_a",
    "own_ulp_rms_a", "own_ulp_rms_b", "own_ulp_max_a", "own_ulp_max_b", "own_relative_a", "own_relative_b",
    "total_ulp_rms_a", "total_ulp_rms_b", "total_relative_a", "total_relative_b",
    "total_abs_max_a", "total_abs_max_b", "inherited_ulp_rms_a", "inherited_ulp_rms_b",
    "inherited_relative_a", "inherited_relative_b", "amplification_a", "amplification_b", "file", "sha256",
)  # fmt: skip
MODEL_INPUT = "model input"


def gradient_values(found: GradientRow) -> dict[str, Any]:
    """A row of the table of gradients."""
    row, joint = found.row, _joint(found.a, found.b, found.row is None or found.row.b is not None)
    values: dict[str, Any] = {
        "layer_a": MODEL_INPUT if row is None else row.a.name,
        "layer_b": MODEL_INPUT if row is None else None if row.b is None else row.b.name,
        "op": MODEL_INPUT if row is None else row.a.op,
        "of": found.of,
        "shape": list(found.shape),
        "verdict": joint.verdict,
        "parameter": joint.parameter,
        "declared": joint.declared,
        "found": joint.found,
        "evidence": joint.evidence,
        "mend": joint.mend,
        "detail": "; ".join([*([joint.detail] if joint.detail else []), *found.notes]),
        "verdict_a": found.a.verdict,
        "file": None,
        "sha256": None,
        **found.split_a.named("a"),
        **found.split_b.named("b"),
    }
    return {name: values[name] for name in GRADIENT_COLUMNS}


def _joint(a: Finding, b: Finding | None, matched: bool) -> Finding:
    """What a row says: B's verdict, unless A itself does not compute what it declares."""
    found = b if b is not None else Finding("not run" if matched else "unmatched")
    if a.verdict not in HARMLESS and found.verdict in (*HARMLESS, "unmatched"):
        # What A's own declaration does not explain is a finding, whatever B makes of it.
        return replace(a, detail=f"A itself does not compute what it declares: {a.detail}")
    return found


__all__ = ["SAFE", "Layer", "Trace", "gradient_values", "row_values"]
