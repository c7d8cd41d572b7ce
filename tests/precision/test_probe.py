"""The probe: what each limit lets through, and where real algorithms and small faults fall."""

from __future__ import annotations

import math

import numpy as np
import pytest

from precision.cases import load_suite
from precision.judging.probe import Limits, judge_probe, probe_limits
from reference import Truth, plain_float32


def limits(meaning, likely, arithmetic):
    value = np.array([1.0, 2.0, 3.0])
    truth = Truth(value, np.zeros(3), np.zeros(3), value)
    return Limits(truth, *(np.full(3, float(x)) for x in (meaning, likely, arithmetic)))


@pytest.mark.parametrize(
    ("last", "mismatches", "unlikely", "inexact"),
    [
        (3.0, 0, 0, 0),
        (4.0, 1, 1, 1),
        (3.25, 0, 0, 1),  # a transform that is inexact on integers, Winograd's say
        (3.5, 1, 0, 1),  # half a unit: it would round to another integer
        (math.nan, 1, 1, 1),
        (math.inf, 1, 1, 1),
    ],
)
def test_integer_sums(last, mismatches, unlikely, inexact):
    found = judge_probe(limits(0.5, 0.5, 0.0), np.array([1.0, 2.0, last], dtype=np.float32))
    assert (found.mismatches, found.unlikely, found.inexact) == (mismatches, unlikely, inexact)
    assert math.isnan(found.error_abs_max) == math.isnan(last)


@pytest.mark.parametrize(
    ("last", "counts"),
    [(3.0, (0, 0, 0)), (3.005, (0, 0, 1)), (3.05, (0, 1, 1)), (3.5, (1, 1, 1))],
)
def test_normalizations(last, counts):
    found = judge_probe(limits(0.1, 0.01, 0.001), np.array([1.0, 2.0, last], dtype=np.float32))
    assert (found.mismatches, found.unlikely, found.inexact) == counts


SUMS = [case for case in load_suite("default") if case.family != "normalization"]


def rounded_to(array, bits):
    """Significands of that many bits, to nearest."""
    fraction, exponent = np.frexp(array.astype(np.float64))
    return np.ldexp(np.rint(np.ldexp(fraction, bits)), exponent - bits).astype(np.float32)


@pytest.mark.parametrize("case", SUMS, ids=lambda case: case.id)
def test_float32_returns_all_24_bits_of_a_picked_input(case):
    limits, arrays = probe_limits(case, "width"), case.make("width")
    output = plain_float32(case.op, arrays, case.params)
    found = judge_probe(limits, output)
    assert (found.mismatches, found.unlikely, found.inexact) == (0, 0, 0)
    assert np.abs(output).max() > 0.1


@pytest.mark.parametrize(("bits", "relative"), [(11, 2.0**-11), (8, 2.0**-8)])
@pytest.mark.parametrize("what", ["operands", "results"])
def test_narrow_operands_and_results_show(bits, relative, what):
    case = next(case for case in SUMS if case.id == "conv2d-5x5-s2-uniform")
    limits, arrays = probe_limits(case, "width"), case.make("width")
    if what == "operands":
        output = plain_float32(case.op, {n: rounded_to(a, bits) for n, a in arrays.items()}, case.params)
    else:
        output = rounded_to(plain_float32(case.op, arrays, case.params), bits)
    found = judge_probe(limits, output)
    assert found.unlikely > 0.5 * output.size
    assert relative / 2 <= found.error_relative_max <= relative


def test_a_scaled_result_shows():
    case = next(case for case in SUMS if case.id == "linear-1024-1000")
    output = plain_float32(case.op, case.make("width"), case.params) * np.float32(1.0003)
    assert judge_probe(probe_limits(case, "width"), output).unlikely


NORMS = [case for case in load_suite("default") if case.family == "normalization" and "offset" not in case.id]


def welford(x, axes):
    """Mean and biased variance by Welford's updates in float32, one element after the other."""
    rows = np.moveaxis(x, axes, range(x.ndim - len(axes), x.ndim))
    flat = rows.reshape(*rows.shape[: x.ndim - len(axes)], -1)
    mean = np.zeros(flat.shape[:-1], np.float32)
    square = np.zeros_like(mean)
    for j in range(flat.shape[-1]):
        delta = flat[..., j] - mean
        mean = mean + delta * np.float32(1 / (j + 1))
        square = square + delta * (flat[..., j] - mean)
    return mean, square / np.float32(flat.shape[-1])


@pytest.mark.parametrize("case", NORMS, ids=lambda case: case.id)
def test_textbook_float32_is_as_good_as_exact(case):
    found = judge_probe(
        probe_limits(case), plain_float32(case.op, case.make("probe"), case.declared("probe"))
    )
    assert (found.mismatches, found.unlikely, found.inexact) == (0, 0, 0)


def test_welford_is_inexact_but_likely():
    case = next(case for case in NORMS if case.id == "layer-norm-768")
    arrays = case.make("probe")
    mean, variance = welford(arrays["input"], (1,))
    root = np.float32(1) / np.sqrt(variance + np.float32(0.25))
    output = (arrays["input"] - mean[:, None]) * root[:, None] * arrays["weight"] + arrays["bias"]
    found = judge_probe(probe_limits(case), output.astype(np.float32))
    assert (found.mismatches, found.unlikely) == (0, 0)
    assert found.inexact > 0


@pytest.mark.parametrize(
    "case", [c for c in NORMS if c.params.get("training") is not False], ids=lambda c: c.id
)
@pytest.mark.parametrize("fault", ["unbiased", "eps", "no bias", "scaled"])
def test_small_faults_are_not_taken_for_exact(case, fault):
    arrays, params = case.make("probe"), case.declared("probe")
    output = plain_float32(case.op, arrays, params)
    shape = [1] * output.ndim
    shape[-1 if case.op in ("layer_norm", "rms_norm") else 1] = -1
    bias = arrays["bias"].reshape(shape) if "bias" in arrays else np.float32(0)
    if fault == "unbiased":
        # Relative 1 / 2n: 8e-5 where a statistic has 6272 elements, the least of these cases.
        n = {"batch_norm": 6272, "instance_norm": 784, "group_norm": 1568}.get(case.op, output.shape[-1])
        output = (output - bias) * np.float32(np.sqrt((0.75 + 0.25) / (0.75 * n / (n - 1) + 0.25))) + bias
    if fault == "eps":
        output = plain_float32(case.op, arrays, {**params, "eps": 0.2501})
    if fault == "no bias":
        if "bias" not in arrays:
            return
        output = output - bias
    if fault == "scaled":
        output = output * np.float32(1 + 1e-5)
    found = judge_probe(probe_limits(case), output.astype(np.float32))
    assert found.mismatches or found.inexact
