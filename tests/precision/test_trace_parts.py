"""The parts of a trace without a framework: units, matching, what stands between layers, figures."""

from __future__ import annotations

import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from precision.errors import UserError
from precision.tracing.carry import carry_weights
from precision.tracing.declared import declare, differences, reordered, same_weights
from precision.tracing.errors import split_of
from precision.tracing.fitting import distance
from precision.tracing.glue import ARITHMETIC, glue_explained, glue_truth
from precision.tracing.judge import UnitJudge, other_finding
from precision.tracing.match import match_units, read_pairs
from precision.tracing.units import Unit, build_units, linearized, read_calls
from reference import evaluate

FLOATS = st.floats(-(2.0**100), 2.0**100, width=32)
PAIR = arrays(np.float32, (2, 7), elements=FLOATS)


def call(name: str, op: str, sources: list[list[int]], shape: list[int], **more: Any) -> dict[str, Any]:
    found = {"name": name, "op": op, "detail": op, "params": {}, "weights": {}, "sources": sources}
    return {**found, "shapes": [shape] * len(sources), "shape": shape, **more}


def units(*described: dict[str, Any]) -> list[Unit]:
    return build_units(read_calls(described), [[len(described) - 1]])


def block(short_first: bool, names: str = "") -> list[Unit]:
    """A residual block whose two branches have layers of one shape; frameworks run them in either order."""
    shape, weight = [1, 8, 4, 4], {"weight": [8, 8, 1, 1]}
    long = [
        call(f"{names}c1", "conv2d", [[0]], shape, weights=weight),
        call(f"{names}r1", "relu", [[1]], shape),
        call(f"{names}c2", "conv2d", [[2]], shape, weights=weight),
    ]
    short = [call(f"{names}short", "conv2d", [[0]], shape, weights=weight)]
    first = call(f"{names}in", "relu", [[-1]], shape)
    if not short_first:
        return units(first, *long, *short, call(f"{names}add", "add", [[3], [4]], shape))
    long = [
        {**each, "sources": [[s + 1] if s else [0] for s in group] if (group := each["sources"][0]) else []}
        for each in long
    ]
    return units(first, *short, *long, call(f"{names}add", "add", [[1], [4]], shape))


def test_branches_in_another_order_are_matched_by_the_graph() -> None:
    a, b = block(False), block(True, "b_")
    found = match_units(a, b)
    assert not found.only_a
    assert not found.only_b
    assert all(b[y].name == f"b_{a[x].name}" for x, y in found.pairs)


def test_linear_order_is_that_of_the_graph() -> None:
    a, b = block(False), block(True)
    assert [a[n].name for n in linearized(a)] == [b[n].name for n in linearized(b)]


def test_layer_without_partner_is_listed_and_the_rest_matched() -> None:
    a = units(
        call("c", "conv2d", [[-1]], [1, 8, 4, 4], weights={"weight": [8, 3, 3, 3]}),
        call("r", "relu", [[0]], [1, 8, 4, 4]),
        call("p", "max_pool2d", [[1]], [1, 8, 2, 2], params={"kernel_size": [2, 2]}),
    )
    b = units(
        call("c", "conv2d", [[-1]], [1, 8, 4, 4], weights={"weight": [8, 3, 3, 3]}),
        call("bn", "batch_norm", [[0]], [1, 8, 4, 4], weights={"weight": [8]}),
        call("r", "relu", [[1]], [1, 8, 4, 4]),
        call("p", "max_pool2d", [[2]], [1, 8, 2, 2], params={"kernel_size": [2, 2]}),
    )
    found = match_units(a, b)
    assert found.pairs == ((0, 0), (1, 2), (2, 3))
    assert found.only_b == (1,)


def test_named_pairs_come_first_and_unknown_names_are_refused() -> None:
    a, b = block(False), block(False)
    found = match_units(a, b, {"c1": "short", "short": "c1"})
    pairs = {(a[x].name, b[y].name) for x, y in found.pairs}
    assert {("c1", "short"), ("short", "c1"), ("c2", "c2"), ("add", "add")} <= pairs
    with pytest.raises(UserError, match=r"B has no 'shot'; did you mean 'short'\?"):
        match_units(a, b, {"c1": "shot"})
    with pytest.raises(UserError, match="matched once"):
        match_units(a, b, {"c1": "c1", "c2": "c1"})


def test_models_without_a_common_layer_are_refused() -> None:
    a = units(call("c", "conv2d", [[-1]], [1, 8, 4, 4], weights={"weight": [8, 3, 3, 3]}))
    b = units(call("s", "softmax", [[-1]], [1, 8]))
    with pytest.raises(UserError, match="name pairs in a CSV file"):
        match_units(a, b)


@pytest.mark.parametrize(
    ("text", "words"),
    [("c1\n", "write two names"), ("a,b\nc,d\nc,e\n", "twice"), ("a,\n", "write two names")],
)
def test_bad_csv_is_one_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "match.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=words) as found:
        read_pairs(path)
    assert "\n" not in str(found.value)
    with pytest.raises(UserError, match="readable CSV"):
        read_pairs(tmp_path / "none.csv")


def test_csv_with_and_without_a_head(tmp_path: Path) -> None:
    path = tmp_path / "match.csv"
    path.write_text("a_name,b_name\nconv1, conv2d\n\n")
    assert read_pairs(path) == {"conv1": "conv2d"}
    path.write_text("conv1,conv2d\n")
    assert read_pairs(path) == {"conv1": "conv2d"}


def pad_and_conv(padding: Any, sides: list[int]) -> Unit:
    params = {"stride": [2, 2], "padding": padding, "dilation": [1, 1], "groups": 1}
    pad = {"sides": [0, 0, 0, 0, *sides], "mode": "constant", "value": 0.0}
    built = units(
        call("pad", "pad", [[-1]], [1, 3, 10, 10], params=pad, shapes=[[1, 3, 8, 8]]),
        call("conv", "conv2d", [[0]], [1, 4, 4, 4], params=params, weights={"weight": [4, 3, 3, 3]},
             shapes=[[1, 3, 10, 10]]),
    )  # fmt: skip
    return built[0]


def test_padding_before_a_convolution_becomes_its_parameter() -> None:
    unit = pad_and_conv("valid", [1, 1, 1, 1])
    assert unit.chain == [0, 1]
    assert unit.params["padding"] == [1, 1, 1, 1]
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((1, 3, 8, 8), np.float32), rng.standard_normal((4, 3, 3, 3), np.float32)
    declared = declare(unit, [x], {"weight": w})
    padded = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)])
    expected = evaluate("conv2d", {"input": padded, "weight": w}, {"stride": 2})
    assert np.array_equal(UnitJudge(declared).truth.value, expected.value)


def test_same_and_its_numbers_are_no_difference() -> None:
    given = {"stride": [2, 2], "dilation": [1, 1], "groups": 1}
    weights = {"weight": [4, 3, 3, 3]}
    one, other, third = (
        units(call("c", "conv2d", [[-1]], [1, 4, 4, 4], params={**given, "padding": padding}, weights=weights,
                   shapes=[[1, 3, 8, 8]]))[0]
        for padding in ("same", [0, 1, 0, 1], [1, 1, 1, 1])
    )  # fmt: skip
    x, w = np.ones((1, 3, 8, 8), np.float32), np.ones((4, 3, 3, 3), np.float32)
    declared = [declare(unit, [x], {"weight": w}) for unit in (one, other, third)]
    assert not differences(one, other, declared[0], declared[1])
    found = differences(third, one, declared[2], declared[0])
    assert [(each.parameter, each.declared, each.found) for each in found] == [
        ("padding", [1, 1, 1, 1], [0, 1, 0, 1])
    ]
    assert found[0].words == "padding: A [1, 1, 1, 1], B same = [0, 1, 0, 1]"


@given(PAIR, PAIR, st.sampled_from(ARITHMETIC))
def test_arithmetic_between_layers_is_exact(a: Any, b: Any, op: str) -> None:
    b = np.where((b == 0) & (op == "div"), np.float32(1), b)
    truth = glue_truth(op, [a, b], {})
    exact = {"add": Fraction.__add__, "sub": Fraction.__sub__, "mul": Fraction.__mul__,
             "div": Fraction.__truediv__}[op]  # fmt: skip
    for t, r, bound, x, y in zip(
        *(each.reshape(-1).tolist() for each in (truth.value, truth.residual, truth.bound, a, b)), strict=True
    ):
        wanted = exact(Fraction(x), Fraction(y))
        assert abs(wanted - Fraction(t) - Fraction(r)) <= Fraction(bound)
    with np.errstate(all="ignore"):
        native = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide}[op](a, b)
    assert np.array_equal(truth.round(np.float32), native)
    assert glue_explained(op, [a, b], {}, truth, "torch", native).verdict == "exact"


def test_another_operation_between_layers_is_named() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 3, 4), np.float32), rng.standard_normal((2, 3, 4), np.float32)

    def judged(op: str, params: dict[str, Any], output: Any, *inputs: Any) -> Any:
        return glue_explained(op, inputs, params, glue_truth(op, inputs, params), "torch", output)

    assert judged("add", {}, a - b, a, b).causes[0].parameter == "operation"
    assert judged("sub", {}, b - a, a, b).causes[0].parameter == "operand order"
    joined = np.concatenate([b, a], 1)
    assert judged("concat", {"dim": 1}, joined, a, b).causes[0].parameter == "concatenation order"
    other = judged("concat", {"dim": 1}, np.concatenate([a, b], 2), a, b)
    assert (other.causes[0].parameter, other.causes[0].found) == ("axis", 2)
    flat = np.moveaxis(a, 1, -1).reshape(2, 12)
    turned = judged("reshape", {"order": "NCHW", "shape": [2, 12]}, flat, a)
    assert (turned.verdict, turned.causes[0].parameter) == ("semantics", "flatten order")
    assert judged("add", {}, a + b + np.float32(0.5), a, b).verdict == "unexplained"
    assert judged("concat", {"dim": 1}, joined[:, ::-1], a, b).verdict == "unexplained"


def linear_after_flatten(order: str) -> Unit:
    return units(
        call("flatten", "reshape", [[-1]], [2, 12], params={"order": order}, shapes=[[2, 3, 2, 2]]),
        call("fc", "linear", [[0]], [2, 5], weights={"weight": [5, 12]}, shapes=[[2, 12]]),
    )[0]


def test_flatten_order_and_a_reordered_weight() -> None:
    rng = np.random.default_rng(3)
    image, weight = rng.standard_normal((2, 3, 2, 2), np.float32), rng.standard_normal((5, 12), np.float32)
    first, last = linear_after_flatten("NCHW"), linear_after_flatten("NHWC")
    ours, theirs = declare(first, [image], {"weight": weight}), declare(last, [image], {"weight": weight})
    output = (theirs.arrays["input"].astype(np.float64) @ weight.T.astype(np.float64)).astype(np.float32)
    found = other_finding(UnitJudge(ours), theirs, [], "tensorflow", output)
    assert (found.verdict, found.parameter, found.evidence) == ("semantics", "flatten order", "proved")
    turned = reordered(weight, image.shape, "NCHW", "NHWC")
    assert not np.array_equal(turned, weight)
    again = declare(last, [image], {"weight": turned})
    same = again.arrays["input"].astype(np.float64) @ turned.T.astype(np.float64)
    assert np.allclose(
        same, ours.arrays["input"].astype(np.float64) @ weight.T.astype(np.float64), rtol=1e-12
    )
    assert np.array_equal(reordered(turned, image.shape, "NHWC", "NCHW"), weight)


def test_weights_that_differ_are_said_to() -> None:
    unit = linear_after_flatten("NCHW")
    image, weight = np.ones((2, 3, 2, 2), np.float32), np.ones((5, 12), np.float32)
    ours = declare(unit, [image], {"weight": weight})
    assert same_weights(ours, declare(unit, [image], {"weight": weight.copy()})) == (True, "")
    other = weight.copy()
    other[0, 0] = 1.5
    same, note = same_weights(ours, declare(unit, [image], {"weight": other}))
    assert not same
    assert "0.5" in note


class FakeProcess:
    """A model that holds one weight, and says back what it was given, or something else."""

    def __init__(self, weights: dict[str, Any], deaf: bool = False) -> None:
        self.weights, self.deaf = weights, deaf

    def ask(self, request: dict[str, Any], given: dict[str, Any] | None = None) -> Any:
        if request["do"] == "assign" and not self.deaf:
            self.weights |= given or {}
        return {}, self.weights


class FakeSide:
    def __init__(self, process: FakeProcess) -> None:
        self.process = process


def layer(weights: dict[str, list[int]], name: str = "fc") -> Unit:
    return units(call(name, "linear", [[-1]], [2, 5], weights=weights, shapes=[[2, 12]]))[0]


def test_carried_weights_are_checked() -> None:
    one = layer({"weight": [5, 12]})
    other = layer({"weight": [5, 12], "bias": [5]}, "dense")
    source = FakeSide(FakeProcess({"weight": np.arange(60, dtype=np.float32).reshape(5, 12)}))
    target = FakeSide(FakeProcess({"weight": np.zeros((5, 12), np.float32), "bias": np.ones(5, np.float32)}))
    notes = carry_weights(source, target, [(one, other)])  # type: ignore[arg-type]
    assert np.array_equal(target.process.weights["weight"], source.process.weights["weight"])
    assert not target.process.weights["bias"].any()
    assert "bias of dense" in notes[0]
    deaf = FakeSide(FakeProcess({"weight": np.zeros((5, 12), np.float32)}, deaf=True))
    with pytest.raises(UserError, match="read back"):
        carry_weights(source, deaf, [(one, one)])  # type: ignore[arg-type]
    small = layer({"weight": [5, 8]}, "small")
    with pytest.raises(UserError, match=r"\[5, 12\], of small \[5, 8\]"):
        carry_weights(source, target, [(one, small)])  # type: ignore[arg-type]


def test_figures_against_plain_norms() -> None:
    rng = np.random.default_rng(5)
    x, noise = rng.standard_normal((3, 8), np.float32), random.Random(1)
    truth = glue_truth("mul", [x], {"scalar": 3.0, "side": "right"})
    fed = np.nextafter(truth.round(np.float32), np.float32(np.inf))
    other = x + np.float32(noise.uniform(1e-3, 2e-3))
    found = split_of(truth, fed, fed + np.float32(0.25), [x], [other])
    exact = truth.value + truth.residual
    size = np.linalg.norm(exact)
    assert found.own_relative == pytest.approx(np.linalg.norm(fed - exact) / size, rel=1e-6)
    shift = (fed + np.float32(0.25)).astype(np.float64) - fed
    assert found.inherited_relative == pytest.approx(np.linalg.norm(shift) / size)
    before = np.linalg.norm(other.astype(np.float64) - x) / np.linalg.norm(x.astype(np.float64))
    assert found.amplification == pytest.approx(np.linalg.norm(shift) / size / before)
    assert split_of(truth, fed, fed, [x], [x]).amplification is None
    assert split_of(truth, fed, fed[:1], [x], [x]).total_relative is None
    zero = glue_truth("mul", [x], {"scalar": 0.0, "side": "right"})
    nothing = split_of(zero, zero.round(np.float32), zero.round(np.float32), [x], [x])
    assert nothing.own_relative is None
    assert nothing.own_ulp_rms is None


def test_inputs_are_apart_by_what_is_finite_and_by_no_number_where_only_one_is() -> None:
    a = np.array([[1.0, -np.inf, 2.0]], np.float32)
    assert distance([a], [a.copy()]) == 0.0
    assert distance([a + np.float32(0.5)], [a]) == pytest.approx(np.sqrt(0.5 / 5))
    assert distance([np.array([[1.0, 0.0, 2.0]], np.float32)], [a]) == np.inf
    assert distance([np.array([[1.0, np.nan, 2.0]], np.float32)], [a]) == np.inf
    assert distance([a[0, :2]], [a]) is None
