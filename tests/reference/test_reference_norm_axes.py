"""layer_norm and rms_norm over any axes: against mpmath, torch with the axes moved, and Keras."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import reference

F = np.float32
SHAPE = (2, 3, 4, 3)
AXES = [axes for count in (1, 2, 3, 4) for axes in combinations(range(4), count)]
CONTEXT = mpmath.MPContext()
CONTEXT.prec = 600


def arrays_of(data, axes, rng, kind="normal", shape=SHAPE):
    """x, dy and an affine pair in the shape of the axes."""
    sizes = tuple(shape[a] for a in axes)
    return [data(kind, s, rng) for s in (shape, shape, sizes, sizes)]


def broadcast(entries, axes, rank=4):
    """An affine array against the input: its axes are the input's, in the input's order."""
    return entries.reshape([entries.shape[axes.index(a)] if a in axes else 1 for a in range(rank)])


def exact(number):
    """An mpf as a fraction."""
    sign, mantissa, exponent, _ = number._mpf_
    return Fraction(-mantissa if sign else mantissa) * Fraction(2) ** exponent


def oracle(x, w, b, axes, eps, centred):
    """y at 600 bits, element by element, from the definition."""
    mp = CONTEXT
    out = []
    for at in np.ndindex(*x.shape):
        place = tuple(slice(None) if a in axes else i for a, i in enumerate(at))
        group = [mp.mpf(float(v)) for v in x[place].ravel()]
        mean = mp.fsum(group) / len(group) if centred else mp.mpf(0)
        variance = mp.fsum([(v - mean) ** 2 for v in group]) / len(group)
        entry = tuple(at[a] for a in axes)
        y = (mp.mpf(float(x[at])) - mean) / mp.sqrt(variance + mp.mpf(eps))
        out.append(exact(y * mp.mpf(float(w[entry])) + mp.mpf(float(b[entry]))))
    return out


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(AXES),
    st.booleans(),
    st.sampled_from(["normal", "wide", "uniform", "cancelling"]),
    st.integers(0, 2**32),
)
def test_any_axes_against_mpmath(data, contradictions, axes, centred, kind, seed):
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 4, 4))
    x, _, w, b = arrays_of(data, axes, rng, kind, shape)
    asked = [int(a) - 4 if rng.integers(2) else int(a) for a in rng.permutation(axes)]
    if centred:
        truth = reference.layer_norm(x, None, w, b, axes=asked, eps=1e-3)
    else:
        truth, b = reference.rms_norm(x, None, w, axes=asked, eps=1e-3), b * 0
    found = oracle(x, w, b, axes, 1e-3, centred)
    rounded = truth.round().ravel()
    # A rational result (a constant row, say) may be a tie, which no precision of mpmath decides.
    known = [i for i in range(x.size) if truth.refine(i, 60)[1] != 0]
    part = truth.arranged(lambda a: a.ravel()[known])
    assert contradictions(part, [found[i] for i in known], Fraction(1, 2**400)) == []
    for i in set(range(x.size)) - set(known):
        assert abs(truth.refine(i, 60)[0] - found[i]) <= Fraction(1, 2**400) * (1 + abs(found[i]))
        assert np.isfinite(rounded[i])


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
def test_torch_over_moved_axes_and_its_gradients(data, name, axes):
    rng = np.random.default_rng(len(axes))
    x, dy, w, b = arrays_of(data, axes, rng)
    tx, tw, tb = (torch.tensor(a).double().requires_grad_() for a in (x, w, b))
    lead = tuple(range(-len(axes), 0))
    affine = (tw, tb) if name == "layer_norm" else (tw,)
    moved = getattr(torch.nn.functional, name)(tx.movedim(axes, lead), list(w.shape), *affine, eps=1e-4)
    y = moved.movedim(lead, axes)
    y.backward(torch.tensor(dy).double())
    params = {"axes": list(axes), "eps": 1e-4}
    given_affine = {"weight": w, "bias": b} if name == "layer_norm" else {"weight": w}
    both = {"grad_output": dy, "input": x}
    cases = [
        (name, {"input": x} | given_affine, params, y),
        (f"{name}_input_grad", both | {"weight": w}, params, tx.grad),
        (f"{name}_weight_grad", both, params, tw.grad),
    ]
    if name == "layer_norm":
        cases.append((f"{name}_bias_grad", {"grad_output": dy}, {"axes": list(axes)}, tb.grad))
    for op, arrays, settings_, tensor in cases:
        truth = reference.evaluate(op, arrays, settings_)
        found = tensor.detach().numpy()
        assert found.shape == truth.value.shape
        assert (abs(truth.error(found)) <= 2.0**-46 * (truth.magnitude + 1)).all()
        plain = reference.plain_float32(op, arrays, settings_)
        assert plain.shape == truth.value.shape
        assert (abs(truth.error(plain)) <= 2.0**-17 * (truth.magnitude + 1)).all()
        assert reference.ops.terms(op, arrays, settings_) >= 1


@pytest.mark.parametrize("axes", [(1,), (0, 2), (1, 2, 3)])
def test_torch_and_plain_float32_are_within_the_bound(data, axes):
    rng = np.random.default_rng(5)
    x, _, w, b = arrays_of(data, axes, rng)
    arrays, params = {"input": x, "weight": w, "bias": b}, {"axes": list(axes)}
    truth = reference.evaluate("layer_norm", arrays, params)
    bound = reference.error_bound("layer_norm", arrays, params, truth)
    lead = tuple(range(-len(axes), 0))
    moved = torch.tensor(x).movedim(axes, lead)
    y = torch.nn.functional.layer_norm(moved, list(w.shape), torch.tensor(w), torch.tensor(b))
    for output in (reference.plain_float32("layer_norm", arrays, params), y.movedim(lead, axes).numpy()):
        assert (abs(truth.error(output)) <= bound).all()
        assert (truth.error(output) != 0).any()


def test_the_last_axes_by_either_name_are_the_same(data):
    rng = np.random.default_rng(6)
    x, dy, w, b = arrays_of(data, (2, 3), rng)
    for op, arrays in (
        ("layer_norm", {"input": x, "weight": w, "bias": b}),
        ("rms_norm", {"input": x, "weight": w}),
        ("layer_norm_input_grad", {"grad_output": dy, "input": x, "weight": w}),
        ("layer_norm_weight_grad", {"grad_output": dy, "input": x}),
        ("layer_norm_bias_grad", {"grad_output": dy}),
        ("rms_norm_weight_grad", {"grad_output": dy, "input": x}),
    ):
        by_shape = reference.evaluate(op, arrays, {"normalized_shape": [4, 3]})
        by_axes = reference.evaluate(op, arrays, {"axes": [-1, 2]})
        for one, other in ((by_shape.value, by_axes.value), (by_shape.bound, by_axes.bound)):
            assert np.array_equal(one, other)


def test_a_weight_in_another_order_is_noticed(data):
    """Axes (1, 3) are of equal size: a transposed weight has the right shape and the wrong numbers."""
    rng = np.random.default_rng(7)
    x, _, w, _ = arrays_of(data, (1, 3), rng)
    right = reference.layer_norm(x, None, w, axes=[3, 1]).value
    mean, spread = x.mean((1, 3), keepdims=True, dtype=float), x.var((1, 3), keepdims=True, dtype=float)
    normal = (x - mean) / np.sqrt(spread + 1e-5)
    assert np.allclose(right, normal * broadcast(w, (1, 3)), rtol=0, atol=1e-12)
    assert not np.allclose(right, normal * broadcast(np.ascontiguousarray(w.T), (1, 3)), rtol=0, atol=1e-3)


X = np.ones(SHAPE, F)
BAD = [
    ({}, "one of them"),
    ({"axes": [1], "normalized_shape": [3]}, "one of them"),
    ({"axes": []}, "axes"),
    ({"axes": [4]}, "axes"),
    ({"axes": [-5]}, "axes"),
    ({"axes": [1, -3]}, "each once"),
    ({"axes": 1.5}, "axes"),
    ({"axes": [True]}, "axes"),
    ({"axes": "1"}, "axes"),
]


@pytest.mark.parametrize(("params", "word"), BAD)
@pytest.mark.parametrize("op", ["layer_norm", "rms_norm_weight_grad", "layer_norm_bias_grad"])
def test_bad_axes_are_refused(op, params, word):
    arrays = {"input": X, "grad_output": X}
    given_arrays = {name: arrays[name] for name in reference.OPS[op].required}
    for function in (reference.evaluate, reference.plain_float32):
        with pytest.raises(ValueError, match=word) as caught:
            function(op, given_arrays, params)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="weight must have shape"):
        reference.layer_norm(X, None, np.ones(2, F), axes=1)
    with pytest.raises(ValueError, match="non-empty"):
        reference.layer_norm(X[:, :0], axes=1)


@pytest.mark.slow
@pytest.mark.parametrize("axes", [(1,), (3,), (1, 2), (1, 3), (2, 3), (1, 2, 3)])
def test_keras_layers_mean_the_same(data, axes):
    keras = pytest.importorskip("keras")
    rng = np.random.default_rng(8)
    x, _, w, b = arrays_of(data, axes, rng)
    layer = keras.layers.LayerNormalization(axis=list(axes), epsilon=1e-3, dtype="float64")
    layer.build(x.shape)
    layer.set_weights([w.astype(float), b.astype(float)])
    y = np.asarray(layer(x.astype(float)))
    truth = reference.layer_norm(x, None, w, b, axes=list(axes), eps=1e-3)
    assert (abs(truth.error(y)) <= 2.0**-46 * (truth.magnitude + 1)).all()
