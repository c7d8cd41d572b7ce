"""What the tests of the truth share: data of every kind, a rounding oracle in integers, the checker."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from reference import Truth

KINDS = ("uniform", "normal", "wide", "cancelling", "subnormal", "huge", "integers", "zeros")


def make_data(kind: str, shape: tuple[int, ...], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    normal = rng.standard_normal(shape)
    if kind == "cancelling":  # neighbours that nearly cancel
        flat = normal.astype(np.float32).reshape(-1)
        flat[1::2] = -flat[: flat.size // 2 * 2 : 2] * np.float32(1 + 2.0**-20)
        return flat.reshape(shape)
    made = {
        "uniform": lambda: rng.random(shape),
        "normal": lambda: normal,
        "wide": lambda: normal * np.exp2(rng.integers(-60, 60, shape)),
        "subnormal": lambda: rng.integers(-999, 999, shape) * 2.0**-149,
        "huge": lambda: normal.clip(-3, 3) * 1e38,
        "integers": lambda: rng.integers(-9, 10, shape),
        "zeros": lambda: rng.integers(-1, 2, shape) * rng.integers(0, 2, shape),
    }[kind]()
    return np.asarray(made, np.float32)


def nearest(exact: Fraction, precision: int = 24, emin: int = -126, emax: int = 127) -> float:
    """`exact` rounded to nearest, ties to even, with integers alone."""
    if exact == 0:
        return 0.0
    sign, size = (-1.0, -exact) if exact < 0 else (1.0, exact)
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    exponent -= size < Fraction(2) ** exponent
    quantum = Fraction(2) ** (max(exponent, emin) - precision + 1)
    count = round(size / quantum)  # Python rounds a Fraction half to even
    if count * quantum > (2 - Fraction(2) ** (1 - precision)) * Fraction(2) ** emax:
        return sign * float("inf")
    return sign * float(count * quantum)


def violations(truth: Truth, exact: Iterable[Fraction], error: Fraction = Fraction(0)) -> list[str]:
    """Every way in which a truth contradicts exact values, which are known within `error`, relatively."""
    rounded, exact = truth.round(np.float32), list(exact)
    found = []
    parts = (truth.value, truth.residual, truth.bound, rounded)
    for i, (number, value, residual, bound, single) in enumerate(
        zip(exact, *(p.ravel().tolist() for p in parts), strict=True)
    ):
        if abs(number - Fraction(value) - Fraction(residual)) > Fraction(bound) + abs(number) * error:
            found.append(f"{i}: {float(number)} is not within {bound} of {value} + {residual}")
        if abs(residual) > np.spacing(abs(value)) / 2:
            found.append(f"{i}: residual {residual} is more than half a spacing of {value}")
        if (
            bound > 0
            and bound > 2.0**-10 * float(np.spacing(np.float32(abs(single))))
            and np.isfinite(single)
        ):
            found.append(f"{i}: bound {bound} is too wide for {value}")
        if single != nearest(number) or np.signbit(single) != (number < 0):
            found.append(f"{i}: rounded to {single}, not to {nearest(number)}")
    if truth.finer is not None:
        found += [f"in two words: {words}" for words in violations(truth.finer(), exact, error)]
    return found


@pytest.fixture(scope="session")
def data() -> Callable[..., npt.NDArray[np.float32]]:
    return make_data


@pytest.fixture(scope="session")
def round_exactly() -> Callable[..., float]:
    return nearest


@pytest.fixture(scope="session")
def contradictions() -> Callable[..., list[str]]:
    return violations


@pytest.fixture(scope="session")
def exact_conv() -> Callable[..., list[Fraction]]:
    """conv2d in fractions, by its definition; returns the outputs in C order of (N, O, oh, ow)."""

    def oracle(x: Any, w: Any, b: Any, stride: Any, pads: Any, dilation: Any, groups: int) -> list[Fraction]:
        n, _, height, width = x.shape
        o, per, kh, kw = w.shape
        xs, ws = (np.vectorize(Fraction, otypes=[object])(a.astype(float)) for a in (x, w))
        oh = (height + pads[0] + pads[1] - dilation[0] * (kh - 1) - 1) // stride[0] + 1
        ow = (width + pads[2] + pads[3] - dilation[1] * (kw - 1) - 1) // stride[1] + 1
        out = []
        for image, f, i, j in np.ndindex(n, o, oh, ow):
            total = Fraction(0) if b is None else Fraction(float(b[f]))
            for ch, p, q in np.ndindex(per, kh, kw):
                h = i * stride[0] + p * dilation[0] - pads[0]
                v = j * stride[1] + q * dilation[1] - pads[2]
                if 0 <= h < height and 0 <= v < width:
                    total += xs[image, f // (o // groups) * per + ch, h, v] * ws[f, ch, p, q]
            out.append(total)
        return out

    return oracle
