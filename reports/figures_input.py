"""What the figures ask of a frame: columns, and what they hold.  Each complaint names the column."""

from __future__ import annotations

import numbers as kinds
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from reports.schema import SchemaError

_MOST_PLACES = 4096


def needed(frame: pd.DataFrame, function: str, *columns: str) -> pd.DataFrame:
    """`frame`, after a check that it has these columns, each once, and a row.

    Raises `SchemaError`, a ValueError, that names the missing column, what the frame has, and the mend.
    """
    if not isinstance(frame, pd.DataFrame):
        raise SchemaError(f"{function} takes a data frame; got {type(frame).__name__}; pass one")
    for column in columns:
        count = list(frame.columns).count(column)
        if not count:
            have = ", ".join(map(str, frame.columns)) or "no columns"
            raise SchemaError(f"{function} needs the column {column!r}; the frame has {have}; add it")
        if count > 1:
            raise SchemaError(
                f"{function} takes one column {column!r}; the frame has {count}; drop the others"
            )
    if frame.empty:
        raise SchemaError(f"{function} draws rows; the frame has none; select other rows")
    return frame


def named(frame: pd.DataFrame, function: str, *columns: str) -> None:
    """Check that no value of these columns, which tell rows apart, is missing."""
    for column in columns:
        missing = frame[column].isna()
        if missing.any():
            row = int(missing.to_numpy().argmax())
            raise SchemaError(f"{function}: column {column!r} may not be empty; row {row} is; fill it")


def words(frame: pd.DataFrame, function: str, column: str, known: Sequence[str]) -> None:
    """Check that a column holds no other words than these."""
    named(frame, function, column)
    odd = [value for value in frame[column].unique() if value not in known]
    if odd:
        listed = ", ".join(known)
        raise SchemaError(f"{function}: {column} is one of {listed}; got {odd[0]!r}; mend it")


def labelled(frame: pd.DataFrame, function: str) -> pd.DataFrame:
    """The frame with a column `label`: its own, or made of what tells its rows' results apart.

    That is `mode`, with the case where there are several, and the output where it has a name of its own.
    """
    if "label" in frame.columns:
        named(frame, function, "label")
        return frame
    needed(frame, function, "mode")
    named(frame, function, "mode")
    label = frame["mode"].astype(str)
    if "output" in frame.columns and frame["output"].nunique() > 1:
        label = "[" + frame["output"].astype(str) + "] " + label
    if "case" in frame.columns and frame["case"].nunique() > 1:
        label = frame["case"].astype(str) + " · " + label
    return frame.assign(label=label)


def reals(frame: pd.DataFrame, function: str, column: str) -> Any:
    """A column as float64, missing values as NaN.  Raises `SchemaError` for what is no real number."""
    try:
        if frame[column].map(lambda value: isinstance(value, str)).any():
            raise TypeError(column)
        return frame[column].astype("Float64").to_numpy(dtype=float, na_value=np.nan)
    except (TypeError, ValueError):
        odd = next((v for v in frame[column].dropna() if not isinstance(v, kinds.Real)), frame[column].dtype)
        raise SchemaError(f"{function}: {column} holds numbers; got {odd!r}; convert it") from None


def sizes(frame: pd.DataFrame, function: str, column: str) -> Any:
    """As `reals`, of a column that is drawn on a log2 axis: nothing in it is below 0."""
    found = reals(frame, function, column)
    if (found < 0).any():
        odd = found[found < 0][0]
        raise SchemaError(
            f"{function} draws sizes on a log2 axis; {column} holds {odd:g}; take the magnitude"
        )
    return found


def places(frame: pd.DataFrame, function: str, column: str) -> Any:
    """A column of places, whole numbers from 0 on, as integers."""
    found = reals(frame, function, column)
    wrong = ~((found >= 0) & (found < _MOST_PLACES) & (found == np.floor(found)))
    if wrong.any():
        odd = found[int(wrong.argmax())]
        most = _MOST_PLACES - 1
        raise SchemaError(f"{function}: {column} counts from 0 to {most}; got {odd:g}; mend it")
    return found.astype(int)


def once(frame: pd.DataFrame, function: str, columns: Sequence[str], what: str, mend: str) -> None:
    """Check that no two rows have the same values in these columns."""
    twice = frame.duplicated(list(columns))
    if twice.any():
        row = frame[twice].iloc[0]
        given = ", ".join(str(row[column]) for column in columns)
        raise SchemaError(f"{function} draws {what} once; ({given}) is there twice; {mend}")
