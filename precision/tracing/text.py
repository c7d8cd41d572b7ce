"""A trace in words: what differs first, then the layers worth looking at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from precision.decisions import AT_RISK, FLIPPED, SAFE

if TYPE_CHECKING:
    from precision.tracing.result import Trace

_UNTOLD = ("unknown", "not comparable", "not run")
ALL_ROWS, SOME_ROWS = 40, 12
_RELATIVE = ("own_relative_a", "own_relative_b", "total_relative_a", "total_relative_b")
_HEAD = ("layer A", "layer B", "op", "own A", "own B", "total A", "total B", "amp. A", "amp. B", "verdict")


def text(trace: Trace) -> str:
    """The trace as the command line prints it."""
    lines = [_sentence(trace)]
    lines += [f"A {trace.files.get('a', '')} in {trace.modes.get('a', '')}, "
              f"B {trace.files.get('b', '')} in {trace.modes.get('b', '')}"]  # fmt: skip
    lines += [f"note: {note}" for note in trace.notes]
    untold = [row for row in trace.rows if row["verdict"] in _UNTOLD]
    differing = [row for row in trace.rows if row["parameter"]]
    for row in differing[:SOME_ROWS]:
        lines.append(f"  {row['layer_a']} / {row['layer_b']}: {row['detail']}")
        if row["mend"]:
            lines.append(f"    mend: {row['mend']}")
    for row in untold[:SOME_ROWS]:
        lines.append(f"  {row['layer_a']}: {row['verdict']}: {row['detail']}")
    lines += _unseen(trace.rows)
    shown, left = _shown(trace.rows)
    lines += [
        "",
        "errors of a layer over its truth, Euclidean norms, in 2^-24; amp.: error out / error in",
        *_table(shown),
    ]
    if left:
        lines.append(f"… and {left} layers more, exact or rounding: trace.table, or trace.csv with -o")
    for side in ("a", "b"):
        names = trace.unmatched.get(side, ())
        if names:
            lines.append(f"only in {side.upper()}: {', '.join(names)}")
    lines += _gradients(trace.gradient_list, trace.rows)
    lines += _decided(trace)
    return "\n".join(lines)


def _sentence(trace: Trace) -> str:
    first = trace.first_difference
    count = len(trace.rows)
    if first is not None:
        return f"first difference: {first}"
    back = trace.first_gradient_difference
    if back is not None:
        return f"no difference of meaning in the layers; first difference of gradients, from the end: {back}"
    matched = sum(row["layer_b"] is not None for row in trace.rows)
    if matched < count or trace.incomplete:
        return f"no difference of meaning in the {matched} layers that both have; A has {count}"
    unsettled = sum(row["verdict"] in ("unknown", "not comparable") for row in trace.rows)
    rest = f", {unsettled} cannot be told" if unsettled else ""
    return f"no difference of meaning: {count - unsettled} of {count} layers are exact or rounding{rest}"


def _unseen(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What B declares otherwise and this input does not show, once for all layers that share it."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if row["differences"] and row["verdict"] in ("exact", "rounding"):
            found.setdefault(str(row["differences"]), []).append(str(row["layer_a"]))
    lines = []
    for words, layers in list(found.items())[:SOME_ROWS]:
        count = f" and {len(layers) - 1} layers more" if len(layers) > 1 else ""
        lines.append(f"  {layers[0]}{count}: declared otherwise, which this input does not show: {words}")
    return lines


def _shown(rows: Sequence[Mapping[str, Any]]) -> tuple[list[Mapping[str, Any]], int]:
    if len(rows) <= ALL_ROWS:
        return list(rows), 0
    notable = {i for i, row in enumerate(rows) if row["verdict"] not in ("exact", "rounding")}
    by_own = sorted(range(len(rows)), key=lambda i: -(rows[i]["own_relative_b"] or 0.0))
    keep = notable | set(by_own[:SOME_ROWS]) | {0, len(rows) - 1}
    return [row for i, row in enumerate(rows) if i in keep], len(rows) - len(keep)


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    cells = [list(_HEAD)]
    if rows and "of" in rows[0]:
        cells[0][2] = "gradient of"
    for row in rows:
        verdict = str(row["verdict"]) + (f" ({row['parameter']})" if row["parameter"] else "")
        cells.append(
            [
                str(row["layer_a"]),
                str(row["layer_b"] or "-"),
                str(row.get("of", row["op"])),
                *(_number(row[name], 2.0**24) for name in _RELATIVE),
                *(_number(row[name]) for name in ("amplification_a", "amplification_b")),
                verdict,
            ]
        )  # fmt: skip
    widths = [max(len(row[k]) for row in cells) for k in range(len(_HEAD))]
    return [
        "  ".join(
            cell.rjust(width) if 3 <= k < 9 else cell.ljust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def _number(value: Any, scale: float = 1.0) -> str:
    return "-" if value is None or math.isnan(value) else f"{value * scale:.3g}"


def _gradients(rows: Sequence[Mapping[str, Any]], layers: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return []
    told = {(row["layer_a"], row["parameter"]) for row in layers if row["parameter"]}
    lines = ["", "gradients of sum(c * output), c standard normal, last layer first: errors as above"]
    differing = [row for row in rows if row["parameter"] or row["verdict"] == "unexplained"]
    known = [row for row in differing if (row["layer_a"], row["parameter"]) in told]
    if known:
        lines.append(f"  {len(known)} of {len(rows)} are those of what their layers do otherwise, see above")
    for row in [row for row in differing if row not in known][:SOME_ROWS]:
        lines.append(f"  {row['layer_a']}, {row['of']}: {row['detail']}")
        if row["mend"]:
            lines.append(f"    mend: {row['mend']}")
    for row in [row for row in rows if row["verdict"] in _UNTOLD][:SOME_ROWS]:
        lines.append(f"  {row['layer_a']}, {row['of']}: {row['verdict']}: {row['detail']}")
    lines += [
        f"  {row['layer_a']}, {row['of']}: {note}"
        for row in rows
        for note in str(row["detail"]).split("; ")
        if "the kink in" in note
    ][:SOME_ROWS]
    shown, left = _shown(rows)
    lines += _table(shown)
    if left:
        lines.append(
            f"… and {left} gradients more, exact or rounding: trace.gradients, gradients.csv with -o"
        )
    return lines


def _decided(trace: Trace) -> list[str]:
    lines = []
    for side in ("A", "B"):
        found = [each for each in trace.decision_list if each.output == side]
        if not found:
            continue
        counts = {status: sum(each.status == status for each in found) for status in (SAFE, AT_RISK, FLIPPED)}
        listed = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
        lines.append(f"decisions (argmax of the last layer) of {side}: {listed}")
        for each in [each for each in found if each.status != SAFE][:5]:
            lines.append(
                f"  sample {list(each.index)}: {each.status}, truth {each.truth}, output {each.found}; "
                f"margin {each.margin:.3g}, bounds {each.bound:.3g}, element {each.element}"
            )
    return lines
