"""The tables that a report is made from: names, types, units and meaning of every column.

This is the contract between whoever measures and whoever shows.  `reports` takes any data
frames that satisfy it and knows nothing of how they were made.  A column carries its unit in
its name (`_ulp`, `_abs`, `_seconds`); `nullable` columns hold a missing value where a cell was
not run or the figure does not exist, and a missing figure is shown as missing, never averaged.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

SCHEMA_VERSION = 2

Kind = Literal["text", "integer", "real", "json"]

VERDICTS = ("exact", "rounding", "semantics", "data", "unexplained", "not run", "error")
EVIDENCE = ("proved", "bounded", "consistent", "none")
CAUSES = (
    "semantics",
    "data",
    "operand rounding",
    "algorithm",
    "accumulation",
    "output rounding",
    "unexplained",
)
MODE_STATUS = ("run", "not run", "error")

_PANDAS_TYPES: Mapping[Kind, Any] = {
    "text": "string",
    "json": "string",
    "integer": "Int64",
    "real": "Float64",
}


class SchemaError(ValueError):
    """A table lacks a column, has a wrong type or an unknown value; the message names it."""


@dataclass(frozen=True)
class Column:
    """One column: its name (with unit), kind, meaning, and what it may hold."""

    name: str
    kind: Kind
    meaning: str
    nullable: bool = False
    values: tuple[str, ...] = ()


def _text(name: str, meaning: str, **rest: object) -> Column:
    return Column(name, "text", meaning, **rest)  # type: ignore[arg-type]


def _json(name: str, meaning: str, nullable: bool = False) -> Column:
    return Column(name, "json", meaning, nullable)


def _integer(name: str, meaning: str, nullable: bool = True) -> Column:
    return Column(name, "integer", meaning, nullable)


def _real(name: str, meaning: str) -> Column:
    return Column(name, "real", meaning, nullable=True)


_CELL = (
    _text("case", "id of the case"),
    _text("mode", "name of the mode"),
    _text("output", "which output of the op"),
)

SCORES = (
    *_CELL,
    _text("framework", "torch or tensorflow"),
    _text("device", "cpu or cuda"),
    _text("verdict", "the judgement", values=VERDICTS),
    _text("evidence", "how far the judgement is supported", values=EVIDENCE),
    _text("reason", "the judgement in one sentence, or why the cell was not run"),
    _integer("elements", "elements of the output"),
    _real("error_abs_max", "largest |output - truth|"),
    _real("error_abs_mean", "mean |output - truth|"),
    _real("error_abs_rms", "root mean square of output - truth"),
    _real("error_ulp_median", "median |output - truth| in float32 ulp of the truth"),
    _real("error_ulp_p99", "99 % of the elements have at most this error, in ulp of the truth"),
    _real("error_ulp_max", "largest |output - truth| in float32 ulp of the truth"),
    _real("error_ulp_rms", "root mean square error in float32 ulp of the truth"),
    _real("error_ulp_mean", "mean signed error in float32 ulp of the truth (bias)"),
    _real("error_scaled_ulp_max", "largest |output - truth| in float32 ulp of sum of |terms|"),
    _real("error_scaled_ulp_rms", "root mean square error in float32 ulp of sum of |terms|"),
    _real("share_correctly_rounded", "share of elements equal to the truth rounded to float32"),
    _real("relative_l2", "||output - truth|| / ||truth||"),
    _real("cosine", "cosine of the angle between output and truth, never above 1"),
    _real("angle_rad", "angle between output and truth, in radians"),
    _real("error_over_magnitude_max", "largest error / sum of |terms| (the arithmetic's own error)"),
    _real("bound_deterministic_over_magnitude", "largest worst-case bound / sum of |terms|"),
    _real("bound_probabilistic_over_magnitude", "largest probabilistic bound / sum of |terms|"),
    _real("error_over_bound_max", "largest error / worst-case bound; at most 1 for rounding"),
    _real("condition_median", "median over elements of sum of |terms| / |truth|"),
    _real("condition_max", "largest sum of |terms| / |truth|"),
    _real("truth_uncertainty_ulp_max", "largest half-width of the certified truth, in ulp"),
    _integer("zero_truth_mismatches", "elements whose truth is 0 and whose output is not"),
    _integer("nonfinite_mismatches", "elements where NaN or Inf differ from the truth's"),
    _integer("signed_zero_mismatches", "elements that are 0 in both, with the other sign"),
    _real("error_over_plain", "rms absolute error / that of a plain float32 evaluation"),
    _integer("probe_mismatches", "elements that are off on the small-integer probe"),
    _real("probe_error_abs_max", "largest error on the small-integer probe"),
    _real("width_error_over_magnitude_max", "largest error / sum of |terms| on the probe of 24-bit values"),
    _integer("repeat_distinct", "distinct results over the repeats of the same call"),
    _integer("bits_group", "modes of one case with the same number gave identical bits"),
    _text("bits_sha256", "SHA-256 of the output's bytes", nullable=True),
    _text("worst_index", "index of the largest scaled error, as [n, c, h, w]", nullable=True),
    _real("worst_condition", "sum of |terms| / |truth| there"),
    _real("worst_got", "the output there"),
    _real("worst_rounded", "the correctly rounded float32 there"),
    _text("worst_got_hex", "the output there as a hexadecimal float", nullable=True),
    _text("worst_rounded_hex", "the correctly rounded float32 there, hexadecimal", nullable=True),
    _text("worst_exact", "the truth there in decimal digits", nullable=True),
    _real("call_seconds", "time of one call in the worker, where no other worker ran beside it"),
    _text("kernels", "names of the kernels that ran, where the library tells", nullable=True),
    _json("counterexample", "the least integer arrays that show another function, and both results", True),
)

BUDGETS = (
    *_CELL,
    _text("cause", "a cause of the error", values=CAUSES),
    _text("evidence", "how far the cause is supported", values=EVIDENCE),
    _real("share", "<part, error> / <error, error>: those of an output add up to 1"),
    _real("part_ulp_rms", "root mean square of the part in float32 ulp of the truth"),
    _real("part_ulp_mean", "mean signed part in float32 ulp of the truth (bias)"),
    _real("part_abs_max", "largest |part|"),
    _text("parameter", "what differs from the declaration, if anything does", nullable=True),
    _json("declared", "its declared value", True),
    _json("found", "the value that was found", True),
    _text("detail", "the cause in one sentence"),
    _text("fix", "the mend in the framework's words, else empty"),
)

CASES = (
    _text("case", "id of the case"),
    _integer("order", "position in the suite", nullable=False),
    _text("title", "the case in a few words"),
    _text("family", "convolution, normalization, linear, gradient or normalization gradient"),
    _text("op", "the op, as in torch.nn.functional"),
    _json("params", "declared parameters"),
    _json("shapes", "name of each array and its shape"),
    _text("data", "what the arrays hold"),
    _text("note", "why the case is here"),
    _integer("terms", "terms of one sum (K)"),
    _integer("elements", "elements of the output"),
    _real("condition_median", "median condition of the elements"),
    _real("condition_max", "largest condition of the elements"),
    _json("truth_tiers", "elements certified by each tier of the reference"),
    _real("truth_uncertainty_ulp_max", "largest half-width of the certified truth, in ulp"),
    _real("plain_error_ulp_median", "median error of the plain float32 evaluation, in ulp of the truth"),
    _json("tolerance", "rtol and atol that two correct implementations can need on this data", True),
)

MODES = (
    _text("mode", "name of the mode"),
    _integer("order", "position in the list of modes", nullable=False),
    _text("framework", "torch or tensorflow"),
    _text("device", "cpu or cuda"),
    _text("title", "the mode in a few words"),
    _text("status", "whether it ran", values=MODE_STATUS),
    _text("reason", "why it did not run, else empty"),
    _json("environment", "environment variables that were set"),
    _json("switches", "switches that were asked for"),
    _json("read_back", "the same switches as read back from the framework"),
    _json("versions", "versions, threads and processor of the worker"),
)

HISTOGRAMS = (
    *_CELL,
    _real("bin_left_ulp", "left edge of the bin of signed error (may be -inf)"),
    _real("bin_right_ulp", "right edge of the bin (may be inf)"),
    _integer("count", "elements in the bin", nullable=False),
)

MAPS = (
    *_CELL,
    _integer("row", "block row over the output plane", nullable=False),
    _integer("column", "block column over the output plane", nullable=False),
    _real("error_scaled_ulp_rms", "rms error of the block, in ulp of sum of |terms|"),
    _real("error_scaled_ulp_mean", "mean signed error of the block, in ulp of sum of |terms|"),
)

PROFILES = (
    *_CELL,
    _text("axis", "along what the error is shown", values=("channel", "condition")),
    Column("low", "real", "first channel of the block, or the least condition of the elements in it"),
    Column("high", "real", "last channel of the block, or the condition that theirs are below (may be inf)"),
    _integer("count", "elements in the block", nullable=False),
    _real("error_ulp_rms", "root mean square error there, in ulp of the truth"),
    _real("error_scaled_ulp_rms", "root mean square error there, in ulp of sum of |terms|"),
    _real("error_scaled_ulp_mean", "mean signed error there, in ulp of sum of |terms|"),
)

ORDERS = (
    *_CELL,
    _text("where", "the outputs that are added in this order"),
    _text("words", "the order in words"),
    _text("evidence", "how far the order is supported", values=EVIDENCE),
    _json("tree", "the order as a tree of additions, where it is one", True),
    _real("expected_ulp_rms", "rms error that this order makes of these data, in ulp of the truth"),
)

EXPECTED = (
    *_CELL,
    _real("bin_left_ulp", "left edge of the bin of signed error (may be -inf)"),
    _real("bin_right_ulp", "right edge of the bin (may be inf)"),
    _real("expected", "elements that the order is expected to put there: normal errors of its own variance"),
)

STUDIES = (
    _integer("order", "position in the document", nullable=False),
    _text("study", "name of the study"),
    _text("row", "id of the row"),
    _text("title", "the row in a few words"),
    _text("source", "where it stands in the document"),
    _text("document", "what the document saw"),
    _text("now", "what is seen now"),
    _text("truth", "what is right"),
    _text("cause", "why the results differ", values=("none", *CAUSES)),
    _text("evidence", "how far the cause is supported", values=EVIDENCE),
    _text("detail", "the cause in words, and the experiment that shows it"),
    _text("mend", "what to do about it, empty where nothing is to be mended"),
    _text("recurs", "whether the document's figure comes out again", values=("yes", "no", "partly")),
    _text("why", "why it does, does not, or does only in part"),
    _json("figures", "list of {name, document, now, truth, note}: the document's columns beside ours"),
)

TABLES: Mapping[str, tuple[Column, ...]] = {
    "scores": SCORES,
    "budgets": BUDGETS,
    "cases": CASES,
    "modes": MODES,
    "histograms": HISTOGRAMS,
    "maps": MAPS,
}

OPTIONAL: Mapping[str, tuple[Column, ...]] = {
    "studies": STUDIES,
    "profiles": PROFILES,
    "orders": ORDERS,
    "expected": EXPECTED,
}
"""Tables that only some results have: the rows of a study's document; errors along channels and conditions;
orders that are known, and what they let expect."""


def validate(table: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Return `frame` with exactly the schema's columns, order and types.

    A frame of no rows and no columns is a table without rows.
    Raises `SchemaError` for an unknown table, a missing or an extra column, a value of
    another type, a missing value where none may be, or a word outside the column's list.
    """
    known = {**TABLES, **OPTIONAL}
    if table not in known:
        raise SchemaError(f"a table is one of {', '.join(known)}; got {table!r}")
    columns = known[table]
    if frame.shape == (0, 0):  # what a list of no rows becomes
        frame = pd.DataFrame(columns=[c.name for c in columns], dtype=object)
    missing = [c.name for c in columns if c.name not in frame.columns]
    if missing:
        raise SchemaError(f"table {table!r} lacks column {missing[0]!r} and {len(missing) - 1} more; add it")
    extra = [str(name) for name in frame.columns if name not in {c.name for c in columns}]
    if extra:
        raise SchemaError(f"table {table!r} has an unknown column {extra[0]!r}; remove it")
    return pd.DataFrame({c.name: _checked(table, c, frame[c.name]) for c in columns}).reset_index(drop=True)


def _checked(table: str, column: Column, series: pd.Series[Any]) -> pd.Series[Any]:
    typed = _typed(f"{table}.{column.name}", column.kind, series)
    if not column.nullable and typed.isna().any():
        empty = int(typed.isna().argmax())
        raise SchemaError(f"column {table}.{column.name} may not be empty; row {empty} is; fill it")
    if column.values:
        odd = typed[~typed.isin(column.values)]
        if len(odd):
            raise SchemaError(
                f"column {table}.{column.name} is one of {', '.join(column.values)}; got {odd.iloc[0]!r}"
            )
    return typed


def _typed(name: str, kind: Kind, series: pd.Series[Any]) -> pd.Series[Any]:
    """The series in the kind's pandas type; a number written as text, or the reverse, is refused."""
    wants_text = kind in ("text", "json")
    for value in series.dropna():
        if isinstance(value, str) != wants_text:
            raise SchemaError(f"column {name} holds {kind} values; got {value!r}")
        if kind == "json":
            try:
                json.loads(value)
            except ValueError:
                raise SchemaError(f"column {name} holds JSON text; got {value!r}") from None
    try:
        if kind == "real":  # through plain floats, so that NaN and missing become one thing
            series = pd.Series(series.astype("Float64").to_numpy(dtype=float, na_value=math.nan))
        typed: pd.Series[Any] = series.astype(_PANDAS_TYPES[kind])
    except (TypeError, ValueError) as error:
        raise SchemaError(f"column {name} holds {kind} values; {error}") from None
    return typed.reset_index(drop=True)
