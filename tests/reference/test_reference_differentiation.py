"""Every gradient against mpmath's numerical differentiation of the op's own definition, at 300 bits.

The loss is sum dy y; each oracle below is the definition of one op, written down element by element.
"""

from __future__ import annotations

from collections import defaultdict

import mpmath
import numpy as np
import pytest

import reference

F = np.float32
MP = mpmath.MPContext()
MP.prec = 300
EPS = 2.0**-6


def lifted(array):
    out = np.empty(array.shape, object)
    for at, v in np.ndenumerate(array):
        out[at] = MP.mpf(float(v))
    return out


def slopes(loss, arrays, which):
    """dloss / darrays[which], element by element."""
    out = np.empty(arrays[which].shape, object)
    for at in np.ndindex(*out.shape):

        def along(v, at=at):
            changed = arrays[which].copy()
            changed[at] = v
            return loss(**(arrays | {which: changed}))

        out[at] = MP.diff(along, arrays[which][at])
    return out


def weighed(dy, y):
    return MP.fsum(dy[at] * y[at] for at in np.ndindex(*dy.shape))


def differences(truth, wanted):
    """Where a truth is not what was found by differentiation, to 80 bits of its terms."""
    found = truth.at_precision(120)
    assert found.shape == wanted.shape
    sizes = truth.magnitude
    return [
        at for at in np.ndindex(*found.shape) if abs(found[at] - wanted[at]) > sizes[at] * MP.mpf(2) ** -80
    ]


def standardized(x, key, *, centred=True, given=None, eps=EPS):
    """(x - mean) / sqrt(variance + eps) over the elements of equal key(index)."""
    groups = defaultdict(list)
    for at in np.ndindex(*x.shape):
        groups[key(at)].append(at)
    y = np.empty(x.shape, object)
    for name, members in groups.items():
        if given is not None:
            mean, variance = given[0][name], given[1][name]
        else:
            mean = MP.fsum(x[at] for at in members) / len(members) if centred else MP.mpf(0)
            variance = MP.fsum((x[at] - mean) ** 2 for at in members) / len(members)
        for at in members:
            y[at] = (x[at] - mean) / MP.sqrt(variance + eps)
    return y


def affine(y, weight, bias, key):
    out = np.empty(y.shape, object)
    for at in np.ndindex(*y.shape):
        out[at] = y[at] * weight[key(at)] + bias[key(at)]
    return out


def channel(at):
    return at[1]


NORMS = {
    # op: groups of a (2, 4, 3) input, parameters, affine entry, its shape
    "batch_norm": (channel, {"training": True}, channel, (4,)),
    "group_norm": (lambda at: (at[0], at[1] // 2), {"num_groups": 2}, channel, (4,)),
    "instance_norm": (lambda at: at[:2], {}, channel, (4,)),
    "layer_norm": (lambda at: at[0], {"normalized_shape": [4, 3]}, lambda at: at[1:], (4, 3)),
    "layer_norm over axis 1": (lambda at: (at[0], at[2]), {"axes": 1}, channel, (4,)),
    "layer_norm over axes 0 and 2": (channel, {"axes": [0, 2]}, lambda at: (at[0], at[2]), (2, 3)),
    "rms_norm over axis 1": (lambda at: (at[0], at[2]), {"axes": 1}, channel, (4,)),
}


@pytest.mark.parametrize("name", NORMS)
def test_normalizations(data, name):
    key, params, entry, shape = NORMS[name]
    op = name.split()[0]
    rng = np.random.default_rng(1)
    x, dy, w, b = (data("normal", s, rng) for s in ((2, 4, 3), (2, 4, 3), shape, shape))
    lifted_dy = lifted(dy)

    def loss(x, w, b):
        y = standardized(x, key, centred=op != "rms_norm")
        return weighed(lifted_dy, affine(y, w, b, entry))

    point = {"x": lifted(x), "w": lifted(w), "b": lifted(b)}
    arrays, with_eps = {"grad_output": dy, "input": x}, params | {"eps": EPS}
    of_input = reference.evaluate(f"{op}_input_grad", arrays | {"weight": w}, with_eps)
    assert differences(of_input, slopes(loss, point, "x")) == []
    of_weight = reference.evaluate(f"{op}_weight_grad", arrays, with_eps)
    assert differences(of_weight, slopes(loss, point, "w")) == []
    if op != "rms_norm":
        kept = {k: v for k, v in params.items() if k in ("normalized_shape", "axes")}
        of_bias = reference.evaluate(f"{op}_bias_grad", {"grad_output": dy}, kept)
        assert differences(of_bias, slopes(loss, point, "b")) == []


def test_batch_norm_with_running_statistics(data):
    rng = np.random.default_rng(2)
    x, dy = data("normal", (2, 3, 2), rng), data("normal", (2, 3, 2), rng)
    w, b, mean, variance = (data("uniform", (3,), rng) for _ in range(4))
    running = lifted(mean), lifted(variance)

    def loss(x, w, b):
        return weighed(lifted(dy), affine(standardized(x, channel, given=running), w, b, channel))

    point = {"x": lifted(x), "w": lifted(w), "b": lifted(b)}
    arrays = {"grad_output": dy, "input": x, "running_mean": mean, "running_var": variance}
    of_input = reference.evaluate("batch_norm_input_grad", arrays | {"weight": w}, {"eps": EPS})
    assert differences(of_input, slopes(loss, point, "x")) == []
    of_weight = reference.evaluate("batch_norm_weight_grad", arrays, {"eps": EPS})
    assert differences(of_weight, slopes(loss, point, "w")) == []


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("eps", [2.0**-20, 4.0])
def test_normalize(data, squared, eps):
    """With eps 4 some vectors are shorter than it, and only scaled."""
    rng = np.random.default_rng(3)
    x, dy = data("normal", (3, 4, 2), rng), data("normal", (3, 4, 2), rng)
    x[1] *= F(8)

    def loss(x):
        total = MP.mpf(0)
        for n, k in np.ndindex(3, 2):
            square = MP.fsum(x[n, c, k] ** 2 for c in range(4))
            least = MP.mpf(eps) if squared else MP.mpf(eps) ** 2
            scale = 1 / MP.sqrt(max(square, least))
            total += MP.fsum(dy_[n, c, k] * x[n, c, k] * scale for c in range(4))
        return total

    dy_ = lifted(dy)
    truth = reference.evaluate(
        "normalize_input_grad",
        {"grad_output": dy, "input": x},
        {"dim": 1, "eps": eps, "squared_eps": squared},
    )
    assert differences(truth, slopes(loss, {"x": lifted(x)}, "x")) == []


def test_weight_standardization(data):
    rng = np.random.default_rng(4)
    w, dy = data("normal", (3, 2, 4), rng), data("normal", (3, 2, 4), rng)

    def loss(w):
        return weighed(lifted(dy), standardized(w, lambda at: at[0]))

    truth = reference.evaluate(
        "weight_standardization_weight_grad", {"grad_output": dy, "weight": w}, {"eps": EPS}
    )
    assert differences(truth, slopes(loss, {"w": lifted(w)}, "w")) == []


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize(("size", "beta"), [(3, 0.75), (2, 0.3), (5, 1.0), (9, 1.75)])
def test_local_response_norm(data, average, size, beta):
    rng = np.random.default_rng(size)
    x, dy = data("normal", (2, 6, 1), rng), data("normal", (2, 6, 1), rng)
    lifted_dy, alpha, k = lifted(dy), 0.7, 1.25

    def loss(x):
        total = MP.mpf(0)
        scale = MP.mpf(alpha) / (size if average else 1)
        for n, c in np.ndindex(2, 6):
            window = x[n, max(0, c - size // 2) : c + (size - 1) // 2 + 1, 0]
            below = k + scale * MP.fsum(v**2 for v in window)
            total += lifted_dy[n, c, 0] * x[n, c, 0] * below ** (-MP.mpf(beta))
        return total

    params = {"size": size, "alpha": alpha, "beta": beta, "k": k, "average": average}
    truth = reference.evaluate("local_response_norm_input_grad", {"grad_output": dy, "input": x}, params)
    assert differences(truth, slopes(loss, {"x": lifted(x)}, "x")) == []


def source(i, n, mode):
    """Where an element of the padded input comes from; None for a zero."""
    if 0 <= i < n:
        return i
    return {
        "zeros": None,
        "replicate": min(max(i, 0), n - 1),
        "circular": i % n,
        "reflect": -i if i < 0 else 2 * (n - 1) - i,
    }[mode]


def convolved(x, w, b, stride, padding, dilation, groups, mode):
    """conv1d by its definition."""
    per, (filters, _, taps) = w.shape[1], w.shape
    size = (x.shape[2] + 2 * padding - dilation * (taps - 1) - 1) // stride + 1
    y = np.empty((x.shape[0], filters, size), object)
    for n, o, j in np.ndindex(*y.shape):
        terms = [b[o]]
        for c, p in np.ndindex(per, taps):
            i = source(j * stride + p * dilation - padding, x.shape[2], mode)
            if i is not None:
                terms.append(x[n, o // (filters // groups) * per + c, i] * w[o, c, p])
        y[n, o, j] = MP.fsum(terms)
    return y


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups"), [(1, 2, 1, 1), (2, 1, 2, 2), (3, 3, 1, 2)]
)
def test_convolutions(data, mode, stride, padding, dilation, groups):
    rng = np.random.default_rng(stride)
    x, w, b = (data("normal", s, rng) for s in ((1, 4, 6), (2, 4 // groups, 3), (2,)))
    window = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    y = reference.evaluate("conv1d", {"input": x, "weight": w, "bias": b}, window | {"padding_mode": mode})
    dy = data("normal", y.value.shape, rng)

    def loss(x, w, b):
        return weighed(lifted(dy), convolved(x, w, b, *window.values(), mode))

    point = {"x": lifted(x), "w": lifted(w), "b": lifted(b)}
    params = window | {"padding_mode": mode}
    of_input = reference.evaluate(
        "conv1d_input_grad", {"grad_output": dy, "weight": w}, params | {"input_size": x.shape}
    )
    assert differences(of_input, slopes(loss, point, "x")) == []
    of_weight = reference.evaluate(
        "conv1d_weight_grad", {"grad_output": dy, "input": x}, params | {"weight_size": w.shape}
    )
    assert differences(of_weight, slopes(loss, point, "w")) == []
    of_bias = reference.evaluate("conv1d_bias_grad", {"grad_output": dy}, {})
    assert differences(of_bias, slopes(loss, point, "b")) == []


def test_transposed_convolutions(data):
    rng = np.random.default_rng(5)
    x, w = data("normal", (1, 2, 4), rng), data("normal", (2, 3, 3), rng)
    dy = data("normal", (1, 3, 7), rng)

    def loss(x, w):
        y = np.full((1, 3, 9), MP.mpf(0), object)
        for n, c, j, o, p in np.ndindex(1, 2, 4, 3, 3):
            y[n, o, 2 * j + p] += x[n, c, j] * w[c, o, p]
        return weighed(lifted(dy), y[:, :, 1:8])

    point, params = {"x": lifted(x), "w": lifted(w)}, {"stride": 2, "padding": 1}
    of_input = reference.evaluate(
        "conv_transpose1d_input_grad", {"grad_output": dy, "weight": w}, params | {"input_size": x.shape}
    )
    assert differences(of_input, slopes(loss, point, "x")) == []
    of_weight = reference.evaluate(
        "conv_transpose1d_weight_grad", {"grad_output": dy, "input": x}, params | {"weight_size": w.shape}
    )
    assert differences(of_weight, slopes(loss, point, "w")) == []


def test_products(data):
    rng = np.random.default_rng(6)
    a, b, dy = (data("normal", s, rng) for s in ((2, 3), (3, 2), (2, 2)))

    def loss(a, b):
        return weighed(lifted(dy), a.dot(b))

    point = {"a": lifted(a), "b": lifted(b)}
    of_input = reference.evaluate("matmul_input_grad", {"grad_output": dy, "other": b}, {})
    assert differences(of_input, slopes(loss, point, "a")) == []
    of_other = reference.evaluate("matmul_other_grad", {"grad_output": dy, "input": a}, {})
    assert differences(of_other, slopes(loss, point, "b")) == []
    for op, size in (("linear_input_grad", {"weight": b.T.copy()}), ("linear_weight_grad", {"input": a})):
        truth = reference.evaluate(op, {"grad_output": dy} | size, {})
        wanted = slopes(loss, point, "a" if "input" in op else "b")
        assert differences(truth, wanted if "input" in op else wanted.T) == []


def test_a_wrong_slope_is_noticed(data):
    """The gradient without the way through the statistics; a neighbour's value; one part in 2**70."""
    rng = np.random.default_rng(7)
    x, dy = data("normal", (2, 3, 2), rng), data("normal", (2, 3, 2), rng)

    def loss(x):
        return weighed(lifted(dy), standardized(x, channel))

    wanted = slopes(loss, {"x": lifted(x)}, "x")
    arrays = {"grad_output": dy, "input": x}
    right = reference.evaluate("batch_norm_input_grad", arrays, {"training": True, "eps": EPS})
    assert differences(right, wanted) == []
    means = [x[:, c].mean(dtype=float) for c in range(3)]
    fixed = arrays | {
        "running_mean": F(means),
        "running_var": F([x[:, c].var(dtype=float) for c in range(3)]),
    }
    assert len(differences(reference.evaluate("batch_norm_input_grad", fixed, {"eps": EPS}), wanted)) == 12
    assert len(differences(right, np.roll(wanted, 1))) == 12
    assert len(differences(right, wanted * (1 + MP.mpf(2) ** -70))) >= 10
