"""The ops of norm_gradient_ops and statistic_ops in the registry: truth, plain float32, terms, bad names."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import reference
from reference import norm_gradient_ops, statistic_ops

RNG = np.random.default_rng(0)
X, DY = (RNG.standard_normal((2, 4, 5, 3)).astype(np.float32) for _ in range(2))
C, ROW = RNG.random(4).astype(np.float32), RNG.random(3).astype(np.float32)
BOTH = {"grad_output": DY, "input": X}
LAYER, GROUPS = {"normalized_shape": [3]}, {"num_groups": 2}
CASES = {
    "batch_norm_input_grad": (BOTH | {"weight": C}, {"training": True}, 30),
    "batch_norm_weight_grad": (BOTH, {"training": True, "eps": 1e-3}, 30),
    "batch_norm_bias_grad": ({"grad_output": DY}, {}, 30),
    "layer_norm_input_grad": (BOTH | {"weight": ROW}, LAYER, 3),
    "layer_norm_weight_grad": (BOTH, LAYER, 40),
    "layer_norm_bias_grad": ({"grad_output": DY}, LAYER, 40),
    "group_norm_input_grad": (BOTH | {"weight": C}, GROUPS, 30),
    "group_norm_weight_grad": (BOTH, GROUPS, 30),
    "group_norm_bias_grad": ({"grad_output": DY}, {}, 30),
    "instance_norm_input_grad": (BOTH | {"weight": ROW}, {"layout": "NHWC"}, 20),
    "instance_norm_weight_grad": (BOTH, {"layout": "NHWC"}, 40),
    "instance_norm_bias_grad": ({"grad_output": DY}, {"layout": "NHWC"}, 40),
    "rms_norm_input_grad": (BOTH | {"weight": ROW}, {"normalized_shape": 3}, 3),
    "rms_norm_weight_grad": (BOTH, LAYER, 40),
    "sum": ({"input": X}, {"dim": 1}, 4),
    "mean": ({"input": X}, {"dim": [0, -1], "keepdim": True}, 6),
    "var": ({"input": X}, {"dim": None}, 120),
    "std": ({"input": X}, {"dim": 2, "correction": 0}, 5),
    "batch_norm_mean": ({"input": X}, {}, 30),
    "batch_norm_var": ({"input": X}, {"layout": "NHWC"}, 40),
    "batch_norm_invstd": ({"input": X}, {"eps": 1e-3}, 30),
    "batch_norm_running_mean": ({"input": X, "running_mean": C}, {"momentum": 0.3}, 30),
    "batch_norm_running_var": ({"input": X, "running_var": C}, {"convention": "keras", "momentum": 0.9}, 30),
    "normalize": ({"input": X}, {"dim": 1}, 4),
    "normalize_input_grad": (BOTH, {"dim": [2, 3], "squared_eps": True}, 15),
    "weight_standardization": ({"weight": X}, {}, 60),
    "weight_standardization_weight_grad": ({"grad_output": DY, "weight": X}, {"layout": "NHWC"}, 40),
    "local_response_norm": ({"input": X}, {"size": 3, "alpha": 0.1}, 3),
    "local_response_norm_input_grad": (BOTH, {"size": 5, "average": False}, 5),
}
MADE = {op.name: op for op in (*norm_gradient_ops.OPS, *statistic_ops.OPS)}


def test_every_op_is_exercised_and_registered():
    assert set(CASES) == set(MADE)
    assert all(reference.OPS[name] is op for name, op in MADE.items())


@pytest.mark.parametrize("name", sorted(CASES))
def test_truth_plain_form_and_terms_belong_together(name):
    arrays, params, count = CASES[name]
    before = {key: array.copy() for key, array in arrays.items()}
    truth = reference.evaluate(name, arrays, params)
    assert reference.terms(name, arrays, params) == count
    for array in (truth.value, truth.residual, truth.bound, truth.magnitude):
        assert array.dtype == np.float64
        assert array.shape == truth.value.shape
    assert truth.tiers["float64"] + truth.tiers["double-double"] + truth.tiers["exact"] == truth.value.size
    assert truth.refine is not None
    assert (np.abs(truth.value) <= truth.magnitude).all()
    assert all(np.array_equal(before[key], array) for key, array in arrays.items())
    if MADE[name].plain is None:
        with pytest.raises(ValueError, match="no plain"):
            reference.plain_float32(name, arrays, params)
        return
    plain = reference.plain_float32(name, arrays, params)
    assert (plain.dtype, plain.shape) == (np.float32, truth.value.shape)
    # Two roundings a term and a few more: no textbook form is further away than this.
    assert (np.abs(truth.error(plain)) <= 2 * count * 2.0**-24 * truth.magnitude + 2.0**-126).all()
    assert truth.value.size < 10 or (truth.round() == plain).any()


@pytest.mark.parametrize("name", sorted(CASES))
def test_read_only_and_strided_arrays_are_taken(name):
    arrays, params, _ = CASES[name]
    frozen = {key: np.asfortranarray(array) for key, array in arrays.items()}
    for array in frozen.values():
        array.setflags(write=False)
    assert np.array_equal(
        reference.evaluate(name, frozen, params).value, reference.evaluate(name, arrays, params).value
    )


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_registered_names_are_those_of_the_function(name):
    op = MADE[name]
    given = [p for p in inspect.signature(op.truth).parameters if p not in ("args", "kwargs")]
    assert sorted(given) == sorted((*op.required, *op.optional, *op.params))


@pytest.mark.parametrize("name", sorted(CASES))
def test_bad_arrays_and_parameters_are_refused(name):
    arrays, params, _ = CASES[name]
    first = MADE[name].required[0]
    for bad, word in (
        ((arrays | {first: arrays[first].astype(np.int32)}, params), "int32"),
        ((arrays | {"other": X}, params), "other"),
        ((arrays, params | {"axis": 1}), "axis"),
        (({key: a for key, a in arrays.items() if key != first}, params), first),
    ):
        with pytest.raises(ValueError, match=word) as caught:
            reference.evaluate(name, *bad)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(CASES))
def test_every_one_has_a_bound_that_its_plain_evaluation_keeps(name):
    arrays, params, _ = CASES[name]
    truth = reference.evaluate(name, arrays, params)
    bound = reference.error_bound(name, arrays, params, truth)
    assert bound.shape == truth.value.shape
    assert (bound >= 0).all()
    if MADE[name].plain is not None:
        known = np.isfinite(truth.value)
        error = abs(truth.error(reference.plain_float32(name, arrays, params)))
        assert (error <= bound)[known].all()
