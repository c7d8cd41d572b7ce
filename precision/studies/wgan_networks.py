"""Rows of the whole networks: the generator is rounding, the critic two formulas of layer normalization."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from precision.studies.row import Entry, Row, figure
from precision.studies.telling import number
from precision.studies.wgan_blocks import in_float64, rounded
from precision.studies.wgan_figures import columns, figures_of, seen
from precision.studies.wgan_layers import both
from precision.studies.wgan_live import Models, Notes, uniform
from precision.studies.wgan_traces import traced

FORMULAS: Mapping[str, Mapping[str, bool]] = {
    "eps in the root, variance over N": {"inside": True, "unbiased": False},
    "eps in the root, variance over N - 1": {"inside": True, "unbiased": True},
    "eps beside the root, variance over N": {"inside": False, "unbiased": False},
    "eps beside the root, variance over N - 1": {"inside": False, "unbiased": True},
}
"""Of a layer normalization by hand; the first is TensorFlow's and the reference's, the last the port's."""
DECLARED, PORT = next(iter(FORMULAS)), tuple(FORMULAS)[-1]

DRAWS = 12
KINK = 0.01
"""Relative: what one ReLU at its kink moves the slope of one sample by (up to 0.056 was seen).

A gradient jumps there, so that another formula, or rounding, moves the penalty by more than its own share.
"""
IMAGES, PENALIZED = (1024, 3, 64, 64), (512, 3, 64, 64)
SAMPLED, GROUPS = {"critic": 256, "penalty": 128}, 8
"""Samples on which the formulas are compared in float64, and parts of them that show the spread."""
_STUDENT = 5.41
"""Student's t of 7 degrees of freedom, those of 8 parts, exceeds it once in a thousand times."""
_MEND = "one formula in both: nn.GroupNorm(1, channels), or x.var(unbiased=False) and eps inside the root"


def changes(formula: str) -> dict[str, dict[str, bool]]:
    """That formula in every normalization of the critic."""
    return {f"block{k}.norm{j}": dict(FORMULAS[formula]) for k in range(1, 5) for j in (1, 2)}


def generator(models: Models, entry: Entry) -> Row:
    """Noise to images; batch statistics in both."""

    def make(ask: Models) -> Notes:
        x = uniform("generator", 64, 128)
        found = both(ask, "generator", x, norm="batch")
        sizes = [
            float(np.abs(ask.run("torch", "generator", each, norm="batch")["output"]).mean())
            for each in (uniform(f"generator/{draw}", 64, 128) for draw in range(DRAWS))
        ]
        exact = in_float64(ask, "generator", x, found, norm="batch")
        return {**columns(*found), "exact": exact, "draws": [min(sizes), max(sizes)]}

    found = models.figures("generator", make, draws=DRAWS)
    low, high = (number(size) for size in found["draws"])
    extra = f". The mean itself is between {low} and {high} over {DRAWS} draws of the noise"
    return rounded(
        entry, found, traced(models, "generator"), "the same network in float64, twice", extra, "consistent"
    )


def relative_to_declared(models: Models, what: str) -> Notes:
    """How far each formula takes the output from the declared one, in float64: mean and spread over parts.

    The output's own mean depends on the draw; the ratio hardly does, and so tells formulas apart.
    """
    parts = [uniform(f"{what}/{k}", SAMPLED[what] // GROUPS, 3, 64, 64) for k in range(GROUPS)]
    runs = {
        name: [
            models.run("torch", what, x, norm="hand", dtype="float64", changes=changes(name))["output"].mean()
            for x in parts
        ]
        for name in FORMULAS
    }
    ratios = {
        name: [1.0 - float(one / base) for one, base in zip(values, runs[DECLARED], strict=True)]
        for name, values in runs.items()
    }
    return {
        name: {"mean": float(np.mean(each)), "deviation": float(np.std(each, ddof=1))}
        for name, each in ratios.items()
    }


def critic(models: Models, entry: Entry) -> Row:
    """Scores of images."""
    return _formulas(models, entry, "critic", IMAGES, "abs.mean", 6)


def penalty(models: Models, entry: Entry) -> Row:
    """The gradient penalty 10 mean((|grad| - 1)^2) of the critic."""
    return _formulas(models, entry, "penalty", PENALIZED, "penalty", 10)


def _formulas(models: Models, entry: Entry, what: str, shape: tuple[int, ...], name: str, digits: int) -> Row:
    def make(ask: Models) -> Notes:
        x = uniform(what, *shape)
        theirs = ask.run("tensorflow", what, x, norm="layer")
        ours = ask.run("torch", what, x, norm="hand")
        mended = ask.run("torch", what, x, norm="layer")["output"]
        notes: Notes = {
            **columns(theirs["output"], ours["output"]),
            "mended": columns(theirs["output"], mended),
            "formulas": relative_to_declared(ask, what),
        }
        if "slopes" in theirs:
            shifts = 1.0 - ours["slopes"].astype(np.float64) / theirs["slopes"]
            middle = float(np.median(shifts))
            notes["slopes"] = {"median": middle, "most": float(np.abs(shifts - middle).max())}
        return notes

    found = models.figures(what, make, shape=shape)
    printed = entry.figures
    theirs, ours = (float(printed[f"{name}, {framework}"]) for framework in ("TensorFlow", "PyTorch"))
    apart = float(printed["diff.mean"]) / theirs if name == "abs.mean" else 1.0 - ours / theirs
    table, fits = [], []
    for formula, each in found["formulas"].items():
        parts = (
            1.0 / GROUPS + SAMPLED[what] / GROUPS / shape[0]
        )  # the parts' mean, and the document's own draw
        room = _STUDENT * each["deviation"] * parts**0.5 + 10.0**-digits
        room += 2.0 * KINK / shape[0] if "slopes" in found else 0.0
        if abs(abs(each["mean"]) - apart) <= room:
            fits.append(formula)
        note = f"± {each['deviation']:.2g} over {GROUPS} parts of {SAMPLED[what]} samples, float64"
        table.append(figure(f"relative difference: {formula}", each["mean"], apart, note=note))
    now = found["float64"]["diff.mean"] / found["float64"]["abs.mean, TensorFlow"]
    mended = found["mended"]["float64"]
    rest = mended["diff.mean"] / mended["abs.mean, TensorFlow"]
    return entry.row_of(
        now=f"{seen(found)}; relative {number(now)}",
        truth="two functions; with the same formula in both the relative difference is "
        f"{number(rest)}, which is rounding",
        cause="semantics" if PORT in fits else "unexplained",
        evidence="consistent" if PORT in fits else "none",
        detail=(
            f"the document's relative difference is {number(apart, 4)}. The port normalizes by hand, "
            "(x - mean) / (std + eps) with PyTorch's std over N - 1; TensorFlow has the variance over "
            "N and eps in "
            f"the root. Eight such layers in a row give, in float64, what is listed below; it is fitted by: "
            f"{'; '.join(fits) or 'none'}. The variance makes nearly all of it: N falls from 16384 to "
            f"2048 on the way down{_kinks(found)}"
        ),
        mend=_MEND,
        recurs="yes" if PORT in fits else "no",
        why="the relative difference recurs; the mean itself is of another draw of the input"
        if PORT in fits
        else "no formula gives this difference",
        figures=[*figures_of(printed, found), *table],
    )


def _kinks(found: Notes) -> str:
    """Of a penalty: how unevenly its samples moved."""
    if "slopes" not in found:
        return ""
    slopes = found["slopes"]
    return (
        f". Slopes move by {number(slopes['median'])} in the median, one sample by "
        f"{number(slopes['most'])} more: a "
        "gradient jumps where a ReLU is near its kink, so the penalty's difference varies from draw to draw"
    )
