"""Rows of what is read off the maps: places of joints and their coordinates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from precision.decisions import AT_RISK, FLIPPED, SAFE, Decision, decide
from precision.studies.detnet_candidates import (
    CAUSES,
    Tried,
    document_moved,
    document_ratio,
    document_xyz,
    document_xyz_apart,
    fitting,
    tried,
)
from precision.studies.detnet_reading import apart, coordinates, places, runners_up, scores
from precision.studies.detnet_stages import OTHERS, TF32_OFF, explained, seen
from precision.studies.detnet_trace import SIDES, Traced, difference_words, traced
from precision.studies.material import Material
from precision.studies.row import Entry, Row, figure, load_document
from precision.studies.telling import listed, number

Float32 = NDArray[np.float32]


def decisions(truth: Float32, outputs: Mapping[str, Float32], error: float) -> list[Decision]:
    """Of every joint and output: whether the place of its largest heat is safe, at risk or flipped.

    truth, outputs: heat maps (1, joints, h, w); error: the largest |output - truth|, to which the rounding of
    the truth to float32 is added.
    """
    exact = scores(truth)
    bound = error + np.abs(np.spacing(exact)).astype(np.float64)
    return decide(exact, {name: scores(array) for name, array in outputs.items()}, bound, axis=-1)


def seen_error(trace: Traced, stage: str) -> float:
    """The largest error of either framework on a stage's kept arrays."""
    truth = trace.arrays[f"{stage}.truth"]
    return max(apart(truth, trace.arrays[f"{stage}.ordinary_{side}"]).largest for side in SIDES)


def uv_row(material: Material, entry: Entry) -> Row:
    """Places of the largest heat: which decisions are safe, and what moves one."""
    found, trace = tried(material), traced(material, "detnet")
    truth = trace.arrays["hmap.truth"]
    outputs = {name: trace.arrays[f"hmap.ordinary_{side}"] for side, name in SIDES.items()}
    error = seen_error(trace, "hmap")
    judged = decisions(truth, outputs, error)
    closest = min(judged, key=lambda each: each.margin - each.bound)
    wanted = document_ratio("hmap")
    risky = [d for d in decisions(truth, {"truth": truth}, wanted * float(truth.max())) if d.status != SAFE]
    cause, evidence, said = explained(found, "hmap")
    mend = "read the place with its margin, and take joints whose margin is below the error as undecided"
    if differing := trace.differing(trace.layers):
        cause, evidence, other = seen(differing)
        said, mend = f"{difference_words(differing)}; {said}", f"{other}; {mend}"
    elif cause == "operand rounding":
        mend += f"; {TF32_OFF}"
    counts = {status: sum(d.status == status for d in judged) for status in (SAFE, AT_RISK, FLIPPED)}
    unsafe = len(judged) - counts[SAFE]
    theirs = load_document("detnet").entry("hmap").figures["difference"]
    moved = document_moved()
    given = (np.array(entry.figures[name]) for name in ("tensorflow", "torch"))
    pairs = zip(moved, *(each[moved].tolist() for each in given), strict=True)
    moves = listed(f"joint {joint} from {one} to {other}" for joint, one, other in pairs)
    counted = listed(f"{count} {status}" for status, count in counts.items() if count)
    return entry.row_of(
        now=f"{counted}, of {len(judged)} decisions (21 joints in {trace.modes['a']} and "
        f"{trace.modes['b']}); "
        f"nearest to a flip is joint {closest.index[0]}: margin {number(closest.margin)}, bounds "
        f"{number(closest.bound)}",
        truth="the largest heat of the certified chain. A joint can move where the margin of two places is "
        "at "
        f"most the sum of their errors; with the largest one seen here, {number(error)}, "
        + (f"{unsafe} decisions can" if unsafe else "none can"),
        cause=cause,
        evidence=evidence,
        detail=f"in the document moves {moves}. Its heat maps "
        "differ "
        f"by {number(wanted)} of the largest heat, and two places within twice that may change ranks: so "
        "large "
        f"an error puts {len(risky)} of 21 joints here at risk ({_numbers(d.index[0] for d in risky)}). "
        "Joints "
        f"that candidates move: {_moves(found)}. Heat maps: {said}",
        mend=mend,
        recurs="no",
        why=f"another order of float32 sums moves {'a' if counts[FLIPPED] else 'no'} joint here; {OTHERS}",
        figures=[
            figure("joints that move", counts[FLIPPED], len(moved), 0),
            figure("largest error of a heat map", error, theirs, note="the document: between its frameworks"),
            figure("joints at risk at the document's relative error", len(risky), note="one moved there"),
            *(
                figure(f"joint {d.index[0]}: margin", d.margin, note=f"{d.status}; bounds {number(d.bound)}")
                for d in judged
                if d.output == SIDES["a"]
            ),
        ],
    )


def _numbers(joints: Iterable[int]) -> str:
    return listed((str(joint) for joint in joints), 21)


def _moves(found: Mapping[str, Tried]) -> str:
    moves = [f"{each.words} {list(each.moved)}" for each in found.values() if each.moved]
    return "; ".join(moves) or "none"


def xyz_row(material: Material, entry: Entry) -> Row:
    """Coordinates read at the places: continuous where the place stays, a jump where it moves."""
    found, trace = tried(material), traced(material, "detnet")
    arrays = trace.arrays
    heat, lmap = arrays["hmap.truth"], arrays["lmap.truth"]
    true = coordinates(lmap, places(heat))
    ours = {
        side: coordinates(arrays[f"lmap.ordinary_{side}"], places(arrays[f"hmap.ordinary_{side}"]))
        for side in SIDES
    }
    jumps = np.max(np.abs(coordinates(lmap, runners_up(heat)) - true), axis=1)
    between, theirs, (one, other) = apart(ours["b"], ours["a"]), document_xyz_apart(), document_xyz()
    moved, root = document_moved(), int(np.argmin(np.linalg.norm(document_xyz()[0], axis=1)))
    jump, relative = float(np.max(np.abs(other - one)[moved])), np.abs(other[root] / one[root] - 1.0)
    good = fitting(found)
    causes = {each.cause for each in good}
    cause, evidence = (causes.pop(), "consistent") if len(causes) == 1 else ("unexplained", "none")
    mend, said = "interpolate about the largest heat (a soft argmax): then a small error stays small", ""
    if differing := trace.differing(trace.layers):
        cause, evidence, fix = seen(differing)
        said, mend = f"{difference_words(differing)}; ", f"{fix}; {mend}"
    elif cause == "operand rounding":
        mend += f"; {TF32_OFF}"
    rest = [each for each in found.values() if each not in good]
    errors = (f"{name} by at most {number(apart(true, ours[side]).largest)}" for side, name in SIDES.items())
    return entry.row_of(
        now=f"{trace.modes['a']} and {trace.modes['b']} differ by at most {number(between.largest)} "
        f"({number(between.relative or 0.0)} in norm)",
        truth=f"read off the certified chain; off are {listed(errors)}",
        cause=cause,
        evidence=evidence,
        detail=f"{said}the document's joints that stay differ by {number(theirs.relative or 0.0)} in norm, "
        "hardly "
        f"in the direction of the coordinates (cosine {number(theirs.cosine or 0.0, 2)}). The same two "
        "figures of "
        f"what fits: {_xyz(good)}; of the others: {_xyz(rest)}. Joint {root}, the root, has coordinates of "
        f"{number(float(np.abs(one[root]).max()))}, which differ by {number(float(relative.min()))} … "
        f"{number(float(relative.max()))} of themselves as the others do: the error came with what the "
        "last layer "
        f"takes, nothing of a fixed size was added. Joint {_numbers(moved)} jumps by {number(jump)} "
        "because another "
        f"place is read; here the runner-up's place is {number(float(np.median(jumps)))} away in the "
        "median joint, "
        f"{number(float(jumps.max()))} at most",
        mend=mend,
        recurs="no",
        why=f"float32 leaves {number(between.relative or 0.0)} here, the document has "
        f"{number(theirs.relative or 0.0)}; {OTHERS}",
        figures=[
            figure("largest difference, joints that stay", between.largest, theirs.largest),
            figure("difference / coordinates, in norm", between.relative, theirs.relative),
            figure("cosine of the difference with the coordinates", between.cosine, theirs.cosine),
            figure("largest jump of a joint that moves", _jump(found), jump, note="of all candidates"),
            *(_xyz_figure(each, theirs.relative) for each in found.values()),
        ],
    )


def _xyz(candidates: Iterable[Tried]) -> str:
    told = [
        f"{each.words} ({number(each.xyz.relative or 0.0)}, {number(each.xyz.cosine or 0.0, 2)})"
        for each in candidates
        if each.name in CAUSES
    ]
    return "; ".join(told) or "none"


def _xyz_figure(each: Tried, theirs: float | None) -> dict[str, object]:
    note = f"cosine {number(each.xyz.cosine or 0.0, 2)}"
    return figure(f"with {each.words}: difference / coordinates", each.xyz.relative, theirs, note=note)


def _jump(found: Mapping[str, Tried]) -> float | None:
    return max((each.jump for each in found.values() if each.moved), default=None)
