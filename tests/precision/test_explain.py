"""`precision explain` and `precision.explain`: planted differences are named, pure rounding passes."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import from_numpy as t

import precision
from precision.__main__ import main
from precision.explanation import Explanation, explain
from reference import evaluate

CAUSE_KEYS = ["cause", "parameter", "declared", "found", "share", "rms_ulp", "evidence", "detail", "fix"]
ERROR_KEYS = ["ulp_max", "ulp_rms", "abs_max", "bias_ulp", "correctly_rounded"]
PARAMS = {"stride": 2, "padding": [1, 1, 1, 1]}


def drawn(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def layer():
    return {"input": drawn(1, 2, 4, 9, 8), "weight": drawn(2, 6, 4, 3, 3), "bias": drawn(3, 6)}


def conv(arrays, bias=True, **params):
    params = {"padding": 1, "stride": 2, **params}
    arrays = {name: t(array) for name, array in arrays.items()}
    return F.conv2d(arrays["input"], arrays["weight"], arrays["bias"] if bias else None, **params).numpy()


def shifted(**options):
    arrays = layer()
    moved = F.pad(t(arrays["input"]), (0, 1, 0, 2)).numpy()
    return conv({**arrays, "input": moved}, padding=0, **options)


def one_weight():
    arrays = layer()
    arrays["weight"][1, 2, 0, 1] += 1
    return conv(arrays)


def write(folder, arrays, outputs, op="conv2d", params=PARAMS):
    folder.mkdir(exist_ok=True)
    for name, array in {**arrays, **outputs}.items():
        np.save(folder / f"{name}.npy", array)
    listed = [{name: f"{name}.npy" for name in group} for group in (arrays, outputs)]
    content = {"op": op, "layout": "NCHW", "params": params, "arrays": listed[0], "outputs": listed[1]}
    (folder / "case.json").write_text(json.dumps(content if arrays else {"outputs": listed[1]}))
    return folder


def judged(folder, capsys):
    status = main(["explain", str(folder), "--json"])
    return status, json.loads(capsys.readouterr().out)["outputs"]


def check_schema(content):
    assert list(content) == ["schema", "outputs"]
    assert content["schema"] == 1
    for each in content["outputs"].values():
        assert list(each) == ["verdict", "causes", "error"]
        assert list(each["error"]) == ERROR_KEYS
        assert each["verdict"] in ("exact", "rounding", "semantics", "data", "unexplained")
        for cause in each["causes"]:
            assert list(cause) == CAUSE_KEYS
            assert cause["evidence"] in ("proved", "bounded", "consistent", "none")
            assert isinstance(cause["detail"], str)
            assert cause["detail"]
            assert isinstance(cause["fix"], str)
        shares = [cause["share"] for cause in each["causes"] if cause["share"] is not None]
        if shares and each["error"]["abs_max"]:
            assert math.fsum(shares) == pytest.approx(1.0, abs=1e-9)


PLANTED = {
    "padding": (shifted, "semantics", "padding", [1, 1, 1, 1], [0, 2, 0, 1]),
    "bias": (lambda: conv(layer(), bias=False), "semantics", "bias", "added", "missing"),
    "weight": (one_weight, "data", "weight element", None, None),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_difference_is_named(tmp_path, capsys, name):
    make, verdict, parameter, declared, found = PLANTED[name]
    folder = write(tmp_path, layer(), {"torch": conv(layer()), "tensorflow": make()})
    assert main(["explain", str(folder), "--json"]) == 1
    content = json.loads(capsys.readouterr().out)
    check_schema(content)
    outputs = content["outputs"]
    assert outputs["torch"]["verdict"] == "rounding"
    cause = outputs["tensorflow"]["causes"][0]
    assert (outputs["tensorflow"]["verdict"], cause["parameter"]) == (verdict, parameter)
    assert cause["evidence"] == "proved"
    assert cause["share"] > 0.999
    assert cause["rms_ulp"] > 1000
    assert cause["fix"]
    if declared is not None:
        assert (cause["declared"], cause["found"]) == (declared, found)
    else:
        assert cause["found"]["index"] == [1, 2, 0, 1]
    assert outputs["tensorflow"]["error"]["abs_max"] > 0.1


def test_an_eps(tmp_path, capsys):
    x = drawn(4, 2, 4, 9, 8) * np.float32(0.01)
    output = F.batch_norm(t(x), None, None, training=True, eps=1e-3).numpy()
    folder = write(tmp_path, {"input": x}, {"keras": output}, "batch_norm", {"training": True, "eps": 1e-5})
    status, outputs = judged(folder, capsys)
    cause = outputs["keras"]["causes"][0]
    assert (status, cause["parameter"], cause["declared"], cause["found"]) == (1, "eps", 1e-5, 1e-3)
    assert cause["fix"] == "epsilon=1e-05"


def test_rounding_passes_with_its_causes(tmp_path, capsys):
    output = conv(layer())
    status, outputs = judged(write(tmp_path, layer(), {"torch": output}), capsys)
    assert status == 0
    found = outputs["torch"]
    assert found["verdict"] == "rounding"
    kinds = {cause["cause"]: cause for cause in found["causes"]}
    assert list(kinds) == ["output rounding", "accumulation"]
    assert kinds["output rounding"]["evidence"] == "proved"
    assert kinds["accumulation"]["evidence"] == "proved"
    assert "36 terms" in kinds["accumulation"]["detail"]
    truth = evaluate("conv2d", layer(), {"stride": 2, "padding": 1})
    assert found["error"]["ulp_max"] == np.abs(truth.error_ulp(output)).max()
    assert found["error"]["correctly_rounded"] == np.mean(truth.round(np.float32) == output)
    assert found["error"]["bias_ulp"] == pytest.approx(truth.error_ulp(output).mean())


def test_the_correctly_rounded_truth_is_exact():
    truth = evaluate("conv2d", layer(), PARAMS)
    for dtype in (np.float32, np.float64):
        found = explain({"op": "conv2d", "params": PARAMS, "arrays": layer()}, truth.round(dtype))
        assert found.verdict == "exact", dtype
        assert found.fine
    other = truth.round(np.float32)
    other[0, 0, 0, 0] = np.nextafter(other[0, 0, 0, 0], np.float32(9e9))
    assert explain({"op": "conv2d", "params": PARAMS, "arrays": layer()}, other).verdict == "rounding"


def test_noise_and_nan_are_unexplained(tmp_path, capsys):
    noisy, wild = conv(layer()) + drawn(9, 2, 6, 5, 4), conv(layer())
    wild[0, 1, 2, 3] = np.nan
    status, outputs = judged(write(tmp_path, layer(), {"a": noisy, "b": wild}), capsys)
    assert status == 1
    assert {each["verdict"] for each in outputs.values()} == {"unexplained"}
    assert outputs["a"]["causes"][-1]["cause"] == "unexplained"
    assert outputs["a"]["causes"][-1]["share"] > 0.99
    assert "first at [0, 1, 2, 3]" in outputs["b"]["causes"][-1]["detail"]


def test_an_infinite_bound_excuses_nothing():
    x = drawn(1, 4, 2000) + np.float32(1e5)
    case = {"op": "layer_norm", "params": {"normalized_shape": [2000]}, "arrays": {"input": x}}
    assert explain(case, F.layer_norm(t(x), [2000])).fine
    found = explain(case, drawn(2, 4, 2000))
    assert found.verdict == "unexplained"
    assert found.outputs["output"].causes[-1].share > 0.99
    # The sum overflows in some order, but a finite output has not.
    x, w = drawn(1, 4, 20) * np.float32(1e19), drawn(2, 4, 20) * np.float32(3e18)
    output = x @ w.T
    case = {"op": "linear", "arrays": {"input": x, "weight": w}}
    assert explain(case, output).fine
    assert not explain(case, output * np.float32(1.01)).fine


def test_operands_of_fewer_bits_are_rounding(tmp_path, capsys):
    arrays = layer()
    low = {name: t(array).bfloat16().float().numpy() for name, array in arrays.items() if name != "bias"}
    output = conv({**arrays, **low})
    status, outputs = judged(write(tmp_path, arrays, {"torch": output}), capsys)
    assert status == 0
    assert outputs["torch"]["causes"][0]["cause"] == "operand rounding"
    assert "bfloat16" in outputs["torch"]["causes"][0]["found"]


def test_double_outputs_are_judged_as_such():
    arrays = {name: array.astype(np.float64) for name, array in layer().items()}
    case = {"op": "conv2d", "params": PARAMS, "arrays": arrays}
    found = explain(case, {"torch": conv(arrays)})
    assert found.verdict == "rounding"
    assert [cause.cause for cause in found.outputs["torch"].causes] == ["accumulation"]
    assert found.outputs["torch"].error["ulp_max"] < 1e-6
    assert any("judged as float64" in note for note in found.case.notes)
    assert any("'input' is float64" in note for note in found.case.notes)
    assert explain(case, conv(arrays) * (1 + 1e-9)).verdict != "rounding"


def test_shapes_that_another_parameter_gives():
    case = {"op": "conv2d", "params": PARAMS, "arrays": layer()}
    found = explain(case, {"torch": conv(layer(), stride=1), "tensorflow": conv(layer(), padding=0)})
    parameters = {name: each.causes[0].parameter for name, each in found.outputs.items()}
    assert parameters == {"torch": "stride", "tensorflow": "padding"}
    assert found.outputs["torch"].error["ulp_max"] is None
    check_schema(found.to_json())
    turned = explain(case, {"tensorflow": np.moveaxis(conv(layer()), 1, -1)})
    assert turned.verdict == "semantics"
    assert turned.outputs["tensorflow"].causes[0].parameter == "layout"
    with pytest.raises(ValueError, match="padding=2 gives that shape, but not these values"):
        explain(case, np.zeros((2, 6, 6, 5), np.float32))
    with pytest.raises(ValueError, match="no parameter that was tried gives it"):
        explain(case, np.zeros((3, 3), np.float32))


@pytest.mark.parametrize(
    ("op", "params", "shape", "words"),
    [
        ("max_pool2d", {"kernel_size": 2}, (1, 3, 7, 7), "stride=1 gives that shape"),
        ("avg_pool2d", {"kernel_size": 2, "stride": 2}, (1, 3, 5, 5), "padding=1 gives that shape"),
        ("mean", {"dim": [2, 3]}, (1, 3, 1, 1), "keepdim=True gives that shape"),
        ("sum", {"dim": 1}, (1, 3, 8), "dim=2 gives that shape"),
        ("interpolate", {"scale_factor": 2, "mode": "nearest"}, (1, 3, 24, 24), "scale_factor=3 gives"),
        ("relu", {}, (3, 8, 8), "the axis of the batch, of one sample, is missing"),
    ],
)
def test_shapes_of_other_ops_name_the_parameter(op, params, shape, words):
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
    values = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    with pytest.raises(ValueError, match=words):
        explain({"op": op, "params": params, "arrays": {"input": x}}, values)


def test_pairs_and_tolerances_in_words(tmp_path, capsys):
    output = conv(layer())
    folder = write(tmp_path, layer(), {"torch": output, "tensorflow": output, "other": shifted()})
    assert main(["explain", str(folder)]) == 1
    text = capsys.readouterr().out
    assert "torch and tensorflow are equal, bit for bit, in all 240 elements" in text
    assert "torch and other differ in 240 of 240 elements" in text
    assert "≠ other: semantics" in text
    assert "smallest example" in text
    assert "mend: " in text
    found = explain(folder)
    rtol, atol = found.tolerance.rtol, found.tolerance.atol
    assert f"rtol={rtol:g}, atol={atol:g}" in text
    truth = evaluate("conv2d", layer(), PARAMS)
    from reference import error_bound

    limit = error_bound("conv2d", layer(), PARAMS, truth)
    for sign in (-1, 1):  # the worst pair that is allowed needs it, and a tenth of it would not do
        a, b = truth.value + sign * limit, truth.value - sign * limit
        assert np.all(np.abs(a - b) <= (atol + rtol * np.abs(b)) * (1 + 1e-12))
        assert not np.all(np.abs(a - b) <= 0.1 * (atol + rtol * np.abs(b)))
    assert rtol < 1e-3


def test_the_explanation_in_python():
    assert precision.explain is explain
    assert precision.Explanation is Explanation
    with pytest.raises(AttributeError, match="nothing"):
        precision.nothing  # noqa: B018
    output = torch.from_numpy(shifted(bias=False)).requires_grad_()
    found = explain({"op": "conv2d", "params": PARAMS, "arrays": {**layer(), "bias": None}}, output)
    assert found.verdict == "semantics"
    assert list(found.outputs) == ["output"]
    assert isinstance(found.scores, pd.DataFrame)
    assert found.scores["error_ulp_max"].iloc[0] > 1000
    assert list(found.budget.columns) == ["output", *CAUSE_KEYS]
    assert found.budget["share"].sum() == pytest.approx(1.0)
    assert "semantics" in repr(found)
    example = found.outputs["output"].counterexample
    assert example is not None
    assert np.abs(example.declared - example.found).max() >= 0.5


def test_the_table_is_escaped():
    name = "<script>alert(1)</script>"
    found = explain({"op": "conv2d", "params": PARAMS, "arrays": layer()}, {name: conv(layer())})
    assert "<script>" not in found._repr_html_()
    assert "&lt;script&gt;" in found._repr_html_()
    assert "rounding" in found._repr_html_()


def test_outputs_alone(tmp_path, capsys):
    output = conv(layer())
    cases = {
        "equal": (output, "equal, bit for bit"),
        "narrow": (t(output).bfloat16().float().numpy(), "b is a rounded to bfloat16"),
        "order": (output * np.float32(1 + 2**-22), "float32 sums in another order"),
        "far": (output + 1, "more than rounding"),
        "shape": (output[:1], "no element can be compared"),
    }
    for name, (other, words) in cases.items():
        folder = write(tmp_path / name, {}, {"a": output, "b": other})
        assert main(["explain", str(folder)]) == 1
        text = capsys.readouterr().out
        assert words in text, name
        assert "cannot be said without the arrays" in text
        check_schema(explain(folder).to_json())


def test_as_a_command(precision_command, tmp_path):
    folder = write(tmp_path, layer(), {"torch": conv(layer())})
    done = precision_command("explain", str(folder), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    check_schema(json.loads(done.stdout))


def test_other_families(tmp_path):
    x = drawn(5, 4, 10)
    target = np.arange(4)
    loss = F.cross_entropy(t(x), torch.from_numpy(target)).numpy()
    case = {"op": "cross_entropy", "arrays": {"input": x, "target": target}}
    assert explain(case, loss).fine
    gelu = F.gelu(t(x), approximate="tanh").numpy()
    found = explain(
        {"op": "gelu", "params": {"approximate": "none"}, "arrays": {"input": x}}, {"torch": gelu}
    )
    assert found.verdict == "semantics"
    mean, var = drawn(6, 10), np.abs(drawn(7, 10)) + 1
    out = F.batch_norm(t(x), t(mean), t(var)).numpy()
    params = {"training": False, "running_mean": mean.tolist(), "running_var": var}
    assert explain({"op": "batch_norm", "params": params, "arrays": {"input": x}}, out).fine
