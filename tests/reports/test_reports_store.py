"""Results on disk: the round trip is exact, the bytes are stable, each error has its own message."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from reports.schema import OPTIONAL, SCHEMA_VERSION, TABLES, SchemaError
from reports.store import Results, StoreError, load, save


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_round_trip(results: Results, tmp_path: Path) -> None:
    written = save(results, tmp_path / "new" / "results")
    again = load(tmp_path / "new" / "results")
    for name in TABLES:
        pd.testing.assert_frame_equal(again.table(name), results.table(name))
    assert again.run == results.run
    kept = [*TABLES, *(name for name in OPTIONAL if len(results.table(name)))]
    assert len(kept) > len(TABLES)
    for name in kept[len(TABLES) :]:
        pd.testing.assert_frame_equal(again.table(name), results.table(name))
    names = {"run.json"} | {f"{name}.{end}" for name in kept for end in ("csv", "parquet")}
    assert {path.name for path in written} == names == set(_bytes(tmp_path / "new" / "results"))


def test_empty_tables_come_back_with_their_types(results: Results, tmp_path: Path) -> None:
    empty = Results(**{name: results.table(name).iloc[:0] for name in TABLES}, run=results.run)
    save(empty, tmp_path)
    again = load(tmp_path)
    for name in TABLES:
        pd.testing.assert_frame_equal(again.table(name), empty.table(name))


def test_same_results_same_bytes(results: Results, tmp_path: Path) -> None:
    save(results, tmp_path / "a")
    save(results, tmp_path / "b")
    save(load(tmp_path / "a"), tmp_path / "a")
    assert _bytes(tmp_path / "a") == _bytes(tmp_path / "b")


def test_csv_keeps_every_bit_of_a_figure(results: Results, tmp_path: Path) -> None:
    save(results, tmp_path)
    with (tmp_path / "scores.csv").open(newline="", encoding="utf-8") as file:
        shown = [row["error_abs_rms"] for row in csv.DictReader(file)]
    assert [float(text) for text in shown if text] == results.scores["error_abs_rms"].dropna().tolist()
    assert len(shown) == len(results.scores)


def test_a_table_that_breaks_the_schema_is_not_written(results: Results, tmp_path: Path) -> None:
    broken = dataclasses.replace(results, scores=results.scores.drop(columns="verdict"))
    with pytest.raises(SchemaError, match="lacks column 'verdict'"):
        save(broken, tmp_path / "results")
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("table", ["cases", "modes", "scores", "budgets"])
def test_a_row_twice_is_refused(results: Results, tmp_path: Path, table: str) -> None:
    frame = results.table(table)
    double = pd.concat([frame, frame.iloc[[0]]], ignore_index=True)
    with pytest.raises(StoreError, match=f"{table} has one row per .* is twice; remove one"):
        save(dataclasses.replace(results, **{table: double}), tmp_path)


@pytest.mark.parametrize("table", ["scores", "budgets", "histograms", "maps"])
@pytest.mark.parametrize(("key", "home"), [("case", "cases"), ("mode", "modes")])
def test_a_stray_row_is_refused(results: Results, tmp_path: Path, table: str, key: str, home: str) -> None:
    frame = results.table(table).copy()
    frame.loc[0, key] = "nobody"
    with pytest.raises(StoreError, match=f"each {key} of {table} is a row of {home}; 'nobody' is not"):
        save(dataclasses.replace(results, **{table: frame}), tmp_path)


@pytest.mark.parametrize("schema", [None, 0, 1, 3, "2"])
def test_a_run_of_another_schema_is_not_saved(results: Results, tmp_path: Path, schema: Any) -> None:
    with pytest.raises(StoreError, match=r"run\['schema'\] is 2; got"):
        save(dataclasses.replace(results, run=results.run | {"schema": schema}), tmp_path)


@pytest.mark.parametrize("value", [float("nan"), object(), {1, 2}])
def test_a_run_that_json_cannot_hold_is_not_saved(results: Results, tmp_path: Path, value: Any) -> None:
    with pytest.raises(StoreError, match="run holds only text, numbers"):
        save(dataclasses.replace(results, run=results.run | {"odd": value}), tmp_path)


def _run(folder: Path, **change: Any) -> None:
    path = folder / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


def _older(folder: Path) -> None:
    _run(folder, schema=SCHEMA_VERSION - 1)


def _newer(folder: Path) -> None:
    _run(folder, schema=SCHEMA_VERSION + 1)


def _unversioned(folder: Path) -> None:
    _run(folder, schema=True)


def _no_run(folder: Path) -> None:
    (folder / "run.json").unlink()


def _no_table(folder: Path) -> None:
    (folder / "maps.parquet").unlink()


def _bad_run(folder: Path) -> None:
    (folder / "run.json").write_text("{")


def _bad_text(folder: Path) -> None:
    (folder / "run.json").write_bytes(b"\xff\xfe\x00")


def _list_run(folder: Path) -> None:
    (folder / "run.json").write_text("[1]")


def _bad_parquet(folder: Path) -> None:
    (folder / "scores.parquet").write_bytes(b"PAR1 this is no Parquet file PAR1")


def _empty_parquet(folder: Path) -> None:
    (folder / "scores.parquet").write_bytes(b"")


def _other_table(folder: Path) -> None:
    (folder / "scores.parquet").write_bytes((folder / "cases.parquet").read_bytes())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_older, "is of the older schema 1; score its captures again"),
        (_newer, "is of the newer schema 3; update this toolkit"),
        (_unversioned, "says its schema, an integer; .* says True"),
        (_no_run, r"run\.json is missing; give the folder"),
        (_no_table, r"maps\.parquet is missing; give the folder"),
        (_bad_run, r"run\.json is JSON; .* is unreadable"),
        (_bad_text, r"run\.json is JSON; .* is unreadable"),
        (_list_run, "says its schema, an integer; .* says None"),
        (_bad_parquet, r"scores\.parquet is Parquet; .* is unreadable"),
        (_empty_parquet, r"scores\.parquet is Parquet; .* is unreadable"),
        (_other_table, "tables satisfy the schema; .* lacks column 'mode'"),
    ],
)
def test_each_damage_has_its_own_message_in_one_line(
    results: Results, tmp_path: Path, damage: Any, message: str
) -> None:
    save(results, tmp_path)
    damage(tmp_path)
    with pytest.raises(StoreError, match=message) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is missing; give the folder"):
        load(tmp_path / "nowhere")


def test_a_failed_write_leaves_no_temporary_file_and_no_complete_folder(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(results, tmp_path)
    before = set(_bytes(tmp_path))

    def refuse(path: Path, target: Path) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="disk is full"):
        save(results, tmp_path)
    assert set(_bytes(tmp_path)) == before - {"run.json"}
