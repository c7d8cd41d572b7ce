"""Implicit bfloat16 on this processor, asked live: operands are rounded where it can, and only there."""

from __future__ import annotations

import numpy as np
import pytest

from precision.attribution.attribute import attribute
from precision.attribution.models import FLOAT32_ADDER, operand_rounding_of
from precision.live import Live
from precision.modes import MODES
from precision.recording.operands import SCALARS, question
from precision.requirements import missing

VALUES = np.array(list(SCALARS.values()), np.float32)


def answers(live, op, side):
    arrays, params, axis = question(op, side, VALUES, 16, 3)
    found = np.moveaxis(live.run(op, params, arrays), axis, 0)[: VALUES.size].reshape(VALUES.size, -1)
    return found[:, found.shape[1] // 2]


@pytest.mark.parametrize("name", ["torch.cpu", "torch.cpu.bf16"])
@pytest.mark.parametrize("op", ["linear", "conv2d"])
def test_what_the_probes_show_is_what_the_output_follows(name, op):
    mode = next(each for each in MODES if each.name == name)
    if missing(mode):
        pytest.skip(missing(mode))
    rng = np.random.default_rng(0)
    shapes = {"linear": ((32, 256), (24, 256)), "conv2d": ((1, 32, 12, 12), (16, 32, 3, 3))}[op]
    arrays = {
        key: rng.standard_normal(shape).astype(np.float32)
        for key, shape in zip(("input", "weight"), shapes, strict=True)
    }
    params = {} if op == "linear" else {"stride": 1, "padding": 1, "dilation": 1, "groups": 1}
    with Live(mode) as live:
        rounding = operand_rounding_of(answers(live, op, "left"), answers(live, op, "right"), VALUES)
        output = live.run(op, params, arrays)
    found = attribute(op, arrays, params, output, rounding, FLOAT32_ADDER)
    parts = {row["cause"]: row for row in found.budget.table()}
    assert rounding.format in ("float32", "bfloat16"), rounding.words
    assert "refused" not in found.words
    assert parts["accumulation"]["evidence"] == "bounded"
    assert parts["unexplained"]["share"] == 0.0
    if name == "torch.cpu":
        assert rounding.format == "float32"
    if rounding.format == "bfloat16":
        assert parts["operand rounding"]["evidence"] == "proved"
        assert parts["operand rounding"]["share"] > 0.99
    else:  # the mode allows it, the processor does not do it
        assert parts["operand rounding"]["share"] == 0.0
