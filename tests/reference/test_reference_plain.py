"""The plain float32 evaluation, bit for bit against loops over np.float32."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference

F = np.float32
SETTINGS = settings(max_examples=40, deadline=None)


def slow_conv(x, w, b, stride, pads, dilation, groups):
    """NHWC, weight (kh, kw, c, o)."""
    x = np.pad(x, ((0, 0), pads[:2], pads[2:], (0, 0)))
    kh, kw, per, filters = w.shape
    oh = (x.shape[1] - dilation * (kh - 1) - 1) // stride + 1
    ow = (x.shape[2] - dilation * (kw - 1) - 1) // stride + 1
    out = np.zeros((x.shape[0], oh, ow, filters), F)
    for n, i, j, o in np.ndindex(out.shape):
        total = F(0)
        for p, q, c in np.ndindex(kh, kw, per):
            channel = o // (filters // groups) * per + c
            total = F(
                total + F(x[n, i * stride + p * dilation, j * stride + q * dilation, channel] * w[p, q, c, o])
            )
        out[n, i, j, o] = total if b is None else F(total + b[o])
    return out


@SETTINGS
@given(
    st.integers(0, 2**32),
    st.integers(1, 3),
    st.integers(1, 2),
    st.integers(1, 2),
    st.integers(1, 2),
    st.booleans(),
)
def test_conv2d(data, seed, kernel, stride, dilation, groups, biased):
    rng = np.random.default_rng(seed)
    x = data("normal", (2, 6, 7, 2 * groups), rng)
    w, b = (
        data("normal", (kernel, 2, 2, 3 * groups), rng),
        data("normal", (3 * groups,), rng) if biased else None,
    )
    pads = (1, 0, 0, 2)
    wanted = slow_conv(x, w, b, stride, pads, dilation, groups)
    params = {"stride": stride, "padding": pads, "dilation": dilation, "groups": groups}
    arrays = {"input": x, "weight": w, "bias": b}
    assert np.array_equal(reference.plain_float32("conv2d", arrays, params | {"layout": "NHWC"}), wanted)
    arrays |= {"input": x.transpose(0, 3, 1, 2), "weight": w.transpose(3, 2, 0, 1)}
    assert np.array_equal(reference.plain_float32("conv2d", arrays, params), wanted.transpose(0, 3, 1, 2))


def test_linear(data):
    rng = np.random.default_rng(1)
    x, w, b = data("wide", (2, 3, 40), rng), data("normal", (5, 40), rng), data("normal", (5,), rng)
    wanted = slow_conv(x.reshape(1, 6, 1, 40), w.T.reshape(1, 1, 40, 5), b, 1, (0, 0, 0, 0), 1, 1)
    found = reference.plain_float32("linear", {"input": x, "weight": w, "bias": b}, {})
    assert np.array_equal(found, wanted.reshape(2, 3, 5))


def slow_norm(row, w, b, eps, centred=True, given=None):
    count, mean, variance = F(row.size), F(0), F(0)
    if given is None:
        if centred:
            for v in row:
                mean = F(mean + v)
            mean = F(mean / count)
        for v in row:
            variance = F(variance + F(F(v - mean) * F(v - mean)))
        variance = F(variance / count)
    else:
        mean, variance = given
    inverse = F(F(1) / np.sqrt(F(variance + F(eps))))
    out = [F(F(v - mean) * inverse) for v in row]
    out = out if w is None else [F(v * s) for v, s in zip(out, w, strict=True)]
    return out if b is None else [F(v + s) for v, s in zip(out, b, strict=True)]


@SETTINGS
@given(st.integers(0, 2**32), st.booleans(), st.booleans(), st.sampled_from(["normal", "uniform", "wide"]))
def test_normalizations(data, seed, scaled, shifted, kind):
    rng = np.random.default_rng(seed)
    x = data(kind, (2, 4, 3, 3), rng)
    w, b = data("normal", (4,), rng) if scaled else None, data("normal", (4,), rng) if shifted else None
    affine = {"weight": w, "bias": b}

    def rows(groups, per_sample=True):
        a = x if per_sample else x.transpose(1, 0, 2, 3)
        return a.reshape(groups, -1)

    def entries(array, groups, per_sample=True):
        if array is None:
            return [None] * groups
        wide = np.broadcast_to(array[None, :, None, None], x.shape)
        return (wide if per_sample else wide.transpose(1, 0, 2, 3)).reshape(groups, -1)

    def expected(groups, eps, per_sample=True, given=None):
        parts = rows(groups, per_sample), entries(w, groups, per_sample), entries(b, groups, per_sample)
        found = [
            slow_norm(*part, eps, given=None if given is None else (given[0][i], given[1][i]))
            for i, part in enumerate(zip(*parts, strict=True))
        ]
        y = np.array(found, F)
        return y.reshape(x.shape) if per_sample else y.reshape(4, 2, 3, 3).transpose(1, 0, 2, 3)

    def plain(op, params, **more):
        return reference.plain_float32(op, {"input": x} | affine | more, params)

    mean, variance = data("normal", (4,), rng), data("uniform", (4,), rng)
    assert np.array_equal(plain("group_norm", {"num_groups": 2}), expected(4, 1e-5))
    assert np.array_equal(plain("instance_norm", {"eps": 1e-3}), expected(8, 1e-3))
    assert np.array_equal(plain("batch_norm", {"training": True}), expected(4, 1e-5, per_sample=False))
    assert np.array_equal(
        plain("batch_norm", {}, running_mean=mean, running_var=variance),
        expected(4, 1e-5, per_sample=False, given=(mean, variance)),
    )
    wide = None if w is None else np.ascontiguousarray(np.broadcast_to(w[:, None, None], (4, 3, 3)))
    found = reference.plain_float32("rms_norm", {"input": x, "weight": wide}, {"normalized_shape": [4, 3, 3]})
    flat = [None] * 2 if wide is None else [wide.ravel()] * 2
    wanted = [
        slow_norm(r, s, None, 2.0**-23, centred=False) for r, s in zip(x.reshape(2, -1), flat, strict=True)
    ]
    assert np.array_equal(found, np.array(wanted, F).reshape(x.shape))


@pytest.mark.parametrize("kind", ["normal", "uniform"])
def test_layer_norm(data, kind):
    rng = np.random.default_rng(2)
    x, w, b = data(kind, (3, 50), rng), data("normal", (50,), rng), data("normal", (50,), rng)
    wanted = np.array([slow_norm(r, w, b, 1e-5) for r in x])
    arrays = {"input": x, "weight": w, "bias": b}
    assert np.array_equal(reference.plain_float32("layer_norm", arrays, {"normalized_shape": 50}), wanted)
