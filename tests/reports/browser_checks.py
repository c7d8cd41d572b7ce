"""What is wrong with an open page: its layout, its first screen, its accessibility.  Empty lists are good."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

SLACK = 2.0
"""Pixels by which glyph boxes may touch."""

AXE = "66a8aaa95a8b044a7fd74a5435873bf04ff65a1ca75567c921b7509742085a14"
"""SHA-256 of axe.min.js in npm's axe-core 4.12.1, which the wheel repeats (with a line end after it)."""

LIST = "section:has(input[type='search']) table[data-sortable]"
"""The list of results: what can be searched."""

GRAVE = ("serious", "critical")

_SCREEN = """(need) => need.flatMap(([what, selector, count]) => {
  const found = [...document.querySelectorAll(selector)].filter((element) => element.checkVisibility());
  if (found.length < count) return [`${what}: ${found.length} of ${count}`];
  return found.slice(0, count).flatMap((element) => {
    const box = element.getBoundingClientRect();
    const inside = box.top >= 0 && box.left >= 0 && box.bottom <= innerHeight && box.right <= innerWidth;
    const empty = !element.textContent.trim();
    if (inside && !empty) return [];
    return [`${what}: ${empty ? "empty" : `ends at ${Math.round(box.bottom)} of ${innerHeight} px`}`];
  });
})"""


@cache
def _script(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


@cache
def axe() -> str:
    """The accessibility checker's script.  Raises `ValueError` if it is not npm's own, byte for byte."""
    text = (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8").rstrip("\n")
    found = hashlib.sha256(text.encode()).hexdigest()
    if found != AXE:
        raise ValueError(f"axe.min.js must have the SHA-256 {AXE}; the installed one has {found}")
    return text


def layout(page: Page) -> list[str]:
    """Text covered, cut off or outside its box, and a page wider than its window."""
    return list(page.evaluate(_script("browser_layout.js"), SLACK))


def first_screen(page: Page) -> list[str]:
    """What of the verdict, the four numbers and the provenance is not wholly seen without scrolling."""
    need = [["verdict", "h1", 1], ["number", "header li", 4], ["provenance", "header dl", 1]]
    return list(page.evaluate(_SCREEN, need))


def accessibility(page: Page, only: str | None = None) -> list[str]:
    """What axe-core holds to be serious or critical, a line an element; of one rule only, if named."""
    layout(page)  # lays out what has not been scrolled to
    if not page.evaluate("typeof axe === 'object'"):
        page.evaluate(axe())
    options: dict[str, Any] = {"resultTypes": ["violations"]}
    if only:
        options["runOnly"] = {"type": "rule", "values": [only]}
    found: dict[str, Any] = page.evaluate("options => axe.run(document, options)", options)
    return [
        f"{rule['id']} ({rule['impact']}): {node['target'][0]}: {' '.join(node['html'].split())[:120]}"
        for rule in found["violations"]
        if rule["impact"] in GRAVE
        for node in rule["nodes"]
    ]


def unfold(page: Page) -> None:
    """Open all that is folded."""
    page.eval_on_selector_all("details", "all => all.forEach(each => { each.open = true; })")
