"""How the page looks in a real browser: light and dark, chosen and kept; names that turn or fill a screen."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import browser_checks
import browser_pages
import pytest
from browser import DESKTOP, PHONE, chromium, visit
from playwright.sync_api import Browser, Page

from reports.theme import PAGE, PLOT, contrast

GROUND = "getComputedStyle(document.body).backgroundColor"
LETTERS = """() => [...document.querySelectorAll(".plot svg, .drawing svg")].flatMap(svg =>
  [...svg.querySelectorAll("text")].filter(text => text.textContent.trim()).map(text =>
    [getComputedStyle(text).fill, getComputedStyle(svg.parentElement).backgroundColor]))"""
ORDER = """table => [...table.querySelectorAll("tbody td, tbody th")].map(cell => {
  const range = document.createRange(), found = [];
  const walker = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const at = node.data.indexOf(" = ");
    if (at < 0) continue;
    range.setStart(node, at + 1); range.setEnd(node, at + 2);
    found.push(range.getBoundingClientRect().left);
  }
  return found;
}).flat()"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return browser_pages.put(tmp_path_factory.mktemp("look"), "index", browser_pages.few())


def hexadecimal(colour: str) -> str:
    """`rgb(1, 2, 3)` as `#010203`."""
    return "#" + "".join(f"{int(float(part)):02x}" for part in re.findall(r"[\d.]+", colour)[:3])


def dark(page: Page) -> bool:
    found = hexadecimal(page.evaluate(GROUND))
    assert found in PAGE["paper"]
    return found == PAGE["paper"][1]


@pytest.mark.parametrize("night", [False, True], ids=["light", "dark"])
def test_letters_in_pictures_can_be_read(browser: Browser, report: Path, night: bool) -> None:
    with visit(browser, report, dark=night) as found:
        browser_checks.unfold(found.page)
        pairs = {tuple(map(hexadecimal, pair)) for pair in found.page.evaluate(LETTERS)}
        assert (PLOT["pen"][night], PLOT["plot"][night]) in pairs
        assert [pair for pair in pairs if contrast(*pair) < 4.5] == []


def test_colours_are_chosen_and_kept(browser: Browser, report: Path) -> None:
    with visit(browser, report, dark=True) as found:
        page = found.page
        select = page.get_by_role("combobox", name="Colours")
        assert dark(page)
        assert select.input_value() == "auto"
        for value, wanted in (("light", False), ("dark", True), ("auto", True), ("light", False)):
            select.select_option(value)
            assert dark(page) == wanted
        page.reload()
        assert not dark(page)
        assert page.get_by_role("combobox", name="Colours").input_value() == "light"
        assert found.behind == []


def test_colours_are_chosen_by_keyboard(browser: Browser, report: Path) -> None:
    with visit(browser, report) as found:
        page = found.page
        for _ in range(2):
            page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "theme"
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        assert dark(page)


def test_paper_is_light_whatever_was_chosen(browser: Browser, report: Path) -> None:
    with visit(browser, report, dark=True) as found:
        page = found.page
        page.get_by_role("combobox", name="Colours").select_option("dark")
        page.emulate_media(media="print")
        assert not dark(page)
        assert not page.get_by_role("combobox").is_visible()
        fills = {hexadecimal(fill) for fill, _ in page.evaluate(LETTERS)}
        assert PLOT["pen"][0] in fills
        assert PLOT["pen"][1] not in fills


def test_a_browser_that_keeps_nothing_still_changes_colours(browser: Browser, report: Path) -> None:
    with visit(browser, report) as found:
        page = found.page
        page.add_init_script(
            """Object.defineProperty(window, "localStorage", { get() { throw new Error("no"); } })"""
        )
        page.reload()
        page.get_by_role("combobox", name="Colours").select_option("dark")
        assert dark(page)
        assert found.behind == []


def test_pictures_of_maps_have_the_colours_of_the_theme(browser: Browser, report: Path) -> None:
    with visit(browser, report) as found:
        page = found.page
        image = page.locator(".plot image").first
        shown = []
        for value in ("light", "dark"):
            page.get_by_role("combobox", name="Colours").select_option(value)
            shown.append(image.evaluate("each => getComputedStyle(each).filter"))
        assert ["ramp-light" in shown[0], "ramp-dark" in shown[1]] == [True, True]
        assert page.locator("filter#ramp-light, filter#ramp-dark").count() == 2


def test_a_name_from_right_to_left_turns_nothing_around_it(browser: Browser, tmp_path: Path) -> None:
    """The sign between two modes stands between them, whichever letters they have."""
    plain = browser_pages.without(browser_pages.some(), *browser_pages.PICTURES)
    names = {"torch.cpu": "שלום-1", "torch.cpu.threads1": "2-עולם"}
    frames = {
        name: plain.table(name).replace({"mode": names})
        for name in browser_pages.ALL
        if "mode" in plain.table(name)
    }
    path = browser_pages.put(tmp_path, "right", browser_pages.page(dataclasses.replace(plain, **frames)))
    with visit(browser, path) as found:
        page = found.page
        words = page.evaluate("""() => [...document.querySelectorAll("#agreement td.reason")]
          .map(each => each.textContent)""")
        text = next(each for each in words if "שלום" in each)
        assert "\u2068שלום\u2069-1 = 2-\u2068עולם\u2069" in text
        spots = page.evaluate("""text => {
          const part = document.querySelector("#agreement");
          const walker = document.createTreeWalker(part, NodeFilter.SHOW_TEXT);
          for (let node = walker.nextNode(); node; node = walker.nextNode()) {
            if (!node.data.includes(text)) continue;
            const from = node.data.indexOf(text), range = document.createRange();
            return [1, 7, 9, 11, 14].map(at => {
              range.setStart(node, from + at); range.setEnd(node, from + at + 1);
              const box = range.getBoundingClientRect();
              return [node.data[from + at], box.left, box.top];
            });
          }
        }""", "\u2068שלום\u2069-1 = 2-\u2068עולם\u2069")  # fmt: skip
        assert [letter for letter, _, _ in spots] == ["ש", "1", "=", "2", "ע"]
        assert [left for _, left, _ in spots] == sorted(left for _, left, _ in spots)
        assert len({top for _, _, top in spots}) == 1
        assert found.behind == []


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_long_names_leave_the_first_screen_whole(
    browser: Browser, tmp_path: Path, size: tuple[int, int]
) -> None:
    plain = browser_pages.without(browser_pages.some(), *browser_pages.PICTURES)
    long = "a-case-name-of-very-many-words-" * 40
    frames = {}
    for name in browser_pages.ALL:
        frame = plain.table(name).copy()
        for column in ("case", "title"):
            if name != "studies" and column in frame:
                frame[column] = long + frame[column]
        frames[name] = frame
    run = dict(plain.run) | {"title": long, "command": long * 3, "machine": {long: long}}
    path = browser_pages.put(
        tmp_path, "long", browser_pages.page(dataclasses.replace(plain, **frames, run=run))
    )
    with visit(browser, path, size) as found:
        page = found.page
        assert browser_checks.first_screen(page) == []
        assert browser_checks.layout(page) == []
        row = page.locator("#cells tbody tr").first.bounding_box()
        assert row is not None
        assert row["height"] < 100
        head = page.locator("#cases article h3").first
        head.scroll_into_view_if_needed()
        shown = head.evaluate("each => [each.scrollHeight - each.clientHeight, each.textContent.length]")
        assert shown[0] <= 1  # whole there
        assert shown[1] > len(long)
        assert found.behind == []


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_hostile_names_leave_the_first_screen_whole(
    browser: Browser, tmp_path: Path, size: tuple[int, int]
) -> None:
    results = browser_pages.without(browser_pages.hostile_results(), *browser_pages.PICTURES)
    text = browser_pages.page(results)
    with visit(browser, browser_pages.put(tmp_path, "hostile", text), size) as found:
        assert browser_checks.first_screen(found.page) == []


def test_all_that_scrolls_has_a_name_and_can_be_reached(browser: Browser, report: Path) -> None:
    with visit(browser, report, PHONE) as found:
        browser_checks.unfold(found.page)
        browser_checks.layout(found.page)  # lays out what has not been scrolled to
        odd = found.page.evaluate("""() => [...document.querySelectorAll("body *")].filter(each => {
          const style = getComputedStyle(each);
          const scrolls = [style.overflowX, style.overflowY].some(way => ["auto", "scroll"].includes(way));
          const named = each.getAttribute("role") && each.getAttribute("aria-label")?.trim();
          return scrolls && each.checkVisibility() && !["SELECT", "INPUT"].includes(each.tagName) &&
            (each.tabIndex !== 0 || !named); }).map(each => each.outerHTML.slice(0, 100))""")
        assert odd == []
