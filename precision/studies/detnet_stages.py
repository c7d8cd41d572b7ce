"""Rows of DetNet's maps: how far two frameworks are apart, stage by stage, and what fits the figure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from precision.studies.detnet_candidates import CAUSES, LATER, Tried, document_ratio, fitting, like, tried
from precision.studies.detnet_passes import STAGE_CALLS
from precision.studies.detnet_trace import (
    SIDES,
    Traced,
    difference_words,
    evidence_of,
    growth,
    growth_words,
    traced,
    verdict_words,
)
from precision.studies.material import Material
from precision.studies.row import Entry, Row, figure
from precision.studies.telling import listed, number

TF32_OFF = (
    'torch.backends.cudnn.conv.fp32_precision = "ieee" and '
    "tf.config.experimental.enable_tensor_float_32_execution(False), then compare again"
)
OTHERS = "neither the document's weights nor its picture are known: other numbers, of the same layers"


def stage_row(material: Material, entry: Entry) -> Row:
    """The row of one stage's map."""
    found, trace = tried(material), traced(material, "detnet")
    layers = trace.stage(entry.row)
    differing = trace.differing(layers)
    now, wanted = trace.between[entry.row], document_ratio(entry.row)
    cause, evidence, said = explained(found, entry.row)
    mend = TF32_OFF if cause == "operand rounding" else ""
    if differing:
        # What is seen here comes first: the models were meant to be the same.
        cause, evidence, mend = seen(differing)
        said = f"{difference_words(differing)}; {said}"
    return entry.row_of(
        now=f"{trace.modes['a']} and {trace.modes['b']} differ by at most {number(now.largest)} on a map "
        f"whose largest value is {number(now.size)}, {number(now.ratio)} of it; {_modes(found, entry.row)}",
        truth=f"of each layer, certified: {growth_words(layers, trace.modes)}",
        cause=cause,
        evidence=evidence,
        detail=f"{said}. {_growing(entry.row, trace)}Here {verdict_words(layers)} (weakest evidence: "
        f"{evidence_of(layers)})",
        mend=mend,
        recurs="no",
        why=f"the document's difference is {number(wanted)} of its magnitude, "
        f"{times(wanted, now.ratio)} what another order of float32 sums leaves here; {OTHERS}",
        figures=_figures(entry, found, trace),
    )


def seen(differing: Any) -> tuple[str, str, str]:
    """(cause, evidence, mend) of the first layer that differs in more than rounding."""
    first = differing[0]
    cause = str(first["verdict"]) if first["verdict"] in ("semantics", "data") else "unexplained"
    return cause, str(first["evidence"]), str(first["mend"] or "")


def times(value: float, unit: float) -> str:
    """How many times one figure is another, in words."""
    return f"{number(value / unit)} times" if unit else "infinitely many times"


def explained(found: Mapping[str, Tried], stage: str) -> tuple[str, str, str]:
    """(cause, evidence, words) of the document's difference after a stage.

    The candidates that fit the document (`precision.studies.detnet_candidates`) have a cause; it is that of
    this row too where one of them is within `LATER` of the row's figure.
    """
    good, wanted = fitting(found), document_ratio(stage)
    causes = {each.cause for each in good}
    if len(causes) != 1:
        which = listed(each.words for each in good) or "none"
        return "unexplained", "none", f"what fits the document's first layer and coordinates: {which}"
    told = ", ".join(f"{each.words} ({number(each.stages[stage].ratio)})" for each in good)
    if not any(like(each.stages[stage].ratio, wanted, LATER) for each in good):
        words = (
            f"of what fits the first layer and the coordinates none explains this stage: {told}, where the "
        )
        words += (
            f"document has {number(wanted)}; trained weights that cancel more than these would amplify so, "
        )
        words += "another difference in this stage would too, and the document's figures cannot tell"
        return "unexplained", "none", words
    words = f"by size and direction fit: {told}; the document has {number(wanted)}"
    return causes.pop(), "consistent", words + (_excluded(found, stage) if stage == "conv1" else "")


def _excluded(found: Mapping[str, Tried], stage: str) -> str:
    good = {each.name for each in fitting(found)}
    listing = "; ".join(
        f"{each.words} ({number(each.stages[stage].ratio)}, cosine {number(each.xyz.cosine or 0.0, 2)})"
        for each in (found[name] for name in CAUSES if name not in good)
    )
    return (
        f". Do not fit, by this size or by the direction in which the coordinates differ: {listing}. A "
        "constant "
        "factor, as another eps makes it, shrinks all coordinates alike; the document's do not"
    )


def _growing(stage: str, trace: Traced) -> str:
    """How the relative difference grew from the stage that this one takes, there and here."""
    names = list(STAGE_CALLS)
    if stage == names[0]:
        return ""
    before = "squeeze" if stage in ("dmap", "lmap") else names[names.index(stage) - 1]
    theirs = document_ratio(stage) / document_ratio(before)
    ours = times(trace.between[stage].ratio, trace.between[before].ratio)
    return (
        f"From {before} to here the document's difference over the map grows {number(theirs)} times, "
        f"ours {ours}. "
    )


def _modes(found: Mapping[str, Tried], stage: str) -> str:
    modes = [each for each in found.values() if each.name not in CAUSES]
    words = ", ".join(f"{each.name} {number(each.stages[stage].ratio)}" for each in modes)
    return f"other modes against torch's first: {words}" if words else "no other mode was run"


def _figures(entry: Entry, found: Mapping[str, Tried], trace: Traced) -> list[dict[str, Any]]:
    now, wanted = trace.between[entry.row], document_ratio(entry.row)
    given, layers = entry.figures, trace.stage(entry.row)
    relative = "largest difference / largest value"
    figures = [
        figure("largest value", now.size, given["magnitude"], note="the document: a magnitude"),
        figure("largest difference", now.largest, given["difference"]),
        figure("mean difference", now.mean, given.get("in_parentheses"), note="in parentheses there"),
        figure(relative, now.ratio, wanted),
    ]
    for side, framework in SIDES.items():
        own, layer, inherited, total = growth(layers, side)
        figures += [
            figure(f"{framework}: largest own error of a layer / its output", own, note=layer),
            figure(f"{framework}: inherited error / output", inherited, note="at the stage's end"),
            figure(f"{framework}: total error / output", total, note="at the stage's end"),
        ]
    return figures + [
        figure(f"with {each.words}: {relative}", each.stages[entry.row].ratio, wanted)
        for each in found.values()
    ]
