"""How fast the pages open in a browser: `python bench_page.py -o FILE.json` writes the figures.

"default": made-up results of the default suite's size; "many": 10,000 cells; "blank": a page of one word, for
the ratio, which the machine's load does not move as it moves the times.  Each is opened again and again, in
turns, in a fresh context, from disk, with the network off.  First paint and load are the browser's own
figures, in milliseconds from the start of the navigation; `open` is from outside, until the page has been
loaded, its script has run and it answers.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "reports"))  # the browser and the pages of the tests

import browser_pages
from browser import chromium, visit
from playwright.sync_api import Browser

CASES, MODES = 25, 28
"""As the default suite has."""

LIMITS = {"default": {"bytes": 5_000_000, "first_paint_ms": 1000.0}, "many": {"open_ms": 5000.0}}
BLANK = "<!DOCTYPE html><html lang='en'><meta charset='utf-8'><title>blank</title><p>blank</p></html>"
TIMES = """() => ({
  first_paint_ms: performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? null,
  load_ms: performance.getEntriesByType("navigation")[0].loadEventEnd,
  elements: document.querySelectorAll("*").length,
})"""


def opened(browser: Browser, path: Path) -> dict[str, float]:
    """The figures of opening the page once."""
    started = time.perf_counter()
    with visit(browser, path) as found:
        found.page.evaluate(
            "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )
        seconds = time.perf_counter() - started
        # The entry is written a little after the frame that it is of.
        found.page.wait_for_function("() => performance.getEntriesByName('first-contentful-paint').length")
        if found.behind:
            raise RuntimeError(f"{path.name}: {found.behind[0]}")
        return dict(found.page.evaluate(TIMES)) | {"open_ms": 1000 * seconds}


def measure(texts: Mapping[str, str], rounds: int) -> dict[str, Any]:
    """Median and least figures of each page, opened in turns, and their ratios to those of `blank`."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in texts}
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        paths = {name: browser_pages.put(Path(folder), name, text) for name, text in texts.items()}
        opened(browser, paths["blank"])
        for _ in range(rounds):
            for name, path in paths.items():
                found[name].append(opened(browser, path))
    rows: dict[str, Any] = {}
    for name, each in found.items():
        rows[name] = {"bytes": len(texts[name].encode()), "elements": each[0]["elements"]}
        for figure in ("first_paint_ms", "load_ms", "open_ms"):
            values = [row[figure] for row in each]
            rows[name][figure] = round(statistics.median(values), 1)
            rows[name][f"{figure}_least"] = round(min(values), 1)
    for row in rows.values():
        for figure in ("first_paint_ms", "open_ms"):
            row[f"{figure.removesuffix('_ms')}_ratio"] = round(row[figure] / rows["blank"][figure], 2)
    return rows


def over(rows: Mapping[str, Any]) -> list[str]:
    """The figures that are above their limits, in words."""
    return [
        f"{name}: {figure} is {rows[name][figure]:,}, the limit {limit:,}"
        for name, limits in LIMITS.items()
        if name in rows
        for figure, limit in limits.items()
        if rows[name][figure] > limit
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--page", type=Path, help="a finished report to open in place of the made-up one")
    options = parser.parse_args()
    texts, rendered = {"blank": BLANK}, {}
    pages = {
        "default": lambda: browser_pages.page(browser_pages.many_cells(CASES, MODES)),
        "many": lambda: browser_pages.page(browser_pages.many_cells(pictures=False)),
    }
    if options.page:
        pages["default"] = lambda: options.page.read_text(encoding="utf-8")
    for name, make in pages.items():
        started = time.perf_counter()
        texts[name] = make()
        rendered[name] = round(time.perf_counter() - started, 2)
    rows = measure(texts, options.rounds)
    report = {
        "machine": {"cpu": platform.processor() or platform.machine(), "platform": platform.platform()},
        "limits": LIMITS,
        "render_seconds": rendered,
        "rounds": options.rounds,
        "pages": rows,
        "over": over(rows),
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for name, row in rows.items():
        print(f"{name}: {row}")
    print("; ".join(over(rows)) or f"all within the limits; {options.output}")


if __name__ == "__main__":
    main()
