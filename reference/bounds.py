"""How far a float32 evaluation may be from the truth, whatever the order of its sums.

Notation: u the unit roundoff, gamma_n = n u / (1 - n u) (Higham 2002, "Accuracy and Stability of Numerical
Algorithms", lemma 3.1). Everything is evaluated in float64, whose own errors are below 2**-26 of the terms
here, and multiplied by 1 + 2**-20.

Sums of products, n terms (the bias is one). Each product is rounded once and passes through at most n - 1
additions, in any tree, fused or not: |y^ - y| <= gamma_n sum|ab|. With operands rounded beforehand by a
relative q the factor is (1 + q)**2 (1 + gamma_n) - 1. An average has two more roundings, for its division. An
output narrower than its accumulator is rounded once more.

Normalizations and statistics, their gradients, functions, losses, optimizer steps, interpolation:
derived in `statistic_bounds`, `gradient_bounds`, `function_bounds`, `loss_bounds`, `step_bounds` and
`resize_bounds`. What is rounded when written, u (|y| + B), is added to every bound B.

Underflow, gradual or flushed to zero, of operands too: an operation loses at most 2**-126, times whatever
still multiplies it. Overflow: where the sum of absolute terms comes near the largest number some order
overflows, and the bound is infinite.

Probabilistic (Higham & Mary 2019, "A new approach to probabilistic rounding error analysis", SIAM J. Sci.
Comput. 41(5), theorem 2.4): the gamma_n of a sum becomes exp(LAMBDA sqrt(n) u + n u**2 / (1 - u)) - 1, which
a sum of n terms exceeds with a probability of at most 2 n exp(-LAMBDA**2 (1 - u)**2 / 2) if rounding errors
are independent and of mean zero. They are not in truncating tensor cores, nor in long sums of one sign that
stagnate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from reference import (
    function_bounds,
    gradient_bounds,
    loss_bounds,
    resize_bounds,
    statistic_bounds,
    step_bounds,
)
from reference.formats import BINARY32, Array
from reference.jit import compiled
from reference.operands import operand, survey
from reference.ops import OPS, Arrays, Params, checked, terms
from reference.sum_ops import FACTORS
from reference.tracked import FLUSH, INFLATION, Gamma, Rules, gamma, probabilistic_gamma
from reference.truth import Truth

KINDS = ("deterministic", "probabilistic")
ALGORITHMS = ("two_pass", "one_pass", "welford")
_LARGEST = BINARY32.largest
Given = Mapping[str, Any]
Bound = Callable[[str, Given, Given, Truth, Rules], Array]  # of an op, its arrays, parameters and truth


def _exact(op: str, arrays: Given, params: Given, truth: Truth, rules: Rules) -> Array:
    return np.zeros_like(truth.value)  # elements are moved, not computed


_SUMS = dict.fromkeys(("sum", "mean"), "input") | {
    f"{name}_norm_bias_grad": "grad_output" for name in ("batch", "layer", "group", "instance")
}
_FAMILIES: dict[Bound, str] = {
    function_bounds.function: "exp expm1 log log1p erf erfc tanh sigmoid silu gelu softplus elu selu",
    function_bounds.slopes: "relu leaky_relu prelu",
    function_bounds.softmax: "softmax log_softmax logsumexp",
    loss_bounds.loss: "cross_entropy binary_cross_entropy_with_logits mse_loss",
    step_bounds.step: "sgd_param sgd_momentum_buffer adam_param adam_exp_avg adam_exp_avg_sq",
    step_bounds.dropout: "dropout",
    statistic_bounds.statistic: "var std batch_norm_mean batch_norm_var batch_norm_invstd "
    "batch_norm_running_mean batch_norm_running_var normalize weight_standardization local_response_norm",
    resize_bounds.resize: "interpolate",
    gradient_bounds.gradient: "batch_norm_input_grad batch_norm_weight_grad layer_norm_input_grad "
    "layer_norm_weight_grad group_norm_input_grad group_norm_weight_grad instance_norm_input_grad "
    "instance_norm_weight_grad rms_norm_input_grad rms_norm_weight_grad normalize_input_grad "
    "weight_standardization_weight_grad local_response_norm_input_grad",
    _exact: "depth_to_space space_to_depth pixel_shuffle pixel_unshuffle",
}
OTHERS: dict[str, Bound] = {name: bound for bound, names in _FAMILIES.items() for name in names.split()}
"""How the bounds of ops that are neither sums of products nor normalizations are found."""


def error_bound(
    op: str,
    arrays: Arrays,
    params: Params,
    truth: Truth,
    *,
    unit_roundoff: float = BINARY32.unit_roundoff,
    operand_roundoff: float = 0.0,
    kind: str = "deterministic",
    algorithm: str = "two_pass",
    function_ulp: float = 4.0,
) -> Array:
    """Elementwise bound on |output - truth|, in the truth's shape; derived in the module's docstring.

    unit_roundoff is the accumulator's; operand_roundoff that of a format to which input and weight are
    rounded first (2**-11 for TF32 and float16 within its range, 2**-8 for bfloat16); algorithm, for
    normalizations and variances, how the variance is computed; function_ulp, for ops that need exp, log,
    tanh, erf or their like, the error of the library's functions, in ulp of their result: an assumption, not
    a fact. Raises ValueError for unknown names, for operand_roundoff where there is no sum of products, and
    for ops without a bound (see `bounded_ops`).
    """
    found = checked(op, arrays, params)
    for value, known, name in ((kind, KINDS, "kind"), (algorithm, ALGORITHMS, "algorithm")):
        if value not in known:
            raise ValueError(f"{name} must be one of {known}, got {value!r}: name a known one")
    if isinstance(function_ulp, bool) or not 0.5 <= function_ulp <= 2.0**16:
        raise ValueError(
            f"function_ulp must be a number within 0.5..2**16, got {function_ulp!r}: give e.g. 4"
        )
    if op not in bounded_ops():
        raise ValueError(f"{op} has no bound of its own: compare the output with the truth instead")
    if operand_roundoff and op not in FACTORS:
        raise ValueError(
            f"operand_roundoff is for sums of products, got {operand_roundoff!r} with {op}: leave it out"
        )
    of_kind = probabilistic_gamma if kind == KINDS[1] else gamma
    u = unit_roundoff
    rules = Rules(u, lambda n: of_kind(n, u), 2.0 * u * float(function_ulp), algorithm)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
        if op in FACTORS or op in _SUMS:
            count = terms(op, arrays, params) + (arrays.get("bias") is not None)
            factors = [arrays[name] for name in (FACTORS[op] if op in FACTORS else (_SUMS[op],))]
            bound = _sum_bound(count, factors, truth, operand_roundoff, rules.gamma)
        elif found.rows is not None:
            keywords = {name: value for name, value in params.items() if name not in ("eps", "momentum")}
            rows = found.rows(**arrays, **keywords)
            bound = statistic_bounds.normalization(rows, float(params.get("eps", found.eps)), rules)
        else:
            bound = OTHERS[op](op, arrays, params, truth, rules)
    flat = (truth.value, truth.magnitude, np.broadcast_to(bound, truth.value.shape))
    size, extent, whole = (np.ascontiguousarray(a).reshape(-1) for a in flat)
    result = np.empty(truth.value.size)
    _written(size, extent, whole, u, result)
    return result.reshape(truth.value.shape)


@compiled
def _written(value: Any, magnitude: Any, bound: Any, u: float, result: Any) -> None:
    """The bound with what is rounded when written; infinite where it is NaN, or where something overflows."""
    for i in range(value.size):
        whole = (bound[i] + u * (abs(value[i]) + bound[i])) * INFLATION
        known = (magnitude[i] + bound[i]) * (1.0 + u) < _LARGEST and not np.isnan(whole)
        result[i] = whole if known else np.inf


def bounded_ops() -> frozenset[str]:
    """The names that `error_bound` knows."""
    normalizations = {name for name, op in OPS.items() if op.rows is not None}
    return frozenset({*FACTORS, *_SUMS, *OTHERS, *normalizations})


def _sum_bound(
    count: int, factors: list[Any], truth: Truth, operand_roundoff: float, gamma_n: Gamma
) -> Array:
    if not factors:  # a selection: nothing is rounded
        return np.zeros_like(truth.value)
    if len(factors) == 1:  # a sum or an average: the other factor is 1, and a division may follow
        count, factors = count + 2, [*factors, np.ones(1, np.float32)]
    factor = (1.0 + operand_roundoff) ** 2 * (1.0 + gamma_n(count)) - 1.0
    x, w = (survey(operand(array, "an operand")) for array in factors)
    flushed = (w.largest if x.smallest < FLUSH else 0.0) + (x.largest if w.smallest < FLUSH else 0.0)
    underflow = count * FLUSH * (2.0 + flushed) * (1.0 + factor)
    return factor * truth.magnitude + (underflow if truth.magnitude.any() else 0.0)
