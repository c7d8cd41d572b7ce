"""The results as Markdown: for an issue, a pull request or a log."""

from __future__ import annotations

import re
from collections.abc import Sequence

from reports import numbers
from reports.cells import Line, absent, grid, in_order, lines, worst_first
from reports.headline import headline
from reports.store import Results
from reports.studies import facts, rows_of

_HEADS = ("case", "mode", "verdict", "evidence", "median ulp", "99 % ulp", "max ulp", "rounded", "reason")


def markdown(results: Results) -> str:
    """The verdict, the four numbers, all lines of cells worst first, and what was not run.

    Errors are in float32 ulp of the truth; modes joined by '=' gave identical bits.  Uses
    `scores`, `cases`, `modes` and `run`; text from them is escaped.
    """
    cells = grid(results)
    away = absent(results, cells)
    gone = {mode for group in away for mode in group.modes}
    found = worst_first(lines(row for row in cells if row["mode"] not in gone))
    head = headline(cells, results.budgets)
    parts = [f"# {_escape(_title(results))}", f"**{_escape(head.sentence)}**"]
    parts.append("\n".join(f"- **{n.figure}** {n.label}: {_escape(n.detail)}" for n in head.numbers))
    if rows := rows_of(results):
        parts.append("## The document, row by row")
        parts += [_row_of_study(row) for row in rows]
    if found:
        parts.append(_table(found))
        parts.append(
            "Smaller is better, but for *rounded* (share of elements equal to the correctly rounded truth), "
            "where larger is. Errors are in float32 ulp of the truth: median, 99 % of the elements, largest. "
            "Modes joined by `=` gave identical bits."
        )
    if away:
        parts.append("## Not run")
        parts.append(
            "\n".join(f"- {', '.join(map(_code, group.modes))}: {_escape(group.reason)}" for group in away)
        )
    parts.append("## Cases")
    parts.append("\n".join(_case(case) for case in in_order(results.cases)) or "None.")
    parts.append("## Run")
    parts.append("\n".join(f"- {_escape(key)}: {_escape(value)}" for key, value in provenance(results.run)))
    return "\n\n".join(parts) + "\n"


def _row_of_study(row: dict[str, object]) -> str:
    told = "\n".join(f"- {_escape(name)}: {_escape(text)}" for name, text in facts(row))
    return f"### {_escape(str(row['title']))}\n\n{_escape(str(row['source']))}\n\n{told}"


def provenance(run: dict[str, object]) -> list[tuple[str, str]]:
    """The run as (name, text) pairs; a dictionary in it is spread out, the title is left out."""
    pairs: list[tuple[str, str]] = []
    for key, value in run.items():
        if isinstance(value, dict):
            pairs += [(str(name), numbers.plain(item)) for name, item in value.items()]
        elif key != "title":
            pairs.append((str(key), numbers.plain(value)))
    return pairs


def _title(results: Results) -> str:
    return str(results.run.get("title") or "Precision report")


def _table(found: Sequence[Line]) -> str:
    rows = [_HEADS, tuple("---" if i < 4 or i == 8 else "---:" for i in range(len(_HEADS)))]
    rows += [_row(line) for line in found]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(line: Line) -> tuple[str, ...]:
    row = line.row
    output = f" ({_escape(row['output'])})" if row["output"] not in ("", "output", None) else ""
    figures: tuple[str, ...] = ("",) * 4
    if line.scored:
        figures = (
            *(numbers.figure(row[f"error_ulp_{name}"]) for name in ("median", "p99", "max")),
            numbers.share(row["share_correctly_rounded"]),
        )
    verdict = f"{numbers.SIGNS.get(line.verdict, '?')} {line.verdict}"
    return (
        _code(row["case"]) + output,
        (" = " if line.scored else ", ").join(map(_code, line.modes)),
        verdict,
        row["evidence"],
        *figures,
        _escape(row["reason"] or ""),
    )


def _case(case: dict[str, object]) -> str:
    terms = f", {case['terms']:,} terms a sum" if case["terms"] is not None else ""
    note = f"; {_escape(str(case['note']))}" if case["note"] else ""
    return f"- {_code(str(case['case']))}: {_escape(str(case['title']))}{terms}{note}"


def _code(text: str) -> str:
    """Text as a code span that nothing in it can end."""
    flat = " ".join(numbers.visible(text).split()).replace("|", "\\|")
    longest = max((len(run) for run in re.findall("`+", flat)), default=0)
    fence = "`" * (longest + 1)
    space = " " if longest else ""
    return f"{fence}{space}{flat}{space}{fence}"


def _escape(text: str) -> str:
    """Text with all that Markdown or HTML would read as markup escaped, in one line."""
    return re.sub(r"([\\`*_\[\]<>|#&])", r"\\\1", " ".join(numbers.visible(text).split()))
