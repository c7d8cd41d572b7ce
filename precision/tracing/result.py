"""What a trace found: a row for each layer, in the order of A's calls."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row for each layer of A; columns ending in _a and _b are of one model."""
        import pandas as pd

        return pd.DataFrame(list(self.rows), columns=list(COLUMNS))

    @property
    def first_difference(self) -> Layer | None:
        """The first layer that differs in meaning or cannot be explained; else the first of other weights."""
        for verdicts in (("semantics", "unexplained"), ("data",)):
            for row in self.rows:
                if row["verdict"] in verdicts:
                    return Layer(row)
        return None

    @property
    def decisions(self) -> pd.DataFrame:
        """What is decided by the outputs: see `precision.decisions`."""
        from precision.decisions import table

        return table(list(self.decision_list))

    @property
    def fine(self) -> bool:
        """Whether every layer of both is exact or rounding (or cannot be told), all of them matched."""
        verdicts = [row["verdict"] for row in self.rows] + [row["verdict_a"] for row in self.rows]
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
        if self.kept is None:
            raise ValueError("arrays are kept in an output folder; got none; trace with output=DIR")
        return read_layer(self.kept / "layers", str(found[0]["file"]), str(found[0]["sha256"]))

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
            "decisions": [
                {name: plain(getattr(each, name)) for name in Decision.__dataclass_fields__}
                for each in self.decision_list
            ],
        }

    def write(self, folder: Path) -> list[Path]:
        """Write trace.json, trace.csv and trace.txt into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        content = {
            "trace.json": json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n",
            "trace.csv": self.table.to_csv(index=False),
            "trace.txt": f"{self}\n",
        }
        for name, text in content.items():
            write_atomically(folder / name, text.encode())
        return [folder / name for name in content]

    def __repr__(self) -> str:
        first = self.first_difference
        return f"<Trace of {len(self.rows)} layers: {'no difference of meaning' if first is None else first}>"

    def __str__(self) -> str:
        from precision.tracing.text import text

        return text(self)


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
    found = (
        row.finding_b if row.finding_b is not None else Finding("unmatched" if row.b is None else "not run")
    )
    if row.finding_a.verdict not in HARMLESS and found.verdict in (*HARMLESS, "unmatched"):
        # What A's own declaration does not explain is a finding, whatever B makes of it.
        detail = f"A itself does not compute what it declares: {row.finding_a.detail}"
        found = Finding(
            row.finding_a.verdict, row.finding_a.parameter, row.finding_a.declared, row.finding_a.found,
            row.finding_a.evidence, detail, row.finding_a.mend,
        )  # fmt: skip
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


__all__ = ["SAFE", "Layer", "Trace", "row_values"]
