"""How far a float32 optimizer step, or a dropout, may be from the truth.

The formulas of `optimizer_formulas` are tracked with their hyperparameters as float64 numbers, as the
frameworks have them, each rounded to float32 where it meets an array. Added for other forms of the same:
4 roundings of a moment's parts (m + (1 - beta) (g - m)), 6 of the step that is subtracted, 2 of a parameter
that decays (p (1 - rate decay)). A correction 1 - beta**t may be taken in float32, by a power of a library:
it is off by beta**t (t u + 2 F + |t log beta| (F + u)). Where g**2 overflows nothing is known.

Dropout: x / (1 - p), or times the rounded 1 / (1 - p): |y| (gamma_4 + 2 u p / (1 - p)), as long as
u p / (1 - p) is at most 1/2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from reference.formats import BINARY32, Array
from reference.function_bounds import missed
from reference.operands import operand
from reference.optimizer_formulas import Adam, Sgd, adam_moments, adam_param, sgd_step
from reference.tracked import FLUSH, Rules, Tracked, gamma
from reference.truth import Truth

Given = Mapping[str, Any]


def step(op: str, arrays: Given, params: Given, truth: Truth, rules: Rules) -> Array:
    """The bound of one output of an optimizer's step."""
    given = {n: Tracked.given(operand(a, n), rules) for n, a in arrays.items() if a is not None}
    if op.startswith("sgd"):
        rule, first = Sgd(**params), "momentum_buffer" not in given
        p, g = given["param"], given["grad"]
        held = given.get("momentum_buffer", Tracked.given(np.zeros(truth.value.shape, np.float32), rules))
        found = sgd_step(p, g, held, rule, first, float)[op == "sgd_momentum_buffer"]
        return missed(found, truth)
    adam = Adam(**params)
    p, g = given["param"], given["grad"]
    moments = adam_moments(p, g, given["exp_avg"], given["exp_avg_sq"], adam, float)
    wide = g.value**2 >= BINARY32.largest / 4.0
    old = (given["exp_avg"], given["exp_avg_sq"])
    new = (np.abs(g.value) + np.abs(adam.weight_decay * p.value), g.value**2 + moments[1].value)
    first_moment, second_moment = (
        moment.spread(
            np.where(wide, np.inf, gamma(4, rules.u) * (np.abs(m.value) + (1 - beta) * (n + np.abs(m.value))))
        )
        for moment, m, n, beta in zip(moments, old, new, (adam.beta1, adam.beta2), strict=True)
    )
    if op != "adam_param":
        return missed(first_moment if op == "adam_exp_avg" else second_moment, truth)
    corrections = [_correction(adam, beta, rules) for beta in (adam.beta1, adam.beta2)]
    found = adam_param(p, first_moment, second_moment, adam, corrections, float, Tracked.root)
    decayed = adam.lr * adam.weight_decay * np.abs(p.value) if adam.decouples else 0.0
    more = gamma(6, rules.u) * (np.abs(found.value - p.value) + 2.0 * decayed)
    if adam.weight_decay and adam.decouples:
        more = more + gamma(2, rules.u) * np.abs(p.value)
    return missed(found.spread(more), truth)


def _correction(adam: Adam, beta: float, rules: Rules) -> Tracked:
    """1 - beta**t, in whatever precision."""
    if beta == 0.0:
        return Tracked.given(np.ones(1, np.float32), rules)
    exponent = adam.step * np.log(beta)
    value = -np.expm1(exponent)
    part = adam.step * rules.u + 2.0 * rules.function + abs(exponent) * (rules.function + rules.u)
    error = np.exp(exponent) * np.expm1(part) + rules.u * value
    return Tracked(np.full(1, value), np.full(1, error), rules)


def dropout(op: str, arrays: Given, params: Given, truth: Truth, rules: Rules) -> Array:
    """`dropout`."""
    del op, arrays
    if not params.get("training", True):
        return np.zeros_like(truth.value)
    p = float(params.get("p", 0.5))
    lost = rules.u * p / (1.0 - p)
    factor = gamma(4, rules.u) + 2.0 * lost if lost <= 0.5 else np.inf
    return np.asarray(np.abs(truth.value) * factor + FLUSH * (1.0 + 1.0 / (1.0 - p)))
