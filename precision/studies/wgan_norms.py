"""Rows of the normalizations: two formulas of a layer normalization, and gradients that nearly cancel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.studies.row import Entry, Row, figure
from precision.studies.telling import leading, number
from precision.studies.wgan_exact import Groups, channels_back, noise, of_channels, of_samples
from precision.studies.wgan_figures import columns, figures_of, on_grid, seen
from precision.studies.wgan_live import Models, Notes, uniform
from precision.studies.wgan_networks import DECLARED, FORMULAS, PORT
from precision.suites.wgan import BATCH_NORM

Float64 = NDArray[np.float64]
SHAPE, EPS = (68, 3, 64, 64), 1e-5
SMALL = (4, 3, 2, 2)
LIFTED = 1.001e-5
EPSILONS = (EPS, LIFTED, 1e-4, 1e-3, 1e-12)
_SIDES = ("tensorflow", "torch")
_ROUNDINGS = 16 * 2.0**-24
"""Relative: what a scale in float32, from sums of 12,288 numbers, may be off on either side."""
_MEND = "one formula in both: nn.GroupNorm(1, channels), or x.var(unbiased=False) and eps inside the root"


def small_input() -> NDArray[np.float32]:
    """Few numbers with a variance near eps: there every formula gives numbers of its own."""
    return (uniform("norm/small", *SMALL) * np.float32(2.0**-6)).astype(np.float32)


def identified(output: NDArray[Any], candidates: Mapping[str, Float64]) -> dict[str, Any]:
    """Which candidate an output on the small input is, how near, and how far the next one is (relative)."""
    apart = {
        name: float(
            np.abs(output.astype(np.float64) - value.reshape(output.shape)).max() / np.abs(value).max()
        )
        for name, value in candidates.items()
    }
    first, second = sorted(apart.values())[:2]
    best = min(apart, key=lambda name: apart[name])
    # A dozen numbers a group: no order of their sums is off by more than 64 roundings.
    return {"name": best if first < 64 * 2.0**-24 < second / 4 else "", "near": first, "next": second}


def by_formula(groups: Groups) -> dict[str, Float64]:
    """The output of each formula of a layer normalization."""
    return {name: groups.normalized(EPS, **given) for name, given in FORMULAS.items()}


def layers(models: Models) -> Notes:
    """Everything about the layer normalization, forward and backward."""

    def make(ask: Models) -> Notes:
        small, x = small_input(), uniform("layer-norm", *SHAPE)
        groups = of_samples(x)
        exact, gradients = (
            by_formula(groups),
            {name: groups.gradient(EPS, **given) for name, given in FORMULAS.items()},
        )
        candidates = by_formula(of_samples(small))
        found = {side: ask.run(side, "norm", x, norm="hand") for side in _SIDES}
        names = {
            side: identified(ask.run(side, "norm", small, norm="hand")["output"], candidates)
            for side in _SIDES
        }
        mine = {side: gradients[names[side]["name"] or DECLARED] for side in _SIDES}
        return {
            "forward": columns(found["tensorflow"]["output"], found["torch"]["output"]),
            "backward": columns(found["tensorflow"]["gradient"], found["torch"]["gradient"]),
            "identified": names,
            "differences": {name: _mean(exact[DECLARED] - value) for name, value in exact.items()},
            "gradients": {name: _mean(value) for name, value in gradients.items()},
            "gradient differences": {
                name: _mean(gradients[DECLARED] - value) for name, value in gradients.items()
            },
            "exact": columns(mine["tensorflow"], mine["torch"])["float64"],
            "noise": {side: noise(found[side]["gradient"], mine[side]) for side in _SIDES},
            "cancellation": groups.cancellation(EPS),
        }

    return models.figures("layer-norm", make, shape=SHAPE)


def layer(models: Models, entry: Entry) -> Row:
    """LayerNorm, forward: which formula is which framework's, and a cosine below zero."""
    found = layers(models)
    names, printed = found["identified"], float(entry.figures["diff.mean"])
    room = 0.87 * _ROUNDINGS
    fits = [name for name, value in found["differences"].items() if abs(value - printed) <= room]
    proved = names["tensorflow"]["name"] == DECLARED and names["torch"]["name"] == PORT
    steps = "; ".join(
        f"{text} is {number(float(text) * 2**24, 6)} of them" for text in _odd_cosines(entry.figures)
    )
    below = found["forward"]["float32"]["cosine distance"]
    table = [
        figure(
            f"diff.mean: {name}",
            value,
            entry.figures["diff.mean"],
            note="exact algebra, against TensorFlow's",
        )
        for name, value in found["differences"].items()
    ]
    detail = (
        f"{_told(names)}. The document's mean difference is fitted by: {'; '.join(fits) or 'none'}. A "
        "cosine below zero is "
        f"float32: 1 - c is a multiple of 2^-24 there, {steps or 'none printed'}; the same outputs now "
        f"give {number(below)} "
        f"in float32 and {number(found['forward']['float64']['cosine distance'])} from the angle in float64"
    )
    return entry.row_of(
        now=seen(found["forward"]),
        truth="eps in the root and the variance over N, as in TensorFlow, Keras and nn.LayerNorm",
        cause="semantics" if proved else "unexplained",
        evidence="proved" if proved else "none",
        detail=detail,
        mend=f"{_MEND}; cosines in float64, from the angle",
        recurs="yes" if fits == [PORT] else "partly",
        why="the mean difference recurs to within float32's rounding of the scale; the cosine's sign "
        "is rounding"
        if fits == [PORT]
        else "no single formula is fitted",
        figures=[*figures_of(entry.figures, found["forward"]), *table],
    )


def layer_gradient(models: Models, entry: Entry) -> Row:
    """LayerNorm, backward: a gradient that nearly cancels, and is not zero."""
    found = layers(models)
    names, printed = found["identified"], entry.figures
    proved = names["tensorflow"]["name"] == DECLARED and names["torch"]["name"] == PORT
    theirs, ours = (found["gradients"][name] for name in (DECLARED, PORT))
    noises = ", ".join(f"{number(value)} in {side}" for side, value in found["noise"].items())
    wanted = (2.0 * float(printed["cosine distance"])) ** 0.5
    table = [
        figure(f"mean of |gradient|: {name}", value, note="exact algebra")
        for name, value in found["gradients"].items()
    ]
    table.append(figure("cosine distance of the exact gradients", found["exact"]["cosine distance"]))
    fits = abs(theirs / float(printed["abs.mean, TensorFlow"]) - 1) < 0.02 and (
        abs(ours / float(printed["abs.mean, PyTorch"]) - 1) < 0.02
    )
    detail = (
        f"{_told(names)}. The loss is the mean square of a normalized sample, 1 but for eps, so its gradient "
        "nearly cancels. It is not zero and no noise: it is 2 eps (x - m) / (n (v + eps)^2), of mean size "
        f"{number(theirs)}, and with eps beside the root 2 eps (x - m) / (n (s + eps)^3), {number(ours)}, "
        "smaller by the standard deviation, 0.29. Both point nearly the same way, so the angle is mostly "
        f"rounding: the terms are {number(found['cancellation'])} times their sum, and so is their rounding. "
        f"Relative errors now: {noises}; the document's distance needs {number(wanted)}"
    )
    return entry.row_of(
        now=seen(found["backward"]),
        truth=f"mean size {number(theirs, 6)} for TensorFlow's formula, {number(ours, 6)} for the port's; "
        f"the angle between them is {number(found['exact']['angle'])} degrees",
        cause="semantics" if proved else "unexplained",
        evidence="proved" if proved else "none",
        detail=detail,
        mend=f"{_MEND}; do not judge a gradient by its angle where it is so much smaller than its terms",
        recurs="partly" if fits else "no",
        why="both sizes recur to within 2 %; the angle was that of older kernels' rounding"
        if fits
        else "the sizes are not those of these formulas",
        figures=[*figures_of(printed, found["backward"]), *table],
    )


def batches(models: Models) -> Notes:
    """Everything about the batch normalization, forward and backward."""

    def make(ask: Models) -> Notes:
        small, x = small_input(), uniform("batch-norm", *SHAPE)
        few, groups = of_channels(small), of_channels(x)
        candidates = {f"{eps:g}": channels_back(few.normalized(eps), SMALL) for eps in EPSILONS}
        found = {side: ask.run(side, "norm", x, norm="batch") for side in _SIDES}
        names = {
            side: identified(ask.run(side, "norm", small, norm="batch")["output"], candidates)
            for side in _SIDES
        }
        exact = {
            side: channels_back(groups.gradient(float(names[side]["name"] or EPS)), SHAPE) for side in _SIDES
        }
        return {
            "forward": columns(found["tensorflow"]["output"], found["torch"]["output"]),
            "backward": columns(found["tensorflow"]["gradient"], found["torch"]["gradient"]),
            "identified": names,
            "gradients": {side: _mean(value) for side, value in exact.items()},
            "apart": _mean(exact["tensorflow"] - exact["torch"]),
            "noise": {side: noise(found[side]["gradient"], exact[side]) for side in _SIDES},
            "scale": {
                side: float(np.vdot(found[side]["gradient"].astype(np.float64), exact[side]))
                / float(np.vdot(exact[side], exact[side]))
                - 1.0
                for side in _SIDES
            },
            "cancellation": groups.cancellation(EPS),
        }

    return models.figures("batch-norm", make, shape=SHAPE)


def batch(models: Models, entry: Entry) -> Row:
    """BatchNorm, forward."""
    found, material = batches(models), models.material
    modes = material.modes_of(BATCH_NORM)
    verdicts = [material.score(BATCH_NORM, mode) for mode in modes]
    worst = max(row["error_abs_max"] or 0.0 for row in verdicts)
    shown = [models.mode(side) for side in reversed(_SIDES)]
    cause, evidence = leading(material, BATCH_NORM, shown)
    alike = "; ".join(f"{mode}: {material.score(BATCH_NORM, mode)['reason']}" for mode in shown)
    return entry.row_of(
        now=seen(found["forward"]),
        truth=f"certified for every output; the {len(modes)} modes of this run are at most "
        f"{number(worst)} from it",
        cause=cause,
        evidence=evidence,
        detail=f"scored at full size: {alike}. {_eps(found)}{_moved(found)}",
        mend="",
        recurs="partly",
        why=_why_forward(found["forward"], entry),
        figures=figures_of(entry.figures, found["forward"]),
    )


def batch_gradient(models: Models, entry: Entry) -> Row:
    """BatchNorm, backward: the gradient is proportional to eps, and its terms cancel."""
    found, printed = batches(models), entry.figures
    share = (
        found["apart"] / found["backward"]["float64"]["diff.mean"] if not found["backward"]["equal"] else 0.0
    )
    lifted = found["identified"]["tensorflow"]["name"] != found["identified"]["torch"]["name"]
    named = all(each["name"] for each in found["identified"].values())
    noises = ", ".join(f"{number(value)} in {side}" for side, value in found["noise"].items())
    scales = ", ".join(f"{number(value)} in {side}" for side, value in found["scale"].items())
    theirs, ours = found["gradients"]["tensorflow"], found["gradients"]["torch"]
    there = float(printed["diff.mean"]) / float(printed["abs.mean, PyTorch"])
    cause, evidence = ("semantics", "proved") if lifted and share > 0.5 else ("accumulation", "consistent")
    parted = f", which makes {number(share)} of the mean difference now" if lifted else ""
    detail = (
        "the gradient of the mean square is 2 eps (x - m) / (n (v + eps)^2): not zero, and proportional to "
        f"eps. {_eps(found)}{parted}. The rest is rounding: the terms are {number(found['cancellation'])} "
        f"times their sum, and so are the relative errors, {noises} (of which a common factor of all "
        f"elements {scales}). The document's two differ by {number(there)}, which is "
        f"{number(there / found['cancellation'] * 2**24)} times 2^-24 of the terms; an eps of {LIFTED:g}, to "
        f"which older releases of TensorFlow raised a smaller one, would be {number(LIFTED / EPS - 1)} of it"
    )
    return entry.row_of(
        now=seen(found["backward"]),
        truth=f"mean size {number(theirs, 6)} with TensorFlow's eps, {number(ours, 6)} with PyTorch's",
        cause=cause if named else "unexplained",
        evidence=evidence if named else "none",
        detail=detail,
        mend=f"the same eps in both, {LIFTED:g} or more" if lifted else "",
        recurs="partly",
        why="both sizes recur; how the rest rounds is a library's",
        figures=[
            *figures_of(printed, found["backward"]),
            figure(
                "mean of |gradient|, TensorFlow's eps",
                theirs,
                printed["abs.mean, TensorFlow"],
                note="exact algebra",
            ),
            figure(
                "mean of |gradient|, PyTorch's eps", ours, printed["abs.mean, PyTorch"], note="exact algebra"
            ),
        ],
    )


def _told(names: Mapping[str, Any]) -> str:
    """What each framework's output on few numbers shows."""
    each = (
        f"{side} has {found['name'] or 'none of the formulas'} (off by {number(found['near'])}, the next "
        f"formula by {number(found['next'])})"
        for side, found in names.items()
    )
    return f"On 12 numbers of a variance near eps: {'; '.join(each)}"


def _eps(found: Notes) -> str:
    used = {side: each["name"] or "another eps" for side, each in found["identified"].items()}
    if used["tensorflow"] == used["torch"]:
        return f"Both have eps {used['torch']}"
    return (
        f"TensorFlow's wrapper has eps {used['tensorflow']} where 1e-05 is asked for, PyTorch {used['torch']}"
    )


def _why_forward(found: Notes, entry: Entry) -> str:
    now, there = found["float64"]["diff.mean"], float(entry.figures["diff.mean"])
    if now > 3.0 * there:
        return (
            f"no difference of meaning, as there; but today's is {number(now / there)} times larger: the "
            "sums of 278,528 numbers that the detail describes are added otherwise than then"
        )
    return "the size recurs, the digits do not: another seed, and libraries that add in other orders"


def _moved(found: Notes) -> str:
    one, other = (float(each["name"] or EPS) for each in found["identified"].values())
    if one == other:
        return ""
    return f": here it moves an output by {number(abs(one - other) / (2.0 * found['cancellation'] * EPS))}"


def _odd_cosines(printed: Mapping[str, Any]) -> list[str]:
    text = str(printed["cosine distance"])
    return [text] if on_grid(float(text)) else []


def _mean(values: Float64) -> float:
    return float(np.abs(values).mean())
