"""Operands rounded to a narrower format before they are multiplied, or results after it: TF32, bfloat16,
float16, 8 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

import numpy as np

from precision.meaning.gather import narrowed
from precision.meaning.hypotheses import OPERANDS, RESULT, SUM, Change, Declaration, Float64, step
from precision.meaning.norm_form import NORMS, NormForm, replaced
from reference import formats
from reference.sum_ops import FACTORS

FORMATS = ("tf32", "bfloat16", "binary16", "e4m3", "e5m2")
RESULTS = ("bfloat16", "binary16", "tf32", "e4m3", "e5m2")
"""TF32 is no format of storage: for results it comes after binary16, which has as many bits."""
LAYERS = ("bfloat16", "binary16")
"""Formats in which whole layers are computed, arrays, result and all."""
MODES = ("RNE", "RNA", "RZ")
_FIRST = 4096


def operand_changes(declared: Declaration) -> Iterator[Declaration]:
    """Both factors rounded, or one of them; only for sums of products."""
    names = FACTORS.get(declared.op, ())
    if not names or declared.form is not None or "pool" in declared.op:
        return
    for chosen in (names, *((name,) for name in names if len(names) > 1)):
        for kind in FORMATS:
            for mode in MODES:
                which = " and ".join(chosen)
                change = Change(
                    "operands",
                    "binary32",
                    f"{which}: {kind} {mode}",
                    f"{which} rounded to {kind} ({mode}) before the products",
                    OPERANDS,
                )
                yield declared.changed(change, form=dict.fromkeys(chosen, (kind, mode)))


def narrow_formats(output: Float64) -> tuple[str, ...]:
    """The formats that hold every finite output: only to those may results have been rounded."""
    finite = output[np.isfinite(output)]
    found: tuple[str, ...] = RESULTS if finite.size else ()
    for part in (finite[:_FIRST], finite):  # a few are enough to turn most formats down
        found = tuple(
            kind for kind in found if np.array_equal(formats.round_to(part, formats.FORMATS[kind]), part)
        )
    return found


def result_changes(declared: Declaration, kinds: tuple[str, ...]) -> Iterator[Declaration]:
    """The result rounded once more, to one of these formats."""
    if any(change.parameter == "output" for change in declared.changes):
        return
    for kind in kinds:
        for mode in ("RNE", "RZ"):
            change = Change(
                "output", "binary32", f"{kind} {mode}", f"the result is rounded to {kind} ({mode})", RESULT
            )
            yield declared.then(change, step(change, function=_to(kind, mode), staircase=True))


def narrow_layers(declared: Declaration, kinds: tuple[str, ...]) -> Iterator[Declaration]:
    """The whole layer in a narrower format, as under automatic mixed precision: the arrays that it reads are
    rounded, and so is its result; a bias in the same format may join the sum before that or after it.

    Sums are still accumulated in float32: rounding to nearest is all that casts do.
    """
    for kind in (kind for kind in LAYERS if kind in kinds):
        for base in _narrow_arrays(declared, kind):
            if len(base.changes) > len(declared.changes):
                yield from result_changes(base, (kind,))
            if base.arrays.get("bias") is not None and _products(declared.op):
                change = Change(
                    SUM,
                    "binary32",
                    f"{kind} RNE",
                    f"the sum is rounded to {kind} (RNE) before the bias",
                    RESULT,
                )
                form = {**(base.form or {}), SUM: (kind, "RNE")}
                yield from result_changes(base.changed(change, form=form), (kind,))


def _products(op: str) -> bool:
    """Whether an op is a sum of products of two arrays: then its form says how they are rounded."""
    return len(FACTORS.get(op, ())) == 2


def _narrow_arrays(declared: Declaration, kind: str) -> Iterator[Declaration]:
    """Every array rounded, or only those of the products; the declaration itself where that changes none."""
    if isinstance(declared.form, str | dict) or (declared.form is not None and declared.op not in NORMS):
        return
    arrays = {name: np.asarray(a) for name, a in declared.arrays.items() if a is not None}
    floats = [name for name, a in arrays.items() if a.dtype == np.float32]
    factors = [name for name in FACTORS.get(declared.op, ()) if name in floats] or floats[:1]
    seen = set()
    for chosen in (floats, factors):
        rounded = {name: narrowed(arrays[name], kind, "RNE") for name in chosen}
        names = tuple(name for name in chosen if not np.array_equal(rounded[name], arrays[name]))
        if names in seen:
            continue
        seen.add(names)
        if not names:
            yield declared
            continue
        which = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
        words = f"{which} rounded to {kind} (RNE) first"
        change = Change("operands", "binary32", f"{which}: {kind} RNE", words, OPERANDS)
        if _products(declared.op):
            yield declared.changed(change, form=dict.fromkeys(names, (kind, "RNE")))
            continue
        other = {**declared.arrays, **{name: rounded[name].astype(np.float32) for name in names}}
        form = _of_narrow(declared.form, names, kind) if declared.op in NORMS else declared.form
        yield declared.changed(change, arrays=other, form=form)


def _of_narrow(form: NormForm, names: Collection[str], kind: str) -> NormForm:
    """The formula of a normalization whose arrays of these names are rounded."""
    parts: dict[str, Any] = {}
    for part, name in (("scale", "weight"), ("shift", "bias")):
        if getattr(form, part) is not None and name in names:
            parts[part] = narrowed(getattr(form, part), kind, "RNE")
    if form.given is not None:
        both = zip(form.given, ("running_mean", "running_var"), strict=True)
        parts["given"] = tuple(narrowed(a, kind, "RNE") if name in names else a for a, name in both)
    return replaced(form, **parts)


def _to(kind: str, mode: str) -> Callable[[Float64], Float64]:
    return lambda x: formats.round_to(x, formats.FORMATS[kind], mode)
