"""What a judge said of a cell against what was planted; the same for the comparisons of today."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from bench_verdicts_collect import Output
from verdict_cells import OPERANDS, ROUNDING, UNKNOWN

KINDS = ("rounding", "semantics", "data", "operand rounding", "unexplained", "refused")
GOALS = {"false alarms": 0, "misses": 0, "parameter right": 0.98, "seconds of a large layer": 5.0}


@dataclass(frozen=True)
class Said:
    """What a judge says: a word of `KINDS`, and the parameters it names, each with its value."""

    kind: str
    found: Mapping[str, Any]
    others: tuple[Mapping[str, Any], ...] = ()
    """Explanations that fit as well and were named."""
    values: Callable[[], np.ndarray | None] = lambda: None
    """The function that was found, in float64."""
    words: str = ""


Judge = Callable[[Output], Said]


@dataclass(frozen=True)
class Row:
    """One judged cell."""

    output: Output
    said: Said
    right: bool
    named: str
    """`right`, `equal` (another name of the same function), `listed` (among those that fit), or `wrong`."""
    seconds: float

    @property
    def false_alarm(self) -> bool:
        return self.output.strength == ROUNDING and self.said.kind != ROUNDING

    @property
    def miss(self) -> bool:
        return self.output.strength != ROUNDING and self.said.kind == ROUNDING

    def to_json(self) -> dict[str, Any]:
        cell = self.output.cell
        return {
            "seed": cell.seed,
            "mode": cell.mode,
            "strength": self.output.strength,
            "cell": cell.words,
            "planted": cell.planted.kind,
            "wanted": [[name, shown(value)] for name, value in cell.planted.wanted],
            "said": self.said.kind,
            "found": {name: shown(value) for name, value in self.said.found.items()},
            "named": self.named,
            "words": self.said.words[:300],
            "seconds": round(self.seconds, 2),
        }


def shown(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str) else repr(value)


def row_of(output: Output, said: Said, seconds: float) -> Row:
    """Whether the judge is right: the kind of cause, and the parameters with their values."""
    planted = output.cell.planted
    if output.strength == ROUNDING:
        right = said.kind == ROUNDING
        return Row(output, said, right, "right" if right else "wrong", seconds)
    wanted = dict(planted.wanted)
    if planted.kind == UNKNOWN:
        named = "right" if said.kind == UNKNOWN else "wrong"
    elif matches(said.found, wanted):
        named = "right"
    elif set(said.found) == set(wanted) and _same_function(output, said):
        named = "equal"
    elif any(matches(other, wanted) for other in said.others):
        named = "listed"
    else:
        named = "wrong"
    right = named != "wrong" and (said.kind == planted.kind or named in ("equal", "listed"))
    return Row(output, said, right, named, seconds)


def matches(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """The same parameters, and the same values where a value is wanted; a solved number within 2 %."""
    return found.keys() == wanted.keys() and all(_equal(found[name], wanted[name]) for name in wanted)


def _equal(found: Any, wanted: Any) -> bool:
    if wanted is None:
        return True
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(found.get(key) == value for key, value in wanted.items())
    if isinstance(wanted, bool) or isinstance(found, bool):
        return found is wanted
    if isinstance(wanted, float) and isinstance(found, int | float):
        return abs(found - wanted) <= 0.02 * abs(wanted)
    if wanted == "bfloat16":  # of a mode, whose own way of rounding is not asked for
        return wanted in str(found)
    return bool(found == wanted)


def _same_function(output: Output, said: Said) -> bool:
    """Whether the found function is the planted one on these arrays: other amounts that nobody can see."""
    from verdict_cells_torch import double

    planted = output.cell.planted
    values = said.values()
    if values is None:
        return False
    meant = double(planted.op, planted.params, planted.arrays)
    if meant.shape != values.shape:
        return False
    size = float(np.max(np.abs(meant), initial=0.0))
    return bool(np.max(np.abs(meant - values), initial=0.0) <= 1e-9 * size)


def summary(rows: Iterable[Row]) -> dict[str, Any]:
    """Confusion, false alarms, misses and the share of rightly named parameters, clear and subtle apart."""
    counted = [row for row in rows if row.output.strength != "invalid"]
    found: dict[str, Any] = {}
    for strength in ("clear", "subtle"):
        some = [row for row in counted if row.output.strength == strength]
        named = [row for row in some if row.output.cell.planted.kind != UNKNOWN]
        found[strength] = {
            "cells": len(some),
            "misses": sum(row.miss for row in some),
            "parameter right": sum(row.right for row in named) / max(1, len(named)),
            "of these another value of the same function": sum(row.named == "equal" for row in named),
            "of these among equal explanations": sum(row.named == "listed" for row in named),
            "confusion": confusion(some),
        }
    plain = [row for row in counted if row.output.strength == ROUNDING]
    found["rounding"] = {"cells": len(plain), "false alarms": sum(row.false_alarm for row in plain)}
    found["cells"] = len(counted)
    return found


def confusion(rows: Iterable[Row]) -> dict[str, dict[str, int]]:
    counts = Counter((row.output.cell.planted.kind, row.said.kind) for row in rows)
    return {
        kind: {said: counts[kind, said] for said in KINDS if counts[kind, said]}
        for kind in KINDS
        if any(counts[kind, said] for said in KINDS)
    }


def missed_goals(found: Mapping[str, Any], slowest: float) -> list[str]:
    """The goals that were not reached, in words."""
    lines = []
    if found["rounding"]["false alarms"] > GOALS["false alarms"]:
        lines.append(f"{found['rounding']['false alarms']} false alarms")
    part = found["clear"]  # the subtle ones are listed apart: the bound alone does not tell them
    if part["misses"] > GOALS["misses"]:
        lines.append(f"{part['misses']} misses")
    if part["cells"] and part["parameter right"] < GOALS["parameter right"]:
        lines.append(f"the parameter is right in {part['parameter right']:.1%}")
    if slowest > GOALS["seconds of a large layer"]:
        lines.append(f"a layer of 100 million multiply-adds took {slowest:.1f} s")
    return lines


def accepted_by(value: np.ndarray, expected: np.ndarray) -> dict[str, bool]:
    """Whether each comparison of today passes the output; `expected` is the truth rounded to float32."""
    import torch

    same = value.shape == expected.shape
    found = {"torch.testing.assert_close": False, "np.allclose": False}
    found |= {"max abs < 1e-3": False, "max abs < 1e-4": False, "cosine within 1 degree": False}
    if not same:
        return found
    try:
        torch.testing.assert_close(torch.from_numpy(value.copy()), torch.from_numpy(expected.copy()))
        found["torch.testing.assert_close"] = True
    except AssertionError:
        pass
    found["np.allclose"] = bool(np.allclose(value, expected))
    a, b = (each.astype(np.float64).reshape(-1) for each in (value, expected))
    apart = float(np.max(np.abs(a - b), initial=0.0))
    found["max abs < 1e-3"], found["max abs < 1e-4"] = apart < 1e-3, apart < 1e-4
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    found["cosine within 1 degree"] = norms == 0.0 or bool(a @ b >= norms * np.cos(np.pi / 180))
    return found


def today(outputs: Iterable[Output]) -> dict[str, dict[str, int]]:
    """How many cells each comparison of today is right on: passes rounding, refuses what was planted."""
    right: Counter[str] = Counter()
    apart: Counter[str] = Counter()
    counts = [0, 0]
    for output in outputs:
        if output.strength == "invalid":
            continue
        narrow = output.cell.planted.kind == OPERANDS
        counts[narrow] += 1
        for name, accepted in accepted_by(output.value, output.truth.round(np.float32)).items():
            good = accepted == (output.strength == ROUNDING)
            (apart if narrow else right)[name] += good
            right[name] += 0
    return {
        name: {
            "right": right[name] + apart[name],
            "of": sum(counts),
            "right without operand rounding": right[name],
            "of without operand rounding": counts[0],
        }
        for name in right
    }
