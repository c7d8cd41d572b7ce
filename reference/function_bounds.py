"""How far float32 evaluations of functions of one number and softmax may be from the truth.

A library's exp, expm1, log, log1p, erf, erfc and tanh are assumed to be right within F of their result,
F = 2 u function_ulp, for a float32 argument; everything else is IEEE 754 arithmetic, in the forms below. The
logistic function is the library's own or 1/(1 + exp(-x)). First order is written here; a factor,
`Rules.second`, covers the rest.

What libraries do, seen on x86 CPUs for 6 million arguments, in ulp: at most 0.8 in PyTorch 2.13 and 3.0 in
TensorFlow 2.21, but 33 in the tail of TensorFlow's erfc; and the gelu that oneDNN has for AVX-512 takes erf
from a polynomial that is off by 5.4. These two need a larger function_ulp than 4.

    sigmoid      y (F + 4 u)
    silu         y (F + 6 u): x sigmoid(x) or x / (1 + exp(-x))
    gelu         x/2 (1 + erf(z)), z = x / sqrt 2: |x|/2 (4 u |z| erf'(z) + F max(|erf|, |1 + erf|)
                 + 4 u |1 + erf|), erf' at the end of that error nearer to 0; this covers x/2 erfc(-z).
                 "tanh": the same with tanh, and 8 u |z|
    softplus     z = b x: y (2 F + 4 u + exp(2 u |z| sigma(z) / softplus(z)) - 1), and SHORTCUT y for code
                 that returns x or exp(x) where log1p no longer changes them; between the two branches at
                 the threshold, |y - x| more
    elu, selu    a (exp(x) - 1), by expm1 or not: |a| (F max(exp, |exp - 1|) + 5 u |exp - 1|)
    leaky_relu   2 u |y| below 0, and prelu too;  relu 0
    softmax      e_j = exp(x_j - max), y = e_i / sum e_j, the sum in any order
    log_softmax  (x_i - max) - log sum e_j
    logsumexp    max + log sum e_j
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from reference.activations import SELU_ALPHA, SELU_SCALE, prelu_slopes
from reference.formats import Array
from reference.operands import operand
from reference.rows import rows
from reference.softmax_bounds import softmax_bound
from reference.tracked import FLUSH, Rules, Tracked, gamma
from reference.truth import Truth

SHORTCUT = 2.0**-21
"""What softplus loses to the approximations x and exp(x): log1p(t)/t - 1 for t = 9e-7, as Eigen has it."""
Given = Mapping[str, Any]


def function(op: str, arrays: Given, params: Given, truth: Truth, rules: Rules) -> Array:
    """The bound of a function of one number."""
    x = operand(arrays["input"], "input").astype(np.float64)
    y, u, f = np.abs(truth.value), rules.u, rules.function
    lost = FLUSH * (2.0 + np.abs(x))
    if op in ("sigmoid", "silu"):
        bound = y * (f + (4.0 if op == "sigmoid" else 6.0) * u)
    elif op == "gelu":
        bound = _gelu(x, y, params.get("approximate", "none"), rules)
    elif op == "softplus":
        bound = _softplus(x, y, float(params.get("beta", 1.0)), float(params.get("threshold", 20.0)), rules)
    elif op in ("elu", "selu"):
        alpha = float(params.get("alpha", 1.0)) if op == "elu" else SELU_ALPHA * SELU_SCALE
        part = np.expm1(np.minimum(x, 0.0))
        below = abs(alpha) * (f * np.maximum(part + 1.0, -part) + 5.0 * u * -part)
        bound = np.where(x < 0.0, below, 2.0 * u * y if op == "selu" else 0.0)
        lost = lost * max(1.0, abs(alpha))
    else:
        bound = f * y
        if op == "log":  # a flushed argument
            bound = np.where(np.abs(x) < FLUSH, np.inf, bound)
    return bound * rules.second + lost


def _gelu(x: Array, y: Array, form: str, rules: Rules) -> Array:
    size, u = np.abs(x), rules.u
    if form == "tanh":
        z, margin = np.sqrt(2.0 / np.pi) * size * (1.0 + 0.044715 * x * x), 8.0 * u
        slope = 1.0 / np.cosh(np.minimum(z * (1.0 - margin), 300.0)) ** 2
    else:
        z, margin = size / np.sqrt(2.0), 4.0 * u
        slope = 2.0 / np.sqrt(np.pi) * np.exp(-np.minimum((z * (1.0 - margin)) ** 2, 600.0))
    whole = np.where(size > 0.0, 2.0 * y / size, 1.0)  # 1 + erf, 1 + tanh
    shift = margin * np.minimum(z, 1e30) * slope
    error = shift + rules.function * np.maximum(np.abs(1.0 - whole), whole) + 4.0 * u * whole
    return np.asarray(0.5 * size * error)


def _softplus(x: Array, y: Array, beta: float, threshold: float, rules: Rules) -> Array:
    z, u = beta * x, rules.u
    log = np.logaddexp(0.0, z)
    lowest = z - 2.0 * u * np.abs(z)
    share = np.exp(-np.logaddexp(0.0, -lowest)) / np.logaddexp(0.0, np.maximum(lowest, -30.0))
    share = np.where(lowest > -30.0, share, 1.0)  # of sigma(z) / softplus(z), the largest within the error
    bound = y * (2.0 * rules.function + 4.0 * u + np.expm1(2.0 * u * np.abs(z) * share) + SHORTCUT)
    near = np.abs(z - threshold) <= 4.0 * u * np.abs(z)  # where either branch may be taken
    beyond = np.where(z > threshold, 2.0 * u * y, bound)
    return np.where(near, bound + np.abs(log - z) / abs(beta), beyond)


def slopes(op: str, arrays: Given, params: Given, truth: Truth, rules: Rules) -> Array:
    """relu, leaky_relu and prelu."""
    y = np.abs(truth.value)
    if op == "relu":
        return np.where(y < FLUSH, y, 0.0)
    if op == "prelu":
        x, slope = prelu_slopes(arrays["input"], arrays["weight"], params.get("layout", "NCHW"))
        largest = np.abs(slope.astype(np.float64))
    else:
        x = operand(arrays["input"], "input")
        largest = np.full(1, abs(float(params.get("negative_slope", 0.01))))
    bound = np.where(x < 0, gamma(2, rules.u) * y, 0.0)
    return bound + FLUSH * (1.0 + largest + np.where(np.abs(x) < FLUSH, 0.0, np.abs(x)))


def softmax(op: str, arrays: Given, params: Given, truth: Truth, rules: Rules) -> Array:
    """softmax, log_softmax, logsumexp."""
    found = rows(operand(arrays["input"], "input"), params.get("dim", -1))
    if op == "logsumexp":
        top, _, powers = shifted_powers(found.x, rules)
        result = top + powers.total().log()
        return missed(result.arranged(lambda a: a.reshape(truth.value.shape)), truth)
    flat = truth.arranged(lambda a: np.moveaxis(a, found.axis, -1) if a.ndim else a)
    return found.restore(softmax_bound(found.x, flat, rules, op == "log_softmax"))


def shifted_powers(x: Any, rules: Rules) -> tuple[Tracked, Tracked, Tracked]:
    """Of rows: their largest elements, x - that, and its exponential; -Inf has an exponential of zero."""
    given = Tracked.given(x, rules)
    at = np.argmax(given.value, axis=1, keepdims=True)
    top = given.arranged(lambda a: np.take_along_axis(a, at, axis=1))
    shifted = given - top
    powers = shifted.exp()
    absent = np.isneginf(given.value)
    powers = powers.arranged(lambda a: np.where(absent, 0.0, a))
    return top.arranged(lambda a: a[:, 0]), shifted, powers


def missed(found: Tracked, truth: Truth) -> Array:
    """The error of what was tracked, as a bound against the truth."""
    return found.error + np.abs(truth.error(found.value)) + truth.bound
