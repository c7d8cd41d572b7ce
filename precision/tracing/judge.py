"""The verdict on one unit of a model: A's on what A declares, B's on what A declares too.

B is fed A's truth-side input. Where its output is not what A declares, its own declaration is tried: if that
explains every output, what the two declare differently is the cause, and proved. Else the search for a
meaning looks for one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.judging.case_folder import CaseError, make_case
from precision.judging.case_judge import Judge
from precision.judging.finding import OutputExplained
from precision.meaning.hypotheses import Change, Declaration
from precision.meaning.mends import mend
from precision.tracing.attention import ATTENTION, Attention
from precision.tracing.declared import FLATTEN, Declared, Difference
from precision.tracing.glue import GLUE, glue_explained, glue_truth
from reference import Truth

Float32 = NDArray[np.float32]

FINE = ("exact", "rounding")
UNKNOWN, RANDOM, OTHER_INPUT = "unknown", "not comparable", "input"


@dataclass(frozen=True)
class Finding:
    """A verdict in the words of a trace; verdicts are those of `explain`, `unknown`, `not comparable`."""

    verdict: str
    parameter: str | None = None
    declared: Any = None
    found: Any = None
    evidence: str = "none"
    detail: str = ""
    mend: str = ""


class UnitJudge:
    """Judges outputs of one declaration.  Raises CaseError where it cannot be computed."""

    def __init__(self, declared: Declared) -> None:
        self.declared = declared
        self.truth: Truth = self._truth()

    def _truth(self) -> Truth:
        declared = self.declared
        if declared.op == ATTENTION:
            return self._attention.truth
        if declared.op in GLUE:
            return glue_truth(declared.op, declared.operands, declared.params)
        return self._engine.truth

    @cached_property
    def _attention(self) -> Attention:
        return Attention.of(self.declared.operands, self.declared.params)

    @cached_property
    def _engine(self) -> Judge:
        declared = self.declared
        shown = {"op": declared.op, "params": dict(declared.params), "arrays": dict(declared.arrays)}
        return Judge(make_case(shown, {"output": np.zeros(1, np.float32)}))

    @cached_property
    def rounded(self) -> Float32:
        """The truth, rounded to float32: what the next unit is fed."""
        found: Float32 = self.truth.round(np.float32)
        return found

    @property
    def limit(self) -> NDArray[np.float64]:
        """The rigorous bound on rounding, element by element."""
        if self.declared.op == ATTENTION:
            return self._attention.limit
        if self.declared.op in GLUE:
            return np.asarray(self.truth.ulp(np.float32))
        return np.asarray(self._engine.known.limit)

    def explains(self, output: Float32) -> bool:
        """Whether every output is within the rigorous bound of the declaration."""
        if output.shape != self.truth.value.shape:
            return False
        if self.declared.op == ATTENTION:
            return self._attention.explains(output)
        if self.declared.op in GLUE:
            return self.explained("output", output).verdict in FINE
        return not bool(self._engine.known.violated(output.astype(np.float64)).any())

    def explained(self, name: str, output: Float32) -> OutputExplained:
        """The full judgement, the search for another meaning included."""
        declared = self.declared
        if declared.op == ATTENTION:
            return self._attention.explained(name, output)
        if declared.op in GLUE:
            return glue_explained(declared.op, declared.operands, declared.params, self.truth, name, output)
        if output.shape == self.truth.value.shape and np.array_equal(output, self.rounded, equal_nan=True):
            return OutputExplained(name, "exact", "every output is the truth, correctly rounded", ())
        return self._engine.explained(name, output)


def own_finding(judge: UnitJudge, framework: str, output: Float32) -> Finding:
    """The verdict on an output of the model that the declaration comes from."""
    return finding_of(judge.explained(framework, output))


def other_finding(
    judge: UnitJudge,
    declared: Declared,
    found: Sequence[Difference],
    framework: str,
    output: Float32,
) -> Finding:
    """The verdict on B's output against A's declaration; declared: B's own, on the same input."""
    ours = judge.declared
    if judge.explains(output):
        return finding_of(judge.explained(framework, output))
    visible = [each for each in found if not each.silent]
    if declared.flatten != ours.flatten and declared.flatten is not None:
        visible.append(Difference(FLATTEN, ours.flatten, declared.flatten))
    if visible and declared.known and (own := _judged(declared)) is not None and own.explains(output):
        return _proved(ours, declared, visible, framework, output)
    try:
        searched = finding_of(judge.explained(framework, output))
    except CaseError as error:
        return Finding("unexplained", detail=str(error))
    if searched.parameter == "padding":
        padding = Difference("padding", searched.declared, searched.found)
        searched = replace(searched, mend=_mend(padding, ours, framework))
    return searched


def _proved(
    ours: Declared, declared: Declared, visible: Sequence[Difference], framework: str, output: Float32
) -> Finding:
    """B computes what B declares: name the difference that alone does it, else all of them."""
    for each in visible if len(visible) > 1 else ():
        changed = _with(ours, declared, each)
        if changed is None:
            continue
        judge = _judged(changed)
        if judge is not None and judge.explains(output):
            visible = [each]
            break
    parameter = ", ".join(each.parameter for each in visible)
    declares = [each.declared for each in visible]
    finds = [each.found for each in visible]
    shown: tuple[Any, Any] = (declares[0], finds[0]) if len(visible) == 1 else (declares, finds)
    detail = f"B computes what it declares; {'; '.join(each.words for each in visible)}"
    fix = "; ".join(_mend(each, ours, framework) for each in visible)
    return Finding("semantics", parameter, *shown, "proved", detail, fix)


def _with(ours: Declared, declared: Declared, difference: Difference) -> Declared | None:
    """A's declaration with one parameter of B's."""
    name = difference.parameter.replace(" ", "_")
    if difference.parameter == FLATTEN:
        return ours.flattened(declared.flatten)
    if name in declared.params or name in ours.params:
        params = {key: value for key, value in ours.params.items() if key != name}
        return replace(ours, params={**params, **_picked(declared.params, name)})
    if name in ours.arrays or name in declared.arrays:
        arrays = {key: value for key, value in ours.arrays.items() if key != name}
        return replace(ours, arrays={**arrays, **_picked(declared.arrays, name)})
    return None


def _picked(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {name: values[name]} if name in values else {}


def _judged(declared: Declared) -> UnitJudge | None:
    try:
        judge = UnitJudge(declared)
    except (ValueError, CaseError):
        return None
    return judge


def _mend(difference: Difference, ours: Declared, framework: str) -> str:
    parameter, wanted, has = difference.parameter, difference.declared, difference.found
    if parameter == "operation":
        return f"use {wanted} in place of {has}"
    if parameter in ("input", "indices"):
        return f"take {wanted} in place of {has}"
    if parameter in ("scale", "mask"):
        return f"{parameter} the scores: {wanted}"
    change = Change(parameter, wanted, has, "")
    # In the words of a layer that lies channels last, as TensorFlow's do.
    layout = {"layout": "NHWC"} if framework == "tensorflow" else {}
    return mend(change, Declaration(ours.op, ours.arrays, {**ours.params, **layout}), framework)


def finding_of(found: OutputExplained) -> Finding:
    """A judgement of `explain` in the words of a trace."""
    causes = [cause for cause in found.causes if cause.parameter is not None]
    if not causes:
        fixes = [cause.fix for cause in found.causes if cause.fix]
        evidence = _weakest([cause.evidence for cause in found.causes]) if found.causes else "proved"
        return Finding(found.verdict, None, None, None, evidence, found.reason, "; ".join(fixes[:1]))
    first = causes[0]
    parameter = ", ".join(str(cause.parameter) for cause in causes)
    fix = "; ".join(dict.fromkeys(cause.fix for cause in causes if cause.fix))
    return Finding(found.verdict, parameter, first.declared, first.found, first.evidence, found.reason, fix)


def _weakest(words: Sequence[str]) -> str:
    order = ("none", "consistent", "bounded", "proved")
    return min(words, key=lambda word: order.index(word) if word in order else 0)
