"""The wgan study: its columns, its exact gradients, its candidates, and planted variants of its models."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from precision.cases import load_suite
from precision.modes import select_modes
from precision.studies import wgan, wgan_candidates, wgan_figures, wgan_layers, wgan_norms
from precision.studies.material import Material
from precision.studies.row import load_document
from precision.studies.wgan_exact import Groups, channels_back, noise, of_channels, of_samples
from precision.studies.wgan_live import EXAMPLES, Models
from precision.studies.wgan_networks import DECLARED, FORMULAS, PORT
from precision.studies.wgan_traces import told
from precision.tracing.models import trace
from reference import conv2d
from reference.rearrange import plain_depth_to_space

DOCUMENT = load_document("wgan")


def uniform(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def test_every_row_of_the_document_has_a_maker() -> None:
    assert [entry.row for entry in DOCUMENT.entries] == list(wgan.MAKERS)
    assert {case.id for case in load_suite("wgan")} >= {"wgan-conv2d", "wgan-batch-norm"}


def test_the_cosines_of_the_document_are_float32_numbers() -> None:
    printed = [float(entry.figures["cosine distance"]) for entry in DOCUMENT.entries]
    assert all(wgan_figures.on_grid(value) for value in printed)
    assert min(printed) < 0.0
    # Numbers of the same size that a float64 program would have printed.
    assert not any(wgan_figures.on_grid(value) for value in (0.00430130211, -2.3e-07, 4.0e-07))


@given(st.integers(0, 2**32), st.floats(-30.0, 30.0), st.floats(0.0, 1.0))
@settings(max_examples=40, deadline=None)
def test_the_distance_is_that_of_high_precision(seed: int, scale: float, mixed: float) -> None:
    a = np.random.default_rng(seed).standard_normal(20)
    b = 2.0**scale * (a + mixed**8 * np.random.default_rng(seed + 1).standard_normal(20))
    with mpmath.workdps(60):
        u, v = ([mpmath.mpf(float(each)) for each in array] for array in (a, b))
        dot = lambda x, y: mpmath.fsum(p * q for p, q in zip(x, y, strict=True))  # noqa: E731
        wanted = float(1 - dot(u, v) / mpmath.sqrt(dot(u, u) * dot(v, v)))
    found = wgan_figures.properly(a, b)["cosine distance"]
    assert found >= 0.0
    # The angle is right to a few 2^-53, so the distance to that times twice the angle.
    assert found == pytest.approx(wanted, rel=1e-13, abs=2e-15 * (2.0 * wanted) ** 0.5)


def test_a_distance_in_float32_comes_out_below_zero() -> None:
    found = [
        wgan_figures.in_float32(x := uniform(seed, 4000) - np.float32(0.5), x * np.float32(1.1))
        for seed in range(40)
    ]
    distances = [each["cosine distance"] for each in found]
    assert min(distances) < 0.0
    assert all(abs(each) < 1e-6 for each in distances)


def derived(x: np.ndarray, eps: float, inside: bool, unbiased: bool, at: int) -> float:
    """The gradient of the mean square in one number, by numerical differentiation in 80 digits."""
    with mpmath.workdps(80):

        def loss(value: Any) -> Any:
            numbers = [mpmath.mpf(float(each)) for each in x]
            numbers[at] = value
            mean = mpmath.fsum(numbers) / len(numbers)
            squares = mpmath.fsum((each - mean) ** 2 for each in numbers)
            variance = squares / (len(numbers) - (1 if unbiased else 0))
            scale = (
                mpmath.sqrt(variance + mpmath.mpf(eps)) if inside else mpmath.sqrt(variance) + mpmath.mpf(eps)
            )
            return squares / scale**2 / len(numbers)

        return float(mpmath.diff(loss, mpmath.mpf(float(x[at])), h=mpmath.mpf(10) ** -30))


@pytest.mark.parametrize("name", FORMULAS)
def test_the_gradient_is_the_derivative_of_the_loss(name: str) -> None:
    x = uniform(3, 7)
    found = Groups(x[None]).gradient(1e-5, **FORMULAS[name])[0]
    for at in (0, 3):
        assert found[at] == pytest.approx(derived(x, 1e-5, at=at, **FORMULAS[name]), rel=1e-10)
    # Another formula is another gradient: the check can fail.
    other = next(each for each in FORMULAS if each != name)
    assert found[0] != pytest.approx(derived(x, 1e-5, at=0, **FORMULAS[other]), rel=1e-3)


def test_the_gradient_is_not_zero_and_scales_with_eps() -> None:
    groups = of_samples(uniform(4, 3, 2, 8, 8))
    small, large = (np.abs(groups.gradient(eps)).mean() for eps in (1e-5, 1.001e-5))
    assert 0 < small < large
    assert large / small == pytest.approx(1.001, rel=1e-5)
    assert (groups.gradient(0.0) == 0.0).all()
    assert noise(groups.gradient(1e-5).astype(np.float32), groups.gradient(1e-5)) < 1e-7


def test_statistics_of_groups_are_exact() -> None:
    x = uniform(5, 4, 3, 2, 2)
    groups = of_channels(x)
    row = [Fraction(float(each)) for each in x[:, 1].reshape(-1)]
    mean = sum(row) / len(row)
    assert groups.mean[1, 0] == float(mean)
    assert groups.variance[1, 0] == float(sum((each - mean) ** 2 for each in row) / len(row))
    assert np.array_equal(channels_back(groups.x, x.shape).astype(np.float32), x)


@pytest.mark.parametrize("name", FORMULAS)
def test_a_formula_is_told_from_few_numbers(name: str) -> None:
    x = wgan_norms.small_input()
    candidates = wgan_norms.by_formula(of_samples(x))
    output = candidates[name].astype(np.float32).reshape(x.shape)
    found = wgan_norms.identified(output, candidates)
    assert found["name"] == name
    assert found["next"] > 100 * found["near"]
    wrong = of_samples(x).normalized(2e-5, **FORMULAS[name]).astype(np.float32)
    assert wgan_norms.identified(wrong, candidates)["name"] == ""


def pooled(image: np.ndarray) -> np.ndarray:
    return (image[..., ::2, ::2] + image[..., 1::2, ::2] + image[..., ::2, 1::2] + image[..., 1::2, 1::2]) / 4


def test_pooling_and_convolution_are_one_convolution(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setattr(wgan_layers, "_measured", lambda models, what, one, terms: seen.update({what: one}))
    monkeypatch.setattr(wgan_layers, "_summed", lambda *rest: None)
    wgan_layers.conv_mean_pool(None, None)  # type: ignore[arg-type]
    wgan_layers.mean_pool_conv(None, None)  # type: ignore[arg-type]
    x = np.round(uniform(6, 2, 12, 8, 8) * 64)  # small integers: pooling and sums below are exact
    kernel = np.full((1, 12, 3, 3), wgan_layers.WEIGHT)
    wanted = {
        "conv_mean_pool": pooled(conv2d(x, kernel, padding=1).value),
        "mean_pool_conv": conv2d(pooled(x), kernel, padding=1).value,
    }
    for what, equivalent in seen.items():
        image, spread, params = equivalent(x)
        found = conv2d(image, spread, **params).value
        np.testing.assert_allclose(found, wanted[what], rtol=1e-13)
        spread[..., 0, 0] = 0.0
        shifted = conv2d(image, spread, **params).value
        assert not np.allclose(shifted, wanted[what], rtol=1e-4)
    with pytest.raises(ValueError, match="exact in float32"):
        wgan_layers._kernel(np.full((3, 3), 1 / 3))


def test_four_copies_in_space_are_nearest_neighbours() -> None:
    x = uniform(7, 2, 12, 4, 4)
    nearest = x.repeat(2, axis=2).repeat(2, axis=3)
    copies = np.concatenate([x] * 4, axis=1)
    assert np.array_equal(plain_depth_to_space(copies, 2), nearest)
    assert not np.array_equal(plain_depth_to_space(copies, 2, mode="CRD"), nearest)


def test_a_candidate_fits_within_its_spread_alone() -> None:
    entry = DOCUMENT.entry("block-down").figures
    near = {name: float(entry[name]) for name in wgan_figures.COLUMNS}
    numbers = np.random.default_rng(8).standard_normal((8, 4))
    size = np.array([1e-3, 1e-3, 6e-3, 2e-4])
    draws = [
        {name: near[name] + step for name, step in zip(near, row * size, strict=True)} for row in numbers
    ]
    assert wgan_candidates.misfit(draws, entry) < wgan_candidates.SPREADS
    far = [{**each, "diff.mean": each["diff.mean"] / 2} for each in draws]
    assert wgan_candidates.misfit(far, entry) > wgan_candidates.SPREADS


def test_a_run_without_one_framework_says_so(tmp_path: Path) -> None:
    modes = select_modes("torch.cpu")
    with Material(tmp_path, {}, [], [], modes, {}) as material:
        found = wgan.rows(material)
    assert len(found) == len(DOCUMENT.entries)
    assert {row.evidence for row in found} == {"none"}
    assert all("no mode of tensorflow" in row.now for row in found)


def test_a_run_without_the_examples_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("precision.studies.wgan_live.EXAMPLES", tmp_path)
    with Material(tmp_path, {}, [], [], select_modes("torch.cpu,tensorflow.cpu"), {}) as material:
        found = wgan.rows(material)
    assert {row.evidence for row in found} == {"none"}
    assert all("is not there" in row.now for row in found)


def planted(folder: Path, framework: str, what: str, changes: dict[str, Any]) -> Path:
    """A model file that is the example with single layers changed."""
    imported = "import torch" if framework == "torch" else "import keras"
    file = folder / f"{framework}_{what}_planted.py"
    file.write_text(
        f"import sys\nsys.path.insert(0, {str(EXAMPLES)!r})\n{imported}\nimport {framework}_{what} as plain\n"
        f"def model():\n    return plain.model(changes={changes!r})\n"
    )
    return file


PLANTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "block1.norm2": ({"eps": 1e-3}, "block1.norm2", "eps"),
    "block2.conv1": ({"dilation": 2, "padding": 2}, "block2.conv1", "dilation"),
    "block3.relu2": ({"negative_slope": 0.2}, "block3.relu2", "activation"),
    "block4.aside": ({"mode": "bilinear"}, "block4.resample_shortcut", "mode"),
    "norm": ({"kind": "layer"}, "norm", "normalization"),
}
"""By layer: what is changed, the layer's name in a trace, and the parameter that must be named."""


def named(found: Any, layer: str) -> tuple[str, str, str]:
    row = found.table.set_index("layer_a").loc[layer]
    return str(row["verdict"]), str(row["parameter"]), str(row["evidence"])


def test_variants_planted_in_the_generator_are_named(tmp_path: Path) -> None:
    file = planted(tmp_path, "torch", "model", {name: change for name, (change, _, _) in PLANTS.items()})
    found = trace(EXAMPLES / "torch_model.py", file, input=uniform(11, 2, 128), mode_b="torch.cpu")
    for _, layer, parameter in PLANTS.values():
        verdict, told_parameter, evidence = named(found, layer)
        assert (verdict, evidence) == ("semantics", "proved"), layer
        assert parameter in told_parameter, layer
    others = set(found.table["layer_a"]) - {layer for _, layer, _ in PLANTS.values()}
    verdicts = found.table.set_index("layer_a").loc[sorted(others), "verdict"]
    assert set(verdicts) <= {"exact", "rounding"}
    assert found.first_difference is not None
    assert found.first_difference.layer_a == "block1.norm2"


def test_variants_planted_in_the_block_are_named(tmp_path: Path) -> None:
    file = planted(
        tmp_path, "torch", "block", {"block.norm2": {"kind": "batch"}, "block.aside": {"kind": "max"}}
    )
    found = trace(EXAMPLES / "torch_block.py", file, mode_b="torch.cpu")
    assert named(found, "norm2") == ("semantics", "normalization", "proved")
    assert named(found, "resample_shortcut")[0] == "semantics"
    assert named(found, "norm1")[0] in ("exact", "rounding")
    notes = told(found, 4)
    assert not notes["fine"]
    assert [each["layer_a"] for each in notes["differing"]] == ["resample_shortcut", "norm2"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layer", "change", "parameter"),
    [
        ("block2.norm1", {"epsilon": 1e-3}, "eps"),
        ("block3.resample", {"interpolation": "bilinear"}, "mode"),
        ("block4.norm2", {"kind": "layer"}, "normalization"),
        ("output", {"dilation_rate": 2}, "dilation"),
    ],
)
def test_variants_planted_in_the_other_framework_are_named(
    tmp_path: Path, layer: str, change: dict[str, Any], parameter: str
) -> None:
    file = planted(tmp_path, "keras", "model", {layer: change})
    found = trace(EXAMPLES / "torch_model.py", file)
    assert found.first_difference is not None
    assert found.first_difference.layer_a == layer
    assert parameter in found.first_difference.parameter
    assert found.first_difference.evidence == "proved"


@pytest.mark.slow
def test_the_ports_compute_one_function_and_gradients_are_exact(tmp_path: Path) -> None:
    """Both examples in float64, and the exact gradients against torch's own autograd in float64."""
    modes = select_modes("torch.cpu,tensorflow.cpu")
    with Material(tmp_path, {}, [], [], modes, {}) as material, Models(material) as models:
        for what, shape, norm in (
            ("generator", (4, 128), "batch"),
            ("critic", (2, 3, 64, 64), "layer"),
            ("penalty", (2, 3, 64, 64), "layer"),
            ("block", (2, 12, 8, 8), "batch"),
        ):
            x = uniform(9, *shape)
            given: dict[str, Any] = {"norm": norm, "weights": "seeded", "dtype": "float64"}
            one, other = (models.run(side, what, x, **given)["output"] for side in ("torch", "tensorflow"))
            assert one.shape == other.shape
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
        x = uniform(10, 4, 3, 8, 8)
        for name, formula in FORMULAS.items():
            found = models.run(
                "torch", "norm", x, norm="hand", dtype="float64", changes={"norm": dict(formula)}
            )
            groups = of_samples(x)
            wanted = groups.gradient(1e-5, **formula).reshape(x.shape)
            # The terms of autograd's sum are ten thousand times the sum: so are 2^-53 of them.
            room = 1e-11 * float(np.abs(wanted).max())
            np.testing.assert_allclose(found["gradient"], wanted, rtol=1e-9, atol=room, err_msg=name)
            value = groups.normalized(1e-5, **formula).reshape(x.shape)
            np.testing.assert_allclose(found["output"], value, rtol=1e-10, atol=1e-13)


@pytest.mark.slow
def test_the_layer_norms_of_both_ports_are_told_apart(tmp_path: Path) -> None:
    modes = select_modes("torch.cpu,tensorflow.cpu")
    with Material(tmp_path, {}, [], [], modes, {}) as material, Models(material) as models:
        forward = wgan_norms.layer(models, DOCUMENT.entry("layer-norm"))
        backward = wgan_norms.layer_gradient(models, DOCUMENT.entry("layer-norm-gradient"))
        notes = wgan_norms.layers(models)
    assert (forward.cause, forward.evidence, forward.recurs) == ("semantics", "proved", "yes")
    assert (backward.cause, backward.evidence) == ("semantics", "proved")
    assert notes["identified"]["tensorflow"]["name"] == DECLARED
    assert notes["identified"]["torch"]["name"] == PORT
