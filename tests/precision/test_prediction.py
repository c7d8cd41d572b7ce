"""Predictions: recorded results of tensor cores bit for bit, single dot products as oracle, what is said."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from precision.errors import UserError
from precision.prediction.orders import k_orders
from precision.prediction.predict import predict
from reference import evaluate
from reference.scheme import Part, Scheme
from reference.tensorcore import UNITS, fused_dot, round_operand

VECTORS = Path(__file__).resolve().parents[2].parent / "shared" / "vectors"
RECORDED = ("V100-fp16", "A100-tf32", "A100-bf16", "A100-fp16", "H100-tf32", "H100-bf16", "H100-fp16")


def recorded_case(name):
    """5,000 dot products as one grouped layer, the accumulator as its bias; and what the unit returned."""
    path = VECTORS / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"the hardware's results are not here: no {path}")
    with np.load(path) as arrays:
        a, b, c, d = (arrays[key].view(np.float32) for key in "abcd")
    layer = {"input": a.reshape(1, -1, 1), "weight": b[:, :, None], "bias": c}
    return {"op": "conv1d", "params": {"groups": len(a)}, "arrays": layer}, d


def linear(k=160, rows=7, outputs=11, seed=0, low=0.0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(low, 1, (rows, k)).astype(np.float32)
    w = rng.uniform(low, 1, (outputs, k)).astype(np.float32)
    return {"op": "linear", "arrays": {"input": x, "weight": w}}


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_results_are_predicted_bit_for_bit(name):
    case, wanted = recorded_case(name)
    card, fmt = name.split("-")
    found = predict(
        {**case, "outputs": {"recorded": wanted.reshape(1, -1, 1)}}, card, fmt, bias_joins="first"
    )
    np.testing.assert_array_equal(found.output.reshape(-1).view(np.uint32), wanted.view(np.uint32))
    assert found.unit.recorded
    best = found.agreement[0]
    assert best["share_equal"] == 1.0
    assert best["correlation"] == pytest.approx(1.0)
    assert best["difference_ulp_max"] == 0.0


def test_the_recorded_results_reject_another_unit():
    case, wanted = recorded_case("A100-bf16")
    for card, joins in (("h100", "first"), ("a100", "last")):
        found = predict(case, card, "bf16", bias_joins=joins)
        assert np.count_nonzero(found.output.reshape(-1) != wanted) > 100


def naive(x, w, unit, mode, order):
    """(rows, outputs) by single dot products, in the order of the products that is asked for."""
    a, b = (round_operand(m[:, order], unit.format, mode) for m in (x, w))
    return np.array([[fused_dot(p, q, np.float32(0), unit) for q in b] for p in a], np.float32)


@pytest.mark.parametrize(("card", "fmt", "mode"), [("a100", "tf32", "RNA"), ("h100", "bf16", "RNE")])
def test_a_linear_layer_is_the_sum_of_its_products(card, fmt, mode):
    case = linear(k=37)
    found = predict(case, card, fmt)
    x, w = case["arrays"]["input"], case["arrays"]["weight"]
    wanted = naive(x, w, found.unit, mode, np.arange(37))
    np.testing.assert_array_equal(found.output.view(np.uint32), wanted.view(np.uint32))
    assert found.rounding == mode


def im2col(x, kernel, pad):
    """(positions, taps, channels) of one image, stride 1."""
    padded = np.pad(x[0], ((0, 0), (pad, pad), (pad, pad)))
    height, width = padded.shape[1] - kernel + 1, padded.shape[2] - kernel + 1
    rows = [
        padded[:, i : i + kernel, j : j + kernel].reshape(len(x[0]), -1).T
        for i in range(height)
        for j in range(width)
    ]
    return np.stack(rows), height, width


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_every_order_of_a_convolution_is_what_it_says(layout):
    rng = np.random.default_rng(5)
    x = rng.standard_normal((1, 40, 5, 6)).astype(np.float32)
    w = rng.standard_normal((3, 40, 3, 3)).astype(np.float32)
    bias = rng.standard_normal(3).astype(np.float32)
    last = layout == "NHWC"
    arrays = {
        "input": np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if last else x,
        "weight": np.ascontiguousarray(w.transpose(2, 3, 1, 0)) if last else w,
        "bias": bias,
    }
    case = {"op": "conv2d", "layout": layout, "params": {"padding": 1}, "arrays": arrays}
    found = predict(case, "a100", "tf32", rounding="rz")
    columns, height, width = im2col(x, 3, 1)
    taps = w.reshape(3, 40, 9).transpose(0, 2, 1)  # (filters, taps, channels)
    unit = UNITS["ampere", "tf32"]

    def sums(left, right):
        return naive(left.reshape(len(left), -1), right.reshape(3, -1), unit, "RZ", slice(None))

    def turned(m):
        return m.swapaxes(1, 2)

    # The channels beyond 32 are a block of their own.
    blocks = [
        np.concatenate([m[:, :, :32].reshape(len(m), -1), m[:, :, 32:].reshape(len(m), -1)], axis=1)
        for m in (columns, taps)
    ]
    half = 9 * 40 // 2  # a multiple of the step of 4
    flat = [m.reshape(len(m), -1) for m in (columns, taps)]
    split = sums(flat[0][:, :half], flat[1][:, :half]) + sums(flat[0][:, half:], flat[1][:, half:])
    wanted = {
        "channels fastest": sums(columns, taps),
        "taps fastest": sums(turned(columns), turned(taps)),
        "channel blocks outermost": sums(*blocks),
        "split K in 2": split,
    }
    outputs = {found.predicted.name: found.output, **{each.name: each.output for each in found.others}}
    for name, values in wanted.items():
        whole = (values + bias).reshape(1, height, width, 3)
        whole = whole if last else whole.transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(outputs[name], whole, err_msg=name)
    assert len({outputs[name].tobytes() for name in wanted}) == len(wanted), "each gives its own bits"
    named = predict(case, "a100", "tf32", rounding="rz", order="split K in 2")
    np.testing.assert_array_equal(named.output, outputs["split K in 2"])


@pytest.mark.parametrize("op", ["conv2d_input_grad", "conv_transpose2d"])
@pytest.mark.parametrize("groups", [1, 2])
def test_the_orders_of_a_gradient_are_those_of_the_convolution_that_it_is(op, groups):
    """With stride 1, mirrored in space, it is a convolution by the weight with its channels exchanged."""
    rng = np.random.default_rng(groups)
    g = rng.standard_normal((1, 12, 5, 6)).astype(np.float32)
    w = rng.standard_normal((12, 10 // groups, 3, 3)).astype(np.float32)
    first = "grad_output" if op.endswith("grad") else "input"
    params = {"padding": 1, "groups": groups}
    extra = {"input_size": [1, 10, 5, 6]} if op.endswith("grad") else {}
    turned = w.reshape(groups, 12 // groups, 10 // groups, 3, 3).swapaxes(1, 2).reshape(10, -1, 3, 3)
    mirrored = np.ascontiguousarray(g[:, :, ::-1, ::-1])
    found = predict({"op": op, "params": {**params, **extra}, "arrays": {first: g, "weight": w}}, "a100")
    plain = predict(
        {"op": "conv2d", "params": params, "arrays": {"input": mirrored, "weight": turned}}, "a100"
    )
    pairs = list(zip((found.predicted, *found.others), (plain.predicted, *plain.others), strict=True))
    assert [a.name for a, _ in pairs] == [b.name for _, b in pairs]
    assert "taps fastest" in [a.name for a, _ in pairs]
    for a, b in pairs:
        np.testing.assert_array_equal(a.output, b.output[:, :, ::-1, ::-1], err_msg=a.name)


@pytest.mark.parametrize(
    ("op", "arrays", "params"),
    [
        ("conv2d", {"input": (2, 6, 7, 8), "weight": (8, 3, 3, 2), "bias": (8,)}, {"groups": 2, "stride": 2}),
        ("conv2d", {"input": (1, 12, 6, 6), "weight": (12, 1, 3, 3)}, {"groups": 12, "padding": 1}),
        ("conv1d", {"input": (2, 5, 20), "weight": (4, 5, 3)}, {"dilation": 2}),
        ("conv3d", {"input": (1, 3, 4, 5, 5), "weight": (4, 3, 2, 2, 2), "bias": (4,)}, {}),
        ("conv_transpose2d", {"input": (2, 6, 4, 4), "weight": (6, 3, 3, 3), "bias": (3,)}, {"stride": 2}),
        ("conv_transpose1d", {"input": (1, 4, 5), "weight": (4, 2, 1), "bias": (2,)}, {"stride": 3}),
        (
            "conv2d_input_grad",
            {"grad_output": (2, 4, 5, 5), "weight": (4, 3, 3, 3)},
            {"input_size": [2, 3, 7, 7]},
        ),
        (
            "conv2d_weight_grad",
            {"grad_output": (2, 4, 5, 5), "input": (2, 3, 7, 7)},
            {"weight_size": [4, 3, 3, 3]},
        ),
        ("matmul", {"input": (3, 4, 9), "other": (3, 9, 5)}, {}),
        ("linear_weight_grad", {"grad_output": (50, 4), "input": (50, 6)}, {}),
    ],
)
def test_exact_sums_are_predicted_exactly_in_every_order(op, arrays, params):
    """Small integers: no operand and no sum is rounded, so whatever the order the result is the truth."""
    rng = np.random.default_rng(len(op))
    given = {name: rng.integers(-3, 4, shape).astype(np.float32) for name, shape in arrays.items()}
    found = predict({"op": op, "params": params, "arrays": given}, "h100", "fp16")
    truth = evaluate(op, given, params)
    for each in (found.predicted, *found.others):
        np.testing.assert_array_equal(each.output, truth.round(np.float32), err_msg=each.name)
    assert found.share_certain("order", "rounding", "unit") == 1.0
    assert found.worst == ()
    assert found.predicted.figures["accumulation_bias_u"] == 0.0


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 70), st.integers(1, 9), st.booleans(), st.sampled_from([4, 8, 16]), st.sampled_from([1, 2])
)
def test_every_order_takes_every_product_once(channels, taps, last, terms, extra):
    """Whatever the layout, the slices of an order hold each place once, and zeros beside."""
    count = channels * taps
    scheme = Scheme(np.zeros(1, np.int64), 1, 0, np.arange(count), np.zeros(1, np.int64), last)
    part = Part(scheme, np.zeros(count, np.float32), np.zeros((1, extra, count), np.float32))
    orders = k_orders(part, channels, terms)
    assert orders[0].name == "channels fastest"
    for order in orders:
        places = np.concatenate(order.slices)
        assert sorted(places[places >= 0].tolist()) == list(range(count)), order.name
        assert (places >= 0).sum() == count
        assert all(each.size for each in order.slices), order.name
    assert len({order.name for order in orders}) == len(orders)


def test_the_parts_add_up_to_the_error_exactly():
    found = predict(linear(), "a100", "tf32", rounding="rna")
    values = [part.values for part in found.parts.values()]
    for flat in range(found.output.size):
        at = np.unravel_index(flat, found.output.shape)
        truth = Fraction(float(found.truth.value[at])) + Fraction(float(found.truth.residual[at]))
        error = Fraction(float(found.output[at])) - truth
        assert float(sum(Fraction(float(v[at])) for v in values)) == pytest.approx(float(error), rel=1e-12)
    assert found.budget["share"].sum() == pytest.approx(1.0)
    # Operand rounding is the truth of the rounded operands less the truth, in float64 on the side.
    x, w = (np.asarray(m, np.float64) for m in linear()["arrays"].values())
    q = [round_operand(m.astype(np.float32), found.unit.format, "RNA").astype(np.float64) for m in (x, w)]
    np.testing.assert_allclose(found.parts["operand rounding"].values, q[0] @ q[1].T - x @ w.T, atol=1e-12)


@pytest.mark.parametrize(("card", "bias", "slack"), [("a100", -246.8, 7.6), ("h100", -132.3, 4.9)])
def test_the_sign_of_a_truncating_accumulator(card, bias, slack):
    """K = 1152 uniform data: sums too small by a figure that is known; float32 has no such sign."""
    found = predict(linear(k=1152, rows=40, outputs=40, seed=2), card, "tf32", rounding="rz")
    assert found.predicted.figures["accumulation_bias_u"] == pytest.approx(bias, abs=slack)
    least, most = found.bracket("accumulation_bias_u", "order")
    assert least <= found.predicted.figures["accumulation_bias_u"] <= most < 0
    chain = next(each for each in found.others if each.name == "FMA chain")
    assert abs(chain.figures["accumulation_bias_u"]) < 2
    assert "toward zero" in str(found)
    assert found.share_certain("order") < 0.5
    low, high = found.interval()
    assert (low <= found.output).all()
    assert (found.output <= high).all()
    assert (high > low).mean() > 0.5
    assert "mostly accumulation" in str(predict(linear(k=8192, rows=4, outputs=4), card, "tf32"))


def test_a_large_layer_is_predicted_on_a_sample():
    rng = np.random.default_rng(1)
    case = {
        "op": "conv_transpose2d",
        "params": {"stride": 2, "padding": 1},
        "arrays": {
            "input": rng.standard_normal((2, 6, 6, 6)).astype(np.float32),
            "weight": rng.standard_normal((6, 9, 3, 3)).astype(np.float32),
        },
    }
    whole = predict(case, "a100", "tf32")
    few = predict(case, "a100", "tf32", limit=3000)
    assert whole.index is None
    assert 0 < few.output.size < whole.output.size
    assert np.unique(few.index).size == few.output.size
    np.testing.assert_array_equal(few.output, whole.output.reshape(-1)[few.index])
    np.testing.assert_array_equal(
        few.truth.round(np.float32), whole.truth.round(np.float32).reshape(-1)[few.index]
    )
    again = predict(case, "a100", "tf32", limit=3000, seed=3)
    assert not np.array_equal(again.index, few.index)
    assert f"a sample of {few.output.size} of {whole.output.size} outputs" in str(few)
    at = tuple(json.loads(few.worst[0]["index"]))
    assert whole.output[at] == few.worst[0]["got"]
    one = predict(linear(k=64, rows=1, outputs=100), "a100", "tf32", limit=640)
    assert one.output.size == 10, "one position is too much: some of its outputs"


def test_float16_overflows_and_says_so():
    x, w = (np.array(m, np.float32) for m in ([[1.0, 7e4]], [[1.0, 1.0], [1.0, 1e-9]]))
    case = {"op": "linear", "arrays": {"input": x, "weight": w}}
    found = predict(case, "h100", "fp16")
    assert np.isinf(found.output[0, 0])
    assert np.isnan(found.output[0, 1]), "infinity times what vanished"
    assert "1 elements of input are beyond binary16: they become infinite" in str(found)
    assert "1 elements of weight are too small for binary16: they become zero" in str(found)
    assert json.dumps(found.to_json(), allow_nan=False)


def test_tf32_does_not_touch_a_normalization():
    x = np.random.default_rng(0).standard_normal((4, 32)).astype(np.float32)
    case = {"op": "layer_norm", "params": {"normalized_shape": [32]}, "arrays": {"input": x}}
    found = predict(case, "a100", "tf32")
    assert found.unit is None
    assert "no tensor core takes part, and tf32 does not touch it" in str(found)
    assert found.predicted.figures["error_scaled_ulp_rms"] < 8
    assert found.share_certain("order") is None
    assert found.to_json()["unit"] is None


def test_the_surfaces(tmp_path):
    found = predict({**linear(), "notes<": 1}, "hopper", "tf32")
    assert {"prediction", "order", "rounding", "unit", "float32"} == set(found.table["kind"])
    assert found.table["error_ulp_rms"].notna().all()
    page = found._repr_html_()
    assert "&#x27;notes&lt;&#x27;" in page
    assert "<table>" in page
    assert repr(found).startswith("<Prediction of linear on hopper tf32")
    data = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert data["operand_rounding"]["mode"] == "RNE"
    assert [row["name"] for row in data["table"]][-2:] == ["FMA chain", "pairwise"]
    assert data["worst"][0]["error_ulp"] != 0
    found.save(tmp_path / "p.safetensors")
    np.testing.assert_array_equal(load_file(tmp_path / "p.safetensors")["output"], found.output)
    few = predict(linear(), "hopper", "tf32", limit=1000)
    few.save(tmp_path / "few.safetensors")
    np.testing.assert_array_equal(load_file(tmp_path / "few.safetensors")["index"], few.index)


def test_a_plain_user_folder_needs_no_output(tmp_path):
    case = linear()
    for name, array in case["arrays"].items():
        np.save(tmp_path / f"{name}.npy", array)
    declared = {"op": "linear", "arrays": {name: f"{name}.npy" for name in case["arrays"]}}
    (tmp_path / "case.json").write_text(json.dumps(declared))
    found = predict(tmp_path, "a100")
    np.testing.assert_array_equal(found.output, predict(case, "a100").output)
    assert found.agreement == ()


@pytest.mark.parametrize(
    ("arguments", "options", "rule"),
    [
        ((linear(), "maxwell"), {}, "an architecture is volta"),
        ((linear(), "h10"), {}, "did you mean 'h100'"),
        ((linear(), "v100", "tf32"), {}, "take fp16"),
        ((linear(), "h100", "fp8"), {}, "a format of operands"),
        ((linear(), "h100"), {"rounding": "up"}, "rna, rne, rz or auto"),
        ((linear(), "h100"), {"order": "taps fastest"}, "the order of a sum is one of"),
        ((linear(), "h100"), {"bias_joins": "never"}, "a bias joins first or last"),
        ((linear(), "h100"), {"limit": 0}, "positive number of multiply-adds"),
        (("no-such-case",), {}, "a target is a case folder or the id"),
        (("smoke-linea",), {}, "did you mean smoke-linear"),
        ((3,), {}, "a target is a mapping"),
        (({"outputs": {"a": [1.0], "b": [1.0]}},), {}, "needs the op and its arrays"),
        (({"op": "linear", "arrays": {"input": [[1.0]], "weight": [[1.0, 2.0]]}},), {}, "linear takes input"),
        ((linear(),), {"against": "/nowhere"}, "captures hold cases of a suite"),
        (("smoke-linear",), {"against": "/nowhere"}, "run folder with captures"),
    ],
)
def test_bad_input_is_one_line(arguments, options, rule):
    with pytest.raises(UserError, match=rule) as caught:
        predict(*arguments, **options)
    assert "\n" not in str(caught.value)
