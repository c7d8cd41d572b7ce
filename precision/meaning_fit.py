"""Which hypotheses explain an output: screened on a few elements, proved on all of them, put in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from precision.hypotheses import RESULT, Change, Declaration, Float64, Known
from precision.meaning_bench import Bench
from precision.meaning_functions import FUNCTIONS
from precision.meaning_gather import SUMS
from precision.meaning_norm_form import NORMS

_LOOSE_WORK, _LOOSE_CHECKS = 20_000_000, 8
"""Beyond so many products a full check is expensive: then only the closest hypotheses get one."""
_PAIRED_SIZE = 1 << 17
_TELLING, _SMALL = 0.25, 0.05
_EQUAL = 3.0
"""Explanations whose residuals are within this factor of each other are equally good."""
_MANY, _CLOSER, _LEAST_ROWS, _VISIBLE = 64, 8.0, 4, 0.25
"""For what is not proved: outputs, how many times smaller the error gets, independent statistics, the share
of the outputs that are off by more than one rounding."""
_RANKS = {
    parameter: rank
    for rank, parameters in enumerate(
        (
            ("layout", "axis", "channel order", "flatten order", "shift"),
            ("kernel flip", "kernel transpose", "stride", "dilation", "groups", "training", "centering"),
            ("padding", "variance", "coordinates", "mode"),
            ("padding mode", "bias", "affine", "eps place", "reduction", "count_include_pad"),
            ("eps", "momentum"),
            ("activation", "scale", "sign"),
            ("operands",),
            ("output",),
        )
    )
    for parameter in parameters
}
_SOLVABLE = {"eps", "scale", "negative_slope", "alpha", "activation"}
"""Parameters whose values may be solved for: of many that fit the simplest is kept."""


@dataclass(frozen=True)
class Fit:
    """A hypothesis that explains the output, and the root mean square of what it leaves."""

    declaration: Declaration
    known: Known
    residual: float


def pairs(bench: Bench) -> Iterator[Declaration]:
    """Two changes each, in one order: of the arrays and the geometry first, of the output last."""
    paired = bench.declared.op in SUMS | NORMS | FUNCTIONS or bench.output.size <= _PAIRED_SIZE
    singles = list(bench.changes(bench.declared))
    places = {declared.key: place for place, declared in enumerate(singles)}
    seen: set[Any] = set()
    for first in singles:
        (one,) = first.changes
        if one.solved or (rank_of(one) >= 5 and not bench.narrow) or (not paired and not first.after):
            continue
        try:
            for second in bench.changes(first):
                other = second.changes[-1]
                if other.parameter == one.parameter or rank_of(other) < rank_of(one):
                    continue
                if rank_of(other) == rank_of(one) and places.get((other.key,), 1 << 30) < places[first.key]:
                    continue
                if second.key not in seen:
                    seen.add(second.key)
                    yield second
        except ValueError:  # a first change that does not fit without some second
            continue


def rank_of(change: Change) -> int:
    return _RANKS.get(change.parameter, 3)


def fits_of(bench: Bench, candidates: Iterable[Declaration], *, screened: bool = True) -> list[Fit]:
    """The candidates that explain the output, best first."""
    passed = [item for item in candidates if not screened or bench.passes(item)]
    if screened and bench.work * bench.output.size > _LOOSE_WORK and len(passed) > _LOOSE_CHECKS:
        passed = sorted(passed, key=lambda item: _sample_residual(bench, item))[:_LOOSE_CHECKS]
    fits = []
    for item in passed:
        try:
            fit = _proved(bench, item)
        except ValueError:  # parameters that do not fit together
            continue
        if fit is not None:
            fits.append(fit)
    return _ordered(fits)


def closer(bench: Bench) -> list[Fit]:
    """Single listed changes that leave a small fraction of an error that the bound would allow.

    Independent rounding errors do not lie along a function that was on a list: a change that takes away
    nearly all of the error of many outputs is the more likely reason, though not proved. Numbers solved from
    the output are left out: a systematic rounding (a root in few bits, a sum that stagnates) makes those.
    """
    if bench.output.size < _MANY or not _visible(bench, bench.known):
        return []
    whole = _scaled_rms(bench.known, bench.output, bench.known.limit)
    flat = bench.fine.flat
    limit = bench.known.limit.reshape(-1)[flat]
    sampled = _scaled_rms(bench.known.mapped(lambda a: a.reshape(-1)[flat]), bench.fine.output, limit)
    if not 0.0 < whole < np.inf or not 0.0 < sampled < np.inf:
        return []
    fits = []
    for item in bench.changes(bench.declared):
        if item.changes[-1].solved or (rank_of(item.changes[-1]) in (2, 4) and _rows(bench) < _LEAST_ROWS):
            continue
        try:
            known = bench.sampled(item, bench.fine)
            if known is None or not _scaled_rms(known, bench.fine.output, limit) <= 2.0 * sampled / _CLOSER:
                continue
            found = bench.whole(item)
            left = _scaled_rms(found, bench.output, bench.known.limit)
        except ValueError:
            continue
        if left <= whole / _CLOSER and not found.violated(bench.output).any():
            fits.append(Fit(item, found, rms(found.error(bench.output))))
    return _ordered(fits)


def _visible(bench: Bench, known: Known) -> bool:
    """Whether the error of a good part of the outputs is more than one rounding of the result makes."""
    with np.errstate(invalid="ignore"):
        error = np.abs(known.error(bench.output))
        beyond = error > 4.0 * bench.unit * np.abs(known.value)
    return bool(np.mean(beyond) >= _VISIBLE)


def far_better(bench: Bench, fits: list[Fit]) -> list[Fit]:
    """Those that leave a small fraction of the error of enough independent statistics.

    For outputs that the worst case of another algorithm allows: its errors differ from row to row, so no one
    change of the function takes them all away.
    """
    if _rows(bench) < _LEAST_ROWS or bench.output.size < _MANY:
        return []
    whole = _scaled_rms(bench.known, bench.output, bench.known.limit)
    return [fit for fit in fits if _scaled_rms(fit.known, bench.output, bench.known.limit) <= whole / _CLOSER]


def refined(bench: Bench, best: Fit) -> Fit | None:
    """The explanation with one listed change more, where that takes away nearly all of what it leaves.

    What a single change leaves may be within the bound and yet no rounding: see `closer`.
    """
    first = best.declaration
    if len(first.changes) != 1 or bench.output.size < _MANY or not _visible(bench, best.known):
        return None
    limit, flat = best.known.limit, bench.fine.flat
    whole = _scaled_rms(best.known, bench.output, limit)
    few = best.known.mapped(lambda a: a.reshape(-1)[flat])
    sampled = _scaled_rms(few, bench.fine.output, few.limit)
    found: list[Fit] = []
    for item in bench.changes(first):
        one, other = item.changes
        if other.solved or other.parameter == one.parameter or other.cause == RESULT:
            continue
        try:
            known = bench.sampled(item, bench.fine)
            if (
                known is None
                or not _scaled_rms(known, bench.fine.output, few.limit) <= sampled * 2.0 / _CLOSER
            ):
                continue
            known = bench.whole(item)
        except ValueError:
            continue
        near = _scaled_rms(known, bench.output, limit) <= whole / _CLOSER
        if near and not known.violated(bench.output).any():
            found.append(Fit(item, known, rms(known.error(bench.output))))
    return _ordered(found)[0] if found else None


def simplest(single: list[Fit], paired: list[Fit]) -> list[Fit]:
    """Single changes before pairs, but for a solved number that leaves far more than a listed pair."""
    plain = [fit for fit in paired if not any(change.solved for change in fit.declaration.changes)]
    if single and plain and _CLOSER * plain[0].residual < single[0].residual:
        return [*plain, *single]
    return single or paired


def _rows(bench: Bench) -> int:
    """Independent statistics of a normalization; many for everything else."""
    if bench.declared.op not in NORMS:
        return _LEAST_ROWS
    form = bench.declared.form
    return bench.output.size // max(1, form.count) if form.given is None else _LEAST_ROWS


def _scaled_rms(known: Known, output: Float64, limit: Float64) -> float:
    """Root mean square of error / limit, over finite limits."""
    good = np.isfinite(limit) & (limit > 0)
    return rms((known.error(output)[good]) / limit[good])


def _sample_residual(bench: Bench, declared: Declaration) -> float:
    known = bench.sampled(declared, bench.fine)
    return np.inf if known is None else rms(known.error(bench.fine.output))


def _proved(bench: Bench, declared: Declaration) -> Fit | None:
    """The candidate, if every output is within its limit and it tells more than the declared one."""
    known, out = bench.whole(declared), bench.output
    if known.value.shape != out.shape or known.violated(out).any():
        return None
    left = known.error(out)
    if np.mean(np.isfinite(known.limit)) < 0.5 or not _tells_anything(known, out, left):
        return None
    if bench.fits_shape:
        first = bench.known
        error = first.error(out)
        wrong = first.violated(out) & np.isfinite(known.limit)
        with np.errstate(invalid="ignore"):
            part = np.abs((known.value - first.value) + (known.rest - first.rest))
            tells = wrong & ~(part <= first.limit) & ~(np.abs(error) <= known.limit)
        both = np.isfinite(error) & np.isfinite(left)
        if not tells.any() or (both.all() and not rms(left[both]) <= 0.5 * rms(error[both])):
            return None
    return Fit(declared, known, rms(left))


def _tells_anything(known: Known, out: Float64, left: Float64) -> bool:
    """Whether lying within the limit says something: a limit as large as the output admits nearly all values.

    Then what is left must be small beside the output itself.
    """
    good = np.isfinite(known.limit) & np.isfinite(out) & np.isfinite(left)
    size = rms(out[good])
    return rms(known.limit[good]) <= _TELLING * size or rms(left[good]) <= _SMALL * size


def _ordered(fits: list[Fit]) -> list[Fit]:
    """Fewest changes first; of those that leave as little, numbers from a list before solved ones."""
    if not fits:
        return []
    least = min(fit.residual for fit in fits) * _EQUAL

    def worth(place: int) -> tuple[Any, ...]:
        fit = fits[place]
        changes = fit.declaration.changes
        solved = any(change.solved for change in changes)
        return (len(changes), fit.residual > least, solved, place)

    ranked = [fits[place] for place in sorted(range(len(fits)), key=worth)]
    kept: list[Fit] = []
    solved_before: set[str] = set()
    for fit in ranked:  # of the solved values of one parameter the simplest
        solved = {change.parameter for change in fit.declaration.changes if change.solved}
        if not solved & solved_before:
            kept.append(fit)
        solved_before |= {change.parameter for change in fit.declaration.changes} & _SOLVABLE
    return kept


def rms(values: Float64) -> float:
    top = float(np.max(np.abs(values), initial=0.0))
    if top == 0.0 or not np.isfinite(top):
        return top
    return top * float(np.sqrt(np.mean((values / top) ** 2)))
