"""The row of IKNet's rotations: what makes them differ by 1e-3."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from precision.studies.detnet_candidates import (
    FIRST,
    INHERITED,
    MOVED,
    Turned,
    document_moved,
    like,
    turned,
    turned_apart,
)
from precision.studies.detnet_reading import quaternions
from precision.studies.detnet_stages import TF32_OFF, seen, times
from precision.studies.detnet_trace import SIDES, difference_words, growth_words, traced, verdict_words
from precision.studies.material import Material
from precision.studies.row import Entry, Row, figure
from precision.studies.telling import number


def quaternions_row(material: Material, entry: Entry) -> Row:
    """Of the changes tried, those whose quaternions differ about as much as the document's."""
    trace, every = traced(material, "iknet"), turned(material)
    one, other = (np.array(entry.figures[name]) for name in ("tensorflow", "torch"))
    theirs = turned_apart("document", "the document", "", one, other)
    truth, a, b = (quaternions(trace.arrays[f"rotations.{k}"]) for k in ("truth", "ordinary_a", "ordinary_b"))
    now = turned_apart("now", "now", "", b, a)
    errors = ", ".join(
        f"{SIDES[side]} by {number(turned_apart(side, side, '', truth, found).rms)}"
        for side, found in (("a", a), ("b", b))
    )
    good = [each for each in every if like(each.rms, theirs.rms, FIRST)]
    rest = [each for each in every if each not in good]
    causes = {each.cause for each in good} - {"inherited"}
    cause, evidence = (causes.pop(), "consistent") if len(causes) == 1 else ("unexplained", "none")
    mend, said = "give both the same coordinates, and compare IKNet alone", ""
    if differing := trace.differing(trace.layers):
        cause, evidence, fix = seen(differing)
        said, mend = f"{difference_words(differing)}; ", f"{fix}; {mend}"
    elif cause == "operand rounding":
        mend += f"; {TF32_OFF}"
    kept, moved = (next(each for each in every if each.name == name) for name in (INHERITED, MOVED))
    return entry.row_of(
        now=f"{trace.modes['a']} and {trace.modes['b']} differ by {number(now.rms)} (root mean square), at "
        "most "
        f"{number(now.largest)}, rotations by at most {number(now.most)} degrees; "
        f"{verdict_words(trace.layers)}",
        truth=f"the certified chain; off are {errors}. {growth_words(trace.layers, trace.modes)}",
        cause=cause,
        evidence=evidence,
        detail=f"{said}the document's {number(theirs.rms)} is {times(theirs.rms, now.rms)} what float32 "
        "leaves. "
        f"Within a factor of {FIRST:g} of it: {_listed(good)}. Not: {_listed(rest)}. So coordinates that "
        "differ "
        "as the document's do are enough, but for the jump: with it the rotations of so many joints would "
        "differ by "
        f"{number(moved.rms)}, {times(moved.rms, theirs.rms)} the document's, without it by "
        f"{number(kept.rms)}; "
        f"and the rotation of joint {document_moved()[0]} differs by {number(theirs.eleven)} degrees, "
        "hardly "
        f"more than the median, {number(theirs.median)}. {_signs(other - one)}",
        mend=mend,
        recurs="no",
        why=f"float32 leaves {number(now.rms)} here; the document's weights are not known, nor whether "
        "both "
        "networks were given the same coordinates",
        figures=[
            figure("root mean square of the components' differences", now.rms, theirs.rms),
            figure("largest difference", now.largest, theirs.largest),
            figure("median angle between the rotations (degrees)", now.median, theirs.median),
            figure("largest angle (degrees)", now.most, theirs.most),
            figure("angle of joint 11 (degrees)", now.eleven, theirs.eleven),
            *(_figure(each, theirs.rms) for each in every),
        ],
    )


def _figure(each: Turned, theirs: float) -> dict[str, object]:
    note = f"joint 11 {number(each.eleven)} degrees, median {number(each.median)}"
    return figure(f"with {each.words}: root mean square", each.rms, theirs, note=note)


def _listed(every: Iterable[Turned]) -> str:
    return "; ".join(f"{each.words} ({number(each.rms)})" for each in every) or "nothing"


def _signs(difference: NDArray[np.float64]) -> str:
    """Of each component, how many joints' differences are positive."""
    up = ", ".join(f"{int(n)}" for n in (difference > 0).sum(axis=0))
    return (
        f"Of w, x, y, z {up} of {len(difference)} differences are positive: the joints share what differs, "
        "as "
        "they do where it is what the network takes or one of its first layers"
    )
