"""Attribution of outputs of narrow operands.  The outputs here are emulated; none was recorded from a GPU."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from precision.attribution.attribute import attribute
from precision.attribution.models import (
    FLOAT32,
    FLOAT32_ADDER,
    UNKNOWN,
    OperandRounding,
    architecture_model,
    operand_rounding_of,
)
from precision.prediction.orders import channels_of, k_orders
from precision.prediction.sums import by_unit, evaluated, plan_of, rounded_arrays
from reference import evaluate, plain_float32
from reference.formats import BFLOAT16, TF32
from reference.tensorcore import PROBES, UNITS, fused_dot, round_operand, unit_of

CONV = {"stride": 1, "padding": 1, "dilation": 1, "groups": 1}
AMPERE, HOPPER = architecture_model("8.0"), architecture_model("9.0")


def claimed(mode, fmt="tf32"):
    return OperandRounding(fmt, mode, f"the probes show {mode}")


PLAIN = OperandRounding(FLOAT32, "", "operands came through whole")


def twelve_bits(x):
    """Numbers of 12 bits: every other one is a tie for TF32, so that RNE and RNA part."""
    step = np.exp2(np.floor(np.log2(np.abs(x))) - 11)
    return (np.round(x / step) * step).astype(np.float32)


def conv_arrays(seed=0, positive=False, bias=False):
    rng = np.random.default_rng(seed)
    draw = rng.random if positive else rng.standard_normal
    found = {
        "input": twelve_bits(draw((1, 48, 8, 8))),
        "weight": twelve_bits(draw((24, 48, 3, 3))),
    }
    return found | ({"bias": rng.standard_normal(24).astype(np.float32)} if bias else {})


def emulated(op, arrays, params, adder, mode, order=0, joins="last", fmt=TF32):
    """What a kernel of the architecture would return, by the matrix emulation: not the code under test."""
    rounded = rounded_arrays(arrays, fmt, mode)
    shapes = {name: array.shape for name, array in arrays.items()}

    def dot_of(part):
        return by_unit(
            adder.unit, k_orders(part, channels_of(op, shapes, params), adder.unit.terms)[order], joins
        )

    return evaluated(plan_of(op, rounded, params), dot_of)


def evidence(found):
    return {row["cause"]: row["evidence"] for row in found.budget.table()}


def share(found, cause):
    return next(row["share"] for row in found.budget.table() if row["cause"] == cause)


def exact(found):
    """Whether the parts add up to the error, element by element."""
    parts = sum(found.budget.part(row["cause"]) for row in found.budget.table())
    return np.allclose(parts, found.budget.error, rtol=1e-12, atol=1e-18)


@pytest.mark.parametrize("adder", [AMPERE, HOPPER], ids=["A100", "H100"])
@pytest.mark.parametrize("mode", ["RNE", "RNA", "RZ"])
@pytest.mark.parametrize("order", [0, 1])
def test_the_right_rounding_and_order_are_proved_bit_for_bit(adder, mode, order):
    arrays = conv_arrays()
    output = emulated("conv2d", arrays, CONV, adder, mode, order)
    found = attribute("conv2d", arrays, CONV, output, claimed(mode), adder)
    assert evidence(found)["operand rounding"] == "proved"
    assert evidence(found)["accumulation"] == "proved"
    assert share(found, "unexplained") == 0.0
    assert found.order
    assert exact(found)
    # The operand part is exact: truth of the rounded operands less the truth.
    rounded = {name: round_operand(array, TF32, mode) for name, array in arrays.items()}
    wanted = (evaluate("conv2d", rounded, CONV).value - evaluate("conv2d", arrays, CONV).value).reshape(-1)
    np.testing.assert_allclose(found.budget.part("operand rounding"), wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("mode", ["RNE", "RNA", "RZ"])
@pytest.mark.parametrize("wrong", ["RNE", "RNA", "RZ"])
def test_a_planted_wrong_rounding_is_refused(mode, wrong):
    arrays = conv_arrays(1)
    output = emulated("conv2d", arrays, CONV, AMPERE, mode)
    found = attribute("conv2d", arrays, CONV, output, claimed(wrong), AMPERE)
    if mode == wrong:
        assert "refused" not in found.words
        return
    assert found.words == (
        f"refused: the probes showed operands rounded to tf32 by {wrong}, "
        f"this output follows operands rounded to tf32 by {mode}"
    )
    assert evidence(found)["unexplained"] == "none"
    assert share(found, "operand rounding") == 0.0
    assert share(found, "unexplained") > 0.99


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("mode", ["RNE", "RNA", "RZ"])
def test_float32_is_not_taken_for_tf32_nor_tf32_for_float32(mode, positive):
    arrays = conv_arrays(2, positive)
    single = plain_float32("conv2d", arrays, CONV)
    found = attribute("conv2d", arrays, CONV, single, claimed(mode), AMPERE)
    assert "this output follows operands left as they are" in found.words
    assert share(found, "operand rounding") == 0.0
    narrow = emulated("conv2d", arrays, CONV, AMPERE, mode)
    found = attribute("conv2d", arrays, CONV, narrow, PLAIN, AMPERE)
    assert f"this output follows operands rounded to tf32 by {mode}" in found.words
    assert evidence(found)["unexplained"] == "none"
    honest = attribute("conv2d", arrays, CONV, single, PLAIN, AMPERE)
    assert evidence(honest)["accumulation"] == "bounded"
    assert share(honest, "operand rounding") == 0.0
    assert share(honest, "unexplained") == 0.0


def unknown_order(arrays, adder, mode):
    """Emulated, in an order that is no candidate: the products dealt to fused steps at random."""
    rounded = rounded_arrays(arrays, TF32, mode)
    mixed = np.random.default_rng(9).permutation(rounded["input"].shape[-1])
    left, right = rounded["input"][:, mixed], rounded["weight"][:, mixed]
    zero = np.zeros((1, 1), np.float32)
    return fused_dot(left[:, None, :], right[None, :, :], zero, adder.unit)


def linear_arrays(terms=1024, seed=3, positive=True):
    rng = np.random.default_rng(seed)
    draw = rng.random if positive else rng.standard_normal
    return {"input": draw((32, terms)).astype(np.float32), "weight": draw((16, terms)).astype(np.float32)}


@pytest.mark.parametrize("adder", [AMPERE, HOPPER], ids=["A100", "H100"])
def test_an_unknown_order_is_bounded_and_leans_as_the_model(adder):
    arrays = linear_arrays()
    output = unknown_order(arrays, adder, "RNA")
    found = attribute("linear", arrays, {}, output, claimed("RNA"), adder)
    assert not found.order
    assert evidence(found)["accumulation"] == "bounded"
    assert found.alike is True
    assert found.lean.mean > 50  # toward zero, like K
    assert found.lean.mean == pytest.approx(found.model_lean.mean, rel=0.1)
    assert share(found, "unexplained") == 0.0


def test_the_wrong_architecture_is_not_believed():
    """Emulated with fewer bits than claimed: its lean is far from the claimed unit's."""
    arrays = linear_arrays(4096)
    coarse = replace(unit_of("ampere", "tf32"), fraction_bits=20)
    rounded = rounded_arrays(arrays, TF32, "RNE")
    zero = np.zeros((1, 1), np.float32)
    output = fused_dot(rounded["input"][:, None, :], rounded["weight"][None], zero, coarse)
    found = attribute("linear", arrays, {}, output, claimed("RNE"), HOPPER)
    assert found.alike is False
    assert evidence(found)["accumulation"] == "none"
    assert evidence(found)["unexplained"] == "none"
    assert "which it does not explain" in found.words


def test_nearest_float32_sums_of_rounded_operands_are_not_tensor_cores():
    arrays = linear_arrays(4096)
    rounded = rounded_arrays(arrays, TF32, "RNE")
    output = plain_float32("linear", rounded, {})
    found = attribute("linear", arrays, {}, output, claimed("RNE"), AMPERE)
    assert found.alike is False
    assert evidence(found)["accumulation"] == "none"


def test_one_changed_bit_costs_the_proof():
    arrays = conv_arrays()
    output = emulated("conv2d", arrays, CONV, AMPERE, "RNA")
    output[0, 5, 4, 3] = np.nextafter(output[0, 5, 4, 3], np.float32(np.inf))
    found = attribute("conv2d", arrays, CONV, output, claimed("RNA"), AMPERE)
    assert not found.order
    assert evidence(found)["accumulation"] == "bounded"


def test_a_wrong_element_is_beyond_the_bound():
    arrays = conv_arrays(4, positive=True)
    output = emulated("conv2d", arrays, CONV, AMPERE, "RNA")
    output[0, 5, 4, 3] *= np.float32(1.01)
    found = attribute("conv2d", arrays, CONV, output, claimed("RNA"), AMPERE)
    assert evidence(found)["accumulation"] == "none"
    assert share(found, "unexplained") > 0.0


@pytest.mark.parametrize("joins", ["first", "last"])
def test_a_sample_of_the_elements_and_a_bias(joins):
    arrays = conv_arrays(5, bias=True)
    output = emulated("conv2d", arrays, CONV, HOPPER, "RZ", joins=joins)
    index = np.sort(np.random.default_rng(0).choice(output.size, 300, replace=False))
    kept = output.reshape(-1)[index]
    found = attribute("conv2d", arrays, CONV, kept, claimed("RZ"), HOPPER, index)
    assert evidence(found)["accumulation"] == "proved"
    assert f"the bias {joins}" in found.order
    whole = attribute("conv2d", arrays, CONV, output, claimed("RZ"), HOPPER)
    np.testing.assert_array_equal(found.budget.error, whole.budget.error[index])


@pytest.mark.parametrize("op", ["conv2d_input_grad", "conv2d_weight_grad", "matmul"])
def test_gradients_and_products(op):
    rng = np.random.default_rng(6)

    def normal(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    image, weight = (2, 16, 7, 7), (8, 16, 3, 3)
    arrays, params = {
        "conv2d_input_grad": (
            {"grad_output": normal(2, 8, 7, 7), "weight": normal(*weight)},
            {**CONV, "input_size": list(image)},
        ),
        "conv2d_weight_grad": (
            {"grad_output": normal(2, 8, 7, 7), "input": normal(*image)},
            {**CONV, "weight_size": list(weight)},
        ),
        "matmul": ({"input": normal(3, 9, 40), "other": normal(3, 40, 5)}, {}),
    }[op]
    output = emulated(op, arrays, params, AMPERE, "RNA")
    found = attribute(op, arrays, params, output, claimed("RNA"), AMPERE)
    assert evidence(found)["accumulation"] == "proved"
    assert exact(found)


def test_a_revealed_order_is_tried_first_and_only_believed_bit_for_bit():
    arrays = linear_arrays(64)
    output = unknown_order(arrays, AMPERE, "RNA")
    seen = []

    def right(given):
        seen.append(given)
        return unknown_order(given, AMPERE, "RZ")  # the operands are rounded already

    found = attribute("linear", arrays, {}, output, claimed("RNA"), AMPERE, revealed=right)
    assert evidence(found)["accumulation"] == "proved"
    assert found.order == "the order that was revealed"
    assert np.array_equal(seen[0]["input"], round_operand(arrays["input"], TF32, "RNA"))

    def other_shapes(given):
        raise ValueError("an order holds for other shapes")

    for wrong in (lambda given: output + np.float32(1), other_shapes):
        found = attribute("linear", arrays, {}, output, claimed("RNA"), AMPERE, revealed=wrong)
        assert evidence(found)["accumulation"] == "bounded"


def test_without_probes_a_rounding_is_consistent_at_best():
    arrays = conv_arrays(7)
    output = emulated("conv2d", arrays, CONV, AMPERE, "RZ")
    unknown = OperandRounding(UNKNOWN, "", "no probe was captured")
    found = attribute("conv2d", arrays, CONV, output, unknown, AMPERE)
    assert evidence(found)["operand rounding"] == "consistent"
    assert "rounded to tf32 by RZ, which is no proof" in found.words


def test_an_unknown_architecture_leaves_the_accumulation_without_evidence():
    arrays = conv_arrays(8)
    output = emulated("conv2d", arrays, CONV, AMPERE, "RNA")
    found = attribute("conv2d", arrays, CONV, output, claimed("RNA"), architecture_model("99.0"))
    assert evidence(found)["operand rounding"] == "proved"
    assert evidence(found)["accumulation"] == "none"
    assert "unknown architecture" in found.words


def test_bfloat16_on_a_processor_is_within_the_float32_bound():
    """Emulated: bfloat16 operands, float32 sums to nearest, as an AMX-like unit would give."""
    arrays = conv_arrays(10)
    rounded = {name: round_operand(array, BFLOAT16, "RNE") for name, array in arrays.items()}
    output = plain_float32("conv2d", rounded, CONV)
    found = attribute("conv2d", arrays, CONV, output, claimed("RNE", "bfloat16"), FLOAT32_ADDER)
    assert evidence(found) | {"operand rounding": "proved", "accumulation": "bounded"} == evidence(found)
    assert share(found, "operand rounding") > 0.99


def test_bad_input_is_told():
    with pytest.raises(ValueError, match="got 'layer_norm'"):
        attribute("layer_norm", {}, {}, np.zeros(1, np.float32), PLAIN, AMPERE)
    arrays = conv_arrays()
    with pytest.raises(ValueError, match="has the shape"):
        attribute("conv2d", arrays, CONV, np.zeros((2, 2), np.float32), PLAIN, AMPERE)
    with pytest.raises(ValueError, match="each kept element has a place"):
        attribute("conv2d", arrays, CONV, np.zeros(2, np.float32), PLAIN, AMPERE, np.arange(3))


def test_probes_name_the_rounding_of_both_factors():
    for fmt, name in ((TF32, "tf32"), (BFLOAT16, "bfloat16")):
        for mode in ("RNE", "RNA", "RZ"):
            answers = round_operand(np.array(PROBES, np.float32), fmt, mode).tolist()
            assert operand_rounding_of(answers, answers) == OperandRounding(
                name, mode, f"the probes show operands rounded to {name} by {mode}"
            )
            assert (
                operand_rounding_of(answers, PROBES).format == UNKNOWN
            )  # the right factor came through whole
    three = PROBES[:3]
    assert operand_rounding_of([1.0, 1 + 2**-9, 1 + 2**-10], probes=three).mode == "RNE"
    assert operand_rounding_of([1 + 2**-10, 1 + 2**-9, 1 + 2**-10], probes=three).mode == "RNA"
    assert operand_rounding_of([1.0, 1 + 2**-10, 1.0], probes=three).mode == "RZ"
    assert operand_rounding_of(PROBES).format == FLOAT32
    assert operand_rounding_of([2.0] * len(PROBES)).format == UNKNOWN
    assert operand_rounding_of([1.0, 1.0, 1.0], probes=three).format == UNKNOWN  # bfloat16, by any mode


@pytest.mark.parametrize(
    ("capability", "fmt", "unit"),
    [("8.0", "tf32", "ampere"), ("8.6", "tf32", "ampere"), ("8.9", "tf32", "ada"), ("9.0", "tf32", "hopper"),
     ("sm_90", "bf16", "hopper"), ("7.0", "fp16", "volta"), ("12.0", "tf32", "blackwell")],
)  # fmt: skip
def test_known_architectures(capability, fmt, unit):
    found = architecture_model(capability, fmt)
    assert (found.kind, found.unit) == ("tensor cores", UNITS[unit, fmt])


@pytest.mark.parametrize(
    ("capability", "fmt", "words"),
    [("7.0", "tf32", "the tensor cores of volta take no tf32"), ("6.1", "tf32", "6.1 is not modelled"),
     ("", "tf32", "is no compute capability"),
     ("9.0", "fp4", "no tensor cores are known for operands of fp4")],
)  # fmt: skip
def test_unknown_architectures_are_said_to_be_so(capability, fmt, words):
    found = architecture_model(capability, fmt)
    assert (found.kind, found.unit) == (UNKNOWN, None)
    assert words in found.words
