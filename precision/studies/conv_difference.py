"""Rows of "Difference of Convolution Calculation": one layer, 1e-3 apart, every value on one side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.frameworks.padding import explicit_padding
from precision.studies import conv_signs
from precision.studies.material import Material
from precision.studies.row import Entry, Row, figure, load_document, made
from precision.studies.telling import (
    both,
    differences,
    groups,
    leading,
    listed,
    missing_words,
    number,
    outputs,
)
from precision.studies.wide import joined
from precision.suites.conv_difference import ONES, UNIFORM

Float64 = NDArray[np.float64]

_SMALL = 1e-2
"""Between the two limits that the document asks for."""
_SETTLED = (
    " What gives the side is an accumulator that truncates; its size tells how long the chains are that it "
    "adds."
)
_TORCH = "precision.frameworks.torch_studies"


def rows(material: Material) -> list[Row]:
    """The study's rows; see `precision.studies.row`."""
    return made("conv-difference", _MAKERS, material)


def _same_layer(material: Material, entry: Entry) -> Row:
    """Meaning first: shapes, padding, arrays; small integers come out exactly in every mode."""
    case = material.case(UNIFORM)
    torch, tensorflow = both(material, UNIFORM)
    x, w = case.arrays["input"].shape, case.arrays["weight"].shape
    pads = explicit_padding("same", x[2:], w[2:], case.params["stride"], 1)
    flat = [amount for pad in reversed(pads) for amount in pad]
    shapes = {mode: material.output(UNIFORM, mode).shape for mode in (*torch, *tensorflow)}
    wrong = [mode for mode in shapes if material.score(UNIFORM, mode)["probe_mismatches"]]
    meant = [mode for mode in shapes if material.score(UNIFORM, mode)["verdict"] == "semantics"]
    shape = material.truth(UNIFORM).value.shape
    fine = not wrong and not meant and all(each == shape for each in shapes.values())
    return entry.row_of(
        now=f"{len(shapes)} modes of both frameworks return {list(shape)}; on small integers "
        + (f"{listed(wrong)} differ" if wrong else "every mode returns the exact result")
        + missing_words(material, UNIFORM),
        truth=f"SAME on {list(x[2:])} with a {list(w[2:])} kernel and stride 2 is F.pad(x, {tuple(flat)}); "
        "kernel_size=3 of the torch layer is not used: the convolution has the shape of the weight it is "
        "given",
        cause="none" if fine else "semantics",
        evidence="proved" if fine else "none",
        detail="integer data have one exact result in any order of any precision, so a difference of "
        f"padding, stride, layout or weight would show; {len(shapes) - len(wrong)} of {len(shapes)} modes "
        "return it"
        if fine
        else f"another function in {listed(dict.fromkeys([*wrong, *meant]))}: see their cells",
        mend="" if fine else "mend what the cells of these modes name",
        recurs="yes" if fine and flat == entry.figures["padding"] else "no",
        why="the padding and the shapes do not depend on the numbers",
        figures=[
            figure("F.pad of SAME", str(flat), str(entry.figures["padding"]), str(flat)),
            figure("elements off on small integers", len(wrong), None, 0),
        ],
    )


def _double(material: Material) -> float:
    """Largest |torch float64 - truth| of the uniform layer."""
    arrays = material.reference(UNIFORM).arrays
    mode = material.modes_of(UNIFORM, "torch")[0]
    case = material.case(UNIFORM)
    pads = explicit_padding("same", (16, 32), (5, 5), case.params["stride"], 1)
    params = {"padding": [amount for pad in pads for amount in pad], "stride": case.params["stride"]}
    found = joined("output", material.live(mode).call("double_conv", params, arrays, module=_TORCH))
    truth = material.truth(UNIFORM)
    return float(np.max(np.abs((found - truth.value) - truth.residual)))


def _below(material: Material, entry: Entry, limit: float) -> Row:
    torch, _ = both(material, UNIFORM)
    found = outputs(material, UNIFORM)
    single = _single(material, found)
    across = [d for d in differences(single) if (d.first in torch) != (d.second in torch)]
    apart = [d for d in across if d.largest >= limit]
    orders = {mode: _order(material, mode) for mode in single}
    truth = material.truth(UNIFORM)
    errors = {mode: float(np.max(np.abs(truth.error(y)))) for mode, y in found.items()}
    narrow = {mode: error for mode, error in errors.items() if mode not in single}
    least = float(np.max(material.reference(UNIFORM).bounds["deterministic"]))
    now = (
        f"{len(apart)} of {len(across)} pairs of a torch and a tensorflow mode in float32 differ by "
        f"{limit:g} or more; the largest difference is {number(across[0].largest)} ({across[0].first} and "
        f"{across[0].second})"
        if across
        else "no two frameworks ran in float32"
    )
    if narrow:
        worst = max(narrow, key=lambda mode: narrow[mode])
        now += f"; where operands are rounded ({listed(narrow)}) an output is {number(narrow[worst])} off"
    distinct = {frozenset(group) for group in groups(single)}
    told = "; ".join(
        f"{' = '.join(sorted(group))}: {orders[min(group)][1]}" for group in sorted(distinct, key=min)
    )
    if limit > _SMALL:
        likely = float(np.max(material.reference(UNIFORM).bounds["probabilistic"]))
        told = (
            f"they are those of the row before; roundings at random are likely to stay below {number(likely)}"
        )
    seen = bool(entry.figures["1e-1" if limit > _SMALL else "1e-3"])
    holds = seen == (not apart)
    cause, evidence = leading(material, UNIFORM, single)
    printed = _document_largest(entry.study)
    certain = float(np.max(truth.uncertainty_ulp(np.float32)))
    return entry.row_of(
        now=now + missing_words(material, UNIFORM),
        truth=f"certified to {number(certain)} float32 ulp; torch in float64 is within "
        f"{number(_double(material))} of it, so all of the difference is float32's",
        cause=cause,
        evidence=evidence,
        detail=f"{len(distinct)} results of the same 6400 products in float32, whose sum may be "
        f"{number(least)} off in the worst order: {told}",
        mend="compare with the tolerance that these sums need (below, in the case's facts), add in the "
        "same order, or compare in float64",
        recurs="yes" if holds else "no",
        why="the orders of CPU kernels reach the document's verdict, with differences of up to "
        f"{number(across[0].largest if across else 0.0)}; the printed values differ by up to "
        f"{number(printed)}, for which see the row on signs",
        figures=[
            figure(f"np.all(diff < {limit:g})", not apart, seen),
            figure("largest difference", across[0].largest if across else None, printed),
            *(
                figure(f"largest error, {' = '.join(sorted(group))}", errors[min(group)], None, 0.0)
                for group in sorted(groups(found), key=lambda group: errors[group[0]])
            ),
        ],
    )


def _single(material: Material, found: Mapping[str, Any]) -> dict[str, Any]:
    """The outputs of modes whose budget has no rounding of operands: a mode may allow it and not do it."""
    return {
        mode: y
        for mode, y in found.items()
        if all(cause["cause"] != "operand rounding" for cause in material.causes(UNIFORM, mode))
    }


def _order(material: Material, mode: str) -> tuple[str, str]:
    """(evidence, words) of the order in which a mode adds, from its budget."""
    for cause in material.causes(UNIFORM, mode):
        if cause["cause"] == "accumulation":
            return str(cause["evidence"]), str(cause["detail"]).partition(": all ")[0]
    return "none", str(material.score(UNIFORM, mode)["reason"])


def _document_largest(study: str) -> float:
    sign = load_document(study).entry("sign").figures
    return float(max(abs(a - b) for a, b in _pairs(sign)))


def _pairs(figures: Mapping[str, Any]) -> list[tuple[float, float]]:
    """(tensorflow, torch) of every value that the document prints of both."""
    return [
        (float(a), float(b))
        for left, right in zip(figures["tensorflow"], figures["torch"], strict=True)
        for a, b in zip(left, right, strict=False)
    ]


def _sign(material: Material, entry: Entry) -> Row:
    """Which arithmetic gives the printed mean and spread: all candidates, emulated or measured."""
    pairs = np.array(_pairs(entry.figures))
    relative = (pairs[:, 0] - pairs[:, 1]) / pairs[:, 1]
    places = list(range(len(relative)))
    mean, spread = (float(each[0]) for each in conv_signs.summary(relative[:, None]))
    arrays, _ = material.kept(
        "candidates for the sign of a convolution's error",
        {"positions": places, "channels": conv_signs.CHANNELS, "draws": conv_signs.DRAWS},
        lambda: (conv_signs.draws(places), {}),
    )
    emulated = conv_signs.candidates(arrays)
    measured = _measured(material, places)
    fitting = [each for each in emulated + measured if each.fits(mean, spread)]
    truncated = [each for each in fitting if "TF32" in each.name and "exact sum" not in each.name]
    operands = {each.name: each for each in emulated}
    settled = bool(fitting) and truncated == fitting
    below = int(np.sum(relative < 0))
    first = relative[:32]
    gpus = [mode for mode in material.modes_of(UNIFORM) if material.modes[mode].device == "cuda"]
    return entry.row_of(
        now=f"of {len(measured)} distinct results here the mean relative error of a channel is "
        f"{number(min(c.mean.mean() for c in measured))} to "
        f"{number(max(c.mean.mean() for c in measured))}",
        truth=f"the printed values themselves: {below} of {len(relative)} are below the float64 ones, mean "
        f"relative difference {number(mean)} (of the first 32: {number(float(first.mean()), 2)}), standard "
        f"deviation {number(spread)}; a sum in float32 that rounds to nearest has no side",
        cause="accumulation" if settled else "unexplained",
        evidence="consistent" if settled else "none",
        detail=_story(mean, spread, fitting, emulated + measured, operands)
        + (_SETTLED if settled else " What fits is no truncating accumulator alone: nothing is named."),
        mend="tf.config.experimental.enable_tensor_float_32_execution(False)" if settled else "",
        recurs="partly",
        why=f"{f'{listed(gpus)} ran here; else' if gpus else 'no GPU ran here:'} the arithmetic is emulated "
        "to the bit on the same layer; which GPU and kernel the document had is not said, so it can be "
        "consistent with them and not more",
        figures=[
            figure("values below the float64 one", None, f"{below} of {len(relative)}"),
            figure("mean relative difference", None, mean),
            figure("the same, of the first 32 values", None, float(first.mean())),
            figure("standard deviation of the relative difference", None, spread),
            *(_candidate_figure(each, mean, spread) for each in emulated + measured),
        ],
    )


def _measured(material: Material, places: list[int]) -> list[conv_signs.Candidate]:
    """Every distinct result of this run as a candidate: all its channels at the printed places."""
    truth = material.truth(UNIFORM)
    found = outputs(material, UNIFORM)
    candidates = []
    for group in groups(found):
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = truth.error(found[group[0]]) / truth.value
        flat = relative[0].reshape(relative.shape[1], -1).T[places]
        tf32 = any(material.modes[mode].operand_format == "tf32" for mode in group)
        name = f"run here{', TF32' if tf32 else ''}: {' = '.join(group)}"
        candidates.append(conv_signs.Candidate(name, *conv_signs.summary(flat)))
    return candidates


def _story(
    mean: float,
    spread: float,
    fitting: list[conv_signs.Candidate],
    every: list[conv_signs.Candidate],
    emulated: Mapping[str, conv_signs.Candidate],
) -> str:
    most = conv_signs.MOST
    names = listed([each.name for each in fitting])
    fit = f"of {len(every)} candidates {len(fitting)} give both figures within {most:g} standard deviations"
    text = f"{fit}: {names}. " if fitting else f"{fit}. "
    plain, rounded = emulated[conv_signs.CAST], emulated[conv_signs.EXACT.format("RNA")]
    text += (
        "Casting the float64 numbers to float32 alone gives a spread of "
        f"{number(float(plain.spread.mean()))}, TF32 operands with an exact sum "
        f"{number(float(rounded.spread.mean()))} (the document: {number(spread)}) and a mean of "
        f"{number(float(rounded.mean.mean()))} ± {number(float(rounded.mean.std(ddof=1)))} over channels, "
        f"so {number(mean)} is {abs(rounded.distance(mean, spread)[0]):.1f} deviations off. "
    )
    text += (
        "The values of one channel share a filter and are not independent: the standard error that counts "
        f"is that over channels, {number(float(rounded.mean.std(ddof=1)))}, not that of the printed values."
    )
    return text


def _candidate_figure(each: conv_signs.Candidate, mean: float, spread: float) -> dict[str, Any]:
    count = each.mean.size
    error = float(each.mean.std(ddof=1) / np.sqrt(count))
    offs = each.distance(mean, spread)
    return figure(
        f"mean, {each.name}",
        float(each.mean.mean()),
        mean,
        note=f"standard error {number(error)} from {count} channels; over channels ± "
        f"{number(float(each.mean.std(ddof=1)))}; spread {number(float(each.spread.mean()))}; the document "
        f"is {offs[0]:+.1f} and {offs[1]:+.1f} deviations off: "
        f"{'fits' if each.fits(mean, spread) else 'does not fit'}",
    )


def _ones(material: Material, entry: Entry) -> Row:
    both(material, ONES)
    found = outputs(material, ONES)
    truth = material.truth(ONES).round(np.float32)
    wrong = [mode for mode, y in found.items() if not np.array_equal(y, truth)]
    verdicts = {material.score(ONES, mode)["verdict"] for mode in found}
    largest = max((each.largest for each in differences(found)), default=0.0)
    fine = not wrong and verdicts <= {"exact"}
    return entry.row_of(
        now=f"{len(found) - len(wrong)} of {len(found)} modes return the truth to the bit, also with "
        "bfloat16 "
        f"operands; the largest difference of two modes is {number(largest)}" + missing_words(material, ONES),
        truth=f"each output is the number of its products, an integer of at most {int(truth.max())}: every "
        "partial sum is a float32 number, so no order can round",
        cause="none" if fine else "semantics",
        evidence="proved" if fine else "none",
        detail="this is a probe of meaning: what remains here is no rounding, and nothing remains"
        if fine
        else f"{listed(wrong)} differ where nothing can round",
        mend="",
        recurs="yes" if largest < 1e-6 else "no",
        why="exact arithmetic has one result",
        figures=[figure("np.all(diff < 1e-6)", largest < 1e-6, entry.figures["1e-6"], True)],
    )


_MAKERS = {
    "same-layer": _same_layer,
    "below-1e-3": lambda material, entry: _below(material, entry, 1e-3),
    "below-1e-1": lambda material, entry: _below(material, entry, 1e-1),
    "sign": _sign,
    "ones": _ones,
}
