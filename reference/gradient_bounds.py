"""How far float32 gradients of normalizations may be from the truth, whatever the order of their sums.

With m^, r^ for the mean and 1/sqrt(v + eps), off by dm and relatively by rho (see `statistic_bounds`), g =
dy w, N elements a row, and the sizes G = |g|, X = |x| + |m| + dm, T = mean(G X):

Input, dx = r (g - mean g - (x - m) r**2 mean(g (x - m))). Whatever form is taken, centred or folded, a dy +
b x + c with b = (m sum g - sum g x) r**3 / N, or the derivative of the forward pass step by step, in exact
arithmetic it differs from dx only by its statistics:

    E = r (((1 + rho) - 1) (G + mean G) + ((1 + rho)**3 - 1) r**2 X T + 2 (1 + rho)**3 r**2 dm (T + X mean G))

(in (x - m^) mean(g (x - m^)) either factor is off; the 2 covers a sum of x - m^ that is taken for zero), and
its parts are rounded at most 2 N + 32 times: gamma_{2N+32} (1 + rho)**3 r (G + mean G + r**2 X T). Without a
mean (rms_norm, normalize, whose mean is a sum) mean G and dm are 0; with given statistics dx = r g, within
r G (rho + gamma_6) (1 + rho). Where the squares of a vector come near eps**2, normalize may take either
branch, and the bound contains the difference.

Weight, dw = sum r dy (x - m) over M elements, (sum dy x - m sum dy) r in each row or element by element:
sum r |dy| ((1 + rho) (gamma_{M+16} X + dm) + rho X).

local_response_norm: each term of the sum that `magnitude` adds up is a product with a power of D, or with up
to three (the derivative of x / D**beta has D**(beta - 1) / D**(2 beta)), each relatively off by at most what
`statistic_bounds` has for 2 beta + 1, and passes through size + 12 roundings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from reference import grouped
from reference.formats import Array
from reference.gradient_rows import given_gradient
from reference.grouped import Grouped
from reference.local_response import windows_of
from reference.statistic_bounds import RESPONSE, inverse_root, moments, power_error, vector_root
from reference.tracked import FLUSH, INFLATION, Rules, gamma
from reference.truth import Truth
from reference.vector_norm import filters_of, vectors_of

Given = Mapping[str, Any]
_ROWS: dict[str, Callable[..., Grouped]] = {
    "batch_norm": grouped.batch_norm_rows,
    "layer_norm": grouped.layer_norm_rows,
    "group_norm": grouped.group_norm_rows,
    "instance_norm": grouped.instance_norm_rows,
    "rms_norm": grouped.rms_norm_rows,
}


def gradient(op: str, arrays: Given, params: Given, truth: Truth, rules: Rules) -> Array:
    """The bound of the gradient of a normalization with respect to its input or its weight."""
    if op == "local_response_norm_input_grad":
        return _local_response(arrays, params, truth, rules)
    if op == "normalize_input_grad":
        return _unit_vectors(arrays, params, rules)
    others = {n: a for n, a in arrays.items() if n != "grad_output"}
    if op == "weight_standardization_weight_grad":
        eps, rows = 1e-5, filters_of(others["weight"], params.get("layout", "NCHW"))
    else:
        name = op.rpartition("_norm")[0] + "_norm"
        eps = 2.0**-23 if name == "rms_norm" else 1e-5
        rows = _ROWS[name](**others, **{n: value for n, value in params.items() if n != "eps"})
    dy = rows.flatten(given_gradient(arrays["grad_output"], rows.shape)).astype(np.float64)
    mean, dm, r, rho = _statistics(rows, float(params.get("eps", eps)), rules)
    sizes = np.abs(rows.x.astype(np.float64)) + np.abs(mean) + dm
    if op.endswith("_norm_weight_grad"):
        return _weight(rows, np.abs(dy), sizes, (dm, r, rho), truth.value.shape, rules)
    weight = np.abs(rows.entries(rows.affine(np.float64)[0]))
    average = float(rows.x.shape[1])
    return np.asarray(
        rows.restore(
            _input(np.abs(dy) * weight, sizes, (dm, r, rho), rows.given is None, rows.centred, average, rules)
            + 32.0 * FLUSH * (1.0 + weight) * (1.0 + r)
        )
    )


def _statistics(rows: Grouped, eps: float, rules: Rules) -> tuple[Array, Array, Array, Array]:
    """m, dm, r, rho, one a row, as columns."""
    if rows.given is not None:
        mean, v = (a.astype(np.float64) for a in rows.given)
        dm, dv = np.zeros_like(mean), np.zeros_like(v)
    else:
        mean, dm, v, dv = moments(rows.x, rules, rows.centred)
    rho = inverse_root((dv + rules.u * eps) / (v + eps) * INFLATION, rules.u)
    return mean[:, None], dm[:, None], (1.0 / np.sqrt(v + eps))[:, None], rho[:, None]


def _input(
    g: Array,
    x: Array,
    statistics: tuple[Array, Array, Array],
    through: bool,
    centred: bool,
    divisor: float,
    rules: Rules,
) -> Array:
    """The bound of dx from the sizes G and X; `through`: the statistics depend on x."""
    dm, r, rho = statistics
    count = x.shape[1]
    if not through:
        return np.asarray(r * g * (rho + gamma(6, rules.u)) * (1.0 + rho))
    total = (g * x).sum(axis=1, keepdims=True)
    t, mean = total / divisor, g.mean(axis=1, keepdims=True) if centred else np.zeros_like(r)
    cube = (1.0 + rho) ** 3
    slope = r * r * x * t
    shifted = r * (rho * (g + mean) + (cube - 1.0) * slope + 2.0 * cube * r * r * dm * (t + x * mean))
    rounded = rules.gamma(2 * count + 32) * cube * r * (g + mean + slope)
    lost = 32.0 * FLUSH * (1.0 + r) ** 3 * (1.0 + x) * (1.0 + x.max(axis=1, keepdims=True)) * (1.0 + g + mean)
    reach = np.maximum(total, 1.0) * np.maximum(r, 1.0) ** 3 * np.maximum(x, 1.0) * cube
    return np.where(reach < 2.0**126, shifted + rounded + lost, np.inf)


def _weight(
    rows: Grouped,
    dy: Array,
    x: Array,
    statistics: tuple[Array, Array, Array],
    shape: tuple[int, ...],
    rules: Rules,
) -> Array:
    dm, r, rho = statistics
    size = int(np.prod(shape))
    factor = rules.gamma(rows.x.size // size + 16)
    each = r * dy * ((1.0 + rho) * (factor * x + dm) + rho * x)
    each = each + 8.0 * FLUSH * (1.0 + r) * (1.0 + x) * (1.0 + dy)
    index = np.arange(x.shape[0])[:, None] * rows.row_step + np.arange(x.shape[1]) // rows.inner
    out = np.zeros(size)
    np.add.at(out, (index % size).reshape(-1), each.reshape(-1))
    return out.reshape(shape)


def _unit_vectors(arrays: Given, params: Given, rules: Rules) -> Array:
    """`normalize`: the formula of the norm where that is the larger, g r where eps is."""
    squared, eps = params.get("squared_eps", False), float(params.get("eps", 1e-12))
    rows, floor = vectors_of(arrays["input"], params.get("dim", 1), eps, squared)
    x = np.abs(rows.x.astype(np.float64))
    g = np.abs(rows.flatten(given_gradient(arrays["grad_output"], rows.shape)).astype(np.float64))
    square, t, rho = vector_root(rows.x, float(floor), eps, rules)
    r, none = 1.0 / np.sqrt(square), np.zeros_like(square)
    longer = _input(g, x, (none, r, rho), True, False, 1.0, rules)
    shorter = _input(g, x, (none, r, rho), False, False, 1.0, rules) + 16.0 * FLUSH * (1.0 + r)
    own = (x * x).sum(axis=1, keepdims=True)
    near = np.abs(own - float(floor)) <= (4.0 * t + 8.0 * rules.u) * square
    either = longer + r**3 * x * (g * x).sum(axis=1, keepdims=True)
    return np.asarray(rows.restore(np.where(near, either, np.where(own > float(floor), longer, shorter))))


def _local_response(arrays: Given, params: Given, truth: Truth, rules: Rules) -> Array:
    windows = windows_of(arrays["input"], **RESPONSE | dict(params))
    _, relative = power_error(windows, 2.0 * windows.beta + 1.0, rules)
    # Of every power in the sum: that of the worst of the channels that take part.
    after, before = windows.size // 2, (windows.size - 1) // 2
    wide = np.pad(relative, ((0, 0), (before, after)), constant_values=0.0)
    worst = np.lib.stride_tricks.sliding_window_view(wide, windows.size, axis=1).max(axis=2)
    factor = (1.0 + worst) ** 3 * (1.0 + rules.gamma(windows.size + 12)) - 1.0
    g = np.abs(np.asarray(arrays["grad_output"], np.float64))
    size = 1.0 + np.abs(np.asarray(arrays["input"], np.float64))
    lost = 32.0 * FLUSH * (1.0 + g.max(initial=0.0)) * size * (1.0 + size.max(initial=0.0))
    return np.asarray(windows.restore(factor) * truth.magnitude + lost)
