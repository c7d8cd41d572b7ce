"""Tolerances: correct implementations stay within them, other arithmetic and other meaning do not."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from precision.judging.tolerance import tolerance
from precision.meaning.limits import direct
from precision.meaning.operand_tolerance import operand_limits
from reference import evaluate
from reference.orders import blocked, pairwise, sequential
from reference.replay import replay
from reference.tensorcore import matmul, unit_of

MAKE = {
    "uniform": lambda rng, *s: rng.random(s),
    "normal": lambda rng, *s: rng.standard_normal(s),
    "offset": lambda rng, *s: 10.0 + rng.random(s),
    "wide": lambda rng, *s: rng.standard_normal(s) * 2.0 ** rng.integers(-12, 12, s),
}
UNITS = {
    "tf32": [("ampere", "tf32"), ("hopper", "tf32")],
    "bfloat16": [("ampere", "bf16"), ("hopper", "bf16")],
    "float16": [("volta", "fp16"), ("turing", "fp16"), ("hopper", "fp16")],
}
ROUNDINGS = {"tf32": ("RNE", "RNA", "RZ"), "bfloat16": ("RNE",), "float16": ("RNE",)}


def drawn(kind, rng, *shape):
    return MAKE[kind](rng, *shape).astype(np.float32)


def product(kind, seed):
    rng = np.random.default_rng([seed, 4])
    terms = int(rng.integers(1, 400))
    x, w = drawn(kind, rng, 16, terms), drawn(kind, rng, 20, terms)
    return x, w, terms


def tolerances(x, w):
    arrays = {"input": x, "weight": w}
    truth = evaluate("linear", arrays, {})
    known = direct("linear", arrays, {}, 2.0**-24, truth)
    return truth, tolerance("linear", arrays, {}, truth, known.limit)


def in_float32(x, w, terms):
    """Correct implementations, whatever their order."""
    right = np.ascontiguousarray(w.T)
    yield F.linear(torch.from_numpy(x), torch.from_numpy(w)).numpy()
    for tree in (
        sequential(terms),
        sequential(terms, fused=False, reverse=True),
        pairwise(terms, fused=False),
        blocked(terms, 16, bias=None),
    ):
        yield replay(tree, x, right, threads=1)


def with_operands(mode, x, w):
    for (architecture, kind), how in itertools.product(UNITS[mode], ROUNDINGS[mode]):
        yield matmul(x, np.ascontiguousarray(w.T), unit_of(architecture, kind), operand_rounding=how)


def close(a, b, rtol, atol):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return bool(np.all(np.abs(a - b) <= atol + rtol * np.abs(b)))


@pytest.mark.parametrize("kind", MAKE)
def test_correct_implementations_stay_within(kind):
    """The worst numbers always; the likely ones in all but 1 % of the pairs."""
    pairs = beyond = 0
    for seed in range(12):
        x, w, terms = product(kind, seed)
        _, found = tolerances(x, w)
        plain = list(in_float32(x, w, terms))
        classes = {"float32": (found, plain)}
        for name, each in found.modes.items():
            classes[name] = each, [*with_operands(name, x, w), plain[0]]
        assert {"float32", "tf32", "bfloat16"} <= set(classes)
        for name, (numbers, outputs) in classes.items():
            for a, b in itertools.permutations(outputs, 2):
                assert close(a, b, numbers.rtol, numbers.atol), (name, seed)
                pairs += 1
                beyond += not close(a, b, **found.numbers[name])
    assert pairs > 800
    assert beyond <= 0.01 * pairs


def test_the_numbers_are_no_larger_than_they_must_be():
    """Other arithmetic is outside of float32's, and ten times the worst is outside of everything."""
    x, w, _ = product("normal", 3)
    truth, found = tolerances(x, w)
    exact = truth.value
    outputs = {name: next(with_operands(name, x, w)) for name in UNITS}
    for output in outputs.values():
        assert not close(output, exact, found.rtol, found.atol)
    assert close(outputs["tf32"], exact, **found.numbers["bfloat16"])
    for each in (found, *found.modes.values()):
        planted = exact.copy()
        planted[2, 3] += 10.0 * (each.atol + each.rtol * abs(exact[2, 3]))
        assert not close(planted, exact, each.rtol, each.atol)
    for name, numbers in found.numbers.items():
        # What is likely is not a hundred times what was needed.
        outputs_of = list(with_operands(name, x, w)) if name in UNITS else [torch.from_numpy(x @ w.T)]
        needed = max(np.max(np.abs(np.asarray(y, np.float64) - exact)) for y in outputs_of)
        assert numbers["atol"] + numbers["rtol"] * np.abs(exact).max() < 100.0 * needed


@pytest.mark.parametrize("kind", ["uniform", "normal"])
def test_a_framework_in_bfloat16(kind):
    if not torch.backends.mkldnn.is_available() or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("this processor has no bfloat16 products")
    rng = np.random.default_rng(5)
    x, w = drawn(kind, rng, 2, 24, 12, 12), drawn(kind, rng, 32, 24, 3, 3)
    arrays, params = {"input": x, "weight": w}, {"padding": 1}
    truth = evaluate("conv2d", arrays, params)
    found = tolerance(
        "conv2d", arrays, params, truth, direct("conv2d", arrays, params, 2.0**-24, truth).limit
    )
    run = lambda: F.conv2d(torch.from_numpy(x), torch.from_numpy(w), padding=1).numpy()  # noqa: E731
    plain, before = run(), torch.backends.mkldnn.conv.fp32_precision
    torch.backends.mkldnn.conv.fp32_precision = "bf16"
    try:
        narrow = run()
    finally:
        torch.backends.mkldnn.conv.fp32_precision = before
    assert close(plain, truth.value, **found.numbers["float32"])
    assert close(narrow, plain, **found.numbers["bfloat16"])
    if not np.array_equal(narrow, plain):  # the switch does something here
        assert not close(narrow, plain, found.rtol, found.atol)


def test_numbers_to_paste_and_words():
    x, w, _ = product("uniform", 1)
    _, found = tolerances(x, w)
    assert list(found.numbers) == ["float32", "tf32", "bfloat16", "float16"]
    for numbers in found.numbers.values():
        torch.testing.assert_close(torch.ones(2), torch.ones(2), **numbers)
    for part in (f"rtol={found.rtol:g}", "first: tf32 rtol=", ", float16 rtol=", "are likely to do"):
        assert part in found.words
    assert found.modes["tf32"].rtol < found.modes["bfloat16"].rtol


def test_modes_that_the_data_or_the_op_do_not_allow():
    x, w, _ = product("uniform", 1)
    _, large = tolerances(x * np.float32(1e6), w)
    assert list(large.modes) == ["tf32", "bfloat16"]  # float16 overflows
    rng = np.random.default_rng(6)
    x = drawn("normal", rng, 2, 3, 8, 8)
    for op, params in (("avg_pool2d", {"kernel_size": 2}), ("softmax", {"dim": 1})):
        truth = evaluate(op, {"input": x}, params)
        assert not list(operand_limits(op, {"input": x}, params, truth))
    whole = rng.integers(-8, 8, (16, 40)).astype(np.float32)
    truth, exact = tolerances(whole, whole)
    assert exact.modes["bfloat16"].rtol < 1e-4  # such operands are not changed


def test_operands_that_become_subnormal_are_allowed_for():
    rng = np.random.default_rng(7)
    x, w = drawn("normal", rng, 16, 60) * np.float32(2.0**-18), drawn("normal", rng, 20, 60)
    truth, found = tolerances(x, w)
    for output in with_operands("float16", x, w):
        each = found.modes["float16"]
        assert close(output, truth.value, each.rtol, each.atol)
        assert not close(output, truth.value, *(found.modes["tf32"].usual[k] / 4 for k in ("rtol", "atol")))


def test_gradients_and_matrix_products_have_modes_too():
    rng = np.random.default_rng(8)
    arrays = {"input": drawn("normal", rng, 9, 30), "other": drawn("normal", rng, 30, 8)}
    truth = evaluate("matmul", arrays, {})
    limits = {name: (worst, likely) for name, worst, likely in operand_limits("matmul", arrays, {}, truth)}
    assert list(limits) == ["tf32", "bfloat16", "float16"]
    for worst, likely in limits.values():
        assert np.all(likely <= worst)
        assert np.all(likely > 0)
