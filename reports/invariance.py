"""The table of determinism and invariance: its columns, its files, what it says in words.

One row for each case, mode and factor (repeats, processes, batch, position, width, threads, memory format):
how many distinct results a mode gave where none of the settings may change what is computed.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from reports import numbers
from reports.cells import Row
from reports.schema import Column, SchemaError
from reports.store import StoreError, write

STEM = "invariance"
STATUS = ("asked", "not applicable", "not run", "error")
ONCE_MORE = ("repeats", "processes")
"""Factors that are the same call once more: a difference there is no run like the other."""
_FEW = 8

COLUMNS = (
    Column("case", "text", "id of the case"),
    Column("mode", "text", "name of the mode"),
    Column("framework", "text", "torch or tensorflow"),
    Column("device", "text", "cpu or cuda"),
    Column("factor", "text", "what was varied"),
    Column("status", "text", "whether it was asked", values=STATUS),
    Column("reason", "text", "why it was not asked, else empty"),
    Column("settings", "json", "the settings, in the order in which they were asked"),
    Column("groups", "json", "for each setting the number of its result: equal numbers, equal bits"),
    Column("distinct", "integer", "distinct results; 1 is best", nullable=True),
    Column("elements", "integer", "elements that are compared", nullable=True),
    Column(
        "elements_differing", "integer", "elements that differ in a bit, of the worst pair", nullable=True
    ),
    Column("ulp_max_between", "real", "largest distance of two results in float32 steps", nullable=True),
    Column(
        "ulp_of_largest_between", "real", "largest difference in ulp of the largest result", nullable=True
    ),
    Column("equal_by", "json", "modes that give one result where this one gives several"),
    Column("cheapest", "text", "the fastest of them, or empty"),
    Column("seconds_ratio", "real", "time of a call in it over that in this mode", nullable=True),
    Column("call_seconds", "real", "median time of a call in this mode, where it was timed", nullable=True),
    Column("timed", "text", "how the two were timed, or why not"),
)

_ARROW: Mapping[str, pa.DataType] = {
    "text": pa.string(),
    "json": pa.string(),
    "integer": pa.int64(),
    "real": pa.float64(),
}
_PANDAS: Mapping[str, Any] = {"text": "string", "json": "string", "integer": "Int64", "real": "Float64"}


def checked(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with exactly these columns and types.

    Raises `SchemaError` for a missing or an unknown column, another type, an unknown status.
    """
    names = [column.name for column in COLUMNS]
    missing = [name for name in names if name not in frame.columns]
    extra = [str(name) for name in frame.columns if name not in names]
    if missing or extra:
        wrong = f"lacks column {missing[0]!r}" if missing else f"has an unknown column {extra[0]!r}"
        raise SchemaError(f"table {STEM!r} has the columns {', '.join(names)}; it {wrong}; make it again")
    found = {}
    for column in COLUMNS:
        series = frame[column.name]
        try:
            if column.kind == "real":
                plain = series.astype("Float64").to_numpy(dtype=float, na_value=math.nan)
                series = pd.Series(plain, index=frame.index)
            found[column.name] = series.astype(_PANDAS[column.kind]).reset_index(drop=True)
        except (TypeError, ValueError) as error:
            raise SchemaError(f"column {STEM}.{column.name} holds {column.kind} values; {error}") from None
        if column.values and len(odd := found[column.name][~found[column.name].isin(column.values)]):
            raise SchemaError(
                f"column {STEM}.{column.name} is one of {', '.join(column.values)}; got {odd.iloc[0]!r}"
            )
    return pd.DataFrame(found)


def save(frame: pd.DataFrame, folder: str | os.PathLike[str]) -> list[Path]:
    """Write invariance.parquet and invariance.csv into `folder`; the same frame gives the same bytes."""
    table = checked(frame)
    schema = pa.schema([(column.name, _ARROW[column.kind]) for column in COLUMNS])
    arrow = pa.Table.from_pandas(table, schema=schema, preserve_index=False)
    sink = pa.BufferOutputStream()
    pq.write_table(arrow.replace_schema_metadata(None), sink, compression="zstd")
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    csv = table.to_csv(index=False, lineterminator="\n")
    return [
        write(target / f"{STEM}.parquet", bytes(sink.getvalue().to_pybytes())),
        write(target / f"{STEM}.csv", csv.encode()),
    ]


def load(folder: str | os.PathLike[str]) -> pd.DataFrame | None:
    """Read back what `save` wrote; None where the folder has none.  Raises `StoreError` for a bad file."""
    path = Path(folder) / f"{STEM}.parquet"
    if not path.is_file():
        return None
    try:
        return checked(pq.read_table(path).to_pandas())
    except (OSError, pa.ArrowException, SchemaError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise StoreError(
            f"{path.name} holds the table of invariance; {path}: {first}; make it again"
        ) from None


@dataclass(frozen=True)
class Summary:
    """One mode and factor over all cases."""

    mode: str
    factor: str
    asked: int
    varying: int
    worst: float | None
    """Largest difference in ulp of the largest result, None where nothing varies or it is not known."""
    failed: int
    reason: str


def rows_of(frame: pd.DataFrame) -> list[Row]:
    """The rows as dictionaries, missing values as None."""
    found: list[Row] = []
    for row in checked(frame).to_dict(orient="records"):
        found.append({str(name): None if pd.isna(value) else value for name, value in row.items()})
    return found


def varies(row: Row) -> bool:
    """Whether a row has more than one result."""
    return row["status"] == "asked" and (row["distinct"] or 0) > 1


def summaries(rows: list[Row]) -> list[Summary]:
    """Modes by factors, in order of appearance."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["mode"], row["factor"]), []).append(row)
    found = []
    for (mode, factor), part in groups.items():
        asked = [row for row in part if row["status"] == "asked"]
        varying = [row for row in asked if varies(row)]
        sizes = [row["ulp_of_largest_between"] for row in varying]
        known = [size for size in sizes if size is not None]
        failed = [row for row in part if row["status"] in ("error", "not run")]
        reason = next((row["reason"] for row in (*failed, *part) if row["reason"]), "")
        worst = max(known) if known else None
        found.append(Summary(mode, factor, len(asked), len(varying), worst, len(failed), reason))
    return found


def worst_first(rows: list[Row]) -> list[Row]:
    """The rows that vary: those of the same call once more first, then the largest difference."""
    varying = [row for row in rows if varies(row)]
    return sorted(
        varying,
        key=lambda row: (
            row["factor"] not in ONCE_MORE,
            -(row["ulp_of_largest_between"] or 0.0),
            -(row["ulp_max_between"] or 0.0),
        ),
    )


def grouping(row: Row) -> str:
    """Which settings gave the same bits, in words: `batch of 1 | batch of 2 = batch of 8`."""
    labels, groups = json.loads(row["settings"]), json.loads(row["groups"])
    parts = [
        [label for label, at in zip(labels, groups, strict=True) if at == n] for n in dict.fromkeys(groups)
    ]
    if len(labels) > _FEW:
        sizes = sorted((len(part) for part in parts), reverse=True)
        return f"{' + '.join(map(str, sizes))} of {len(labels)}"
    return " | ".join(" = ".join(part) for part in parts)


def remedy(row: Row) -> str:
    """Which mode gives one result and what it costs, in words."""
    others = json.loads(row["equal_by"])
    if not others:
        return "none of the modes asked"
    if row["seconds_ratio"] is None:
        return ", ".join(others)
    rest = [name for name in others if name != row["cheapest"]]
    text = f"{row['cheapest']} ({numbers.figure(row['seconds_ratio'], 2)} times the time)"
    return ", ".join([text, *rest])


def apart(value: float | None) -> str:
    """A distance in float32 steps, a whole number: 24, 1,234, 2.1e7, ∞."""
    return f"{value:,.0f}" if value is not None and value < 1e6 else numbers.figure(value)


def sentence(rows: list[Row]) -> str:
    """What was found, in one sentence."""
    asked = [row for row in rows if row["status"] == "asked"]
    if not asked:
        return "Nothing was asked: no mode could run."
    again = sum(1 for row in asked if row["factor"] in ONCE_MORE and varies(row))
    other = [row for row in asked if row["factor"] not in ONCE_MORE]
    varying = sum(1 for row in other if varies(row))
    once = "No call repeated gave other bits" if not again else f"{again} repeated calls gave other bits"
    if not any(row["factor"] in ONCE_MORE for row in asked):
        once = "No call was repeated"
    if not other:
        return f"{once}."
    results = numbers.times(len(other), "result")
    return f"{once}; {varying} of {results} depend on a setting that should not matter."
