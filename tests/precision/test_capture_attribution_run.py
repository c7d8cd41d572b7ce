"""Captures of a GPU suite, judged offline.  These captures are made up here: their outputs are emulated."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from precision.attribution.run import COLUMNS, attribute_captures, attributed, probed_rounding
from precision.capture import Capture, write_tensors
from precision.cases import load_suite
from precision.errors import UserError
from precision.invariance.captured import captured_invariance
from precision.modes import MODES
from precision.prediction.orders import k_orders
from precision.prediction.sums import by_unit, evaluated, plan_of, rounded_arrays
from precision.recording.operands import SCALARS
from reference import evaluate
from reference.formats import TF32
from reference.tensorcore import round_operand, unit_of
from reports.schema import BUDGETS

MODE = next(m for m in MODES if m.name == "torch.cuda.tf32")
OTHER = next(m for m in MODES if m.name == "torch.cuda.ieee")
CASES = {case.id: case for case in load_suite("gpu")}
WHOLE, LARGE = CASES["accumulate-linear-64"], CASES["linear-1024-1000"]


def emulated(case, mode="RNA", architecture="ampere"):
    unit = unit_of(architecture, "tf32")
    plan = plan_of(case.op, rounded_arrays(case.make("data"), TF32, mode), case.declared("data"))
    return evaluated(plan, lambda part: by_unit(unit, k_orders(part, None, unit.terms)[0], "last"))


class Made:
    """A run folder with one made-up capture."""

    def __init__(self, folder, mode=MODE):
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.capture = Capture(folder / "captures" / mode.name, mode.name, asked=dict(mode.switches))
        self.capture.read_back = dict(mode.switches)
        self.capture.versions = {"compute capability": "8.0"}
        self.capture.folder.mkdir(parents=True)

    def cell(self, case, output, index=None):
        kept = output if index is None else output.reshape(-1)[index]
        tensors = dict.fromkeys(("data", "probe", "width"), kept)
        content = {
            "status": "ok", "inputs": {}, "fingerprint": case.fingerprint(), "repeats": 2, "distinct": 1,
        }  # fmt: skip
        if index is not None:
            tensors["index"] = index
            digest = hashlib.sha256(output.tobytes()).hexdigest()
            content["whole"] = {
                "shape": list(output.shape),
                "sha256": dict.fromkeys(("data", "probe", "width"), digest),
            }
        self._keep(case.id, tensors, content)

    def probe(self, name, tensors, notes):
        kind = notes["kind"]
        self._keep(name, tensors, {"status": "ok", "kind": "probe", "notes": notes, "fingerprint": kind})

    def operands(self, op, mode, distinct=1):
        values = np.array(list(SCALARS.values()), np.float32)
        answers = values if mode is None else round_operand(values, TF32, mode)
        notes = {"kind": "operands", "op": op, "names": list(SCALARS)}
        notes |= {f"{side}_distinct": [distinct] * values.size for side in ("left", "right")}
        self.probe(f"operands-{op}", {"operand": values, "left": answers, "right": answers}, notes)

    def _keep(self, name, tensors, content):
        file = f"{name}.safetensors"
        sha256 = write_tensors(self.capture.folder / file, tensors)
        self.capture.cells[name] = {**content, "file": file, "sha256": sha256, "seconds": 0.1, "kernels": []}

    def save(self, *others):
        self.capture.save()
        for other in others:
            other.capture.save()
        run = {"schema": 1, "suite": "gpu", "cases": [WHOLE.id, LARGE.id],
               "modes": [each.capture.mode for each in (self, *others)]}  # fmt: skip
        (self.folder / "run.json").write_text(json.dumps(run))
        return self.folder


def causes(frame, case):
    rows = frame[frame["case"] == case.id]
    return {row["cause"]: row for row in rows.to_dict(orient="records")}


def test_whole_and_sampled_cells_are_attributed_by_the_probes(tmp_path):
    made = Made(tmp_path / "run")
    made.operands("linear", "RNA")
    made.cell(WHOLE, emulated(WHOLE))
    large = emulated(LARGE)
    made.cell(LARGE, large, np.sort(np.random.default_rng(0).choice(large.size, 200, replace=False)))
    frame = attribute_captures(made.save())
    assert tuple(frame.columns) == COLUMNS
    assert set(COLUMNS) <= {column.name for column in BUDGETS}
    for case in (WHOLE, LARGE):
        found = causes(frame, case)
        assert found["operand rounding"]["evidence"] == "proved"
        assert found["accumulation"]["evidence"] == "proved"
        assert "unexplained" not in found
        assert sum(row["share"] for row in found.values()) == pytest.approx(1.0)


def test_a_report_takes_the_attribution_where_operands_were_rounded(tmp_path):
    made, plain = Made(tmp_path / "rounded"), Made(tmp_path / "plain")
    made.cell(WHOLE, emulated(WHOLE))
    plain.cell(WHOLE, evaluate(WHOLE.op, WHOLE.make("data"), WHOLE.declared("data")).round(np.float32))
    for each in (made, plain):
        each.operands("linear", "RNA")
        each.save()
    row = dict.fromkeys(("case", "mode", "output", "cause", "share", "parameter", "fix"))
    rows = [{**row, "cause": "accumulation", "evidence": "bounded"}]
    found = attributed({MODE.name: made.capture}, MODE, WHOLE, rows, None)
    assert {each["cause"]: each["evidence"] for each in found}["operand rounding"] == "proved"
    assert all({"parameter", "fix"} <= set(each) for each in found)
    # Nothing is said again of what is proved, of modes that round no operands, of outputs that show none.
    done = [{**rows[0], "evidence": "proved"}]
    assert attributed({MODE.name: made.capture}, MODE, WHOLE, done, None) == done
    assert attributed({OTHER.name: made.capture}, OTHER, WHOLE, rows, None) == rows
    assert attributed({MODE.name: plain.capture}, MODE, WHOLE, rows, None) == rows


def test_an_output_that_contradicts_the_probes_is_unexplained(tmp_path):
    made = Made(tmp_path / "run")
    made.operands("linear", "RZ")
    made.cell(WHOLE, emulated(WHOLE, "RNA"))
    found = causes(attribute_captures(made.save()), WHOLE)
    assert "operand rounding" not in found
    assert found["unexplained"]["evidence"] == "none"
    assert found["unexplained"]["detail"].startswith("refused: ")


def test_probes_that_answer_in_two_ways_prove_nothing(tmp_path):
    made = Made(tmp_path / "run")
    made.operands("linear", "RNA", distinct=2)
    found = probed_rounding(made.capture, WHOLE)
    assert found.format == "unknown"
    assert "different answers" in found.words
    assert "no probe" in probed_rounding(made.capture, CASES["conv2d-3x3"]).words


def test_changed_files_and_other_declarations_are_refused(tmp_path):
    made = Made(tmp_path / "a")
    made.cell(WHOLE, emulated(WHOLE))
    made.capture.cells[WHOLE.id]["fingerprint"] = "0"
    with pytest.raises(UserError, match="another declaration"):
        attribute_captures(made.save())
    made = Made(tmp_path / "b")
    made.cell(WHOLE, emulated(WHOLE))
    folder = made.save()
    path = made.capture.folder / f"{WHOLE.id}.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(UserError, match="bytes have changed"):
        attribute_captures(folder)


def invariance_notes(factor, groups, **rest):
    settings = [str(n) for n in range(len(groups))]
    return {
        "kind": "invariance", "factor": factor, "case": "linear", "op": "linear", "settings": settings,
        "sha256": [str(group) for group in groups], "groups": groups, "distinct": len(set(groups)),
        "elements": 9, "differing": 3 * (len(set(groups)) - 1), "ulp_max": 4 * (len(set(groups)) - 1),
        "seconds": [0.2, *[0.3] * (len(groups) - 1)], "skipped": {},
    } | rest  # fmt: skip


def test_recorded_invariance_is_shown_in_the_same_columns(tmp_path):
    made, other = Made(tmp_path / "run"), Made(tmp_path / "run", OTHER)
    none = {"index": np.zeros(0, np.int64)}
    made.probe("batch-linear", none, invariance_notes("batch", [1, 1, 2, 2]))
    other.probe("batch-linear", none, invariance_notes("batch", [1, 1, 1, 1], seconds=[0.4, None, 1.0, 1.0]))
    made.probe("neighbours-linear", none, invariance_notes("neighbours", [1, 2], ulp_max=None))
    one = invariance_notes("memory_format", [1], skipped={"channels_last": "no image"})
    made.probe("memory-format-conv2d-3x3", none, {**one, "case": "conv2d-3x3"})
    made.capture.cells["stream-linear"] = {"status": "error", "reason": "out of memory"}
    frame = captured_invariance(made.save(other))
    rows = {(row["mode"], row["factor"]): row for row in frame.to_dict(orient="records")}
    batch = rows[MODE.name, "batch"]
    assert json.loads(batch["groups"]) == [1, 1, 2, 2]
    assert (batch["distinct"], batch["elements_differing"], batch["ulp_max_between"]) == (2, 3, 4.0)
    assert json.loads(batch["equal_by"]) == [OTHER.name]
    assert batch["seconds_ratio"] == pytest.approx(2.0)
    assert batch["timed"] == "in separate captures"
    assert rows[OTHER.name, "batch"]["distinct"] == 1
    assert rows[MODE.name, "position"]["ulp_max_between"] == np.inf
    assert rows[MODE.name, "memory format"]["status"] == "not applicable"
    assert "no image" in rows[MODE.name, "memory format"]["reason"]
    failed = frame[frame["status"] == "error"].iloc[0]
    assert (failed["factor"], failed["case"], failed["reason"]) == ("stream", "linear", "out of memory")
