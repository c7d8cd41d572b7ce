"""What each section of the page holds; the templates only lay it out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reports import exhibits, numbers, order_exhibit, profile_exhibits, tables
from reports.anchors import anchor, command
from reports.cells import CONCERN, LOST, Line, Row, grid, in_order, lines, severity
from reports.exhibits import CaseData, Exhibit
from reports.order_exhibit import KnownOrder
from reports.place import Field, points, reason
from reports.store import Results
from reports.tables import Cell, Head, Table

Fact = tuple[str, str]
"""A name and its text."""

MOST_DRAWN = 60
"""Cases with pictures, the worst ones: a page of all the pictures of a thousand cases opens nowhere."""


@dataclass(frozen=True)
class Missed:
    """Modes in which a case was not run, and the reason they share."""

    modes: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Worst:
    """The worst element of a case: where, what came, what is right, and how to see it again."""

    modes: str
    facts: tuple[Fact, ...]


@dataclass(frozen=True)
class Difference:
    """What differs from the declaration in some modes: what was found, the mend, the least example."""

    modes: str
    facts: tuple[Fact, ...]


@dataclass(frozen=True)
class CaseSection:
    """One case: what was declared, how the truth was certified, what each mode gave."""

    anchor: str
    name: str
    title: str
    note: str
    summary: str
    facts: tuple[Fact, ...]
    judged: Table
    differences: tuple[Difference, ...]
    nothing: str
    budget: Exhibit | None
    further: Table
    histogram: Exhibit | None
    map: Exhibit | None
    profile: Exhibit | None
    place: Exhibit | None
    unplaced: str
    orders: tuple[KnownOrder, ...]
    worst: Worst | None
    elements: Table
    missed: tuple[Missed, ...]
    command: str


def drawn(rows: Sequence[Row]) -> set[str]:
    """The cases that have a section: the worst ones (rows of `cells.grid`)."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["case"], []).append(row)
    return set(sorted(groups, key=lambda case: min(map(severity, groups[case])))[:MOST_DRAWN])


def case_sections(results: Results, away: Sequence[str]) -> list[CaseSection]:
    """A section for each case that is `drawn`, in the order of the suite; `away` ran nothing."""
    frameworks = {mode["mode"]: mode["framework"] for mode in in_order(results.modes)}
    every = grid(results)
    chosen = drawn(every) or set(results.cases["case"][:MOST_DRAWN])
    rows: dict[str, list[Row]] = {case: [] for case in chosen}
    for row in every:
        if row["case"] in chosen:
            rows[row["case"]].append(row)
    frames = exhibits.by_case(results)
    cases = in_order(results.cases)
    field = Field(tuple(points(lines(every), cases)))
    return [
        _case(results, case, rows[case["case"]], frameworks, away, CaseData(frames, case["case"]), field)
        for case in cases
        if case["case"] in chosen
    ]


def _case(
    results: Results,
    case: Row,
    rows: Sequence[Row],
    frameworks: Mapping[str, str],
    away: Sequence[str],
    data: CaseData,
    field: Field,
) -> CaseSection:
    found = lines(rows)
    shown = [line for line in found if line.verdict != "not run"]
    scored = [line for line in shown if line.scored]
    worst = min(scored, key=lambda line: severity(line.row), default=None)
    mode = (worst or (shown or found)[0]).modes[0] if found else "MODE"
    return CaseSection(
        anchor=anchor("case", case["case"]),
        name=case["case"],
        title=case["title"] or case["case"],
        note=case["note"],
        summary=_summary(scored),
        facts=_facts(case),
        judged=tables.judged(shown),
        differences=(differences := _differences(scored, data, rows)),
        nothing="" if differences else _nothing(scored),
        budget=exhibits.budget(scored, data, frameworks),
        further=tables.further(shown),
        histogram=exhibits.histogram(scored, data, frameworks),
        map=exhibits.error_map(scored, data, frameworks),
        profile=profile_exhibits.profile(scored, data, frameworks),
        place=(placed := field.exhibit(case, frameworks)),
        unplaced="" if placed or not scored else _unplaced(case),
        orders=order_exhibit.orders(scored, data, frameworks),
        worst=_worst(worst, data),
        elements=tables.worst_elements(scored),
        missed=_missed(found, away),
        command=command(str(results.run.get("suite", "default")), case["case"], mode),
    )


def _unplaced(case: Row) -> str:
    """Why a case stands in no picture of terms and conditions."""
    why = reason(case) or "none of its results is exact or rounding with a finite error"
    return f"Not placed against K: {why}. Nor against the condition: the results hold none for it."


def _summary(scored: Sequence[Line]) -> str:
    """The range of median errors and how many distinct results there are."""
    modes = sum(len(line.modes) for line in scored)
    typical = [line.row["error_ulp_median"] for line in scored if line.row["error_ulp_median"] is not None]
    distinct = {  # lines may differ in evidence alone
        (line.row["output"], number if line.row["bits_group"] is None else f"bits {line.row['bits_group']}")
        for number, line in enumerate(scored)
    }
    text = f"{numbers.times(len(distinct), 'distinct result')} from {numbers.times(modes, 'score')}"
    if not typical:
        return text if scored else "No mode was scored."
    low, high = numbers.figure(min(typical)), numbers.figure(max(typical))
    return f"{text}; median error from {low} to {high} ulp."


def _facts(case: Row) -> tuple[Fact, ...]:
    certified = numbers.listing(case["truth_tiers"]) or numbers.NOT_MEASURED
    uncertainty = case["truth_uncertainty_ulp_max"]
    condition = [numbers.figure(case[name]) for name in ("condition_median", "condition_max")]
    if uncertainty is not None:
        certified += f"; uncertain by at most {numbers.figure(uncertainty)} ulp"
    return (
        ("op", f"{case['op']} ({case['family']})"),
        ("parameters", numbers.listing(case["params"]) or "none"),
        ("shapes", numbers.listing(case["shapes"], shapes=True)),
        ("data", case["data"]),
        ("terms of one sum (K)", _terms(case)),
        ("elements", numbers.count(case["elements"])),
        ("condition Σ|terms| / |truth|", f"median {condition[0]}, largest {condition[1]}"),
        ("elements of the truth certified by", certified),
        ("plain float32, median error", f"{numbers.figure(case['plain_error_ulp_median'])} ulp"),
        ("tolerance for two correct results", _tolerance(case["tolerance"])),
    )


def _terms(case: Row) -> str:
    """K with the worst and the likely error of such a sum; a normalization is none, but several in turn."""
    terms = case["terms"]
    if not terms:
        return numbers.count(terms)
    if reason(case):
        return f"{terms:,} in a sum of its statistics"
    bound = numbers.figure(profile_exhibits.gamma(terms) / profile_exhibits.U)
    root = numbers.figure(terms**0.5)
    return f"{terms:,}: error in 2⁻²⁴ Σ|terms| at most γ = {bound} for any order, √K = {root} is likely"


def _tolerance(text: str | None) -> str:
    """The tolerances in words; those of other modes where there are some."""
    known = json.loads(text or "{}")
    if not isinstance(known.get("rtol"), int | float):
        return "none: the bound is infinite on this data"
    modes = known.get("modes") or {}
    listed = {"": known} | {f"with {name} operands ": each for name, each in modes.items()}
    return "; ".join(f"{name}{_pair(each)}" for name, each in listed.items())


def _pair(known: Mapping[str, float | None]) -> str:
    worst = f"rtol={known['rtol']:g}, atol={known['atol']:g} in the worst case"
    if known.get("likely_rtol") is None:
        return worst
    return f"{worst}, rtol={known['likely_rtol']:g}, atol={known['likely_atol']:g} are likely to do"


def _differences(found: Sequence[Line], data: CaseData, rows: Sequence[Row]) -> tuple[Difference, ...]:
    """What the search named, once for all modes of a line that share the mend."""
    examples = {(row["mode"], row["output"]): row["counterexample"] for row in rows}
    listed = []
    for line in found:
        groups: dict[tuple[Fact, ...], list[str]] = {}
        for mode in line.modes:
            for row in data.causes(line, mode):
                if row["parameter"] is not None or row["fix"]:
                    facts = (*_difference(row), *_example(examples.get((mode, line.row["output"]))))
                    groups.setdefault(facts, []).append(mode)
        for facts, modes in groups.items():
            listed.append(Difference(tables.output_label(line) + " = ".join(modes), facts))
    return tuple(listed)


def _nothing(scored: Sequence[Line]) -> str:
    """What is said where no difference was found."""
    if not scored:
        return ""
    odd = [line for line in scored if line.verdict in CONCERN]
    if odd:
        return f"No mend is known: no cause was found in {'; '.join(line.label for line in odd)}."
    return "Nothing to mend, and no counterexample: every result is of the declared function, up to rounding."


def _difference(row: Row) -> tuple[Fact, ...]:
    facts = []
    if row["parameter"] is not None:
        declared, found = (_brief(row[name] or "null") for name in ("declared", "found"))
        facts.append(("what differs", f"{row['parameter']}: {found} was found, {declared} is declared"))
    facts += [("evidence", f"{row['cause']}, {row['evidence']}")]
    facts += [("detail", row["detail"])] if row["detail"] else []
    return (*facts, ("mend", row["fix"])) if row["fix"] else tuple(facts)


def _example(text: str | None) -> tuple[Fact, ...]:
    """The least arrays that show the difference, and both results."""
    example = json.loads(text or "{}")
    if not isinstance(example.get("arrays"), dict):
        return ()
    arrays = ", ".join(f"{name} = {_brief(json.dumps(array))}" for name, array in example["arrays"].items())
    results = (f"{name} {_brief(json.dumps(example.get(name)))}" for name in ("declared", "found"))
    return (("smallest example", f"{arrays}: {', '.join(results)}"),)


def _brief(text: str) -> str:
    """JSON in one line, whole numbers written as such."""
    value = json.loads(text, parse_float=_whole)
    return numbers.listing(json.dumps(value, ensure_ascii=False)) if value is not None else "none"


def _whole(digits: str) -> float | int:
    value = float(digits)
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def _worst(line: Line | None, data: CaseData) -> Worst | None:
    if line is None or line.row["worst_index"] is None:
        return None
    row = line.row
    facts = (
        ("index", row["worst_index"]),
        ("got", _both(row["worst_got"], row["worst_got_hex"])),
        ("correctly rounded", _both(row["worst_rounded"], row["worst_rounded_hex"])),
        ("exact", row["worst_exact"] or numbers.NOT_MEASURED),
        ("error", f"{numbers.figure(row['error_scaled_ulp_max'])} ulp of Σ|terms|"),
        ("condition there", numbers.figure(row["worst_condition"])),
        *_main_cause(data.causes(line)),
    )
    return Worst(tables.output_label(line) + line.label, facts)


def _main_cause(rows: Sequence[Row]) -> tuple[Fact, ...]:
    """The cause with the largest share of this result's error."""
    known = [row for row in rows if row["share"] is not None]
    if not known:
        return ()
    most = max(known, key=lambda row: abs(row["share"]))
    words = f"{most['cause']}, {numbers.share(most['share'])} of this result's error ({most['evidence']})"
    return (("main cause", words),)


def _both(value: float | None, hexadecimal: str | None) -> str:
    if value is None:
        return numbers.NOT_MEASURED
    return f"{value:.9g}" + (f"  ({hexadecimal})" if hexadecimal else "")


def _missed(found: Sequence[Line], away: Sequence[str]) -> tuple[Missed, ...]:
    """Lines not run, without the modes that ran no case: those are told of once for all cases."""
    missed = []
    for line in found:
        names = tuple(mode for mode in line.modes if mode not in away)
        if line.verdict == "not run" and names:
            missed.append(Missed(names, line.row["reason"]))
    return tuple(missed)


def mode_table(results: Results) -> Table:
    """Every mode: whether it ran, switches asked and read back, environment, versions."""
    heads = (
        Head("mode"), Head("what it is"), Head("status"), Head("switches asked"), Head("read back"),
        Head("environment"), Head("versions"),
    )  # fmt: skip
    rows = tuple(
        (
            Cell(mode["mode"], style="modes"),
            Cell(mode["title"], style="reason"),
            Cell(_status(mode), style="reason"),
            *(Cell(numbers.listing(mode[name]) or "none", style="mono")
              for name in ("switches", "read_back", "environment", "versions")),
        )
        for mode in in_order(results.modes)
    )  # fmt: skip
    return Table("Modes, their switches and their environment", heads, rows)


def _status(mode: Row) -> str:
    reason = mode["reason"] or "no reason given"
    return f"{numbers.SIGNS[mode['status']]} {mode['status']}: {reason}" if mode["status"] in LOST else "run"
