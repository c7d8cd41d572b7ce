"""Outputs that are all alike are one witness: their one error is no function on a list."""

from __future__ import annotations

import numpy as np
import pytest

from precision.judging.case_folder import make_case
from precision.judging.case_judge import Judge
from precision.meaning.bench import Bench
from precision.meaning.hypotheses import Declaration


def cancelling(seed: int) -> np.ndarray:
    """512 numbers that nearly cancel: a float32 sum of them is off by many ulp."""
    rng = np.random.default_rng(seed)
    half = rng.standard_normal(256).astype(np.float32)
    x = np.concatenate([half, -half])
    x[0] += np.float32(1e-6)
    return rng.permutation(x)[None]


def verdict(x: np.ndarray, weight: np.ndarray, output: np.ndarray) -> str:
    shown = {"op": "linear", "params": {}, "arrays": {"input": x, "weight": weight}}
    return Judge(make_case(shown, {"output": output})).search("output", output).verdict


@pytest.mark.parametrize("seed", range(4))
def test_channels_that_are_alike_do_not_agree_on_a_scale(seed: int) -> None:
    x, weight = cancelling(seed), np.ones((64, 512), np.float32)
    total = np.float32(0)
    for each in x[0]:
        total = np.float32(total + each)
    assert abs(total / x.astype(np.float64).sum() - 1) > 0.1  # far off, and within the bound
    assert verdict(x, weight, np.full((1, 64), total)) == "rounding"


def test_a_scale_of_channels_that_differ_is_named_still() -> None:
    rng = np.random.default_rng(0)
    x, weight = (
        rng.standard_normal((4, 512)).astype(np.float32),
        rng.standard_normal((64, 512)).astype(np.float32),
    )
    scaled = (1.01 * (x.astype(np.float64) @ weight.T.astype(np.float64))).astype(np.float32)
    assert verdict(x, weight, scaled) == "semantics"


def test_witnesses_are_the_outputs_that_differ() -> None:
    rng = np.random.default_rng(0)
    x, weight = (
        rng.standard_normal((3, 8)).astype(np.float32),
        rng.standard_normal((50, 8)).astype(np.float32),
    )
    output = x @ weight.T

    def count(found: np.ndarray) -> int:
        return Bench(Declaration("linear", {"input": x, "weight": weight}, {}), found).witnesses

    assert count(output) == 150
    assert count(np.broadcast_to(output[:, :1], output.shape).copy()) == 3
    assert count(np.zeros_like(output)) == 1
