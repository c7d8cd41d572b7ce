"""Rows of the residual blocks: the one that goes up is rounding; the one that goes down is two functions."""

from __future__ import annotations

from typing import Any

from precision.studies.row import Entry, Row, figure
from precision.studies.telling import number
from precision.studies.wgan_candidates import SPREADS, searched
from precision.studies.wgan_figures import columns, figures_of, properly, seen
from precision.studies.wgan_layers import SHAPE, both
from precision.studies.wgan_live import Models, Notes, uniform
from precision.studies.wgan_traces import traced

_SAMPLES = "statistics of each sample"


def in_float64(models: Models, what: str, x: Any, outputs: tuple[Any, Any], **given: Any) -> Notes:
    """Both frameworks' float32 outputs against both models evaluated in float64.

    Two implementations that share no code: how far they are apart says how good either is as a truth.
    """
    theirs, ours = both(models, what, x, dtype="float64", **given)
    size = float(abs(ours).mean())
    return {
        "between": float(abs(theirs - ours).max()) / size,
        "errors": {
            name: float(abs(output - ours).mean()) / size
            for name, output in zip(("tensorflow", "torch"), outputs, strict=True)
        },
    }


def rounded(entry: Entry, found: Notes, trace: Notes, what: str, size: str) -> Row:
    """A row of a network whose two ports differ by rounding alone."""
    exact, fine = found["exact"], found["exact"]["between"] < 1e-9 and trace["fine"]
    errors = " and ".join(f"{number(value)} in {name}" for name, value in exact["errors"].items())
    detail = (
        f"mean errors, relative to the output: {errors}; {trace['words']}. Each layer adds its own rounding, and what "
        f"it inherits is larger: {trace['growth']}"
    )
    return entry.row_of(
        now=seen(found),
        truth=f"{what} in float64, twice ({size}): the two frameworks agree to {number(exact['between'])}",
        cause="accumulation" if fine else "unexplained",
        evidence="bounded" if fine else "none",
        detail=detail,
        mend="" if fine else "look at the first difference of the trace",
        recurs="partly",
        why="the size recurs, the digits do not: another seed, and libraries that add in other orders",
        figures=[
            *figures_of(entry.figures, found),
            *(figure(f"mean relative error, {name}", value, truth=0.0) for name, value in exact["errors"].items()),
        ],
    )


def up(models: Models, entry: Entry) -> Row:
    """The block that goes up: batch statistics in both."""

    def make(ask: Models) -> Notes:
        x = uniform("block-up", *SHAPE)
        found = both(ask, "block", x, norm="batch", outputs=4)
        part = x[:64]
        small = both(ask, "block", part, norm="batch", outputs=4)
        return {**columns(*found), "exact": in_float64(ask, "block", part, small, norm="batch", outputs=4)}

    found = models.figures("block-up", make, shape=SHAPE)
    trace = traced(models, "generator")
    return rounded(entry, found, trace, "the same block", "64 of the 512 samples")


def down(models: Models, entry: Entry) -> Row:
    """The block that goes down: which difference of meaning gives the document's figures?"""

    def make(ask: Models) -> Notes:
        x = uniform("block-down/0", *SHAPE)
        down = {"down": True}
        theirs = ask.run("tensorflow", "block", x, norm="batch", outputs=4, changes=down)["output"]
        ours = ask.run("torch", "block", x, norm="hand", outputs=4, changes=down)["output"]
        mended = ask.run("tensorflow", "block", x, norm="layer", outputs=4, changes=down)["output"]
        same = ask.run("torch", "block", x, norm="layer", outputs=4, changes=down)["output"]
        return {**columns(theirs, ours), "mended": properly(mended, same), **searched(ask, entry.figures)}

    found = models.figures("block-down", make, shape=SHAPE, printed=dict(entry.figures))
    fits = sorted((misfit, name) for name, misfit in found["fits"].items() if misfit <= SPREADS)
    named = bool(fits) and all(name.startswith(_SAMPLES) for _, name in fits)
    trace = traced(models, "block")
    table = [_line(name, each, found, entry) for name, each in found["table"].items()]
    told = "; ".join(f"{name} (within {number(misfit)} standard deviations)" for misfit, name in fits)
    detail = (
        f"of {len(found['table'])} candidates the document's four figures are fitted by: {told or 'none'}. "
        f"TensorFlow's code takes each sample's own statistics only where a layer's name says Discriminator, and this "
        f"block was built alone: it took those of the batch. Traced layer by layer: {trace['words']}"
    )
    return entry.row_of(
        now=seen(found),
        truth="two functions: a normalization over the batch and one over each sample; with the same one in both "
        f"the mean difference is {number(found['mended']['diff.mean'])}",
        cause="semantics" if named else "unexplained",
        evidence="consistent" if named else "none",
        detail=detail,
        mend="one normalization in both: in TensorFlow GroupNormalization(groups=1), or a name that says Discriminator; "
        "in PyTorch nn.GroupNorm(1, channels)",
        recurs="yes" if named else "no",
        why="the same two functions give the document's figures to within their spread over draws of the input"
        if named
        else "no candidate gives these figures",
        figures=[*figures_of(entry.figures, found), *table],
    )


def _line(name: str, each: Notes, found: Notes, entry: Entry) -> dict[str, Any]:
    """One candidate of the table: its mean difference, the other columns in the note."""
    theirs, ours = each["abs.mean, TensorFlow"], each["abs.mean, PyTorch"]
    note = f"abs.mean {theirs:.6g} and {ours:.6g}, cosine distance {each['cosine distance']:.3g}"
    if name in found["spread"]:
        mean, deviation = found["spread"][name]["diff.mean"]
        fit = "fits" if found["fits"][name] <= SPREADS else "does not fit"
        note += f"; over draws {mean:.4g} ± {deviation:.2g}; {fit}, {found['fits'][name]:.3g} standard deviations"
    else:
        note += "; does not fit"
    return figure(f"candidate: {name}", each["diff.mean"], entry.figures.get("diff.mean"), note=note)
