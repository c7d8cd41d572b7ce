"""The examples of extending: an op, a mode and a framework, one file each, do what their pages say."""

from __future__ import annotations

import importlib.util
import math
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from precision.errors import UserError
from precision.extend import add_framework, add_op, measure
from precision.modes import FRAMEWORKS, Framework, Mode
from reference import OPS, evaluate
from reference.bounds import OTHERS, error_bound

FOLDER = Path(__file__).parent.parent / "examples" / "extend"


def load(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def op():
    """The example's op, known for one test."""
    module = load("an_op")
    yield add_op(module.SOFTSIGN, module.bound)
    for known in (OPS, OTHERS):
        known.pop("softsign", None)


@pytest.fixture
def numpy_framework(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    yield add_framework(Framework("numpy", "a_framework", ("numpy",)), FOLDER / "a_framework.py")
    FRAMEWORKS.pop("numpy", None)


def linear():
    random = np.random.default_rng(1)
    shapes = {"input": (4, 64), "weight": (8, 64)}
    given_arrays = {name: random.random(shape, np.float32) for name, shape in shapes.items()}
    return {"op": "linear", "params": {}, "arrays": given_arrays}


def test_the_file_of_the_op_says_what_it_computes():
    command = [sys.executable, str(FOLDER / "an_op.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["textbook: rounding", "squared: unexplained"]


def test_the_files_of_the_mode_and_the_framework_say_what_they_measure(numpy_framework, capsys):
    load("a_mode").main()
    load("a_framework").main()
    printed = [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    assert printed == [
        ["mode", "verdict"],
        ["torch.cpu", "rounding"],
        ["torch.cpu.onednn_avx2", "rounding"],
        ["mode", "verdict"],
        ["numpy.cpu", "rounding"],
        ["numpy.cpu.threads1", "rounding"],
        ["torch.cpu", "rounding"],
    ]


numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(max_examples=60, deadline=None)
@given(arrays(np.float32, st.integers(0, 6), elements=numbers))
def test_the_truth_of_the_op_is_right_to_the_last_bit(x):
    truth = load("an_op").softsign(x)
    rounded = truth.round(np.float32)
    for index, value in enumerate(x):
        exact = Fraction(float(value)) / (1 + abs(Fraction(float(value))))
        held = Fraction(float(truth.value[index])) + Fraction(float(truth.residual[index]))
        assert abs(exact - held) <= Fraction(float(truth.bound[index]))
        near = [np.nextafter(rounded[index], np.float32(side)) for side in (-np.inf, np.inf)]
        error = abs(Fraction(float(rounded[index])) - exact)
        assert all(error <= abs(Fraction(float(other)) - exact) for other in near if np.isfinite(other))


def test_the_op_has_a_meaning_for_every_float(op):
    x = np.array([np.inf, -np.inf, np.nan, -0.0, 2.0**-149, -(2.0**127)], np.float32)
    got = evaluate("softsign", {"input": x}, {}).round(np.float32)
    assert got[:2].tolist() == [1.0, -1.0]
    assert math.isnan(got[2])
    assert math.copysign(1.0, got[3]) == 1.0
    assert got[4:].tolist() == [2.0**-149, -1.0]
    with pytest.raises(ValueError, match="float"):
        evaluate("softsign", {"input": np.arange(3)}, {})


def test_the_bound_of_the_op_holds_and_is_no_blank_cheque(op):
    x = np.random.default_rng(0).normal(0, 3, 4096).astype(np.float32)
    truth = evaluate("softsign", {"input": x}, {})
    bound = error_bound("softsign", {"input": x}, {}, truth)
    error = np.abs(truth.error(op.plain(x)))
    assert (error <= bound).all()
    assert error.max() > 0.1 * bound.max()
    assert (
        np.abs(truth.error((x / np.sqrt(1 + x.astype(np.float64) ** 2)).astype(np.float32))) > bound
    ).any()


def test_a_known_name_is_not_taken_again(op, numpy_framework):
    add_op(op, OTHERS["softsign"])  # the same again is no harm
    with pytest.raises(UserError, match="'linear' is known already; give it another"):
        add_op(
            OPS["linear"].__class__("linear", op.truth, None, None, ("input",), (), ()), OTHERS["softsign"]
        )
    with pytest.raises(UserError, match="'torch' is known"):
        add_framework(Framework("torch", "a_framework", ()), FOLDER / "a_framework.py")
    with pytest.raises(UserError, match="a framework's backend is a file's module"):
        add_framework(Framework("other", "other", ()), FOLDER / "a_framework.py")


def test_measuring_gives_a_row_for_every_cell_also_where_it_fails(numpy_framework):
    modes = [
        Mode("numpy.cpu", "default", "numpy", "cpu"),
        Mode("numpy.gpu", "no such device", "numpy", "gpu"),
    ]
    conv = {"input": np.ones((1, 1, 3, 3), np.float32), "weight": np.ones((1, 1, 1, 1), np.float32)}
    cases = {"linear": linear(), "conv": {"op": "conv2d", "params": {}, "arrays": conv}}
    found = measure(cases, modes).set_index(["case", "mode"])
    assert found.loc[("linear", "numpy.cpu"), "verdict"] in ("rounding", "exact")
    assert found.loc[("linear", "numpy.cpu"), "terms"] == 64
    assert found.loc[("linear", "numpy.cpu"), "error_ulp_max"] < 64
    assert found.loc[("conv", "numpy.cpu"), "verdict"] == "error"
    assert "this backend has linear" in found.loc[("conv", "numpy.cpu"), "reason"]
    for case in cases:
        assert found.loc[(case, "numpy.gpu"), "verdict"] == "error"
        assert np.isnan(found.loc[(case, "numpy.gpu"), "error_ulp_max"])


def test_what_is_measured_can_be_drawn(numpy_framework):
    from reports.figures import plot_errors, plot_heatmap

    found = measure({"linear": linear()}, [Mode("numpy.cpu", "default", "numpy", "cpu")])
    assert plot_heatmap(found).texts
    assert plot_errors(found).has_data()
