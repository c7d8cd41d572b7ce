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

SIZES, AGREED = (8, 64, 512), 64
"""Samples on which the errors of the block that goes up are compared, and on which both run in float64."""

_SAMPLE = "each sample"


def in_float64(
    models: Models, what: str, x: Any, single: tuple[Any, Any] | None = None, **given: Any
) -> Notes:
    """Both frameworks' float32 outputs against both models evaluated in float64.

    Two implementations that share no code: how far they are apart says how good either is as a truth.
    """
    theirs, ours = both(models, what, x, dtype="float64", **given)
    size = float(abs(ours).mean())
    return {
        "between": float(abs(theirs - ours).max()) / size,
        "errors": {
            name: float(abs(output - ours).mean()) / size
            for name, output in zip(("tensorflow", "torch"), single or (), strict=bool(single))
        },
    }


def errors_of(models: Models, x: Any, outputs: tuple[Any, Any]) -> dict[str, float]:
    """Mean errors of both outputs of the block that goes up, relative to the output's mean size."""
    exact = models.run("torch", "block", x, norm="batch", outputs=4, dtype="float64")["output"]
    size = float(abs(exact).mean())
    return {
        name: float(abs(output - exact).mean()) / size
        for name, output in zip(("tensorflow", "torch"), outputs, strict=True)
    }


def rounded(entry: Entry, found: Notes, trace: Notes, what: str, extra: str, evidence: str) -> Row:
    """A row of a network whose two ports differ by rounding alone."""
    exact, fine = found["exact"], found["exact"]["between"] < 1e-9 and trace["fine"]
    errors = " and ".join(f"{number(value)} in {name}" for name, value in exact["errors"].items())
    detail = f"mean errors, relative to the output: {errors}; {trace['words']}; {trace['growth']}{extra}"
    return entry.row_of(
        now=seen(found),
        truth=f"{what}: the two frameworks agree to {number(exact['between'])}",
        cause="accumulation" if fine else "unexplained",
        evidence=evidence if fine else "none",
        detail=detail,
        mend="" if fine else "look at the first difference of the trace",
        recurs="partly",
        why=_why(found, entry),
        figures=[
            *figures_of(entry.figures, found),
            *(
                figure(f"mean relative error, {name}", value, truth=0.0)
                for name, value in exact["errors"].items()
            ),
        ],
    )


def up(models: Models, entry: Entry) -> Row:
    """The block that goes up: batch statistics in both."""

    def make(ask: Models) -> Notes:
        x = uniform("block-up", *SHAPE)
        found: Notes = {"by size": {}}
        for size in SIZES:
            outputs = both(ask, "block", x[:size], norm="batch", outputs=4)
            found["by size"][str(size)] = errors_of(ask, x[:size], outputs)
        exact = in_float64(ask, "block", x[:AGREED], norm="batch", outputs=4)
        return {**columns(*outputs), **found, "exact": {**exact, "errors": found["by size"][str(SIZES[-1])]}}

    found = models.figures("block-up", make, shape=SHAPE)
    trace = traced(models, "generator")
    grown = "; ".join(
        f"{size} samples: {', '.join(f'{number(value)} in {side}' for side, value in errors.items())}"
        for size, errors in found["by size"].items()
    )
    extra = (
        f". Mean errors by the size of the batch: {grown}. Of all that a block computes the statistics "
        "alone sum over "
        f"the batch (up to {SHAPE[0] * 64 * 64:,} numbers a channel), so what grows with it is theirs"
    )
    return rounded(
        entry, found, trace, f"the same block in float64; on {AGREED} samples twice", extra, "consistent"
    )


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
    named = bool(fits) and all(_SAMPLE in name for _, name in fits)
    trace = traced(models, "block")
    table = [_line(name, each, found, entry) for name, each in found["table"].items()]
    told = "; ".join(f"{name} (within {number(misfit)} standard deviations)" for misfit, name in fits)
    detail = (
        f"of {len(found['table'])} candidates the document's four figures are fitted by: "
        f"{told or 'none'}. What they "
        "share is that a sample's own statistics stand where TensorFlow takes the batch's; the figures "
        "cannot tell "
        "them apart, for behind equal weights all channels are one. "
        "TensorFlow's code takes each sample's own statistics only where a layer's name says "
        "Discriminator, and this "
        f"block was built alone: it took those of the batch. Traced layer by layer: {trace['words']}"
    )
    return entry.row_of(
        now=seen(found),
        truth="two functions: a normalization over the batch and one over each sample; with the same "
        "one in both "
        f"the mean difference is {number(found['mended']['diff.mean'])}",
        cause="semantics" if named else "unexplained",
        evidence="consistent" if named else "none",
        detail=detail,
        mend="one normalization in both: in TensorFlow GroupNormalization(groups=1), or a name that "
        "says Discriminator; "
        "in PyTorch nn.GroupNorm(1, channels)",
        recurs="yes" if named else "no",
        why="the same two functions give the document's figures to within their spread over draws of "
        "the input"
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
        note += (
            f"; over draws {mean:.4g} ± {deviation:.2g}; {fit}, {found['fits'][name]:.3g} standard deviations"
        )
    else:
        note += "; does not fit"
    return figure(f"candidate: {name}", each["diff.mean"], entry.figures.get("diff.mean"), note=note)


def _why(found: Notes, entry: Entry) -> str:
    now, there = found["float64"]["diff.mean"], float(entry.figures["diff.mean"])
    if now > 3.0 * there:
        return (
            f"no difference of meaning, as there; but today's is {number(now / there)} times larger, as the "
            "means and variances of a batch are long float32 sums in TensorFlow"
        )
    return "the size recurs, the digits do not: another seed, and libraries that add in other orders"
