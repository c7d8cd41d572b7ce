"""The results as a table for a terminal of 100 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.text import Text

from reports import numbers
from reports.cells import LOST, Absent, Line, Row, absent, grid, in_order, lines, severity, worst_first
from reports.headline import headline
from reports.store import Results

WIDTH = 100
"""Columns that the table takes."""

_STYLES = {
    "exact": "green",
    "rounding": "green",
    "semantics": "bold red",
    "unexplained": "bold red",
    "data": "bold red",
    "error": "bold magenta",
    "not run": "dim",
}
_MODE, _VERDICT, _FIGURE = 42, 25, 8
_INDENT = "  "
_LEGEND = (
    "Errors in float32 ulp of the truth: median, 99 % of the elements, largest; rounded: share of elements "
    "equal to the correctly rounded truth; '=' joins modes whose outputs are identical to the bit, '.x' is "
    "short for the whole name before it with .x added."
)


def print_summary(results: Results, console: Console, rows: int = 40) -> None:
    """Print the verdict, at most `rows` telling lines of cells, worst first, and what was not run.

    A line is one case and the modes that gave identical bits (joined by '='); errors are in
    float32 ulp of the truth (median, 99 % of the elements, largest), 'rounded' is the share of
    elements equal to the correctly rounded truth.  Where not all can be shown, the worst line of each
    case is kept first, then those of each framework's first mode, then the best of each case.
    Uses `scores`, `cases` and `modes`.
    """
    cells = grid(results)
    away = absent(results, cells)
    gone = {mode for group in away for mode in group.modes}
    found = lines(row for row in cells if row["mode"] not in gone)
    kept = _telling(found, _plainest(results, gone), rows)
    head = headline(cells, results.budgets)
    _say(console, head.sentence, "bold" if head.fine else "bold red")
    console.print()
    for number in head.numbers:
        detail = textwrap.wrap(numbers.visible(number.detail), WIDTH - 15) or [""]
        _print(console, Text.assemble(f"{number.figure:>12}", (f"  {number.label}", "bold")))
        for part in detail:
            _print(console, Text(f"{'':>12}  {part}", style="dim"))
    if kept:
        console.print()
        _print(console, _header())
        _print(console, Text("─" * WIDTH, style="dim"))
    titles = {case["case"]: case for case in in_order(results.cases)}
    for place, (case, group) in enumerate(_by_case(kept)):
        if place:
            console.print()
        _print(console, _title(titles[case]))
        told: set[str] = set()
        for line in group:
            for text in (*_line(line), *_reason(line, told)):
                _print(console, text)
    if kept:
        _print(console, Text("─" * WIDTH, style="dim"))
        _say(console, _LEGEND, "dim")
    if len(kept) < len(found):
        _say(console, f"… and {numbers.times(len(found) - len(kept), 'line')} less telling", "dim")
    for sentence in _not_run(away):
        _say(console, sentence, "dim")


def _print(console: Console, text: Text) -> None:
    console.print(text, soft_wrap=True)


def _say(console: Console, text: str, style: str) -> None:
    for part in textwrap.wrap(numbers.visible(text), WIDTH, subsequent_indent=_INDENT):
        _print(console, Text(part, style=style))


def _plainest(results: Results, gone: set[str]) -> set[str]:
    """The first mode of each framework that ran: what a user gets who sets nothing."""
    firsts: dict[str, str] = {}
    for mode in in_order(results.modes):
        if mode["mode"] not in gone:
            firsts.setdefault(mode["framework"], mode["mode"])
    return set(firsts.values())


def _telling(found: Sequence[Line], plainest: set[str], limit: int) -> list[Line]:
    """At most `limit` lines, worst first.

    Each case's worst goes before the plainest modes, these before each case's best, then the rest.
    """
    ranked = worst_first(found)
    plain = [line for line in ranked if plainest.intersection(line.modes)]
    first = {line.row["case"]: line for line in reversed(ranked)}
    last = {line.row["case"]: line for line in ranked if line.scored}
    choice = dict.fromkeys(id(line) for line in (*_ranked(first), *plain, *_ranked(last), *ranked))
    kept = set(list(choice)[:limit])
    return [line for line in ranked if id(line) in kept]


def _ranked(found: dict[str, Line]) -> list[Line]:
    return worst_first(list(found.values()))


def _by_case(kept: Sequence[Line]) -> list[tuple[str, list[Line]]]:
    cases: dict[str, list[Line]] = {}
    for line in kept:
        cases.setdefault(line.row["case"], []).append(line)
    return sorted(cases.items(), key=lambda item: severity(item[1][0].row))


def _columns(first: str, second: str, figures: Iterable[str]) -> str:
    text = f"{first:<{_MODE}} {second:<{_VERDICT}}" + "".join(f"{figure:>{_FIGURE}}" for figure in figures)
    return text.rstrip()


def _header() -> Text:
    heads = ("median", "99 %", "max ulp", "rounded")
    return Text(_columns("case, modes with the same bits", "verdict, evidence", heads))


def _title(case: Row) -> Text:
    facts = [case["case"]] if case["case"] != case["title"] else []
    facts += [f"{case['terms']:,} terms a sum"] if case["terms"] is not None else []
    facts += [numbers.times(case["elements"], "element")] if case["elements"] is not None else []
    title = numbers.visible(case["title"] or case["case"])
    return Text.assemble((title, "bold"), (numbers.visible(f"  {' · '.join(facts)}"), "dim"))


def _line(line: Line) -> list[Text]:
    """The line's figures beside its modes."""
    row = line.row
    names = _modes(line)
    style = _STYLES.get(line.verdict, "bold red")
    verdict = f"{numbers.SIGNS.get(line.verdict, '?')} {line.verdict}"
    verdict += f", {row['evidence']}" if row["evidence"] not in (None, "none") else ""
    figures = _figures(row) if line.scored else []
    first = Text(_columns(names[0], verdict, figures))
    first.stylize(style, _MODE + 1, _MODE + 1 + len(verdict))
    return [first, *(Text(name) for name in names[1:])]


def _reason(line: Line, told: set[str]) -> list[Text]:
    """The reason under the line: whole for a concern, else in one line and once a case."""
    reason = numbers.visible(line.row["reason"] or "")
    routine = line.verdict in ("exact", "rounding")
    if not reason or line.verdict == "exact" or (routine and reason in told):
        return []
    told.add(reason)
    width = WIDTH - 6
    parts = [textwrap.shorten(reason, width, placeholder=" …")] if routine else textwrap.wrap(reason, width)
    return [Text(f"{'':6}{part}", style="dim") for part in parts]


def _figures(row: Row) -> list[str]:
    figures = [numbers.figure(row[f"error_ulp_{name}"]) for name in ("median", "p99", "max")]
    figures.append(numbers.share(row["share_correctly_rounded"]))
    return ["–" if figure == numbers.NOT_MEASURED else figure for figure in figures]


def _modes(line: Line) -> list[str]:
    label = [] if line.row["output"] in ("", "output", None) else [f"[{line.row['output']}]"]
    text = numbers.visible(" ".join([*label, _short(line)]))
    parts = textwrap.wrap(
        text,
        _MODE,
        initial_indent=_INDENT,
        subsequent_indent=_INDENT * 2,
        break_on_hyphens=False,
    )
    return [part.replace("\u00a0", " ") for part in parts] or [_INDENT]


def _short(line: Line) -> str:
    """The modes' names; one that only adds to the last whole name is written as what it adds."""
    names: list[str] = []
    whole = ""
    for mode in line.modes:
        adds = bool(whole) and mode.startswith(f"{whole}.")
        names.append(mode.removeprefix(whole) if adds else mode)
        whole = whole if adds else mode
    # the space before '=' does not break, so that a folded line ends with it
    return ("\u00a0= " if line.scored else ", ").join(names)


def _not_run(away: Sequence[Absent]) -> list[str]:
    return [
        f"{numbers.SIGNS[LOST[1]]} not run, {numbers.times(len(group.modes), 'mode')}: "
        f"{', '.join(group.modes)} ({group.reason})"
        for group in away
    ]
