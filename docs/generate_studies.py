"""Writes docs/studies.md: what five documents saw, and why, from the results of the studies' runs.

python docs/generate_studies.py --runs DIR DIR ...    keep the rows of new runs, write the page
python docs/generate_studies.py                       write the page from the kept ones
python docs/generate_studies.py --check               status 1 where the page differs from them
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from precision.cases import STUDIES
from precision.studies.row import load_document
from reports import load, numbers
from reports.studies import facts

ROOT = Path(__file__).resolve().parent.parent
PAGE, KEPT = ROOT / "docs" / "studies.md", ROOT / "docs" / "results" / "studies"
TITLE = """# Five documents, every row explained

People compared PyTorch and TensorFlow by hand, layer by layer, and were left with questions. Each document is a study that runs
again at full size in both frameworks:

    precision report conv-difference | notebook | same-outputs | wgan | detnet

and ends with the document's rows: what it saw, what is seen now, the truth, the cause with its evidence, the mend. This page is
generated (`docs/generate_studies.py`) from runs on {machine}; another machine
adds in other orders and gives other digits.

Evidence: *proved* is bit for bit, or exact algebra; *bounded* within a rigorous bound; *consistent* by statistics or emulation.
"""


def keep(folder: Path) -> None:
    """Keep the rows of a run, and where it ran."""
    results = load(folder / "results")
    rows = json.loads(results.studies.sort_values("order").to_json(orient="records"))
    if not rows:
        sys.exit(f"{folder} holds no study")
    run = {"machine": results.run["machine"], "versions": results.run["versions"]}
    KEPT.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"run": run, "rows": rows}, indent=1, ensure_ascii=False) + "\n"
    (KEPT / f"{rows[0]['study']}.json").write_text(text, encoding="utf-8")


def page() -> str:
    """The page's text, from the kept rows alone."""
    kept = {name: json.loads((KEPT / f"{name}.json").read_text("utf-8")) for name in STUDIES if _there(name)}
    machines = dict.fromkeys(_machine(each["run"]) for each in kept.values())
    parts = [TITLE.format(machine="; ".join(machines) or "no machine yet")]
    for name, each in kept.items():
        document = load_document(name)
        parts.append(f"## {document.title}\n\n`precision report {name}`. {document.about}\n")
        parts.append(_table(each["rows"]))
        parts += [_row(row) for row in each["rows"]]
    return "\n".join(parts)


def _there(name: str) -> bool:
    return (KEPT / f"{name}.json").is_file()


def _machine(run: dict[str, Any]) -> str:
    """Processor and versions in words."""
    versions = (
        f"{name} {run['versions'][name]}" for name in ("torch", "tensorflow") if name in run["versions"]
    )
    return ", ".join([str(run["machine"].get("processor") or run["machine"].get("platform", "")), *versions])


def _table(rows: list[dict[str, Any]]) -> str:
    lines = ["| row | cause | evidence | comes out again |", "|---|---|---|---|"]
    lines += [
        f"| {_cell(r['title'])} | {r['cause'].replace('none', 'no difference')} | {r['evidence']} | {r['recurs']} |"
        for r in rows
    ]
    return "\n".join(lines) + "\n"


def _row(row: dict[str, Any]) -> str:
    told = "\n".join(f"- **{name}**: {text}" for name, text in facts(row))
    figures = json.loads(row["figures"])
    text = f"### {row['title']}\n\n{row['source']}\n\n{told}\n"
    return text + _figures(figures) if figures else text


def _figures(figures: list[dict[str, Any]]) -> str:
    noted = any(each["note"] for each in figures)
    heads = ["figure", "document", "now", "truth", *(["note"] if noted else [])]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for each in figures:
        cells = [each["name"], *(_shown(each[name]) for name in ("document", "now", "truth"))]
        lines.append(f"| {' | '.join(map(_cell, cells + ([each['note']] if noted else [])))} |")
    return "\n" + "\n".join(lines) + "\n"


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return numbers.figure(value, 6)
    return numbers.plain(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> int:
    """The command line; see the module's text."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=Path, nargs="*", default=[])
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    for folder in given.runs:
        keep(folder)
    text = page()
    if given.check:
        return int(not PAGE.is_file() or PAGE.read_text("utf-8") != text)
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
