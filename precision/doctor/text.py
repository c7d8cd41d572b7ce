"""A diagnosis as tables on a terminal, and as plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from precision.doctor.bits import MISSING
from precision.doctor.diagnosis import Diagnosis
from precision.doctor.live import ModeBits
from precision.modes import Mode

Rows = list[tuple[str, ...]]


def machine(found: Diagnosis) -> Rows:
    """(what, value) of the machine and of the shell."""
    facts = found.facts
    there = ", ".join(name for name, has in facts.isa.items() if has) or "none of those asked for"
    lacking = ", ".join(
        name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if not facts.isa[name]
    )
    if facts.gpus:
        gpus = ", ".join(facts.gpus)
    else:
        gpus = "an NVIDIA driver, no GPU listed" if facts.driver else "no NVIDIA GPU or driver"
    shell = ", ".join(f"{name}={value!r}" for name, value in facts.environment.items())
    return [
        ("CPU", f"{facts.cpu}, {facts.cores} cores"),
        ("has", there),
        ("lacks", lacking or "-"),
        ("GPU", gpus),
        (
            "variables set here",
            f"{shell} (the modes start without them)" if shell else "none that steers numerics",
        ),
    ]


def frameworks(found: Diagnosis) -> Rows:
    """(framework, what, value): versions, devices and switches; or why there is nothing."""
    rows: Rows = []
    for each in found.facts.frameworks.values():
        if not each.facts:
            state = "installed, but says nothing of itself" if each.installed else "not installed"
            rows.append((each.name, state, each.reason))
            continue
        versions = ", ".join(f"{name} {value}" for name, value in each.facts.get("versions", {}).items())
        switches = ", ".join(f"{name} {value}" for name, value in each.facts.get("switches", {}).items())
        rows.append((each.name, "versions", versions))
        rows.append((each.name, "devices", ", ".join(each.facts.get("devices", []))))
        rows.append((each.name, "default switches", switches))
    return rows


def modes(found: Diagnosis) -> Rows:
    """(mode, what it is, whether it runs, why not)."""
    return [
        (mode.name, mode.title, "no" if found.reasons[mode.name] else "yes", found.reasons[mode.name])
        for mode in found.modes
    ]


def bits(found: Diagnosis) -> Rows:
    """(mode, a letter for each probe, what it changes) of the modes that were asked."""
    rows: Rows = []
    for mode in found.runnable:
        answer = found.answers.get(mode.name)
        if answer is not None:
            letters = [each.letters.get(mode.name, MISSING) for each in found.probes]
            rows.append((mode.name, *letters, _said(found, mode, answer)))
    return rows


def _said(found: Diagnosis, mode: Mode, answer: ModeBits) -> str:
    if answer.reason:
        return str(answer.reason)
    said = []
    changes = found.changes(mode)
    if changes:
        said.append(f"changes {', '.join(changes)}")
    elif changes is not None:
        said.append("changes no bit here")
    if answer.repeats:
        said.append(f"differs between two calls: {', '.join(answer.repeats)}")
    said += [f"{probe}: {reason}" for probe, reason in answer.reasons.items()]
    return "; ".join(said)


def summary(found: Diagnosis) -> list[str]:
    """Sentences on the probes."""
    lines = []
    if not found.installed:
        lines.append("no framework is installed: nothing can be run here; captures can be scored anywhere")
    for each in found.probes:
        if each.distinct > 1:
            width = "" if each.apart is None else f", up to {each.apart:.3g} ulp of the largest value apart"
            lines.append(f"{each.name}: {each.distinct} distinct results{width}")
        elif each.distinct:
            lines.append(f"{each.name}: every mode that answered gives the same bits")
    if found.probes:
        lines.append(
            "one letter, the same bits; what a mode changes is against its framework's first mode on the "
            "device. Larger layers may differ where these do not"
        )
    return lines


def show(found: Diagnosis, console: Console) -> None:
    """Print it: tables on a terminal, plain lines elsewhere."""
    tables: list[tuple[str, Sequence[str], Rows]] = [
        ("machine", ("", ""), machine(found)),
        ("frameworks", ("", "", ""), frameworks(found)),
        ("modes", ("mode", "what", "runs", ""), modes(found)),
        ("bits on tiny layers", ("mode", *(each.name for each in found.probes), ""), bits(found)),
    ]
    for title, heads, rows in tables:
        if rows and console.is_terminal:
            console.print(_table(title, heads, rows))
        elif rows:
            _plain(title, heads, rows)
    for line in [*rules(found), *summary(found)]:
        # The terminal wraps them itself: a mend is there to be copied.
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def rules(found: Diagnosis) -> list[str]:
    """Two lines for each contradiction: what is wrong and where it has an effect, and the mend."""
    if not found.contradictions:
        return ["no switches contradict each other", ""]
    lines = ["switches that contradict each other:"]
    for each in found.contradictions:
        where = "here" if each.here else "on a GPU, not here"
        lines += [f"  {each.rule} ({where}): {each.finding}", f"    mend: {each.mend}"]
    return [*lines, ""]


def _table(title: str, heads: Sequence[str], rows: Rows) -> Table:
    table = Table(title=title, title_justify="left", show_header=any(heads))
    for head in heads:
        table.add_column(head, overflow="fold", no_wrap=head in ("mode", "runs"))
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _plain(title: str, heads: Sequence[str], rows: Rows) -> None:
    print(f"{title}:")
    # The last column, and the wide ones of findings, are not padded.
    widths = [
        max(len(row[i]) for row in ([*rows, tuple(heads)] if any(heads) else rows))
        for i in range(len(heads) - 1)
    ]
    for row in ([tuple(heads)] if any(heads) else []) + rows:
        cells = [f"{cell:<{min(width, 40)}}" for cell, width in zip(row, widths, strict=False)]
        print("  " + "  ".join([*cells, row[-1]]).rstrip())
    print()
