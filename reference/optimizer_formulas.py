"""The optimizers' rules and formulas, for any kind of number: fractions, intervals, float64 arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from reference.intervals import Interval, Reals

_RANGE = (2.0**-100, 2.0**100)
_MOST_EXACT_STEPS = 64  # beta**t has 53 t bits: beyond, it is enclosed instead


@dataclass(frozen=True)
class Sgd:
    """Hyperparameters of SGD: exact float64 numbers, 0 or within 2**-100..2**100, two of them at most 1."""

    lr: float = 1e-3
    momentum: float = 0.0
    dampening: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False
    convention: str = "torch"

    def __post_init__(self) -> None:
        _check(self, ("lr", "weight_decay"), ("momentum", "dampening"))
        if self.nesterov and (self.dampening != 0 or (self.convention == "torch" and self.momentum == 0)):
            raise ValueError(f"nesterov needs a momentum and no dampening, got {self}: change one of them")
        if self.convention == "keras" and (self.dampening != 0 or self.weight_decay != 0):
            raise ValueError(
                f"Keras's SGD has no dampening, and no weight decay here, got {self}: set them to 0"
            )


@dataclass(frozen=True)
class Adam:
    """Hyperparameters of Adam: exact float64 numbers; step counts from 1."""

    step: int
    lr: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    decoupled: bool = False
    convention: str = "torch"

    def __post_init__(self) -> None:
        _check(self, ("lr", "weight_decay", "eps"), ("beta1", "beta2"))
        if self.eps == 0 or self.beta1 == 1 or self.beta2 == 1:
            raise ValueError(f"eps must be above 0, beta1 and beta2 below 1, got {self}: give e.g. 1e-8")
        if isinstance(self.step, bool) or not isinstance(self.step, int) or not 1 <= self.step < 2**31:
            raise ValueError(f"step must be an integer from 1 on, got {self.step!r}: the first step is 1")

    @property
    def decouples(self) -> bool:
        """Keras knows no other weight decay."""
        return self.decoupled or self.convention == "keras"

    def correction(self, which: int) -> Callable[[Reals], Interval]:
        """1 - beta**t as a function of the number system."""
        beta = Fraction((self.beta1, self.beta2)[which])
        if beta == 0:
            return lambda reals: reals.rational(1)
        if self.step <= _MOST_EXACT_STEPS:
            return lambda reals: reals.rational(1 - beta**self.step)
        return lambda reals: 1 - reals.exp(reals.log(reals.rational(beta)) * self.step)

    def exact_corrections(self) -> tuple[Fraction, Fraction] | None:
        """1 - beta**t, where that is short enough to write out."""
        if self.step > _MOST_EXACT_STEPS:
            return None
        return 1 - Fraction(self.beta1) ** self.step, 1 - Fraction(self.beta2) ** self.step


def sgd_step(
    p: Any, g: Any, b: Any, rule: Sgd, first: bool, number: Callable[[float], Any]
) -> tuple[Any, Any]:
    """(parameter, buffer) after one step."""
    rate, momentum = number(rule.lr), number(rule.momentum)
    if rule.convention == "keras":
        b = momentum * b - rate * g
        return p + (momentum * b - rate * g if rule.nesterov else b), b
    if rule.weight_decay:
        g = g + number(rule.weight_decay) * p
    if not rule.momentum:
        return p - rate * g, b
    b = g if first else momentum * b + (1 - number(rule.dampening)) * g
    return p - rate * (g + momentum * b if rule.nesterov else b), b


def adam_moments(
    p: Any, g: Any, m: Any, v: Any, rule: Adam, number: Callable[[float], Any]
) -> tuple[Any, Any]:
    """(first moment, second moment) after one step."""
    beta1, beta2 = number(rule.beta1), number(rule.beta2)
    if rule.weight_decay and not rule.decouples:
        g = g + number(rule.weight_decay) * p
    return beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g


def adam_param(
    p: Any, m: Any, v: Any, rule: Adam, corrections: Sequence[Any],
    number: Callable[[float], Any], root: Callable[[Any], Any],
) -> Any:  # fmt: skip
    """The parameter after one step, from the new moments."""
    rate, eps = number(rule.lr), number(rule.eps)
    if rule.weight_decay and rule.decouples:
        p = p - rate * number(rule.weight_decay) * p
    if rule.convention == "keras":
        return p - rate * root(corrections[1]) / corrections[0] * m / (root(v) + eps)
    return p - rate * (m / corrections[0]) / (root(v / corrections[1]) + eps)


def exact_root(x: Fraction) -> Fraction:
    """The square root of a fraction's square; ArithmeticError for any other number."""
    top, bottom = math.isqrt(x.numerator), math.isqrt(x.denominator)
    if top * top != x.numerator or bottom * bottom != x.denominator:
        raise ArithmeticError("the root is irrational")
    return Fraction(top, bottom)


def _check(rule: Sgd | Adam, sizes: tuple[str, ...], shares: tuple[str, ...]) -> None:
    if rule.convention not in {"torch", "keras"}:
        raise ValueError(f"convention must be 'torch' or 'keras', got {rule.convention!r}: name one of them")
    for name in (*sizes, *shares):
        value = getattr(rule, name)
        top = 1.0 if name in shares else _RANGE[1]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not (value == 0 or _RANGE[0] <= value <= top):
            raise ValueError(f"{name} must be 0 or within {_RANGE[0]}..{top}, got {value!r}: give e.g. 0.5")
