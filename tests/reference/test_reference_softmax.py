"""softmax, log_softmax and logsumexp against mpmath at 1200 bits, and against PyTorch in float64."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import softmax

CONTEXT = mpmath.MPContext()
CONTEXT.prec = 1200
SETTINGS = settings(max_examples=40, deadline=None)
KINDS = ("uniform", "normal", "wide", "cancelling", "subnormal", "integers", "zeros")
LEAST = Fraction(1, 2**3000)


def fraction(y):
    sign, mantissa, exponent, width = y._mpf_
    if mantissa == 0:
        return Fraction(0)
    if exponent + width < -3000:
        return -LEAST if sign else LEAST
    number = Fraction(mantissa) * Fraction(2) ** exponent
    return -number if sign else number


def oracle(x, mode):
    """The results for rows of finite numbers; without the shift's trick, at a precision that needs none."""
    out = []
    for row in x.astype(float):
        exponentials = [CONTEXT.exp(CONTEXT.mpf(v)) for v in row]
        total = CONTEXT.fsum(exponentials)
        if row.size == 1:
            out.append({"softmax": Fraction(1), "log_softmax": Fraction(0)}.get(mode, Fraction(row[0])))
        elif mode == "logsumexp":
            out.append(fraction(CONTEXT.log(total)))
        elif len(set(row.tolist())) == 1 and mode == "softmax":
            out += [Fraction(1, row.size)] * row.size
        elif mode == "softmax":
            out += [fraction(e / total) for e in exponentials]
        else:
            out += [fraction(v - CONTEXT.log(total)) for v in map(CONTEXT.mpf, row)]
    return out


@pytest.mark.parametrize("mode", ["softmax", "log_softmax", "logsumexp"])
@SETTINGS
@given(st.integers(1, 3), st.integers(1, 12), st.sampled_from(KINDS), st.integers(0, 2**32))
def test_rows_against_mpmath(data, contradictions, mode, count, length, kind, seed):
    """Differences below 500, so that 1200 bits hold 1 + exp(-difference)."""
    rng = np.random.default_rng(seed)
    x = data(kind, (count, length), rng)
    x = np.clip(x, -200, 200) * np.float32(rng.choice([0.01, 1.0, 1.25]))
    truth = getattr(softmax, mode)(x)
    assert contradictions(truth, oracle(x, mode), Fraction(1, 2**200)) == []


def test_a_row_of_equal_numbers_is_rational():
    truth = softmax.softmax(np.full((1, 4), 7.25, np.float32))
    assert (truth.value == 0.25).all()
    assert (truth.bound == 0).all()
    third = softmax.softmax(np.float32([3.5, 3.5, -np.inf, 3.5]))
    assert third.refine(0, 100) == (Fraction(1, 3), 0)
    assert third.value[2] == 0


@pytest.mark.parametrize("mode", ["softmax", "log_softmax", "logsumexp"])
def test_far_apart_numbers(mode):
    """What is too small for float64 keeps its sign, and decides a tie."""
    x = np.float32([[0.0, -1e30], [16777215.0, -0.5], [-3.0, -2000.0]])
    truth = getattr(softmax, mode)(x)
    single = truth.round()
    if mode == "softmax":
        assert single.tolist() == [[1, 0], [1, 0], [1, 0]]
        assert not np.signbit(single).any()
    elif mode == "log_softmax":
        assert single.tolist() == [[0, -np.float32(1e30)], [0, -16777216.0], [0, -1997]]
        assert np.signbit(single[:, 0]).all()
    else:
        assert single.tolist() == [0, 16777215.0, -3.0]
        assert not np.signbit(single[0])


def test_special_rows():
    inf, nan = np.inf, np.nan
    x = np.float32([[1, nan, 2], [1, inf, 2], [-inf] * 3, [-inf, 5, -inf], [nan, inf, -inf]])
    assert np.array_equal(softmax.softmax(x).value, [[nan] * 3] * 3 + [[0, 1, 0], [nan] * 3], equal_nan=True)
    logs = softmax.log_softmax(x).value
    assert np.array_equal(logs, [[nan] * 3] * 3 + [[-inf, 0, -inf], [nan] * 3], equal_nan=True)
    sums = softmax.logsumexp(x)
    assert np.array_equal(sums.value, [nan, inf, -inf, 5, nan], equal_nan=True)
    assert (sums.bound == 0).all()
    assert np.array_equal(torch.logsumexp(torch.tensor(x), 1).numpy(), sums.value, equal_nan=True)


@pytest.mark.parametrize("dim", [0, 1, 2, -1, -3])
def test_axes_against_torch(data, dim):
    x = data("normal", (4, 3, 5), np.random.default_rng(0)) * np.float32(5)
    wide = torch.tensor(x).double()
    for name in ("softmax", "log_softmax", "logsumexp"):
        truth = getattr(softmax, name)(x, dim=dim)
        y = getattr(torch, name)(wide, dim).numpy()
        assert (abs(truth.error(y)) < 1e-13 * np.maximum(1, abs(y))).all()
        assert (truth.magnitude >= abs(truth.value)).all()
    kept = softmax.logsumexp(x, dim=dim, keepdim=True)
    assert kept.value.shape == torch.logsumexp(wide, dim, keepdim=True).shape


def test_any_precision_and_odd_shapes():
    x = np.float32([[0.3, -7, 2, 2]])
    for mode, place in (("softmax", 1), ("log_softmax", 1), ("logsumexp", 0)):
        centre, radius = getattr(softmax, mode)(x).refine(place, 400)
        assert radius * 2**400 <= abs(centre)
        assert abs(centre - oracle(x, mode)[place]) <= abs(centre) / 2**390
    assert softmax.softmax(np.float32(3.0), dim=0).value == 1.0
    assert softmax.logsumexp(np.zeros((2, 0), np.float32)).value.tolist() == [-np.inf] * 2
    assert softmax.softmax(np.zeros((0, 3), np.float32)).value.shape == (0, 3)


def test_a_planted_error_is_caught(contradictions):
    x = np.random.default_rng(3).standard_normal((3, 5)).astype(np.float32)
    truth = softmax.softmax(x)
    exact = oracle(x, "softmax")
    assert contradictions(truth, exact, Fraction(1, 2**200)) == []
    planted = dataclasses.replace(truth, bound=truth.bound * 2.0**-40)
    assert contradictions(planted, exact, Fraction(1, 2**200))


@pytest.mark.parametrize("dim", [2, -3, 1.0, True, None])
def test_bad_axes_are_refused(dim):
    with pytest.raises(ValueError, match="dim must be an axis"):
        softmax.softmax(np.zeros((2, 3), np.float32), dim=dim)
