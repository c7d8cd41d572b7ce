"""More than 100,000 elements over every form of sums of products: bounds, certainty, rounding."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

import reference

KINDS = ("uniform", "normal", "wide", "cancelling", "subnormal", "huge", "integers", "zeros")


def cases(draw):
    yield (
        "conv3d",
        {"input": draw(3, 4, 5, 6, 6), "weight": draw(6, 2, 3, 2, 3), "bias": draw(6)},
        {"groups": 2, "padding": 1, "stride": [1, 2, 1]},
    )
    yield (
        "conv2d",
        {"input": draw(2, 20, 20, 12), "weight": draw(5, 5, 12, 8)},
        {"layout": "NHWC", "padding": "same", "stride": 2},
    )
    yield (
        "conv2d_weight_grad",
        {"grad_output": draw(2, 8, 16, 16), "input": draw(2, 6, 16, 16)},
        {"weight_size": (8, 6, 3, 3), "padding": 1},
    )
    yield (
        "conv_transpose2d",
        {"input": draw(2, 8, 6, 6), "weight": draw(8, 4, 5, 5)},
        {"stride": 3, "padding": 1, "output_padding": 2, "dilation": 2},
    )
    yield "matmul", {"input": draw(3, 1, 20, 50), "other": draw(2, 50, 12)}, {}
    yield "conv1d_bias_grad", {"grad_output": draw(4, 300, 50)}, {}
    yield (
        "avg_pool2d",
        {"input": draw(2, 6, 20, 20)},
        {"kernel_size": [3, 5], "stride": [2, 1], "padding": [1, 2], "ceil_mode": True},
    )


@pytest.mark.slow
def test_every_element_is_within_its_bound_certain_and_rounded(data, round_exactly):
    """Against each element's own exact sum, which the other tests hold against the definitions."""
    count = 0
    for kind in KINDS:
        rng = np.random.default_rng(1)
        for op, arrays, params in cases(lambda *shape: data(kind, shape, rng)):  # noqa: B023
            truth = reference.evaluate(op, arrays, params)
            single = truth.round()
            parts = (truth.value, truth.residual, truth.bound, single)
            for i, (value, residual, bound, rounded) in enumerate(
                zip(*(part.ravel().tolist() for part in parts), strict=True)
            ):
                exact, radius = truth.refine(i, 1)
                assert radius == 0
                assert abs(exact - Fraction(value) - Fraction(residual)) <= Fraction(bound), (op, kind, i)
                assert rounded == round_exactly(exact), (op, kind, i)
            assert (truth.uncertainty_ulp()[np.isfinite(single)] <= 2.0**-10).all()
            count += truth.value.size
    assert count > 100_000
