"""Results made of one frame of one's own: what it lacks is filled in where that claims nothing."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import pandas as pd

from reports.schema import CASES, MODES, OPTIONAL, SCHEMA_VERSION, SCORES, TABLES, SchemaError, validate
from reports.store import Results, checked

NEEDED = ("case", "mode", "verdict")

_OF_CASE = ("title", "family", "op", "terms", "data")
_OF_MODE = {"mode_title": "title"}
_EMPTY: dict[str, Any] = {"text": "", "json": "{}", "integer": 0, "real": None}


def results_of(scores: pd.DataFrame, title: str = "Results") -> Results:
    """Results with these scores, a row a case, mode and output; see `reports.Result.from_frame`.

    Needed are `case`, `mode` and `verdict`.  Any column of the table `scores` may be there, and of what
    `Result.to_frame` joins to it `title`, `family`, `op`, `terms`, `data` and `mode_title`.  A figure that is
    not given is missing, evidence that is not given is `none`, and where `framework` and `device` are not
    given they are the first two parts of the mode's name.  Raises `SchemaError` for a missing or an unknown
    column, a wrong type or word, and two rows of one case, mode and output.
    """
    if not isinstance(scores, pd.DataFrame):
        raise SchemaError(f"results are made of a data frame; got {type(scores).__name__}; pass one")
    frame = scores.reset_index(drop=True)
    known = [*(column.name for column in SCORES), *(name for name in (*_OF_CASE, *_OF_MODE))]
    _names(frame, known)
    defaults: dict[str, Any] = {
        "output": "output",
        "framework": [_part(mode, 0) for mode in frame["mode"]],
        "device": [_part(mode, 1) for mode in frame["mode"]],
        "evidence": "none",
        "reason": "",
    }
    table = pd.DataFrame(index=frame.index)
    for column in SCORES:
        table[column.name] = frame[column.name] if column.name in frame else defaults.get(column.name)
    found = {name: pd.DataFrame() for name in (*TABLES, *OPTIONAL)}
    found["scores"] = _objects(table)
    about = [name for name in _OF_CASE if name in frame]
    found["cases"] = _listed(frame[["case", *about]], "case", CASES, {"title": "case"})
    modes = frame[["mode", *(name for name in _OF_MODE if name in frame)]].rename(columns=_OF_MODE)
    modes = modes.assign(framework=table["framework"], device=table["device"], status="run", reason="")
    lost = table.groupby("mode")["verdict"].agg(lambda words: set(words) <= {"not run"})
    modes["status"] = modes["mode"].map(lambda mode: "not run" if lost.get(mode, False) else "run")
    found["modes"] = _listed(modes, "mode", MODES, {"title": "mode"})
    run = {"schema": SCHEMA_VERSION, "suite": title, "title": title, "created": "", "command": "",
           "machine": {}, "versions": {}}  # fmt: skip
    return checked(Results(**{name: validate(name, part) for name, part in found.items()}, run=run))


def _part(mode: Any, place: int) -> str:
    """A part of a dotted name, empty where there is none."""
    parts = str(mode).split(".")
    return parts[place] if place < len(parts) else ""


def _names(frame: pd.DataFrame, known: list[str]) -> None:
    for name in NEEDED:
        if name not in frame.columns:
            have = ", ".join(map(str, frame.columns)) or "no columns"
            raise SchemaError(f"scores need the column {name!r}; the frame has {have}; add it")
    for name in frame.columns:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            mend = f"did you mean {near[0]!r}?" if near else "remove it"
            raise SchemaError(f"scores have no column {str(name)!r}; {mend}")
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise SchemaError(f"scores have each column once; {twice[0]!r} is there twice; drop one")


def _listed(frame: pd.DataFrame, key: str, columns: Any, same: Mapping[str, str]) -> pd.DataFrame:
    """A row for each value of the key, in order of appearance, with what the frame says of it."""
    frame = frame[frame[key].notna()]  # `validate` says what is wrong with a score without a name
    first = frame.drop_duplicates(key).reset_index(drop=True)
    about = frame.drop_duplicates().groupby(key, sort=False).size()
    several = about[about > 1]
    if len(several):
        raise SchemaError(
            f"scores say one thing of each {key}; of {several.index[0]!r} they say two; mend them"
        )
    out = pd.DataFrame(index=first.index)
    for column in columns:
        name = column.name
        if name in first:
            out[name] = first[name]
        elif name == "order":
            out[name] = range(len(first))
        elif name in same:
            out[name] = first[same[name]]
        else:
            out[name] = None if column.nullable else _EMPTY[column.kind]
    return _objects(out)


def _objects(frame: pd.DataFrame) -> pd.DataFrame:
    """Plain objects, so that a column of nothing has no type of its own to be refused for."""
    return frame.astype(object).where(frame.notna(), None)
