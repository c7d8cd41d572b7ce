"""What a prediction is made of: a user's case folder or mapping, or a case of a built-in suite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from precision.cases import ORDER_SUITES, SUITES, Case, load_suite
from precision.errors import UserError
from precision.judging.case_folder import Array, make_case, read_folder

_PLACEHOLDER = "prediction"
_SUGGESTED = 4


@dataclass(frozen=True)
class Target:
    """An op, its parameters and arrays; outputs: those that the user has already, by name.

    case: the suite's case, where it is one: captures hold outputs for it.
    """

    title: str
    op: str
    params: Mapping[str, Any]
    arrays: Mapping[str, Array]
    outputs: Mapping[str, Array] = field(default_factory=dict)
    case: Case | None = None
    notes: tuple[str, ...] = ()


def target_of(given: Mapping[str, Any] | str | Path | Case) -> Target:
    """The target that is meant.  Raises UserError, or CaseError for a case folder that is not in order."""
    if isinstance(given, Case):
        return Target(given.id, given.op, given.declared("data"), given.make("data"), case=given)
    if isinstance(given, Mapping):
        return _of_user("the given arrays", given)
    if not isinstance(given, str | Path):
        raise UserError(
            f"a target is a mapping, a case folder or a case id; got {type(given).__name__}; pass one of them"
        )
    if Path(given).exists():
        return _of_user(str(given), Path(given))
    known = suite_cases()
    if str(given) in known:
        return target_of(known[str(given)])
    near = get_close_matches(str(given), known, _SUGGESTED, 0.4)
    mend = f"did you mean {' or '.join(near)}?" if near else f"some ids: {', '.join([*known][:_SUGGESTED])}"
    raise UserError(f"a target is a case folder or the id of a suite's case; got {str(given)!r}; {mend}")


def suite_cases() -> dict[str, Case]:
    """Every case of the built-in suites by its id."""
    names = dict.fromkeys((*SUITES, *ORDER_SUITES))
    return {case.id: case for name in names for case in load_suite(name, names)}


def _of_user(title: str, given: Mapping[str, Any] | Path) -> Target:
    # A case to be judged has outputs; one to be predicted need not: something must stand in their place.
    extra = {_PLACEHOLDER: np.zeros((), np.float32)}
    found = read_folder(given, extra) if isinstance(given, Path) else make_case(given, extra)
    if not found.op:
        raise UserError(
            f'a prediction needs the op and its arrays; {title} has only outputs; add "op" and "arrays"'
        )
    outputs = {name: array for name, array in found.outputs.items() if name != _PLACEHOLDER}
    return Target(title, found.op, found.params, found.arrays, outputs, notes=found.notes)
