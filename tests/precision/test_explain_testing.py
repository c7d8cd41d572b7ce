"""`assert_explained` and the plugin: rounding passes, meaning fails, and says what to mend."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import reference
from precision.judging import case_judge
from precision.judging.output_pairs import compare, distance
from precision.testing import assert_explained

pytest_plugins = ["pytester"]


def drawn(seed, *shape):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def layer():
    return {"input": drawn(1, 2, 4, 9, 8), "weight": drawn(2, 6, 4, 3, 3), "bias": drawn(3, 6)}


PASSING = {
    "conv2d": (layer, lambda a: F.conv2d(**a, padding=1, stride=2), {"padding": 1, "stride": 2}),
    "linear": (
        lambda: {"input": drawn(1, 5, 300), "weight": drawn(2, 7, 300)},
        lambda a: F.linear(**a),
        {},
    ),
    "layer_norm": (
        lambda: {"input": drawn(1, 5, 30)},
        lambda a: F.layer_norm(a["input"], [30]),
        {"normalized_shape": [30]},
    ),
    "softmax": (lambda: {"input": drawn(1, 5, 30)}, lambda a: F.softmax(a["input"], -1), {"dim": -1}),
    "gelu": (lambda: {"input": 3 * drawn(1, 60, 70)}, lambda a: F.gelu(a["input"]), {}),
    "erfc": (lambda: {"input": 3 * drawn(1, 60, 70)}, lambda a: torch.erfc(a["input"]), {}),
    "max_pool2d": (
        lambda: {"input": drawn(1, 2, 3, 8, 8)},
        lambda a: F.max_pool2d(a["input"], 2),
        {"kernel_size": 2},
    ),
}


@pytest.mark.parametrize("op", PASSING)
def test_rounding_passes_without_a_search(op, monkeypatch):
    make, run, params = PASSING[op]
    monkeypatch.setattr(case_judge, "search", lambda *a, **b: pytest.fail("searched"))
    arrays = make()
    assert_explained(run(arrays), op, arrays, **params)


@pytest.mark.parametrize("op", PASSING)
def test_a_small_wrong_number_fails(op):
    make, run, params = PASSING[op]
    arrays = make()
    output = run(arrays).numpy().copy()
    output.reshape(-1)[3] += np.float32(0.01)
    with pytest.raises(AssertionError, match=r"unexplained|data"):
        assert_explained(output, op, arrays, **params)


def test_meaning_fails_with_cause_worst_element_and_mend():
    arrays = layer()
    output = F.conv2d(F.pad(arrays["input"], (0, 1, 0, 2)), arrays["weight"], arrays["bias"], stride=2)
    with pytest.raises(AssertionError) as caught:
        assert_explained(output, "conv2d", arrays, padding=1, stride=2)
    message = str(caught.value)
    for words in (
        "the output is not conv2d of these inputs: semantics",
        "padding: declared 1, found [0, 2, 0, 1] (proved)",
        "mend: padding=1",
        "worst element [",
        "correctly rounded",
    ):
        assert words in message


def test_a_meaning_that_the_worst_case_hides_fails():
    x = drawn(1, 64, 30)
    output = F.gelu(x, approximate="tanh")
    with pytest.raises(AssertionError, match="semantics"):
        assert_explained(output, "gelu", {"input": x}, approximate="none")


def test_another_shape_fails_and_bad_input_is_no_failure_of_the_layer():
    arrays = layer()
    with pytest.raises(AssertionError, match=r"output 'actual' has \[3, 3\]"):
        assert_explained(np.zeros((3, 3), np.float32), "conv2d", arrays, padding=1, stride=2)
    output = F.conv2d(**arrays)
    for op, inputs, params, words in (
        ("conv", arrays, {}, "did you mean"),
        ("conv2d", arrays, {"strides": 2}, "got 'strides'"),
        ("conv2d", arrays["input"], {}, "arrays by name"),
        ("conv2d", {}, {}, "needs its arrays"),
        ("conv2d", {**arrays, "input": arrays["input"] / 0}, {}, "are finite"),
    ):
        with pytest.raises(ValueError, match=words):
            assert_explained(output, op, inputs, **params)


def test_another_shape_that_a_parameter_explains_names_both_shapes():
    arrays = layer()
    with pytest.raises(AssertionError) as caught:
        assert_explained(F.conv2d(**arrays), "conv2d", arrays, padding=2)
    message = str(caught.value)
    assert "padding: declared 2, found [0, 0, 0, 0]" in message
    assert "shape: declared gives [2, 6, 11, 10], got [2, 6, 7, 6]" in message


def test_a_passing_layer_costs_no_certified_search_and_little_else(monkeypatch):
    """All that a passing assertion computes: one truth and two bounds."""
    calls = []
    for module, name in ((case_judge, "evaluate"), (reference, "error_bound"), (case_judge, "direct")):
        own = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda *a, own=own, name=name, **b: (calls.append(name), own(*a, **b))[1]
        )
    arrays = layer()
    assert_explained(F.conv2d(**arrays), "conv2d", arrays)
    assert sorted(calls) == ["direct", "error_bound", "evaluate"]


def test_tensors_with_gradients_and_narrow_types():
    x, w = drawn(1, 5, 30).requires_grad_(), drawn(2, 7, 30)
    assert_explained(F.linear(x, w), "linear", {"input": x, "weight": w})
    narrow = (x.detach().bfloat16(), w.bfloat16())
    result = F.linear(*(each.float() for each in narrow)).bfloat16()
    assert_explained(result, "linear", dict(zip(("input", "weight"), narrow, strict=True)))


def test_distances_do_not_wrap():
    top = np.array([3.4028235e38, 0.0, 1.0], np.float32)
    other = np.array([-3.4028235e38, -0.0, np.nextafter(np.float32(1), np.float32(2))], np.float32)
    assert distance(top, other).tolist() == [2 * 0x7F7FFFFF, 0, 1]
    pair = compare("a", top, "b", other)
    assert (pair.equal, pair.differing, pair.ulp_max, pair.index) == (False, 2, 2 * 0x7F7FFFFF, (0,))
    wild = np.array([np.nan, 1.0], np.float32)
    assert compare("a", wild, "b", wild.copy()).equal
    one_side = compare("a", wild, "b", np.array([2.0, 1.0], np.float32))
    assert (one_side.differing, one_side.index) == (1, (0,))
    assert not compare("a", np.zeros(2, np.float32), "b", -np.zeros(2, np.float32)).equal


def test_the_plugin(pytester, monkeypatch):
    # By name here, and by its entry point where the package is installed.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile(
        """
        import numpy as np

        X = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
        W = np.linspace(1, 2, 8, dtype=np.float32).reshape(2, 4)

        def test_rounding(explain):
            explain(X @ W.T, "linear", {"input": X, "weight": W})

        def test_meaning(explain):
            x = np.random.default_rng(1).standard_normal((20, 4)).astype(np.float32)
            explain(np.maximum(x @ W.T, 0), "linear", {"input": x, "weight": W})

        def test_element(explain):
            y = X @ W.T
            y[1, 1] += 0.01
            explain(y, "linear", {"input": X, "weight": W})

        def test_usage(explain):
            explain(X @ W.T, "linear", {"input": X, "wight": W})
        """
    )
    result = pytester.runpytest_subprocess("-p", "precision.pytest_plugin", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, failed=3)
    result.stdout.fnmatch_lines(
        [
            "*AssertionError: the output is not linear of these inputs: semantics*",
            "*mend: *",
            "*worst element [[]*got *correctly rounded *exact *",
            "*AssertionError: the output is not linear of these inputs: *",
            "*worst element [[]1, 1]*",
            "*CaseError: linear takes the arrays input, weight, bias; got 'wight'; did you mean 'weight'?",
        ]
    )
    # The user's own line, and not the way through this package.
    result.stdout.no_fnmatch_line("*case_folder.py*in make_case*")


def test_the_plugin_loads_nothing_heavy():
    heavy = {"numpy", "numba", "torch", "pandas"}
    code = f"import sys, precision.pytest_plugin; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_entry_point_is_declared():
    import tomllib
    from pathlib import Path

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"precision": "precision.pytest_plugin"}
