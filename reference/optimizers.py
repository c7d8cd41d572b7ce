"""The truth of one optimizer step: the new parameter and the new state, from float32 parameter and state.

With rate, momentum, ... the exact float64 numbers given, g the gradient, p the parameter, t the step:

SGD, convention "torch" (torch.optim.SGD; Nesterov after Sutskever et al. 2013, as torch rewrote it)
    g' = g + weight_decay p
    b' = g' on the first step (no buffer given), else momentum b + (1 - dampening) g'
    p' = p - rate (g' + momentum b' if nesterov else b');  without momentum p' = p - rate g'
SGD, convention "keras" (keras.optimizers.SGD)
    b' = momentum b - rate g;  p' = p + (momentum b' - rate g if nesterov else b')
Both are the same path for a constant rate, but their buffers differ by the factor -rate, and torch's first
step leaves the dampening out.

Adam (Kingma & Ba 2015): m' = beta1 m + (1 - beta1) g,  v' = beta2 v + (1 - beta2) g**2,  c_i = 1 - beta_i**t
    "torch": p' = p - rate (m'/c_1) / (sqrt(v'/c_2) + eps), usually with eps 1e-8; weight decay is added to g,
             or, decoupled (AdamW, Loshchilov & Hutter 2019), p is first multiplied by 1 - rate weight_decay
    "keras": p' = p - rate sqrt(c_2)/c_1 m' / (sqrt(v') + eps), usually with eps 1e-7, which counts
             1/sqrt(c_2) times as much; weight decay is always decoupled

SGD is rational, so every tie is known. Adam is rational where v'/c_2 is the square of a fraction. Elements
where an operand is NaN or infinite hold what float64 makes of the formula. Every function raises ValueError
for shapes that differ, hyperparameters out of range, a negative second moment, and dtypes that `operand`
refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from reference import optimizer_kernels as kernels
from reference.compensated import split_fraction
from reference.escalate import finish
from reference.formats import Array
from reference.intervals import Interval, Reals, enclose
from reference.operands import Single, operand
from reference.optimizer_formulas import Adam, Sgd, adam_moments, adam_param, exact_root, sgd_step
from reference.truth import Truth

Like = npt.ArrayLike
PARAM, BUFFER, FIRST, SECOND = "param", "momentum_buffer", "exp_avg", "exp_avg_sq"


def sgd(param: Like, grad: Like, momentum_buffer: Like | None = None, **settings: Any) -> dict[str, Truth]:
    """{"param", "momentum_buffer"} after one step; settings are `Sgd`'s fields. No buffer: the first step."""
    rule = Sgd(**settings)
    first = momentum_buffer is None
    p, g, b = _operands(
        {PARAM: param, "grad": grad, BUFFER: np.zeros_like(param) if first else momentum_buffer}
    )
    numbers = np.array([rule.lr, rule.momentum, rule.dampening, rule.weight_decay, rule.nesterov, first,
                        rule.convention == "keras"], np.float64)  # fmt: skip
    out = np.empty((2, 4, p.size))
    tame_p, tame_g, tame_b = _tame(p, g, b)
    kernels.sgd(tame_p, tame_g, tame_b, numbers, out)
    _set_wild(out, (p, g, b), lambda a, c, d: sgd_step(a, c, d, rule, first, float))

    def refine(row: int) -> Callable[[int, int], tuple[Fraction, Fraction]]:
        def found(index: int, bits: int) -> tuple[Fraction, Fraction]:
            start, grad_, held = (Fraction(float(a.reshape(-1)[index])) for a in (p, g, b))
            return sgd_step(start, grad_, held, rule, first, Fraction)[row], Fraction(0)

        return found

    return {name: _truth(out[row], refine(row), p.shape) for row, name in enumerate((PARAM, BUFFER))}


def adam(param: Like, grad: Like, exp_avg: Like, exp_avg_sq: Like, **settings: Any) -> dict[str, Truth]:
    """{"param", "exp_avg", "exp_avg_sq"} after one step; settings are the fields of `Adam`."""
    rule = Adam(**settings)
    p, g, m, v = _operands({PARAM: param, "grad": grad, FIRST: exp_avg, SECOND: exp_avg_sq})
    if (v < 0).any():
        raise ValueError(f"exp_avg_sq must not be negative, got {v.min()!r}: check which state it is")
    corrections = np.array(
        [part for which in (0, 1) for part in split_fraction(*enclose(rule.correction(which), 160))[:2]]
    )
    numbers = np.array([rule.lr, rule.beta1, rule.beta2, rule.weight_decay, rule.eps, rule.decouples,
                        rule.convention == "keras"], np.float64)  # fmt: skip
    out = np.empty((3, 4, p.size))
    tame_p, tame_g, tame_m, tame_v = _tame(p, g, m, v)
    kernels.adam(tame_p, tame_g, tame_m, tame_v, numbers, corrections, out)
    close = (float(corrections[0]), float(corrections[2]))

    def plainly(a: Array, b: Array, c: Array, d: Array) -> tuple[Any, ...]:
        moments = adam_moments(a, b, c, d, rule, float)
        return adam_param(a, *moments, rule, close, float, np.sqrt), *moments

    _set_wild(out, (p, g, m, v), plainly)

    def refine(row: int) -> Callable[[int, int], tuple[Fraction, Fraction]]:
        def found(index: int, bits: int) -> tuple[Fraction, Fraction]:
            start, grad_, first, second = (Fraction(float(a.reshape(-1)[index])) for a in (p, g, m, v))
            moments = adam_moments(start, grad_, first, second, rule, Fraction)
            return (moments[row - 1], Fraction(0)) if row else new_parameter(start, *moments, rule, bits)

        return found

    return {name: _truth(out[row], refine(row), p.shape) for row, name in enumerate((PARAM, FIRST, SECOND))}


def new_parameter(p: Fraction, m: Fraction, v: Fraction, rule: Adam, bits: int) -> tuple[Fraction, Fraction]:
    """(centre, radius) of Adam's new parameter from the exact new moments; exact where it is rational."""
    known = rule.exact_corrections()
    if m == 0:  # then neither root nor corrections matter
        return adam_param(p, m, Fraction(1), rule, (Fraction(1),) * 2, Fraction, Fraction), Fraction(0)
    if known is not None:
        try:
            return adam_param(p, m, v, rule, known, Fraction, exact_root), Fraction(0)
        except ArithmeticError:
            pass  # a root is irrational: enclose it

    def formula(r: Reals) -> Interval:
        corrections = [rule.correction(which)(r) for which in (0, 1)]
        start, first, second = (r.rational(number) for number in (p, m, v))
        return adam_param(start, first, second, rule, corrections, r.rational, r.sqrt)

    return enclose(formula, bits)


def _operands(arrays: Mapping[str, Any]) -> list[Single]:
    made = [operand(array, name) for name, array in arrays.items()]
    for name, array in zip(arrays, made, strict=True):
        if array.shape != made[0].shape:
            raise ValueError(f"{name} must have param's shape {made[0].shape}, got {array.shape}: reshape it")
    return made


def _tame(*arrays: Single) -> list[Single]:
    return [np.where(np.isfinite(a), a, np.float32(0)).reshape(-1) for a in arrays]


def _set_wild(out: Array, arrays: tuple[Single, ...], step: Callable[..., Any]) -> None:
    flat = [a.reshape(-1) for a in arrays]
    wild = ~np.logical_and.reduce([np.isfinite(a) for a in flat])
    if wild.any():
        with np.errstate(all="ignore"):
            found = step(*(a[wild].astype(np.float64) for a in flat))
        for row, value in enumerate(found):
            out[row, 0, wild] = value
            out[row, 1:3, wild] = 0.0
            out[row, 3, wild] = np.abs(value)


def _truth(parts: Array, refine: Any, shape: tuple[int, ...]) -> Truth:
    value, residual, bound, magnitude = (np.ascontiguousarray(part) for part in parts)
    truth = finish(value, residual, bound, magnitude, refine, signed=False)
    return truth.arranged(lambda array: array.reshape(shape))
