"""How far float32 losses may be from the truth: see `function_bounds` for what is assumed of a library.

cross_entropy: nll_c = log sum exp(x - max) - (x_c - max), as tracked there; products with the weights, the
shares of label smoothing, the sums in any order and the division by count or weight add their roundings, and
6 more allow for another order of scaling and adding, all terms being >= 0.

binary_cross_entropy_with_logits: each of the frameworks' forms,

    (1 - y) x + (1 + (p - 1) y) (log(1 + exp(-|x|)) + max(-x, 0))
    max(x, 0) - x y + log(1 + exp(-|x|))

multiplies and adds parts of M = |x| (1 + |y|) + (1 + (1 + p) |y|) (|x| + log(1 + exp(-|x|))), at most 12
times each, with two functions: |w| M (12 u + 3 F).

mse_loss: (x - y)**2, with the sums.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from reference.formats import Array
from reference.function_bounds import missed, shifted_powers
from reference.operands import operand
from reference.rows import rows
from reference.tracked import FLUSH, Rules, Tracked, gamma
from reference.truth import Truth

Given = Mapping[str, Any]


def loss(op: str, arrays: Given, params: Given, truth: Truth, rules: Rules) -> Array:
    """The bound of a loss, in the truth's shape."""
    divisor: Tracked | float
    if op == "cross_entropy":
        each, weights = _cross_entropy(arrays, params, rules)
        divisor = each.value.size if weights is None else weights
    else:
        each = (_binary if op == "binary_cross_entropy_with_logits" else _square)(arrays, rules)
        divisor = each.value.size
    reduction = params.get("reduction", "mean")
    if reduction != "none":
        each = each.total()
    if reduction == "mean":
        each = each / divisor
    if op == "cross_entropy":
        each = each.spread(gamma(6, rules.u) * np.abs(each.value))
    return missed(each.arranged(lambda a: a.reshape(truth.value.shape)), truth)


def _cross_entropy(arrays: Given, params: Given, rules: Rules) -> tuple[Tracked, Tracked | None]:
    """The losses, and the sum of their weights; None where that is their count."""
    x = operand(arrays["input"], "input")
    found = rows(x, 0 if x.ndim == 1 else 1).x
    target = np.asarray(arrays["target"]).reshape(-1).astype(np.int64)
    used = target != params.get("ignore_index", -100)
    chosen = np.where(used, target, 0)[:, None]
    _, shifted, powers = shifted_powers(found, rules)
    whole = powers.total()
    nll = whole.arranged(lambda a: a[:, None]).log() - shifted
    weight = arrays.get("weight")
    w = None if weight is None else Tracked.given(operand(weight, "weight")[None], rules)
    if w is not None:
        nll = nll * w
    smoothing = float(params.get("label_smoothing", 0.0))
    each = nll.arranged(lambda a: np.take_along_axis(a, chosen, axis=1)[:, 0])
    if smoothing:
        each = (1.0 - smoothing) * each + (smoothing / found.shape[1]) * nll.total()
    each = each.arranged(lambda a: np.where(used, a, 0.0))
    if w is None and used.all():
        return each, None
    if w is None:
        w = Tracked.given(np.ones((1, found.shape[1]), np.float32), rules)
    return each, w.arranged(lambda a: np.where(used, a[0, chosen[:, 0]], 0.0)).total()


def _binary(arrays: Given, rules: Rules) -> Tracked:
    x, y = (operand(arrays[name], name).astype(np.float64) for name in ("input", "target"))
    w, p = (
        np.ones(1) if arrays.get(name) is None else operand(arrays[name], name).astype(np.float64)
        for name in ("weight", "pos_weight")
    )
    size, log = np.abs(x), np.logaddexp(0.0, -np.abs(x))
    value = w * ((1.0 - y) * np.logaddexp(0.0, x) + p * y * np.logaddexp(0.0, -x))
    parts = size * (1.0 + np.abs(y)) + (1.0 + (1.0 + np.abs(p)) * np.abs(y)) * (size + log)
    factor = (12.0 * rules.u + 3.0 * rules.function) * rules.second
    lost = FLUSH * (2.0 + np.abs(w)) * (4.0 + size + np.abs(y)) * (2.0 + np.abs(p))
    error = np.abs(w) * parts * factor + lost + 2.0**-48 * np.abs(w) * parts
    bound = np.where(np.abs(w) * parts < 2.0**126, error, np.inf)
    return Tracked(value.reshape(-1), bound.reshape(-1), rules)


def _square(arrays: Given, rules: Rules) -> Tracked:
    x, y = (Tracked.given(operand(arrays[name], name).reshape(-1), rules) for name in ("input", "target"))
    return (x - y) * (x - y)
