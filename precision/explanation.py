"""What a user's own outputs are: `explain` judges them against the declared op, and says why.

explain({"op": "conv2d", "params": {"padding": 1}, "arrays": {...}}, {"torch": y}) -> Explanation
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from precision.judging.budget import Budget
from precision.judging.case_folder import Case, CaseError, make_case, read_folder
from precision.judging.output_pairs import Pair, likeness, pairs_of
from precision.judging.tolerance import Tolerance
from precision.meaning.counterexample import Counterexample
from precision.meaning.search import Meaning

if TYPE_CHECKING:
    import pandas as pd

    from precision.orders.match import OrderMatch

SCHEMA = 1
VERDICTS = ("exact", "rounding", "data", "semantics", "unexplained")
"""From good to bad: that of an explanation is the worst of its outputs'."""
ERRORS = {
    "ulp_max": "error_ulp_max",
    "ulp_rms": "error_ulp_rms",
    "abs_max": "error_abs_max",
    "bias_ulp": "error_ulp_mean",
    "correctly_rounded": "share_correctly_rounded",
}
"""Figures of the JSON, by their names in `precision.score`."""


@dataclass(frozen=True)
class Cause:
    """One reason for the error of an output.

    cause: `semantics`, `data`, `operand rounding`, `algorithm`, `accumulation`, `output rounding` or
    `unexplained`.
    parameter, declared, found: what differs from the declaration; None where nothing does. share: of the
    error's energy, <part, error> / <error, error>; the shares of an output add up to 1. rms_ulp: of the
    part, in float32 ulp of the truth. Both are None where the shapes differ. evidence: `proved`, `bounded`,
    `consistent` or `none`.
    """

    cause: str
    parameter: str | None = None
    declared: Any = None
    found: Any = None
    share: float | None = None
    rms_ulp: float | None = None
    evidence: str = "none"
    detail: str = ""
    fix: str = ""

    def to_json(self) -> dict[str, Any]:
        return {name: plain(getattr(self, name)) for name in self.__dataclass_fields__}


@dataclass(frozen=True)
class OutputExplained:
    """One output: its verdict and the sentence that says why, its causes, its figures, its worst element."""

    name: str
    verdict: str
    reason: str
    causes: tuple[Cause, ...]
    figures: Mapping[str, Any] = field(default_factory=dict)
    """Those of `precision.score.scores`; empty where the shape is not the declared one."""
    meaning: Meaning | None = None
    parts: Budget | None = None
    """The error split over its causes, element by element; None where the shape is not the declared one."""
    order: OrderMatch | None = None
    """The order that was tried on it, of the declared function; None where none is known."""

    @property
    def error(self) -> dict[str, float | None]:
        return {name: plain(self.figures.get(figure)) for name, figure in ERRORS.items()}

    @cached_property
    def counterexample(self) -> Counterexample | None:
        """The smallest integers on which the declared and the found function differ by 1/2."""
        return None if self.meaning is None else self.meaning.counterexample()


@dataclass(frozen=True, repr=False)
class Explanation:
    """Every output of a case explained, and compared with every other."""

    case: Case
    outputs: Mapping[str, OutputExplained]
    pairs: tuple[Pair, ...] = ()
    tolerance: Tolerance | None = None

    @property
    def verdict(self) -> str:
        """The worst verdict of the outputs."""
        return max((each.verdict for each in self.outputs.values()), key=VERDICTS.index)

    @property
    def fine(self) -> bool:
        """Whether every output is exact or rounding."""
        return self.verdict in ("exact", "rounding")

    @property
    def scores(self) -> pd.DataFrame:
        """A row for each output: its verdict and its figures, the unit in the column's name."""
        import pandas as pd

        rows = [
            {"output": name, "verdict": each.verdict, "reason": each.reason, **each.figures}
            for name, each in self.outputs.items()
        ]
        return pd.DataFrame(rows)

    @property
    def budget(self) -> pd.DataFrame:
        """A row for each output and cause: the columns are `Cause`'s."""
        import pandas as pd

        columns = ["output", *Cause.__dataclass_fields__]
        rows = [
            {"output": name, **cause.to_json()}
            for name, each in self.outputs.items()
            for cause in each.causes
        ]
        return pd.DataFrame(rows, columns=columns)

    def to_json(self) -> dict[str, Any]:
        """The schema of `precision explain --json`."""
        return {
            "schema": SCHEMA,
            "outputs": {
                name: {
                    "verdict": each.verdict,
                    "causes": [cause.to_json() for cause in each.causes],
                    "error": each.error,
                }
                for name, each in self.outputs.items()
            },
        }

    def __repr__(self) -> str:
        listed = ", ".join(f"{name}: {each.verdict}" for name, each in self.outputs.items())
        return f"<Explanation of {self.case.op or 'outputs alone'}: {listed}>"

    def __str__(self) -> str:
        from precision.explanation_text import text

        return text(self)

    def _repr_html_(self) -> str:
        from precision.explanation_text import html

        return html(self)


def explain(case: Mapping[str, Any] | str | Path, outputs: Mapping[str, Any] | Any = None) -> Explanation:
    """Say what each output is: exact, rounding, another function, other data, or unexplained.

    case: a mapping with `op`, `params`, `layout` and `arrays`, named as in torch.nn.functional, or the path
    of a case folder (`precision.judging.case_folder`). outputs: arrays or tensors by name, or one array;
    added to those of the case. A name that begins with torch, or tensorflow, tf or keras, gives mends in
    its words.

    Raises CaseError, a ValueError of one line, for a case that cannot be judged; ShapeError, one of those,
    for an output of another shape than the declared op gives where no change of the declaration explains it.
    """
    if outputs is not None and not isinstance(outputs, Mapping):
        outputs = {"output": outputs}
    if isinstance(case, str | Path):
        found = read_folder(Path(case), outputs)
    elif isinstance(case, Mapping):
        found = make_case(case, outputs)
    else:
        raise CaseError(
            f"a case is a mapping or the path of a case folder; got {type(case).__name__}; pass one of them"
        )
    if not found.op:
        return _only_compared(found)
    from precision.judging.case_judge import Judge

    judge = Judge(found)
    explained = {name: judge.explained(name, output) for name, output in found.outputs.items()}
    return Explanation(found, explained, pairs_of(found.outputs), judge.tolerance())


def _only_compared(case: Case) -> Explanation:
    """Outputs without the arrays they were made from: how they differ, and no verdict on any of them."""
    pairs = pairs_of(case.outputs)
    explained = {}
    for name in case.outputs:
        causes = tuple(
            Cause(
                "unexplained",
                detail=f"{pair.words}; {likeness(pair, case.outputs[pair.a], case.outputs[pair.b])}",
                fix='add "op", "params" and "arrays" to case.json to have them judged',
            )
            for pair in pairs
            if name in (pair.a, pair.b)
        )
        reason = "there are no arrays to compute the truth from"
        explained[name] = OutputExplained(name, "unexplained", reason, causes)
    return Explanation(case, explained, pairs)


def plain(value: Any) -> Any:
    """The value as JSON has it: no NumPy types; numbers that are not finite are None."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)
