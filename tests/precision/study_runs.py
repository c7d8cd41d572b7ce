"""A study's material without frameworks: cases judged on outputs that a test makes, and faked experiments."""

from __future__ import annotations

import numpy as np

from precision.capture import Capture, write_tensors
from precision.cases import VARIANTS
from precision.errors import CannotRun
from precision.inputs import checksum
from precision.judging.judgement import CaseJudge, reference_of
from precision.modes import MODES
from precision.studies.material import Material
from reference import evaluate

BY_NAME = {mode.name: mode for mode in MODES}


def right(case, mode, variant):
    """The correctly rounded output of the call that the mode's framework makes."""
    return evaluate(case.op, case.make(variant), case.call(mode.framework, variant)).round(np.float32)


def capture_of(folder, mode, cases, output):
    """A capture of the cases in a mode; None for an output is a cell that failed."""
    capture = Capture(folder / "captures" / mode.name, mode.name, read_back=dict(mode.switches))
    capture.folder.mkdir(parents=True, exist_ok=True)
    for case in cases:
        outputs = {variant: output(case, mode, variant) for variant in VARIANTS}
        if outputs["data"] is None:
            capture.cells[case.id] = {"status": "error", "reason": "the fake gave up"}
            continue
        name = f"{case.id}.safetensors"
        capture.cells[case.id] = {
            "status": "ok", "file": name, "sha256": write_tensors(capture.folder / name, outputs),
            "inputs": {variant: checksum(case.make(variant)) for variant in VARIANTS},
            "fingerprint": case.fingerprint(), "seconds": 0.0, "repeats": 2, "distinct": 1, "kernels": [],
        }  # fmt: skip
    return capture


class Experiments:
    """In place of a live mode: `answer(mode, op, params, arrays)` gives the arrays, or raises."""

    def __init__(self, mode, answer):
        self.mode, self.answer = mode, answer

    def call(self, op, params, arrays, module="", function="run"):
        return self.answer(self.mode, op, params, arrays)

    def close(self):
        pass


class FakeMaterial(Material):
    """Material whose experiments are `answer`."""

    answer = staticmethod(lambda mode, op, params, arrays: _none(op))

    def live(self, mode):
        if mode not in self.modes:
            raise CannotRun(f"mode {mode} was not asked for")
        return Experiments(mode, self.answer)


def _none(op):
    raise CannotRun(f"no experiment {op} here")


def material(folder, cases, modes, output=right, answer=None):
    """Material of cases judged in modes (names) on the outputs that `output(case, mode, variant)` makes."""
    chosen = [BY_NAME[name] for name in modes]
    captures = {mode.name: capture_of(folder, mode, cases, output) for mode in chosen}
    references, scores, budgets = {}, [], []
    for case in cases:
        judge = CaseJudge(reference_of(case))
        references[case.id] = judge.reference
        scores += [judge.row(mode, captures[mode.name]) for mode in chosen]
        budgets += judge.budgets
    found = FakeMaterial(folder, references, scores, budgets, chosen, captures)
    if answer is not None:
        found.answer = answer
    return found
