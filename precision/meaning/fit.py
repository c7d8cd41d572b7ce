"""Which hypotheses explain an output: screened on a few elements, proved on all of them, put in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from precision.meaning.bench import Bench
from precision.meaning.functions import FUNCTIONS
from precision.meaning.gather import SUMS
from precision.meaning.hypotheses import RESULT, Change, Declaration, Float64, Known
from precision.meaning.norm_form import NORMS
from precision.meaning.norm_rows import is_right_but_for_statistics
from precision.meaning.operands import narrow_layers

_LOOSE_WORK, _LOOSE_CHECKS = 20_000_000, 8
"""Beyond so many products a full check is expensive: then only the closest hypotheses get one."""
_PAIRED_SIZE = 1 << 17
_TELLING, _SMALL, _SYSTEMATIC = 0.25, 0.05, 1e-3
_EQUAL = 3.0
"""Explanations whose residuals are within this factor of each other are equally good."""
_VERY_FEW, _FEWEST, _MANY, _PLENTY, _PLENTY_ROWS = 6, 24, 64, 256, 16
_FAR, _CLOSER, _CLOSE, _FEW_ROWS, _LEAST_ROWS, _VISIBLE = 64.0, 8.0, 4.0, 2, 4, 0.25
"""For what is not proved: numbers of outputs and of independent statistics, how many times smaller the error
gets (less where there are plenty), the share of the outputs that are off by more than one rounding."""
_NEARER = 0.75
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
    loose: bool = False
    """The limits alone do not tell it from the declared function: nothing is proved."""


def pairs(bench: Bench) -> Iterator[Declaration]:
    """Two changes each, in one order: of the arrays and the geometry first, of the output last."""
    op = bench.declared.op
    small = bench.output.size <= _PAIRED_SIZE and not op.endswith("_grad")
    paired = op in SUMS | NORMS | FUNCTIONS or small
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


def fits_but_for_statistics(bench: Bench) -> list[Fit]:
    """Single changes of a normalization that explain all but what one pass does to its statistics."""
    if bench.declared.op not in NORMS or bench.stats is None or not bench.fits_shape:
        return []
    fits = []
    for item in bench.changes(bench.declared):
        if item.after or isinstance(item.form, str) or item.changes[-1].solved:
            continue
        if not is_right_but_for_statistics(item.form, bench.stats, bench.output, bench.unit):
            continue
        known = bench.whole(item)
        left = np.abs(known.error(bench.output))
        fit = _tells(bench, item, Known(known.value, known.rest, np.maximum(known.limit, left)))
        if fit is not None:
            fits.append(Fit(item, fit.known, fit.residual, True))
    return _ordered(fits)


def fits_of(bench: Bench, candidates: Iterable[Declaration], *, screened: bool = True) -> list[Fit]:
    """The candidates that explain the output, best first."""
    passed = [item for item in candidates if not screened or (bench.passes(item) and _nearer(bench, item))]
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


def _nearer(bench: Bench, item: Declaration) -> bool:
    """Whether it leaves less of the error at the sampled places than the declared function does.

    Within wide limits many do not, and each would cost a look at all elements, where half must go.
    """
    if not bench.fits_shape:
        return True
    flat = bench.fine.flat
    error = bench.known.mapped(lambda a: a.reshape(-1)[flat]).error(bench.fine.output)
    known = bench.sampled(item, bench.fine)
    left = None if known is None else known.error(bench.fine.output)
    if left is None or not (np.isfinite(error).all() and np.isfinite(left).all()):
        return True
    return rms(left) <= _NEARER * rms(error)


def closer(bench: Bench, elements: Iterable[Declaration] = ()) -> list[Fit]:
    """Single listed changes that leave a small fraction of an error that the bound would allow.

    Without any, one of the `elements` of the arrays, see `precision.meaning.single_element.near_elements`.

    Independent rounding errors do not lie along a function that was on a list: a change that takes away
    nearly all of the error of many outputs is the more likely reason, though not proved. A number solved from
    the output must leave far less than all that was listed, and be no small correction: a systematic rounding
    (a root in few bits, a sum that stagnates) makes those.
    """
    if bench.witnesses < _VERY_FEW:
        return []
    whole = _scaled_rms(bench.known, bench.output, bench.known.limit)
    if not 0.0 < whole < np.inf:
        return []
    factor, fits = _factor(bench), []
    if _visible(bench, bench.known):
        promising: list[Declaration] = []
        for item in chain(bench.changes(bench.declared), narrow_layers(bench.declared, bench.narrow)):
            last = item.changes[-1]
            if rank_of(last) in (2, 4) and _rows(bench) < _LEAST_ROWS:
                continue
            if not _promises(bench, item, bench.known, 2.0 / (_FAR if last.solved else factor)):
                continue
            if last.solved:
                promising.append(item)
            else:
                fits += _left(bench, item, whole / factor)
        # Solved numbers are asked for on all elements only where no listed one comes as near on a few.
        near = min((_sample_residual(bench, fit.declaration) for fit in fits), default=np.inf)
        solved = [
            fit
            for item in promising
            if not near <= _CLOSER * _sample_residual(bench, item)
            for fit in _left(bench, item, whole / _FAR)
            if _gross(bench, fit)
        ]
        if solved and not any(fit.residual <= _CLOSER * _ordered(solved)[0].residual for fit in fits):
            return _ordered(solved)
    if not fits and bench.witnesses >= _FEWEST:
        for item in elements:
            fits += _left(bench, item, whole / factor)
    return _ordered(fits)


def _promises(bench: Bench, item: Declaration, before: Known, part: float) -> bool:
    """Whether it leaves no more than that part of an error at the sampled places, and nowhere near all of it
    at the first few: most candidates leave far more, and cost little there.
    """
    for sample, most in ((bench.looks[min(1, len(bench.looks) - 1)], 1.0), (bench.fine, part)):
        flat = sample.flat
        own = before.mapped(lambda a, at=flat: a.reshape(-1)[at])  # type: ignore[misc]
        error = _scaled_rms(own, sample.output, own.limit)
        try:
            known = bench.sampled(item, sample)
        except ValueError:
            return False
        if known is None or not 0.0 < error < np.inf:
            return False
        if not _scaled_rms(known, sample.output, own.limit) <= most * error:
            return False
    return True


def _gross(bench: Bench, fit: Fit) -> bool:
    """Whether what was found changes the output by more than systematic rounding does."""
    with np.errstate(invalid="ignore"):
        part = (fit.known.value - bench.known.value) + (fit.known.rest - bench.known.rest)
    good = np.isfinite(part) & np.isfinite(bench.output)
    return bool(good.any()) and rms(part[good]) > _SYSTEMATIC * rms(bench.output[good])


def _left(bench: Bench, item: Declaration, most: float) -> list[Fit]:
    """The candidate, if what it leaves is within its limit and no more than `most` in the declared one's."""
    try:
        found = bench.whole(item)
        left = _scaled_rms(found, bench.output, bench.known.limit)
    except ValueError:
        return []
    if left > most or found.violated(bench.output).any():
        return []
    return [Fit(item, found, rms(found.error(bench.output)))]


def _factor(bench: Bench) -> float:
    """How many times smaller the error must get: less where more independent errors agree on it."""
    if bench.witnesses < _FEWEST:
        return _FAR
    return _CLOSE if bench.witnesses >= _PLENTY and _rows(bench) >= _PLENTY_ROWS else _CLOSER


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
    if _rows(bench) < _FEW_ROWS or bench.witnesses < _MANY:
        return []
    factor = _CLOSER if _rows(bench) >= _LEAST_ROWS else _FAR
    whole = _scaled_rms(bench.known, bench.output, bench.known.limit)
    return [fit for fit in fits if _scaled_rms(fit.known, bench.output, bench.known.limit) <= whole / factor]


def refined(bench: Bench, best: Fit) -> Fit | None:
    """The explanation with one listed change more, where that takes away nearly all of what it leaves.

    What a single change leaves may be within the bound and yet no rounding: see `closer`.
    """
    first = best.declaration
    if len(first.changes) != 1 or bench.witnesses < _MANY or not _visible(bench, best.known):
        return None
    limit = best.known.limit
    whole = _scaled_rms(best.known, bench.output, limit)
    found: list[Fit] = []
    for item in bench.changes(first):
        one, other = item.changes
        if other.solved or other.parameter == one.parameter or other.cause == RESULT:
            continue
        if not _promises(bench, item, best.known, 2.0 / _CLOSER):
            continue
        try:
            known = bench.whole(item)
        except ValueError:
            continue
        near = _scaled_rms(known, bench.output, limit) <= whole / _CLOSER
        if near and not known.violated(bench.output).any():
            found.append(Fit(item, known, rms(known.error(bench.output))))
    return _ordered(found)[0] if found else None


def simplest(single: list[Fit], paired: list[Fit]) -> list[Fit]:
    """Single changes before pairs, but for a solved number that leaves far more than a listed pair."""
    loose = bool(single) and single[0].loose
    plain = [fit for fit in paired if loose or not any(change.solved for change in fit.declaration.changes)]
    if single and plain and _CLOSER * plain[0].residual < single[0].residual:
        return [*plain, *single]
    return single or paired


def _rows(bench: Bench) -> int:
    """Independent statistics of a normalization; many for everything else."""
    if bench.declared.op not in NORMS:
        return _PLENTY_ROWS
    form = bench.declared.form
    return bench.output.size // max(1, form.count) if form.given is None else _PLENTY_ROWS


def _scaled_rms(known: Known, output: Float64, limit: Float64) -> float:
    """Root mean square of error / limit, over finite limits."""
    good = np.isfinite(limit) & (limit > 0)
    return rms((known.error(output)[good]) / limit[good])


def _sample_residual(bench: Bench, declared: Declaration) -> float:
    known = bench.sampled(declared, bench.fine)
    return np.inf if known is None else rms(known.error(bench.fine.output))


def _proved(bench: Bench, declared: Declaration) -> Fit | None:
    """The candidate, if every output is within its limit and it tells more than the declared one."""
    return _tells(bench, declared, bench.whole(declared))


def _tells(bench: Bench, declared: Declaration, known: Known) -> Fit | None:
    out = bench.output
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
        both = bool((np.isfinite(error) & np.isfinite(left)).all())
        if not tells.any():
            # Limits so wide (of factors, of what is flushed to zero) that only what is left can tell.
            far = both and wrong.any() and out.size >= _VERY_FEW and rms(left) <= rms(error) / _FAR
            return Fit(declared, known, rms(left), True) if far else None
        if both and not rms(left) <= 0.5 * rms(error):
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
        return (len(changes), fit.residual > least, fit.loose, solved, place)

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
