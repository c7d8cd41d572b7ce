"""Results on disk: one Parquet and one CSV file a table, and `run.json`, in one folder.

Parquet is what `load` reads; the CSV beside it is for spreadsheets and for eyes.  `run.json` is
written last, so that a folder that has it is complete.  The same frames give the same bytes:
files carry no time, no path and no pandas metadata.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from reports.schema import OPTIONAL, SCHEMA_VERSION, TABLES, Kind, SchemaError, validate

RUN_FILE = "run.json"

_ARROW_TYPES: Mapping[Kind, pa.DataType] = {
    "text": pa.string(),
    "json": pa.string(),
    "integer": pa.int64(),
    "real": pa.float64(),
}
_PANDAS_TYPES: Mapping[pa.DataType, Any] = {
    pa.string(): pd.StringDtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.float64(): pd.Float64Dtype(),
}


_KEYS = {
    "cases": ["case"],
    "modes": ["mode"],
    "scores": ["case", "mode", "output"],
    "budgets": ["case", "mode", "output", "cause", "parameter"],
    "studies": ["study", "row"],
    "profiles": ["case", "mode", "output", "axis", "low"],
    "orders": ["case", "mode", "output", "where"],
    "expected": ["case", "mode", "output", "bin_left_ulp"],
}
"""What tells the rows of a table apart."""


class StoreError(ValueError):
    """A results folder cannot be written or read; one line says the rule, what was given, the mend."""


@dataclass(frozen=True)
class Results:
    """All that a report is made from: tables that satisfy `reports.schema`, and the run.

    `studies` has rows only where the suite is a study; `profiles`, `orders` and `expected` may be
    empty.  `run` holds `schema` (an integer), `suite`, `title`, `created` (ISO 8601), `command`,
    `machine` and `versions` (text to text); other keys are kept and shown.
    """

    scores: pd.DataFrame
    budgets: pd.DataFrame
    cases: pd.DataFrame
    modes: pd.DataFrame
    histograms: pd.DataFrame
    maps: pd.DataFrame
    run: dict[str, Any]
    studies: pd.DataFrame = field(default_factory=pd.DataFrame)
    profiles: pd.DataFrame = field(default_factory=pd.DataFrame)
    orders: pd.DataFrame = field(default_factory=pd.DataFrame)
    expected: pd.DataFrame = field(default_factory=pd.DataFrame)

    def table(self, name: str) -> pd.DataFrame:
        """The table of that name; `KeyError` if there is none."""
        if name not in TABLES and name not in OPTIONAL:
            raise KeyError(name)
        frame: pd.DataFrame = getattr(self, name)
        return frame


def checked(results: Results) -> Results:
    """Return `results` with every table validated and the keys between tables checked.

    Raises `SchemaError` for a table that breaks its schema, and `StoreError` for a row that is
    there twice, or a score, budget, histogram or map of a case or mode that its table does not list.
    """
    frames = {name: validate(name, results.table(name)) for name in (*TABLES, *OPTIONAL)}
    for name, keys in _KEYS.items():
        twice = frames[name][frames[name].duplicated(keys)]
        if len(twice):
            given = ", ".join(str(twice.iloc[0][key]) for key in keys)
            raise StoreError(f"{name} has one row per ({', '.join(keys)}); ({given}) is twice; remove one")
    for name in ("scores", "budgets", "histograms", "maps", "profiles", "orders", "expected"):
        for key, home in (("case", "cases"), ("mode", "modes")):
            stray = frames[name][~frames[name][key].isin(frames[home][key])]
            if len(stray):
                given = repr(stray.iloc[0][key])
                raise StoreError(f"each {key} of {name} is a row of {home}; {given} is not; add it to {home}")
    return Results(**frames, run=results.run)


def save(results: Results, folder: str | os.PathLike[str]) -> list[Path]:
    """Write `<table>.parquet`, `<table>.csv` and `run.json` into `folder`; return their paths.

    Each file is written to a temporary name and then renamed.  Raises what `checked` raises, and
    `StoreError` for a run that is of another schema or that JSON cannot hold.
    """
    results = checked(results)
    version = results.run.get("schema")
    if version != SCHEMA_VERSION:
        raise StoreError(f"run['schema'] is {SCHEMA_VERSION}; got {version!r}; set it to {SCHEMA_VERSION}")
    try:
        run = json.dumps(results.run, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise StoreError(f"run holds only text, numbers, lists and dicts; {error}; convert it") from None
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    (target / RUN_FILE).unlink(missing_ok=True)  # no half-written folder may look complete
    written = []
    for name in (*TABLES, *OPTIONAL):
        frame = results.table(name)
        if name in OPTIONAL and frame.empty:
            for end in ("parquet", "csv"):  # what an earlier results folder may have had
                (target / f"{name}.{end}").unlink(missing_ok=True)
            continue
        written.append(write(target / f"{name}.parquet", _parquet(name, frame)))
        csv = frame.to_csv(index=False, lineterminator="\n")
        written.append(write(target / f"{name}.csv", csv.encode()))
    written.append(write(target / RUN_FILE, run.encode()))
    return written


def load(folder: str | os.PathLike[str]) -> Results:
    """Read back what `save` wrote.

    Raises `StoreError`, with a message of its own for a folder of an older schema, of a newer
    schema, a missing file, an unreadable file, and a table that breaks the schema.
    """
    source = Path(folder)
    run = _load_run(source)
    present = (name for name in OPTIONAL if (source / f"{name}.parquet").is_file())
    frames = {name: _load_table(source, name) for name in (*TABLES, *present)}
    try:
        return checked(Results(**frames, run=run))
    except SchemaError as error:
        raise StoreError(f"tables satisfy the schema; in {source}: {error}; score it again") from None


def _load_run(source: Path) -> dict[str, Any]:
    path = _present(source / RUN_FILE)
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{RUN_FILE} is JSON; {path} is unreadable: {error}; score it again") from None
    version = run.get("schema") if isinstance(run, dict) else None
    if not isinstance(run, dict) or not isinstance(version, int) or isinstance(version, bool):
        raise StoreError(f"{RUN_FILE} says its schema, an integer; {source} says {version!r}; score it again")
    if version < SCHEMA_VERSION:
        raise StoreError(
            f"results are of schema {SCHEMA_VERSION}; {source} is of the older schema {version}; "
            "score its captures again with this version"
        )
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"results are of schema {SCHEMA_VERSION}; {source} is of the newer schema {version}; "
            "update this toolkit to read it"
        )
    return run


def _load_table(source: Path, name: str) -> pd.DataFrame:
    path = _present(source / f"{name}.parquet")
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise StoreError(f"{path.name} is Parquet; {path} is unreadable: {first}; score it again") from None
    frame: pd.DataFrame = table.to_pandas(types_mapper=_PANDAS_TYPES.get)
    return frame


def _present(path: Path) -> Path:
    if not path.is_file():
        raise StoreError(
            f"a results folder holds {RUN_FILE} and a Parquet file a table; {path} is missing; "
            "give the folder that `precision score` wrote"
        )
    return path


def _parquet(name: str, frame: pd.DataFrame) -> bytes:
    schema = pa.schema([(c.name, _ARROW_TYPES[c.kind]) for c in {**TABLES, **OPTIONAL}[name]])
    table = pa.Table.from_pandas(frame, schema=schema, preserve_index=False)
    sink = pa.BufferOutputStream()
    # without metadata: pandas would write its own version into the file
    pq.write_table(table.replace_schema_metadata(None), sink, compression="zstd")
    return bytes(sink.getvalue().to_pybytes())


def write(path: Path, content: bytes) -> Path:
    """Write to a temporary name beside `path`, then rename; return `path`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
