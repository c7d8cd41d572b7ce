"""From a kernel to its trees: every output accounted for bit for bit, or a reason."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from precision.errors import UserError
from precision.live import KernelError, Live
from precision.orders.revealed import Revealed
from precision.orders.search import reveal, reveal_run
from precision.orders.sum_kernel import SumKernel
from reference import evaluate
from reference.orders import blocked, kahan_sum_products, pairwise, sequential
from reference.replay import replay, replay_rows
from reference.tree import Run, SummationTree
from reference.winograd import Variant, winograd_conv2d
from reference.winograd_errors import CANDIDATES

CONV = {"input": (2, 4, 7, 6), "weight": (10, 4, 3, 3), "bias": (10,)}
PARAMS = {"stride": 1, "padding": 1, "dilation": 1, "groups": 1}
LINEAR = {"input": (6, 40), "weight": (20, 40), "bias": (20,)}


def linear(tree, change=lambda x, w, b: (x, w, b)):
    def run(arrays):
        x, w, b = change(arrays["input"], arrays["weight"], arrays.get("bias"))
        return replay(tree, x, np.ascontiguousarray(w.T), b)

    return run


def convolution(tree, tail=None, border=None):
    """A convolution whose last channels, or whose first column of pixels, are added in another order."""

    def run(arrays):
        kernel = SumKernel("conv2d", PARAMS, CONV, lambda _: None)
        part = kernel.parts[0]

        def whole(order):
            result = np.empty(kernel.shape, np.float32)
            result.reshape(-1)[part.index] = part.replay(order, arrays)
            return result

        result = whole(tree)
        if tail is not None:
            result[:, 8:] = whole(tail)[:, 8:]
        if border is not None:
            result[..., 0] = whole(border)[..., 0]
        return result

    return run


@pytest.mark.parametrize(
    "tree",
    [
        sequential(40, bias="last"),
        sequential(40, bias="first"),
        blocked(40, 16, bias="after_first"),
        sequential(40, bias="last", fused=False),
    ],
)
def test_a_linear_kernel_is_revealed_and_proved(tree):
    found = reveal_run(linear(tree), "linear", LINEAR, {})
    assert found.proved, found.reason
    assert [each.tree.canonical().root for each in found.classes] == [tree.canonical().root]
    assert found.equal == {"uniform": 1.0, "normal": 1.0}
    assert (found.owner == 0).all()
    assert found.flags == {"daz": False, "ftz": False, "zero_start": False}
    data = json.loads(json.dumps(found.to_json()))
    assert SummationTree.from_json(data["classes"][0]["tree"]) == found.classes[0].tree


def test_each_class_of_outputs_gets_its_own_tree():
    main, tail, border = sequential(36, bias="last"), sequential(36, bias="first"), blocked(36, 9)
    found = reveal_run(convolution(main, tail, border), "conv2d", CONV, PARAMS)
    assert found.proved, found.reason
    # In the first column the first taps of the kernel lie on the padding: those terms are never added.
    without = {leaf for leaf in range(36) if leaf % 3 == 0}
    assert {each.where: each.tree.canonical().root for each in found.classes} == {
        "channels 0 to 7, columns 1 to 5": main.canonical().root,
        "channels 8 to 9, columns 1 to 5": tail.canonical().root,
        "column 0": restricted(border.root, without),
    }
    assert (found.owner >= 0).all()


def test_the_bound_of_an_order_holds_and_is_that_of_each_class():
    main, tail = sequential(36, bias="last"), pairwise(36, bias="last")
    run = convolution(main, tail)
    found = reveal_run(run, "conv2d", CONV, PARAMS)
    rng = np.random.default_rng(5)
    arrays = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in CONV.items()}
    error = np.abs(evaluate("conv2d", arrays, PARAMS).error(run(arrays)))
    bound = found.bound(arrays)
    assert (error <= bound).all()
    assert np.array_equal(found.replay(arrays), run(arrays))
    assert bound[:, 8:].mean() < bound[:, :8].mean() / 2
    assert (error > bound / 100).any()
    with pytest.raises(ValueError, match="reveal it again"):
        found.bound({**arrays, "input": arrays["input"][:1]})


def restricted(item, without):
    if isinstance(item, Run):
        return replace(item, leaves=tuple(leaf for leaf in item.leaves if leaf not in without))
    return replace(item, items=tuple(restricted(part, without) for part in item.items))


def test_flush_and_zero_start_are_found():
    tree = replace(sequential(40, bias="last"), flush=True, zero_start=True)
    found = reveal_run(linear(tree), "linear", LINEAR, {})
    assert found.flags == {"daz": True, "ftz": True, "zero_start": True}
    assert found.proved


def test_sums_in_double_are_found():
    tree = replace(blocked(40, 8), accumulator="binary64")
    found = reveal_run(linear(tree), "linear", LINEAR, {})
    assert found.classes[0].tree.accumulator == "binary64"
    assert found.proved


def test_nearly_every_bit_is_no_proof():
    assert Revealed("linear", {}, {}, equal={"uniform": 1.0, "normal": 1.0}).proved
    assert not Revealed("linear", {}, {}, equal={"uniform": 1.0, "normal": 1.0 - 1e-9}).proved
    assert not Revealed("linear", {}, {}).proved


def test_taps_that_never_meet_the_input_do_not_hide_the_others():
    shapes = {"grad_output": (1, 1, 4, 6), "input": (1, 64, 4, 6)}
    params = {"stride": 1, "dilation": 2, "groups": 1, "padding": "same", "weight_size": [1, 64, 5, 3]}
    kernel = SumKernel("conv2d_weight_grad", params, shapes, lambda _: None)
    tree = sequential(kernel.parts[0].terms)

    def run(arrays):
        result = np.empty(kernel.shape, np.float32)
        result.reshape(-1)[kernel.parts[0].index] = kernel.parts[0].replay(tree, arrays)
        return result

    found = reveal_run(run, "conv2d_weight_grad", shapes, params)
    assert found.proved, found.reason


def bfloat16(x):
    bits = np.ascontiguousarray(x).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)).view(np.float32)


def test_rounded_operands_are_found():
    run = linear(sequential(40, bias="last"), lambda x, w, b: (bfloat16(x), bfloat16(w), b))
    found = reveal_run(run, "linear", LINEAR, {})
    assert (found.left_format, found.right_format) == ("bfloat16", "bfloat16")
    assert found.proved, found.reason
    assert found.classes[0].tree.operands == "bfloat16"


def data_dependent(arrays):
    x, w, b = arrays["input"], arrays["weight"], arrays["bias"]
    products = x[:, None, :] * w[None]
    order = np.argsort(np.abs(products), axis=-1)
    total = np.zeros(products.shape[:2], np.float32)
    for column in np.moveaxis(np.take_along_axis(products, order, -1), -1, 0):
        total += column
    return total + b


def compensated(arrays):
    sums = kahan_sum_products(arrays["input"], np.ascontiguousarray(arrays["weight"].T))
    return sums + arrays["bias"]


def wrong_term(arrays):
    return linear(sequential(40, bias="last"))(arrays) + arrays["input"][:, :1] * np.float32(1e-3)


def transformed(arrays):
    """A sum of transformed operands, as Winograd's and Fourier's algorithms make: exact on paper only."""
    x, w = arrays["input"] * np.float32(1 / 3), arrays["weight"] * np.float32(3)
    return linear(sequential(40, bias="last"))({"input": x, "weight": w, "bias": arrays["bias"]})


@pytest.mark.parametrize("kernel", [data_dependent, compensated, wrong_term, transformed])
def test_what_is_no_sum_in_one_order_is_refused(kernel):
    found = reveal_run(kernel, "linear", LINEAR, {})
    assert not found.proved
    assert found.reason


@pytest.mark.parametrize("variant", [CANDIDATES[0], CANDIDATES[-1]], ids=lambda variant: variant.name)
def test_a_winograd_convolution_is_told_by_its_bits(variant):
    def run(arrays):
        return winograd_conv2d(**arrays, variant=variant, padding=1)

    shapes = {"input": (2, 8, 13, 12), "weight": (6, 8, 3, 3), "bias": (6,)}
    found = reveal_run(run, "conv2d", shapes, {"padding": 1})
    assert found.proved
    # With so few channels they are one block: both names of the last variant are right.
    assert found.algorithm == found.words == f"Winograd {variant.name.removesuffix(', blocks of 218')}"
    assert not found.classes


def test_a_winograd_convolution_of_unknown_arithmetic_is_told_by_its_errors():
    variant = Variant(4, fused=False, channel_block=3)

    def run(arrays):
        return winograd_conv2d(**arrays, variant=variant, padding=1)

    shapes = {"input": (2, 32, 24, 24), "weight": (16, 32, 3, 3)}
    found = reveal_run(run, "conv2d", shapes, {"padding": 1})
    assert not found.proved
    assert "Winograd F(4x4, 3x3)" in found.reason


def test_not_deterministic_says_how_many_results():
    count = 0

    def run(arrays):
        nonlocal count
        count += 1
        result = linear(sequential(40, bias="last"))(arrays)
        return result + np.float32(count % 3) * np.spacing(result)

    found = reveal_run(run, "linear", LINEAR, {})
    assert found.reason == "not deterministic: 3 distinct results in 5 runs on the same data"
    assert not found.classes


def test_nan_is_refused():
    found = reveal_run(lambda arrays: np.full((6, 20), np.nan, np.float32), "linear", LINEAR, {})
    assert "120 of 120 outputs are NaN or infinite" in found.reason


def test_more_terms_than_can_be_counted_are_refused():
    shapes = {"input": (1, 2**24)}
    found = reveal_run(lambda arrays: np.zeros(1, np.float32), "sum", shapes, {"dim": 1})
    assert "only sums of fewer than 16777216" in found.reason


@pytest.mark.parametrize("final", ["divide", "multiply"])
def test_a_mean_and_how_it_divides(final):
    tree = pairwise(24, fused=False)

    def run(arrays):
        sums = replay_rows(tree, arrays["input"])
        return sums / np.float32(24) if final == "divide" else sums * np.float32(1 / 24)

    found = reveal_run(run, "mean", {"input": (60, 24)}, {"dim": 1})
    assert found.proved, found.reason
    assert found.classes[0].final.startswith({"divide": "divided", "multiply": "multiplied"}[final])
    assert found.classes[0].tree.canonical().root == tree.canonical().root


SUMS = [
    ("conv2d", CONV, PARAMS),
    ("conv2d", {"input": (2, 6, 5, 5), "weight": (6, 2, 2, 3)}, {**PARAMS, "groups": 3, "stride": 2}),
    ("conv1d", {"input": (2, 3, 9), "weight": (4, 3, 3)}, {"stride": 2, "padding": 1}),
    ("conv_transpose2d", {"input": (1, 4, 5, 5), "weight": (4, 3, 3, 3)}, {"stride": 2, "padding": 1}),
    ("conv2d_input_grad", {"grad_output": (1, 5, 4, 4), "weight": (5, 3, 3, 3)},
     {"input_size": [1, 3, 9, 9], "stride": 2}),
    ("conv2d_weight_grad", {"grad_output": (2, 5, 4, 4), "input": (2, 3, 9, 9)},
     {"weight_size": [5, 3, 3, 3], "stride": 2}),
    ("linear", LINEAR, {}),
    ("linear_weight_grad", {"grad_output": (12, 5), "input": (12, 7)}, {}),
    ("matmul", {"input": (2, 4, 9), "other": (2, 9, 5)}, {}),
    ("sum", {"input": (4, 5, 6)}, {"dim": [0, 2]}),
    ("avg_pool2d", {"input": (2, 3, 7, 7)}, {"kernel_size": 3, "stride": 2, "padding": 1}),
]  # fmt: skip


@pytest.mark.parametrize(("op", "shapes", "params"), SUMS, ids=[entry[0] for entry in SUMS])
def test_addresses_belong_to_the_op(op, shapes, params):
    """On integers, where order does not matter, the gathered factors must give the reference's values."""
    kernel = SumKernel(op, params, shapes, lambda _: None)
    rng = np.random.default_rng(0)
    arrays = {name: rng.integers(-4, 5, shape).astype(np.float32) for name, shape in shapes.items()}
    result = np.zeros(kernel.shape, np.float32)
    for part in kernel.parts:
        tree = sequential(part.terms, bias="last" if kernel.bias else None)
        result.reshape(-1)[part.index] = part.replay(tree, arrays)
        live = part.live(*part.fullest())
        assert live.size <= part.terms + kernel.bias
    truth = evaluate(op, arrays, params)
    wanted = truth.value if kernel.divisor is None else np.rint(truth.value * kernel.divisor)
    assert np.array_equal(result, wanted)


def test_an_op_that_is_no_sum_is_refused():
    with pytest.raises(UserError, match="conv2d"):
        reveal_run(lambda arrays: arrays["input"], "relu", {"input": (3, 3)}, {})


def test_a_frameworks_linear_layer_is_proved():
    found = reveal("linear", "torch.cpu", shapes={"input": (4, 100), "weight": (32, 100), "bias": (32,)})
    assert found.proved, found.reason
    assert found.mode == "torch.cpu"
    assert sum(each.outputs for each in found.classes) == 4 * 32


def test_a_live_process_says_what_went_wrong_and_goes_on():
    with Live("torch.cpu") as live:
        with pytest.raises(KernelError, match="KeyError"):
            live.run("nonsense", {}, {})
        x = np.ones((2, 3), np.float32)
        assert (live.run("linear", {}, {"input": x, "weight": x}) == 3).all()
    with pytest.raises(UserError, match=r"torch\.cpu"):
        Live("torch.gpu")
