"""An explanation in words: for a terminal, and as a small table for a notebook."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np

from precision.explanation import Explanation
from precision.judging.finding import Cause, OutputExplained, plain
from precision.meaning.counterexample import Counterexample

SIGNS = {"exact": "=", "rounding": "≈", "semantics": "≠", "data": "≠", "unexplained": "?"}
_MOST_SHOWN = 24
"""Values of an array that a counterexample shows in full."""


def text(explanation: Explanation) -> str:
    """Plain lines: each output with its causes, then the pairs, then the tolerances."""
    lines: list[str] = []
    for each in explanation.outputs.values():
        lines += _output(each) if explanation.case.op else [_headline(each)]
    if explanation.case.op:
        lines += [pair.words for pair in explanation.pairs]
    else:
        causes = [cause for each in explanation.outputs.values() for cause in each.causes]
        lines += dict.fromkeys(cause.detail for cause in causes)  # each pair stands at both of its outputs
        lines += dict.fromkeys(cause.fix for cause in causes)
    if explanation.tolerance is not None:
        lines.append(f"two correct float32 implementations may need {explanation.tolerance.words}")
    lines += [f"note: {note}" for note in explanation.case.notes]
    return "\n".join(lines)


def _headline(each: OutputExplained) -> str:
    return f"{SIGNS[each.verdict]} {each.name}: {each.verdict}, {each.reason}"


def _output(each: OutputExplained) -> list[str]:
    lines = [_headline(each)]
    if each.figures.get("elements"):
        lines.append("    " + _figures(each.figures))
    for cause in each.causes:
        if cause.cause != "unexplained":  # the headline says what is known of that
            lines.append(f"    {_cause(cause)}")
        if cause.fix:
            lines.append(f"      {'next' if cause.parameter is None else 'mend'}: {cause.fix}")
    example = each.counterexample if each.verdict == "semantics" else None
    if example is not None:
        lines += [f"    {line}" for line in _example(example)]
    return lines


def _figures(figures: Mapping[str, Any]) -> str:
    def shown(name: str) -> str:
        value = figures.get(name)
        return "-" if value is None else f"{value:.3g}"

    share = figures.get("share_correctly_rounded") or 0.0
    return (
        f"error at most {shown('error_ulp_max')} ulp ({shown('error_abs_max')}), rms "
        f"{shown('error_ulp_rms')} ulp, bias {shown('error_ulp_mean')} ulp; {100 * share:.4g} % correctly "
        f"rounded; worst at {figures.get('worst_index')}: got {figures.get('worst_got')!r}, "
        f"exact {figures.get('worst_exact')}"
    )


def _cause(cause: Cause) -> str:
    share = "" if cause.share is None else f"{100 * cause.share:.4g} % of the error, "
    head = f"{cause.cause} ({share}{cause.evidence})"
    if cause.parameter is None:
        return f"{head}: {cause.detail}"
    return (
        f"{head}: {cause.parameter}, declared {_value(cause.declared)}, found {_value(cause.found)}; "
        f"{cause.detail}"
    )


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(plain(value))


def _example(example: Counterexample) -> list[str]:
    return [
        "smallest example: " + ", ".join(f"{name} = {_array(a)}" for name, a in example.arrays.items()),
        f"  declared gives {_array(example.declared)}, found gives {_array(example.found)}",
    ]


def _array(values: Any) -> str:
    array = np.asarray(values, np.float64)
    if array.size > _MOST_SHOWN:
        places = np.argwhere(array)[:3].tolist()
        return f"{list(array.shape)} of small integers, not zero at {places} …"
    short = [f"{value:.6g}" for value in array.reshape(-1)]
    if not array.any():
        return f"zeros of shape {list(array.shape)}"
    if array.size == 1:
        return short[0]
    return f"[{', '.join(short)}] of shape {list(array.shape)}"


def html(explanation: Explanation) -> str:
    """One table, a row for each cause; every text is escaped."""
    heads = ("output", "verdict", "cause", "share", "evidence", "detail", "mend")
    rows = []
    for each in explanation.outputs.values():
        for cause in each.causes or (Cause("", detail=each.reason),):
            share = "" if cause.share is None else f"{100 * cause.share:.4g} %"
            name = cause.cause if cause.parameter is None else f"{cause.cause}: {cause.parameter}"
            verdict = f"{SIGNS[each.verdict]} {each.verdict}"
            rows.append((each.name, verdict, name, share, cause.evidence, cause.detail, cause.fix))
    head = "".join(f"<th>{escape(item)}</th>" for item in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(item)}</td>" for item in row) + "</tr>" for row in rows)
    after = [pair.words for pair in explanation.pairs]
    if explanation.tolerance is not None:
        after.append(f"two correct float32 implementations may need {explanation.tolerance.words}")
    reasons = [f"{each.name}: {each.reason}" for each in explanation.outputs.values() if each.causes]
    after = [*reasons, *after]
    listed = "".join(f"<p>{escape(item)}</p>" for item in (*after, *explanation.case.notes))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{listed}"
