"""Operands rounded to a narrower format before they are multiplied, or results after it: TF32, bfloat16,
float16, 8 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from precision.meaning.hypotheses import OPERANDS, RESULT, Change, Declaration, Float64, step
from reference import formats
from reference.sum_ops import FACTORS

FORMATS = ("tf32", "bfloat16", "binary16", "e4m3", "e5m2")
RESULTS = ("bfloat16", "binary16", "tf32", "e4m3", "e5m2")
"""TF32 is no format of storage: for results it comes after binary16, which has as many bits."""
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
    if any(change.cause == RESULT for change in declared.changes):
        return
    for kind in kinds:
        for mode in ("RNE", "RZ"):
            change = Change(
                "output", "binary32", f"{kind} {mode}", f"the result is rounded to {kind} ({mode})", RESULT
            )
            yield declared.then(change, step(change, function=_to(kind, mode), staircase=True))


def _to(kind: str, mode: str) -> Callable[[Float64], Float64]:
    return lambda x: formats.round_to(x, formats.FORMATS[kind], mode)
