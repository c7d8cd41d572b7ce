"""Rows of single layers: inputs, depth to space, a convolution, and one with pooling or upsampling.

With equal weights each of them is one convolution in exact arithmetic: mean pooling before it spreads its
kernel over 6×6 pixels, behind it over 4×4, both with stride 2; four copies of an image moved into space are
its nearest neighbours.  So one certified convolution is the truth of each, with one bound for any order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import reference
from precision.studies.row import Entry, Row, figure
from precision.studies.telling import leading, number
from precision.studies.wgan_figures import columns, figures_of, seen
from precision.studies.wgan_live import Models, Notes, uniform
from precision.suites.wgan import CONV
from reference.rearrange import plain_depth_to_space

Float32 = NDArray[np.float32]
WEIGHT = np.float32(5e-2)
SHAPE = (512, 12, 32, 32)
OUTPUTS, KERNEL = 4, 3
_UNIT = 2.0**-24
_MOVED = "the same numbers, moved: none is rounded, so no bit may differ, and none does"


def both(models: Models, what: str, x: Float32, **given: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """TensorFlow's output and PyTorch's."""
    found = [models.run(framework, what, x, **given)["output"] for framework in ("tensorflow", "torch")]
    return found[0], found[1]


def modes_of(models: Models) -> str:
    """The two modes whose figures are shown, in words."""
    return f"{models.mode('tensorflow')} and {models.mode('torch')}"


def copied(models: Models, entry: Entry) -> Row:
    """The input itself, handed to both frameworks and read back."""
    return _copied(models, entry, "gen-data", SHAPE)


def copied_images(models: Models, entry: Entry) -> Row:
    """The critic's input."""
    return _copied(models, entry, "critic-input", (1024, 3, 64, 64))


def _copied(models: Models, entry: Entry, name: str, shape: tuple[int, ...]) -> Row:
    def make(ask: Models) -> Notes:
        return columns(*both(ask, "copy", uniform(name, *shape)))

    found = models.figures(name, make, shape=shape)
    return _moved(entry, found, "the input as it was made", "uniform numbers of another seed", ())


def depth_to_space(models: Models, entry: Entry) -> Row:
    """A rearrangement; PyTorch's own function, pixel_shuffle, is another one."""

    def make(ask: Models) -> Notes:
        x = uniform("depth-to-space", *SHAPE)
        theirs, ours = both(ask, "depth_to_space", x, mode="DCR")
        other = ask.run("torch", "depth_to_space", x, mode="CRD")["output"]
        truth = reference.depth_to_space(x, 2).round(np.float32)
        return {
            **columns(theirs, ours),
            "true": bool(np.array_equal(truth, theirs)),
            "shuffled": columns(theirs, other),
        }

    found = models.figures("depth-to-space", make, shape=SHAPE)
    shuffled = found["shuffled"]["float64"]
    more = (
        figure("diff.mean with pixel_shuffle", shuffled["diff.mean"], note="CRD in place of DCR"),
        figure("cosine distance with pixel_shuffle", shuffled["cosine distance"]),
    )
    truth = "channels split as (2, 2, C), DCR; "
    truth += "both outputs are it" if found["true"] else "an output is not it"
    return _moved(entry, found, truth, "uniform numbers of another seed", more)


def _moved(entry: Entry, found: Notes, truth: str, seed: str, more: tuple[Any, ...]) -> Row:
    fine = found["equal"] and found.get("true", True)
    detail = _MOVED if fine else "numbers that are only moved differ: the arrays are not the declared ones"
    if more:
        detail += (
            ". PyTorch's ready-made pixel_shuffle splits the channels as (C, 2, 2), CRD: a port that uses it "
            f"differs by {number(more[0]['now'])} in the mean, and the mean of the absolute values "
            "does not show it"
        )
    return entry.row_of(
        now=seen(found),
        truth=truth,
        cause="none" if fine else "data",
        evidence="proved",
        detail=detail,
        mend="write the split (2, 2, C) out, as here" if more else "",
        recurs="yes" if fine else "no",
        why=f"no difference, as there; the mean is that of {seed}",
        figures=[*figures_of(entry.figures, found), *more],
    )


def conv2d(models: Models, entry: Entry) -> Row:
    """The convolution, and how it is scored in every mode of the run."""
    kernel = np.full((1, 12, 3, 3), WEIGHT, np.float32)
    found = _measured(models, "conv", lambda x: (x, kernel, {"padding": 1}), 12 * 9)
    material = models.material
    verdicts = [material.score(CONV, mode) for mode in material.modes_of(CONV)]
    worst = max(verdicts, key=lambda row: row["error_ulp_max"] or 0.0)
    alike = "; ".join(sorted({f"{row['verdict']} ({row['evidence']})" for row in verdicts}))
    scored = f"; scored on 16 samples in {len(verdicts)} modes: {alike}, at most "
    f"{number(worst['error_ulp_max'])} ulp"
    shown = [models.mode(framework) for framework in ("torch", "tensorflow")]
    judged = leading(material, CONV, shown)
    return _summed(entry, found, "conv2d 3×3 over 12 channels", 12 * 9, scored, judged)


def conv_mean_pool(models: Models, entry: Entry) -> Row:
    """Pooling behind a convolution: 4×4, stride 2."""
    kernel = np.zeros((4, 4))
    for i in range(2):
        for j in range(2):
            kernel[i : i + 3, j : j + 3] += 0.25
    spread = _kernel(kernel)
    found = _measured(
        models, "conv_mean_pool", lambda x: (x, spread, {"padding": 1, "stride": 2}), 12 * 9 + 3
    )
    return _summed(entry, found, "a convolution 4×4 with stride 2", 12 * 9 + 3)


def mean_pool_conv(models: Models, entry: Entry) -> Row:
    """Pooling before a convolution: 6×6, stride 2."""
    spread = _kernel(np.full((6, 6), 0.25))
    found = _measured(
        models, "mean_pool_conv", lambda x: (x, spread, {"padding": 2, "stride": 2}), 12 * 9 + 3
    )
    return _summed(entry, found, "a convolution 6×6 with stride 2", 12 * 9 + 3)


def upsample_conv(models: Models, entry: Entry) -> Row:
    """Four copies, depth to space, a convolution."""
    kernel = np.full((1, 12, 3, 3), WEIGHT, np.float32)

    def nearest(x: Float32) -> tuple[Float32, Float32, dict[str, Any]]:
        return plain_depth_to_space(np.concatenate([x] * 4, axis=1), 2), kernel, {"padding": 1}

    found = _measured(models, "upsample_conv", nearest, 12 * 9)
    return _summed(entry, found, "a convolution 3×3 of the nearest neighbours", 12 * 9)


def _kernel(shares: NDArray[np.float64]) -> Float32:
    """The weight times shares of it that are multiples of a quarter: exact in float32 but for 3/4."""
    exact = WEIGHT.astype(np.float64) * shares
    found = np.broadcast_to(exact.astype(np.float32), (1, 12, *shares.shape)).copy()
    if not np.array_equal(found[0, 0].astype(np.float64), exact):
        raise ValueError("a spread kernel is exact in float32; this weight is not; choose one of fewer bits")
    return found


Equivalent = Callable[[Float32], tuple[Float32, Float32, dict[str, Any]]]


def _measured(models: Models, what: str, equivalent: Equivalent, terms: int) -> Notes:
    def make(ask: Models) -> Notes:
        x = uniform(what, *SHAPE)
        theirs, ours = both(ask, what, x, outputs=OUTPUTS)
        image, kernel, params = equivalent(x)
        truth = reference.conv2d(image, kernel, **params)
        limit = terms * _UNIT / (1.0 - terms * _UNIT) * truth.magnitude + truth.bound
        notes: Notes = {**columns(theirs, ours), "share": {}, "rms": {}, "max": {}, "error": {}}
        for name, output in (("tensorflow", theirs), ("torch", ours)):
            error = np.abs((output - truth.value) - truth.residual)
            ulp = error / truth.ulp(np.float32)
            notes["share"][name] = float((error / limit).max())
            notes["rms"][name] = float(np.sqrt(np.mean(ulp**2)))
            notes["max"][name] = float(ulp.max())
            notes["error"][name] = float(error.mean())
        notes["mean"] = float(np.abs(truth.value).mean())
        return notes

    return models.figures(what, make, shape=SHAPE)


def _summed(
    entry: Entry,
    found: Notes,
    equal: str,
    terms: int,
    scored: str = "",
    judged: tuple[str, str] = ("accumulation", "bounded"),
) -> Row:
    fine = max(found["share"].values()) <= 1.0
    errors = ", ".join(
        f"{number(found['rms'][name])} ulp rms and {number(found['max'][name])} at most in {name}"
        for name in ("tensorflow", "torch")
    )
    detail = (
        f"in exact arithmetic {equal}, which is certified at full size: errors of {errors}; at most "
        f"{number(max(found['share'].values()))} of the bound for {terms} terms in any order{scored}"
    )
    note = "the document's figure is the mean difference of its two outputs"
    more = [
        figure(f"mean |error|, {name}", found["error"][name], entry.figures["diff.mean"], 0.0, note)
        for name in ("tensorflow", "torch")
    ]
    return entry.row_of(
        now=seen(found),
        truth=f"certified for all {SHAPE[0]} samples; mean of the absolute values {found['mean']:.9g}",
        cause=judged[0] if fine else "unexplained",
        evidence=judged[1] if fine else "none",
        detail=detail,
        mend="" if fine else "look at this layer with precision explain",
        recurs="partly",
        why=_why(found),
        figures=[*figures_of(entry.figures, found), *more],
    )


def _why(found: Notes) -> str:
    if found["equal"]:
        return (
            "today both libraries add these sums in one order, to the same bits; the document's "
            "difference is the "
            "size of either's own error, as two orders make it"
        )
    return "the size recurs, the digits do not: another seed, and libraries that add in other orders"
