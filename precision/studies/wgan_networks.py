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

IMAGES, PENALIZED = (1024, 3, 64, 64), (512, 3, 64, 64)
SAMPLED, GROUPS = 256, 8
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
        return {**columns(*found), "exact": in_float64(ask, "generator", x, found, norm="batch")}

    found = models.figures("generator", make)
    return rounded(entry, found, traced(models, "generator"), "the same network in float64, twice")


def relative_to_declared(models: Models, what: str) -> Notes:
    """How far each formula takes the output from the declared one, in float64: mean and spread over parts.

    The output's own mean depends on the draw; the ratio hardly does, and so tells formulas apart.
    """
    parts = [uniform(f"{what}/{k}", SAMPLED // GROUPS, 3, 64, 64) for k in range(GROUPS)]
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
        theirs = ask.run("tensorflow", what, x, norm="layer")["output"]
        ours = ask.run("torch", what, x, norm="hand")["output"]
        mended = ask.run("torch", what, x, norm="layer")["output"]
        return {
            **columns(theirs, ours),
            "mended": columns(theirs, mended),
            "formulas": relative_to_declared(ask, what),
        }

    found = models.figures(what, make, shape=shape)
    printed = entry.figures
    theirs, ours = (float(printed[f"{name}, {framework}"]) for framework in ("TensorFlow", "PyTorch"))
    apart = float(printed["diff.mean"]) / theirs if name == "abs.mean" else 1.0 - ours / theirs
    table, fits = [], []
    for formula, each in found["formulas"].items():
        parts = 1.0 / GROUPS + SAMPLED / GROUPS / shape[0]  # the parts' mean, and the document's own draw
        room = _STUDENT * each["deviation"] * parts**0.5 + 10.0**-digits
        if abs(abs(each["mean"]) - apart) <= room:
            fits.append(formula)
        note = f"± {each['deviation']:.2g} over {GROUPS} parts of {SAMPLED} samples, float64"
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
            f"{'; '.join(fits) or 'none'}. The variance makes it: behind equal weights all channels "
            "are one, and "
            "N shrinks from 16384 to 512 on the way down. Where eps stands decides LayerNorm's own rows"
        ),
        mend=_MEND,
        recurs="yes" if PORT in fits else "no",
        why="the relative difference recurs; the mean itself is of another draw of the input"
        if PORT in fits
        else "no formula gives this difference",
        figures=[*figures_of(printed, found), *table],
    )

