"""Gradients of one column of an output with respect to the logits, in both autograds, against the exact one.

For y = f(x), rows independent, the gradient of sum_i y_i0:
    linear, y = x W^T         row 0 of W, for every row: no arithmetic at all
    softmax                   s_0 (delta_0j - s_j)
    batch normalization       exactly 0 everywhere: the normalized column sums to n times its bias, whatever
                              x is
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from precision.explanation import explain
from precision.inputs import Array
from precision.studies.experiments import both, results
from precision.studies.material import Material
from precision.studies.row import Entry, Row, figure
from precision.studies.telling import groups, listed, number
from reference import error_bound, evaluate

Single = NDArray[np.float32]
Double = NDArray[np.float64]

_ROWS, _CLASSES = 64, 10
_UNIT = 2.0**-24


def column_gradient(material: Material, entry: Entry) -> Row:
    """Behind a linear layer, which is exact, and behind softmax."""
    logits = Array((_ROWS, _CLASSES), "normal").make("same-outputs/column/logits")
    weight = Array((_CLASSES, _CLASSES), "normal").make("same-outputs/column/weight")
    plain = results(both(material, "column_gradient", {"function": "linear", "column": 0},
                         {"logits": logits, "weight": weight}))  # fmt: skip
    soft = results(
        both(material, "column_gradient", {"function": "softmax", "column": 0}, {"logits": logits})
    )
    exact = np.tile(weight[0], (_ROWS, 1))
    wrong = [mode for mode, y in plain.items() if not np.array_equal(y, exact)]
    truth, limit = softmax_column(logits)
    off = {mode: np.abs(y.astype(np.float64) - truth) for mode, y in soft.items()}
    used = {mode: float(np.max(error / limit)) for mode, error in off.items()}
    ulp = {
        mode: float(np.max(error / np.spacing(np.abs(truth).astype(np.float32))))
        for mode, error in off.items()
    }
    beyond = [mode for mode in soft if not used[mode] <= 1]
    distinct = len(groups(soft))
    fine = not wrong and not beyond
    return entry.row_of(
        now=f"behind a linear layer {len(plain) - len(wrong)} of {len(plain)} modes return the exact "
        f"gradient; behind softmax {distinct} different results of {len(soft)} modes, up to "
        f"{number(max(ulp.values()))} ulp off",
        truth="linear: the first row of the weight, for every row of logits; softmax: s₀(δ₀ⱼ - sⱼ), from "
        "certified probabilities",
        cause=("algorithm" if distinct > 1 else "none") if fine else "unexplained",
        evidence="bounded" if fine else "none",
        detail="both calls are the gradient of the sum of the column, and they agree in meaning: the "
        f"exact case is exact, the other uses at most {number(max(used.values()))} of the bound of softmax "
        "in float32 and its backward formula"
        if fine
        else f"not the gradient, or beyond its bound: {listed([*wrong, *beyond])}",
        mend="",
        recurs="yes" if fine else "no",
        why="the document prints no numbers; that the two calls belong together holds",
        figures=[
            figure("modes with the exact gradient, linear", len(plain) - len(wrong), None, len(plain)),
            *(
                figure(f"largest error in ulp, softmax, {mode}", value, None, 0.0)
                for mode, value in ulp.items()
            ),
        ],
    )


def softmax_column(logits: Single) -> tuple[Double, Double]:
    """(truth, bound of a float32 evaluation) of the gradient of column 0 of softmax, (rows, classes).

    1 - s_0 is summed from the other probabilities, which does not cancel.  With e_j the bound of float32
    softmax, u = 2**-24, and d_j = delta_0j - s_0 as computed, within e_0 + u|d_j|:
    |error| <= |d_j| e_j + s_j e_0 + 2 u s_j |d_j| but for products of two such terms, for which 1 % is added.
    """
    found = evaluate("softmax", {"input": logits}, {"dim": 1})
    errors = error_bound("softmax", {"input": logits}, {"dim": 1}, found)
    truth = np.empty(found.value.shape)
    for i, (values, rests) in enumerate(zip(found.value, found.residual, strict=True)):
        s = [Fraction(float(a)) + Fraction(float(b)) for a, b in zip(values, rests, strict=True)]
        truth[i] = [float(s[0] * sum(s[1:]))] + [float(-s[0] * each) for each in s[1:]]
    value = found.value
    inner = np.abs((np.arange(value.shape[1]) == 0) - value[:, :1])
    limit = 1.01 * (inner * errors + value * errors[:, :1] + 2 * _UNIT * value * inner) + 2.0**-149
    return truth, limit


def column_gradient_norm(material: Material, entry: Entry) -> Row:
    """Behind a batch normalization in training the exact gradient is zero, and what is seen is rounding."""
    logits = Array((_ROWS, _CLASSES), "normal").make("same-outputs/norm/logits")
    weight = Array((_CLASSES,), "uniform", {"low": 0.5, "high": 1.5}).make("same-outputs/norm/weight")
    eps = 1e-5
    given = {"function": "batch_norm", "column": 0, "eps": eps}
    arrays = {"logits": logits, "weight": weight, "bias": np.zeros(_CLASSES, np.float32)}
    found = results(both(material, "column_gradient", given, arrays))
    grad = np.zeros_like(logits)
    grad[:, 0] = 1.0
    declared = {"grad_output": grad, "input": logits, "weight": weight}
    params = {"training": True, "eps": eps}
    truth = evaluate("batch_norm_input_grad", declared, params)
    judged = explain({"op": "batch_norm_input_grad", "params": params, "arrays": declared}, found)
    zero = bool(np.all(truth.value == 0) and np.all(truth.bound == 0))
    largest = {mode: float(np.max(np.abs(y))) for mode, y in found.items()}
    top, distinct = max(largest.values()), len(groups(found))
    fine = judged.fine and zero
    return entry.row_of(
        now=f"{distinct} different results of {len(found)} modes, none larger than {number(top)}",
        truth=f"certified to be exactly zero: {zero}; a normalized column sums to n times its bias "
        "whatever the logits are",
        cause=("accumulation" if top else "none") if fine else "unexplained",
        evidence="bounded" if fine else "none",
        detail="all of what is seen is rounding, in both frameworks: a relative error, a cosine, or a "
        "sign of such numbers says nothing; judged against zero with the bound of the formula they are "
        f"{judged.verdict}"
        if fine
        else judged.verdict,
        mend="compare such a gradient with the size of its terms, not with itself" if top else "",
        recurs="yes" if fine else "no",
        why="the document prints no numbers; the two calls belong together here too",
        figures=[figure(f"largest |gradient|, {mode}", value, None, 0.0) for mode, value in largest.items()],
    )
