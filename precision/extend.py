"""What users add: an op, a mode, a framework, each from a file of their own, and a table of what they give.

    add_op(Op(...)); add_framework(Framework(...))
    measure({"case": {"op": ..., "arrays": ...}}, ["torch.cpu", Mode(...)])

A mode needs no registering: `measure` and `precision.live.Live` take a `Mode` as it is.  What is added here
is known in this process; an op or mode that suites and reports shall know stands in the package's own files.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from precision.errors import CannotRun, UserError
from precision.live import KernelError, Live, find_mode
from precision.modes import FRAMEWORKS, Framework, Mode
from reference import OPS
from reference.bounds import OTHERS, Bound
from reference.op import Op

if TYPE_CHECKING:
    import pandas as pd


def add_op(op: Op, bound: Bound) -> Op:
    """Make an op known to everything that judges by a truth; return it.

    bound: (op, arrays, params, truth, rules) -> how far the intermediate results of a correct float32 program
    may put the output off, element by element; `reference.bounds.error_bound` adds the output's own rounding.
    Raises `UserError` where an op of that name is known already: a truth is not exchanged behind its users.
    """
    known = OPS.get(op.name)
    if known is not None and known is not op:
        raise UserError(f"an op has a name of its own; {op.name!r} is known already; give it another")
    cast(MutableMapping[str, Op], OPS)[op.name] = op
    OTHERS[op.name] = bound
    return op


def add_framework(framework: Framework, file: str | os.PathLike[str]) -> Framework:
    """Make a framework known whose backend is the module of `file`; return it.

    `framework.backend` is the file's name without .py.  Its folder joins PYTHONPATH, by which the workers,
    fresh processes, find it.  Raises `UserError` for a name that is known, or a file that is not there.
    """
    path = Path(file).resolve()
    if not path.is_file() or path.stem != framework.backend:
        raise UserError(
            f"a framework's backend is a file's module; {framework.backend!r} is not {path}; name the file"
        )
    known = FRAMEWORKS.get(framework.name)
    if known is not None and known != framework:
        raise UserError(f"a framework has a name of its own; {framework.name!r} is known; give it another")
    cast(MutableMapping[str, Framework], FRAMEWORKS)[framework.name] = framework
    before = os.environ.get("PYTHONPATH", "")
    if str(path.parent) not in before.split(os.pathsep):
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(path.parent), before)))
    return framework


def measure(
    cases: Mapping[str, Mapping[str, Any]], modes: Iterable[str | Mode], timeout: float = 120.0
) -> pd.DataFrame:
    """Run each case in each mode, in a process of its own, and judge what comes back.

    cases: by name, what `precision.explain` takes without outputs: op, params, arrays.  timeout: seconds for
    a call.  Returns a row a case and mode, in long form: `case`, `mode`, `framework`, `device`, `output`,
    `verdict`, `reason`, `terms`, and the figures of `precision.score.scores`, their units in their names;
    `bits_group` is the same number where the bits of a case are.  A mode that cannot run here, and a call
    that fails, are rows with the reason (`not run`, `error`) and no figures.  Raises what `explain` raises.
    """
    import pandas as pd

    from precision.explanation import explain
    from reference import terms

    rows: list[dict[str, Any]] = []
    seen: dict[tuple[str, bytes], int] = {}
    for mode in map(find_mode, modes):
        about = {"mode": mode.name, "framework": mode.framework, "device": mode.device, "output": "output"}
        answers = _answers(mode, cases, timeout)
        for name, case in cases.items():
            output, verdict, reason = answers[name]
            row: dict[str, Any] = {"case": name, **about, "verdict": verdict, "reason": reason}
            if output is not None:
                row["bits_group"] = seen.setdefault((name, output.tobytes()), len(seen))
                found = explain(case, {mode.framework: output}).outputs[mode.framework]
                row |= {"verdict": found.verdict, "reason": found.reason, **found.figures}
            row["terms"] = terms(str(case["op"]), case["arrays"], case.get("params", {}))
            rows.append(row)
    return pd.DataFrame(rows)


def _answers(
    mode: Mode, cases: Mapping[str, Mapping[str, Any]], timeout: float
) -> dict[str, tuple[Any, str, str]]:
    """(output or None, verdict of what has none, reason) by case."""
    found: dict[str, tuple[Any, str, str]] = {}
    try:
        with Live(mode, timeout) as live:
            for name, case in cases.items():
                arrays = {key: np.asarray(array) for key, array in case["arrays"].items()}
                try:
                    found[name] = live.run(str(case["op"]), case.get("params", {}), arrays), "", ""
                except CannotRun as reason:
                    found[name] = None, "not run", str(reason)
    except CannotRun as reason:
        found |= {name: (None, "not run", str(reason)) for name in cases if name not in found}
    except KernelError as reason:
        found |= {name: (None, "error", str(reason)) for name in cases if name not in found}
    return found
