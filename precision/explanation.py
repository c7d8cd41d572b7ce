"""What a user's own outputs are: `explain` judges them against the declared op, and says why.

explain({"op": "conv2d", "params": {"padding": 1}, "arrays": {...}}, {"torch": y}) -> Explanation
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from precision.judging.case_folder import Case, CaseError, make_case, read_folder
from precision.judging.finding import Cause, OutputExplained
from precision.judging.output_pairs import Pair, likeness, pairs_of
from precision.judging.tolerance import Tolerance

if TYPE_CHECKING:
    import pandas as pd


SCHEMA = 1
VERDICTS = ("exact", "rounding", "data", "semantics", "unexplained")
"""From good to bad: that of an explanation is the worst of its outputs'."""


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
