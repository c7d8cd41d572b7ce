"""The frame of the studies: rows, documents, material, the cache of experiments, and what a run lacks."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from precision.cases import STUDIES, load_suite
from precision.errors import CannotRun, UserError
from precision.live import KernelError
from precision.studies import row as rows_of
from precision.studies import telling
from precision.studies.material import Material, digest_of
from precision.studies.row import Entry, Row, figure, load_document, made
from precision.studies.wide import joined, split
from precision.suites.notebook import EVEN_PAD, EVEN_SAME, ODD
from reports.schema import CAUSES, EVIDENCE
from reports.schema import STUDIES as TABLE

sys.path.insert(0, str(Path(__file__).parent))  # the fakes are a plain module beside the tests

from study_runs import BY_NAME, material, right

ENTRY = Entry("notebook", "a", "title", "In [1]", "it saw", {"x": 1})
FOUND = {
    "now": "n", "truth": "t", "cause": "semantics", "evidence": "proved", "detail": "d", "mend": "",
    "recurs": "yes", "why": "w",
}  # fmt: skip
MODES = ("torch.cpu", "tensorflow.cpu")


def test_words_are_those_of_the_report():
    assert ("none", *CAUSES) == rows_of.CAUSES
    assert rows_of.EVIDENCE == EVIDENCE
    assert [column.name for column in TABLE] == ["order", *Row.__dataclass_fields__]


def test_a_row_joins_document_and_run():
    row = ENTRY.row_of(**FOUND, figures=[figure("f", np.float32(1.5), 2, None, "why")])
    assert (row.study, row.source, row.document, row.now) == ("notebook", "In [1]", "it saw", "n")
    told = row.to_json()
    assert json.loads(told["figures"]) == [
        {"name": "f", "document": 2, "now": 1.5, "truth": None, "note": "why"}
    ]


@pytest.mark.parametrize(
    "change", [{"cause": "magic"}, {"evidence": "sure"}, {"recurs": "maybe"}, {"now": ""}, {"detail": ""}]
)
def test_a_row_refuses_other_words_and_silence(change):
    with pytest.raises(ValueError, match="row a"):
        ENTRY.row_of(**{**FOUND, **change})


@pytest.mark.parametrize("study", STUDIES)
def test_documents_and_makers_fit(study):
    document = load_document(study)
    assert document.entries
    assert all(each.source and each.document and each.title for each in document.entries)
    assert callable(importlib.import_module(f"precision.studies.{study.replace('-', '_')}").rows)
    assert load_suite(study) is not None


def test_made_needs_a_maker_for_every_row_and_no_other():
    known = [each.row for each in load_document("notebook").entries]
    with pytest.raises(ValueError, match="'conv-even' is on one side"):
        made("notebook", dict.fromkeys(known[1:]), None)
    with pytest.raises(ValueError, match="'zebra' is on one side"):
        made("notebook", dict.fromkeys([*known, "zebra"]), None)


@pytest.mark.parametrize("error", [CannotRun("no GPU"), KernelError("no GPU")])
def test_what_a_run_lacks_is_a_row_that_says_so(error):
    def fails(material, entry):
        raise error

    entries = load_document("notebook").entries
    found = made("notebook", {each.row: fails for each in entries}, None)
    assert len(found) == len(entries)
    assert {(row.evidence, row.recurs, row.cause) for row in found} == {("none", "no", "none")}
    assert all("no GPU" in row.now for row in found)


def test_a_fault_of_a_study_is_not_taken_for_a_missing_mode():
    def broken(material, entry):
        raise KeyError("a slip")

    entries = load_document("notebook").entries
    with pytest.raises(KeyError):
        made("notebook", {each.row: broken for each in entries}, None)


@given(st.lists(st.floats(-1e30, 1e30).filter(lambda x: x == 0 or abs(x) > 1e-12), min_size=1))
def test_float64_survives_the_message(values):
    given_ = np.array(values)
    parts = split("y", given_)
    assert all(part.dtype == np.float32 for part in parts.values())
    assert np.array_equal(joined("y", parts), given_)


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    cases = [case for case in load_suite("notebook") if case.id in (EVEN_PAD, EVEN_SAME, ODD)]

    def output(case, mode, variant):
        gave_up = case.id == ODD and mode.name == "tensorflow.cpu"
        return None if gave_up else right(case, mode, variant)

    return material(tmp_path_factory.mktemp("study"), cases, (*MODES, "torch.cpu.avx2"), output)


def test_material_gives_outputs_truths_and_causes(judged):
    assert judged.modes_of(EVEN_PAD, "torch") == ["torch.cpu", "torch.cpu.avx2"]
    assert judged.score(EVEN_PAD, "tensorflow.cpu")["verdict"] == "semantics"
    assert not any(cause["share"] for cause in judged.causes(EVEN_PAD, "torch.cpu"))
    assert {cause["parameter"] for cause in judged.causes(EVEN_PAD, "tensorflow.cpu")} >= {"padding"}
    truth = judged.truth(EVEN_PAD)
    assert np.array_equal(truth.round(np.float32), judged.output(EVEN_PAD, "torch.cpu"))


def test_material_says_what_is_missing(judged):
    for call, words in (
        (lambda: judged.output(ODD, "tensorflow.cpu"), "the fake gave up"),
        (lambda: judged.modes_of(ODD, "tensorflow"), "the fake gave up"),
        (lambda: judged.score(ODD, "torch.cpu.xla"), "mode torch.cpu.xla was not asked for"),
        (lambda: judged.truth("conv2d-19-to-10"), "case conv2d-19-to-10 was not asked for"),
        (lambda: Material.live(judged, "torch.cuda.tf32"), "was not asked for"),
        (lambda: telling.both(judged, ODD), "the fake gave up"),
    ):
        with pytest.raises(CannotRun, match=words):
            call()
    assert "tensorflow.cpu (the fake gave up)" in telling.missing_words(judged, ODD)
    assert telling.missing_words(judged, EVEN_PAD) == ""


def test_the_leading_cause_is_the_worst(judged):
    assert telling.leading(judged, EVEN_PAD, ["torch.cpu"]) == ("none", "proved")
    assert telling.leading(judged, EVEN_PAD, MODES) == ("semantics", "proved")


def test_differences_and_groups():
    given_ = {"a": np.float32([1, 2]), "b": np.float32([1, 4]), "c": np.float32([1, 2])}
    assert telling.groups(given_) == [["a", "c"], ["b"]]
    pairs = telling.differences(given_)
    assert [(p.first, p.second, p.largest) for p in pairs] == [("a", "b", 2), ("b", "c", 2), ("a", "c", 0)]


def test_signed_zero_is_another_result():
    assert len(telling.groups({"a": np.float32([0.0]), "b": np.float32([-0.0])})) == 2


def empty(folder, modes=MODES):
    return Material(folder, {}, [], [], [BY_NAME[name] for name in modes], {})


def test_experiments_are_kept_and_read_again(tmp_path):
    calls = []

    def make():
        calls.append(1)
        return {"y": np.arange(3.0), "number": np.float32(4)}, {"note": "a"}

    for _ in range(2):
        arrays, notes = empty(tmp_path).kept("work", {"seed": 1}, make)
        assert np.array_equal(arrays["y"], [0, 1, 2])
        assert arrays["number"].item() == 4
        assert notes == {"note": "a"}
    assert len(calls) == 1
    empty(tmp_path).kept("work", {"seed": 2}, make)
    assert len(calls) == 2


def test_a_kept_experiment_that_was_changed_is_refused(tmp_path):
    empty(tmp_path).kept("work", {}, lambda: ({"y": np.arange(3.0)}, {}))
    (path,) = (tmp_path / "study").glob("*.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="its bytes have changed"):
        empty(tmp_path).kept("work", {}, lambda: ({"y": np.arange(3.0)}, {}))


def test_what_fails_is_not_kept(tmp_path):
    def fails():
        raise CannotRun("not here")

    with pytest.raises(CannotRun):
        empty(tmp_path).kept("work", {}, fails)
    assert not list(tmp_path.glob("study/*"))


def test_a_live_call_is_made_once_and_depends_on_its_arrays(tmp_path, monkeypatch):
    asked = []

    class Asking:
        versions, alive = {"fake": "1"}, True

        def __init__(self, mode):
            self.mode = mode

        def ask(self, op, params, arrays, module, function):
            asked.append((self.mode, op, params))
            return {"output": arrays["x"] + 1}

        def close(self):
            asked.append("closed")

    monkeypatch.setattr("precision.studies.material._Asking", Asking)
    for value, count in ((1, 1), (1, 1), (2, 2)):
        with empty(tmp_path) as found:
            answer = found.live("torch.cpu").call("f", {"p": 1}, {"x": np.float32([value])})
        assert answer["output"] == value + 1
        assert sum(each != "closed" for each in asked) == count
    with empty(tmp_path) as found:
        found.live("tensorflow.cpu").call("f", {"p": 1}, {"x": np.float32([1])})
    assert asked[-2][0] == "tensorflow.cpu"
    assert asked.count("closed") == 3


def test_digests_see_names_types_and_shapes():
    x = np.arange(6, dtype=np.float32)
    others = [{"b": x}, {"a": x.reshape(2, 3)}, {"a": x.astype(np.float64)}, {"a": x + 1}]
    assert len({digest_of({"a": x}), *map(digest_of, others)}) == 5
