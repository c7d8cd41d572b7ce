"""Dropout: what can be compared between two frameworks that draw their own masks.

The masks come from other generators, so no seed makes them equal.  What can be compared: whether a seed
repeats itself, whether as many elements are kept as p says and the two masks are independent, and, with one
mask handed in, what becomes of a kept element: x / (1 - p), in which roundings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from precision.explanation import explain
from precision.inputs import Array
from precision.studies.experiments import both, results
from precision.studies.material import Material
from precision.studies.row import Entry, Row, figure
from precision.studies.telling import groups, listed

Single = NDArray[np.float32]

RATES, SIZE, SEED = (0.5, 0.3), 4096, 7
UNLIKELY = 4.5
"""Standard deviations beyond which a count is not the distribution's: once in 150,000 draws."""


def _scalings(p: float) -> dict[str, Callable[[Single], Single]]:
    """The ways of x / (1 - p) in float32 that are tried, by name."""
    one = np.float32(1)
    keep, exact = one - np.float32(p), np.float32(1 - p)
    return {
        "x · float32(1 / (1 - p))": lambda x: np.asarray(x * np.float32(1 / (1 - p))),
        "x · (1 / float32(1 - p))": lambda x: np.asarray(x * (one / exact)),
        "x · (1 / (1 - float32(p)))": lambda x: np.asarray(x * (one / keep)),
        "x / float32(1 - p)": lambda x: np.asarray(x / exact),
        "x / (1 - float32(p))": lambda x: np.asarray(x / keep),
    }


def scaling(x: Single, output: Single, mask: NDArray[np.bool_], p: float) -> list[str]:
    """The ways that give every kept element, bit for bit."""
    return [name for name, scale in _scalings(p).items() if np.array_equal(scale(x)[mask], output[mask])]


def deviations(kept: int, count: int, share: float) -> float:
    """How far a count lies from a binomial mean, in standard deviations."""
    return (kept - count * share) / math.sqrt(count * share * (1 - share))


def dropout(material: Material, entry: Entry) -> Row:
    """The row; no mask is forced on a framework, so the masks themselves are not compared."""
    x = np.abs(Array((SIZE,), "normal").make("same-outputs/dropout/input")) + np.float32(2.0**-10)
    figures, told, verdicts, alien, odd = [], [], set(), set(), []
    repeated = True
    for p in RATES:
        found = results(both(material, "dropout", {"seed": SEED, "p": p}, {"input": x}))
        again = results(both(material, "dropout", {"seed": SEED, "p": p, "call": 2}, {"input": x}))
        repeated &= all(np.array_equal(found[mode], again[mode]) for mode in found)
        masks = {mode: y != 0 for mode, y in found.items()}
        ways = {mode: scaling(x, found[mode], masks[mode], p) for mode in found}
        odd += [f"{mode} at p = {p:g}" for mode, names in ways.items() if not names]
        for mode, y in found.items():
            declared = {"input": x, "mask": masks[mode].astype(np.float32)}
            judged = explain({"op": "dropout", "params": {"p": p}, "arrays": declared}, {mode: y})
            verdicts.add(judged.verdict)
            z = deviations(int(masks[mode].sum()), SIZE, 1 - p)
            figures.append(figure(f"kept at p = {p:g}, {mode}", float(masks[mode].mean()), None, 1 - p,
                                  f"{z:+.1f} standard deviations"))  # fmt: skip
            odd += [f"{mode} keeps {z:+.1f} deviations"] if abs(z) > UNLIKELY else []
        first = {f: next(mode for mode in found if mode.startswith(f)) for f in ("torch", "tensorflow")}
        agree = int(np.sum(masks[first["torch"]] == masks[first["tensorflow"]]))
        z = deviations(agree, SIZE, p**2 + (1 - p) ** 2)
        odd += [f"masks agree {z:+.1f} deviations"] if abs(z) > UNLIKELY else []
        told.append(f"at p = {p:g} they agree in {agree} of {SIZE} places ({z:+.1f} deviations from chance)")
        handed = _handed(x, found, masks, first, ways, p)
        alien.add(handed)
        told.append(f"with torch's mask handed in, {handed}")
    names = {mode: ways[mode] for mode in ways}
    fine = verdicts <= {"exact", "rounding"} and not odd and repeated
    one = len(alien) == 1 and "same bits" in next(iter(alien))
    return entry.row_of(
        now=f"a seed repeats its own mask in every mode: {repeated}; the masks of the two frameworks are "
        f"{'not the same' if len(groups(masks)) > 1 else 'the same'}: {'; '.join(told)}",
        truth="a kept element is x / (1 - p); which are kept is drawn, and only its distribution is declared",
        cause=("none" if one else "algorithm") if fine else "unexplained",
        evidence="proved" if fine else "none",
        detail="masks: not comparable element by element, other generators; counts and agreement fit "
        f"independent masks. Kept elements: each output is, bit for bit, {_words(names)}"
        if fine
        else f"not explained: {listed(odd) or listed(sorted(verdicts))}",
        mend="to compare networks set p = 0, or multiply by a mask of your own in both",
        recurs="no",
        why="the document has the heading alone; two generators cannot give one mask",
        figures=figures,
    )


def _handed(
    x: Single,
    found: Mapping[str, Single],
    masks: Mapping[str, NDArray[np.bool_]],
    first: Mapping[str, str],
    ways: Mapping[str, list[str]],
    p: float,
) -> str:
    """What TensorFlow's formula makes of the elements that torch kept, against torch's own result."""
    mask, mine = masks[first["torch"]], found[first["torch"]]
    names = ways[first["tensorflow"]]
    if not names:
        return "nothing is known: no formula gives TensorFlow's bits"
    other = _scalings(p)[names[0]](x)
    count = int(np.sum(other[mask] != mine[mask]))
    if count:
        return f"{count} of {int(mask.sum())} kept elements differ"
    return "both scale to the same bits"


def _words(names: Mapping[str, list[str]]) -> str:
    by_way: dict[str, list[str]] = {}
    for mode, ways in names.items():
        by_way.setdefault(ways[0] if ways else "no way that was tried", []).append(mode)
    return "; ".join(f"{way} in {listed(modes)}" for way, modes in by_way.items())
