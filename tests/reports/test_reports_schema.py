"""The schema accepts right tables and refuses each kind of wrong one, naming the column."""

from __future__ import annotations

import math
import re
from typing import Any

import pandas as pd
import pytest

from reports.schema import TABLES, VERDICTS, SchemaError, validate
from reports.store import Results


@pytest.mark.parametrize("table", TABLES)
def test_right_tables_are_accepted_and_ordered(results: Results, table: str) -> None:
    frame = results.table(table)
    shuffled = frame[list(reversed(frame.columns))]
    again = validate(table, shuffled)
    assert list(again.columns) == [column.name for column in TABLES[table]]
    pd.testing.assert_frame_equal(again, frame)


@pytest.mark.parametrize("table", TABLES)
def test_no_rows_are_a_table(table: str) -> None:
    empty = validate(table, pd.DataFrame([]))
    assert list(empty.columns) == [column.name for column in TABLES[table]]
    assert len(empty) == 0


@pytest.mark.parametrize("table", TABLES)
def test_every_missing_column_is_refused(results: Results, table: str) -> None:
    for column in TABLES[table]:
        with pytest.raises(SchemaError, match=re.escape(repr(column.name))):
            validate(table, results.table(table).drop(columns=column.name))


@pytest.mark.parametrize("table", TABLES)
def test_every_column_refuses_a_value_of_another_kind(results: Results, table: str) -> None:
    wrong: dict[str, Any] = {"text": 3, "json": "{not json", "integer": 1.5, "real": "0.5"}
    for column in TABLES[table]:
        frame = results.table(table).astype(object)
        frame.loc[0, column.name] = wrong[column.kind]
        with pytest.raises(SchemaError, match=rf"{table}\.{column.name} "):
            validate(table, frame)


@pytest.mark.parametrize("table", TABLES)
def test_only_nullable_columns_may_be_empty(results: Results, table: str) -> None:
    for column in TABLES[table]:
        frame = results.table(table).astype(object)
        frame.loc[0, column.name] = None
        if column.nullable:
            assert validate(table, frame)[column.name].isna()[0]
        else:
            with pytest.raises(SchemaError, match="may not be empty; row 0 is"):
                validate(table, frame)


def test_an_extra_column_is_refused(results: Results) -> None:
    with pytest.raises(SchemaError, match="unknown column 'surplus'"):
        validate("cases", results.cases.assign(surplus=1))


def test_an_unknown_table_is_refused(results: Results) -> None:
    with pytest.raises(SchemaError, match="a table is one of"):
        validate("verdicts", results.cases)


@pytest.mark.parametrize(("column", "word"), [("verdict", "fine"), ("evidence", "strong")])
def test_a_word_outside_the_list_is_refused(results: Results, column: str, word: str) -> None:
    frame = results.scores.copy()
    frame.loc[0, column] = word
    with pytest.raises(SchemaError, match=f"is one of .*got '{word}'"):
        validate("scores", frame)


@pytest.mark.parametrize("verdict", VERDICTS)
def test_every_verdict_is_accepted(results: Results, verdict: str) -> None:
    frame = results.scores.copy()
    frame.loc[0, "verdict"] = verdict
    assert validate("scores", frame)["verdict"][0] == verdict


def test_nan_becomes_missing_and_infinity_stays(results: Results) -> None:
    frame = results.scores.astype(object)
    frame.loc[0, "error_ulp_max"] = math.nan
    frame.loc[1, "error_ulp_max"] = math.inf
    typed = validate("scores", frame)["error_ulp_max"]
    assert typed.isna().tolist()[:2] == [True, False]
    assert typed[1] == math.inf
