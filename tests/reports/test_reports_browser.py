"""The page in a real browser, from disk and with the network off: seen, read, worked and printed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import browser_checks
import pytest
from browser import DESKTOP, PHONE, Visit, chromium, visit
from browser_checks import LIST
from browser_pages import few, made_up, put
from playwright.sync_api import Browser, Locator, Page

PAPER = (718, 1000)
"""A4 less the margins a browser leaves, in CSS pixels."""

IN_WINDOW = """each => { const box = each.getBoundingClientRect();
  return each.checkVisibility() && box.top >= -1 && box.top < innerHeight && box.right > 0; }"""
BACKGROUND = "getComputedStyle(document.body).backgroundColor.match(/[\\d.]+/g).slice(0, 3).map(Number)"
ROWS = """table => [...table.tBodies[0].rows].filter(row => row.checkVisibility())
  .map(row => [...row.cells].map(cell => [cell.textContent, cell.dataset.value ?? null]))"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return put(tmp_path_factory.mktemp("report"), "index", made_up())


@pytest.fixture
def opened(browser: Browser, report: Path) -> Iterator[Visit]:
    with visit(browser, report) as found:
        yield found
        assert found.behind == []


def listed(page: Page) -> tuple[Locator, list[list[list[str | None]]]]:
    """The list of results and its rows as they are seen: text and exact value of each cell."""
    table = page.locator(LIST)
    return table, table.evaluate(ROWS)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_it_opens_whole(browser: Browser, report: Path, size: tuple[int, int], dark: bool) -> None:
    with visit(browser, report, size, dark=dark) as found:
        assert browser_checks.first_screen(found.page) == []
        assert browser_checks.layout(found.page) == []
        red, green, blue = found.page.evaluate(BACKGROUND)
        assert (max(red, green, blue) < 64) if dark else (min(red, green, blue) > 224)
        browser_checks.unfold(found.page)
        assert browser_checks.layout(found.page) == []
        assert found.behind == []


def test_no_reader_is_shut_out(browser: Browser, tmp_path: Path) -> None:
    with visit(browser, put(tmp_path, "few", few())) as found:
        browser_checks.unfold(found.page)
        assert browser_checks.accessibility(found.page) == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_contrast_is_enough(browser: Browser, report: Path, dark: bool) -> None:
    with visit(browser, report, dark=dark) as found:
        assert browser_checks.accessibility(found.page, only="color-contrast") == []


def test_what_scrolls_on_a_phone_can_be_reached_by_keyboard(browser: Browser, report: Path) -> None:
    with visit(browser, report, PHONE) as found:
        browser_checks.unfold(found.page)
        assert browser_checks.accessibility(found.page, only="scrollable-region-focusable") == []


def test_sorting_by_a_figure_puts_missing_ones_last_both_ways(opened: Visit) -> None:
    table, before = listed(opened.page)
    heads = table.locator("thead th")
    columns = [at for at in range(heads.count()) if "num" in (heads.nth(at).get_attribute("class") or "")]
    assert columns
    for at in columns:
        button = heads.nth(at).get_by_role("button")
        for way, worse in (("descending", lambda a, b: a < b), ("ascending", lambda a, b: a > b)):
            button.click()
            assert heads.nth(at).get_attribute("aria-sort") == way
            assert table.locator("th[aria-sort]").count() == 1
            _, rows = listed(opened.page)
            values = [row[at][1] for row in rows]
            figures = [float(value) for value in values if value is not None]
            assert figures
            assert values[len(figures) :] == [None] * (len(values) - len(figures))
            assert not any(worse(a, b) for a, b in pairwise(figures))
            assert sorted(map(str, rows)) == sorted(map(str, before))


def test_sorting_by_words_works_from_the_keyboard(opened: Visit) -> None:
    table, _ = listed(opened.page)
    button = table.locator("thead th").first.get_by_role("button")
    for key, way in (("Enter", "ascending"), ("Space", "descending")):
        button.focus()
        opened.page.keyboard.press(key)
        assert table.locator("thead th").first.get_attribute("aria-sort") == way
        _, rows = listed(opened.page)
        names = [str(row[0][0]).lower() for row in rows]
        assert names == sorted(names, reverse=way == "descending")
        assert len(set(names)) > 1


def test_filtering_shows_what_has_all_the_words_and_says_how_many(opened: Visit) -> None:
    field = opened.page.get_by_role("searchbox")
    said = opened.page.get_by_role("status")
    _, before = listed(opened.page)
    field.fill("TensorFlow  bf16")
    _, rows = listed(opened.page)
    texts = [" ".join(str(text) for text, _ in row).lower() for row in before]
    wanted = sum("tensorflow" in text and "bf16" in text for text in texts)
    assert 0 < len(rows) == wanted < len(before)
    assert str(wanted) in said.inner_text()
    field.fill("no such word anywhere")
    assert listed(opened.page)[1] == []
    assert said.inner_text().startswith("0")
    field.fill("")
    assert listed(opened.page)[1] == before


def test_a_sorted_table_stays_filtered(opened: Visit) -> None:
    opened.page.get_by_role("searchbox").fill("torch.cpu.bf16")
    table, rows = listed(opened.page)
    table.locator("thead th.num").first.get_by_role("button").click()
    assert len(listed(opened.page)[1]) == len(rows) > 0


def test_a_cell_has_an_address_that_can_be_passed_on(browser: Browser, report: Path, opened: Visit) -> None:
    links = opened.page.locator("#cells table a[href^='#cell-']")
    count = links.count()
    assert count > 30
    assert len(set(links.evaluate_all("all => all.map(each => each.hash)"))) == count
    opened.page.get_by_role("searchbox").fill("no such word anywhere")
    for at in (0, count // 2, count - 1):
        fragment = str(links.nth(at).get_attribute("href"))
        links.nth(at).click()
        assert opened.page.evaluate("location.hash") == fragment
        assert opened.page.locator(":target").evaluate(IN_WINDOW)
        with visit(browser, report, PHONE, fragment=fragment) as found:
            assert found.page.locator(":target").evaluate(IN_WINDOW)
            assert found.behind == []


def test_every_link_leads_somewhere_that_is_seen(opened: Visit) -> None:
    dead = opened.page.evaluate("""[...document.querySelectorAll("a[href]")].filter(each => {
      const target = document.getElementById(decodeURIComponent(each.hash.slice(1)));
      return each.protocol !== "file:" || each.pathname !== location.pathname || !target; })
      .map(each => each.outerHTML)""")
    assert dead == []


def test_the_keyboard_reaches_everything_and_shows_where_it_is(opened: Visit) -> None:
    page = opened.page
    page.keyboard.press("Tab")
    first = page.locator(":focus")
    assert first.evaluate(IN_WINDOW)
    target = str(first.get_attribute("href"))
    assert target.startswith("#")
    stops = []
    for _ in range(30):
        stops.append(
            page.evaluate("""() => {
          const at = document.activeElement, style = getComputedStyle(at), box = at.getBoundingClientRect();
          const ring = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
          const seen = box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
          return {what: at.outerHTML.slice(0, 120), fine: ring && seen && at !== document.body}; }""")
        )
        page.keyboard.press("Tab")
    assert [stop["what"] for stop in stops if not stop["fine"]] == []
    assert len({stop["what"] for stop in stops}) > 20
    skip = page.locator(f"a[href='{target}']").first
    skip.focus()
    skip.press("Enter")
    assert page.locator(":target").evaluate(IN_WINDOW)


def test_without_script_the_page_is_whole(browser: Browser, report: Path, opened: Visit) -> None:
    table, rows = listed(opened.page)
    total = table.locator("tbody tr").count()
    with visit(browser, report, script=False) as found:
        bare, whole = listed(found.page)
        assert len(whole) == bare.locator("tbody tr").count() >= total >= len(rows) > 0
        assert found.page.get_by_role("searchbox").count() == 0
        assert bare.get_by_role("button").count() == 0
        assert browser_checks.first_screen(found.page) == []
        assert browser_checks.layout(found.page) == []
        assert found.behind == []


def test_it_prints_dark_on_light_without_what_paper_cannot_do(browser: Browser, report: Path) -> None:
    with visit(browser, report, PAPER, dark=True) as found:
        page = found.page
        page.emulate_media(media="print")
        assert min(page.evaluate(BACKGROUND)) > 224
        assert not page.get_by_role("searchbox").is_visible()
        assert not page.locator("nav").first.is_visible()
        assert browser_checks.layout(page) == []
        inner = page.eval_on_selector_all(
            "*",
            "all => all.filter(each => each.checkVisibility() && ['auto', 'scroll'].includes("
            "getComputedStyle(each).overflowX) && each.scrollWidth > each.clientWidth + 1)"
            ".map(each => each.outerHTML.slice(0, 120))",
        )
        assert inner == [], "what scrolls is cut off on paper"
        assert page.pdf(format="A4").startswith(b"%PDF")
        assert page.locator("details.more:not([open])").count() == 0
