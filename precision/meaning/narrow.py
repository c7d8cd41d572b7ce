"""Layers that were computed in bfloat16 or float16 throughout, as declared, with a fault, or nearly so."""

from __future__ import annotations

from collections.abc import Iterator

from precision.meaning.bench import Bench
from precision.meaning.fit import Fit, fits_of
from precision.meaning.hypotheses import RESULT, Declaration, Known
from precision.meaning.operands import narrow_layers, result_changes


def in_narrow_layers(bench: Bench) -> list[Fit]:
    """The declared function, or else one with another meaning, computed as a layer in a narrower format."""
    if not bench.narrow or not bench.fits_shape:
        return []
    fits = fits_of(bench, narrow_layers(bench.declared, bench.narrow))
    return fits or fits_of(bench, _narrow_and_changed(bench))


def nearly_narrow(bench: Bench) -> tuple[Declaration, Known, int] | None:
    """The layer in a narrower format that gives nearly every output, and how many it does not."""
    if not bench.narrow or not bench.fits_shape:
        return None
    best: tuple[Declaration, Known, int] | None = None
    for item in narrow_layers(bench.declared, bench.narrow):
        known = bench.whole(item)
        wrong = int(known.violated(bench.output).sum())
        if 20 * wrong <= bench.output.size and (best is None or wrong < best[2]):
            best = item, known, wrong
    return best


def _narrow_and_changed(bench: Bench) -> Iterator[Declaration]:
    for first in bench.changes(bench.declared, operands=False):
        if first.changes[-1].solved or first.changes[-1].cause == RESULT:
            continue
        yield from result_changes(first, bench.narrow)
        yield from narrow_layers(first, bench.narrow)
