"""A prediction in words: for a terminal, and as tables for a notebook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from precision.prediction.predict import Prediction

_HEADS = ("", "rms ulp", "mean ulp", "max ulp", "of terms", "max abs", "rel. L2", "bias", "rounded")
_FIGURES = (
    "error_ulp_rms",
    "error_ulp_mean",
    "error_ulp_max",
    "error_scaled_ulp_rms",
    "error_abs_max",
    "relative_l2",
    "accumulation_bias_u",
    "share_correctly_rounded",
)
_NAME, _COLUMN = 34, 10
_LEGEND = (
    "errors in float32 ulp of the truth, signed in 'mean'; of terms: rms in ulp of sum|terms|; "
    "bias: of the accumulation alone along the sign of the result, in 2^-24 sum|terms|, below zero: toward "
    "zero; rounded: share correctly rounded"
)


def text(prediction: Prediction) -> str:
    """Plain lines: what is assumed, the table, the causes, the certainty, the worst elements."""
    lines = [*expected(prediction), *assumptions(prediction), ""]
    lines.append(f"{'':<{_NAME}}" + "".join(f"{head:>{_COLUMN}}" for head in _HEADS[1:]))
    for name, figures in rows(prediction):
        shown = "".join(f"{number(figures.get(key)):>{_COLUMN}}" for key in _FIGURES)
        lines.append(f"{name:<{_NAME}}{shown}")
    lines += [_LEGEND, ""]
    for part in prediction.parts.values():
        row = part.row
        lines.append(
            f"{row['cause']}: {100 * row['share']:.4g} % of the error, rms {number(row['rms_ulp'])} ulp, "
            f"mean {number(row['mean_ulp'])} ulp, max {number(row['abs_max'])}; {row['basis']}"
        )
    lines += conclusions(prediction)
    if prediction.worst:
        lines.append("worst elements, by error in ulp of sum|terms|:")
    for row in prediction.worst:
        lines.append(
            f"  {row['index']}: got {row['got']!r}, truth {row['truth']}, correctly rounded "
            f"{row['correctly_rounded']!r}; {number(row['error_ulp'])} ulp, "
            f"condition {number(row['condition'])}"
        )
    lines += agreed(prediction.agreement)
    lines += [f"note: {note}" for note in prediction.notes]
    return "\n".join(lines)


def expected(prediction: Prediction) -> list[str]:
    """One sentence: how large the error is, against plain float32, and what makes it."""
    figures = prediction.predicted.figures
    chain = next((each.figures for each in prediction.others if each.name == "FMA chain"), None)
    if prediction.unit is None or chain is None:
        return []
    if not figures["error_abs_rms"]:
        return [f"expected of {prediction.format} on {prediction.unit.architecture}: no error at all"]
    times = figures["error_abs_rms"] / chain["error_abs_rms"] if chain["error_abs_rms"] else None
    cause = max(prediction.parts.values(), key=lambda part: float(part.row["share"]))
    against = "plain float32 has none" if times is None else f"{times:.3g} times that of a float32 chain"
    return [
        f"expected of {prediction.format} on {prediction.unit.architecture}: relative error "
        f"{number(figures['relative_l2'])} (L2), {against}, mostly {cause.cause}"
    ]


def assumptions(prediction: Prediction) -> list[str]:
    """What was predicted, and what was assumed for it."""
    sums = f"{prediction.outputs} outputs"
    sums += f" of {prediction.terms} products each" if prediction.unit else ""
    head = f"{prediction.title}: {prediction.op}, {sums}"
    if prediction.unit is None:
        return [head, f"{prediction.predicted.name}: {prediction.predicted.words}"]
    unit = prediction.unit
    known = "compared with the hardware bit by bit" if unit.recorded else "from published models"
    return [
        head,
        f"{unit.architecture}, {prediction.format} operands: fused steps of {unit.terms} products truncated "
        f"to {unit.fraction_bits} fraction bits, float32 accumulators rounded toward zero; {known}",
        f"operands rounded {prediction.rounding}: {prediction.rounding_reason}",
        f"order, assumed: {prediction.predicted.words}; the library's own is not documented",
    ]


def rows(prediction: Prediction) -> list[tuple[str, Mapping[str, Any]]]:
    """Names and figures of the prediction and its variants."""
    main = prediction.predicted
    first = f"predicted: {prediction.format}" if prediction.unit else f"predicted: {main.name}"
    found: list[tuple[str, Mapping[str, Any]]] = [(first, main.figures)]
    found += [(f"  {each.kind}: {each.name}", each.figures) for each in prediction.others]
    return found


def conclusions(prediction: Prediction) -> list[str]:
    """The sign of the accumulation and its bracket; how much of the prediction is certain."""
    found = []
    bias, bracket = prediction.predicted.figures.get("accumulation_bias_u"), None
    if prediction.unit is not None and bias is not None:
        bracket = prediction.bracket("accumulation_bias_u", "order")
        way = "toward zero" if bias < 0 else "away from zero" if bias > 0 else "no sign"
        between = "" if bracket is None else f", {number(bracket[0])} to {number(bracket[1])} over the orders"
        found.append(f"sign of the accumulation: {way}, {number(bias)} x 2^-24 sum|terms|{between}")
    for kinds, words in (
        (("order",), "every order"),
        (("order", "rounding", "unit"), "every order, operand rounding and compilation"),
    ):
        share = prediction.share_certain(*kinds)
        if share is not None:
            found.append(f"{100 * share:.4g} % of the elements have the same bits in {words} shown here")
    return found


def agreed(agreement: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each recorded output against the prediction, and against the variant that is nearest to it."""
    found = []
    for name in dict.fromkeys(row["recorded"] for row in agreement):
        ranked = [row for row in agreement if row["recorded"] == name]
        if not ranked[0]["elements"]:
            found.append(f"recorded {name}: {ranked[0]['reason']}, not compared")
            continue
        chosen = [ranked[0], *(row for row in ranked[1:] if row["variant"].startswith("prediction"))]
        chosen += [row for row in ranked if row["variant"] == "float32: FMA chain" and row not in chosen]
        found.append(f"recorded {name}, {ranked[0]['elements']} elements:")
        found += [f"  {_compared(row)}" for row in chosen]
    return found


def _compared(row: Mapping[str, Any]) -> str:
    return (
        f"{row['variant']}: {100 * row['share_equal']:.4g} % equal bit for bit, correlation of the errors "
        f"{number(row['correlation'])}, predicted over recorded rms {number(row['rms_ratio'])}, bias "
        f"{number(row['bias_ratio'])}"
    )


def number(value: Any) -> str:
    """Three digits; a dash for what is missing."""
    return "-" if value is None else f"{value:.3g}"


def html(prediction: Prediction) -> str:
    """The table of the variants and the sentences around it; every text is escaped."""
    head = "".join(f"<th>{escape(item)}</th>" for item in _HEADS)
    body = ""
    for name, figures in rows(prediction):
        cells = "".join(f"<td>{escape(number(figures.get(key)))}</td>" for key in _FIGURES)
        body += f"<tr><td>{escape(name)}</td>{cells}</tr>"
    lines = [*expected(prediction), *assumptions(prediction)]
    before = "".join(f"<p>{escape(line)}</p>" for line in lines)
    after = [_LEGEND, *conclusions(prediction), *agreed(prediction.agreement), *prediction.notes]
    listed = "".join(f"<p>{escape(line)}</p>" for line in after)
    return f"{before}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{listed}"
