"""Odd results in a real browser: hostile names, nothing to show, very many cells; and the other pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import browser_checks
import browser_pages
import pytest
from browser import DESKTOP, PHONE, chromium, visit
from browser_checks import LIST
from playwright.sync_api import Browser, Locator

SIZES = pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
SHOWN = (
    "<script>alert(",
    "<img src=x onerror=alert(1)>",
    "{{ 7 * 7 }}",
    "שלום עולם",
    "漢字の名前",
    "\\u202e",
)
"""What of the hostile names must be read on the page as it is written here."""

ROWS = "table => [...table.tBodies[0].rows].filter(row => row.checkVisibility()).map(row => row.textContent)"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    text = browser_pages.page(browser_pages.hostile_results())
    return browser_pages.put(tmp_path_factory.mktemp("hostile"), "index", text)


def listed(table: Locator) -> list[str]:
    """The text of each row that is seen."""
    return list(table.evaluate(ROWS))


@SIZES
def test_hostile_names_are_text_and_break_nothing(
    browser: Browser, hostile: Path, size: tuple[int, int]
) -> None:
    with visit(browser, hostile, size) as found:
        assert found.behind == []
        assert browser_checks.layout(found.page) == []
        browser_checks.unfold(found.page)
        assert browser_checks.layout(found.page) == []
        read = found.page.inner_text("body")
        assert [text for text in SHOWN if text not in read] == []
        assert "\u202e" not in read
        assert found.page.locator("script").count() == 1
        assert found.page.locator("iframe, object, embed, form, base, link").count() == 0
        assert found.page.locator("img:not([src^='data:'])").count() == 0
        names = found.page.eval_on_selector_all("*", "all => all.flatMap(each => each.getAttributeNames())")
        assert [name for name in names if name.startswith("on")] == []


def test_hostile_names_can_be_searched_for_and_passed_on(browser: Browser, hostile: Path) -> None:
    with visit(browser, hostile) as found:
        page = found.page
        page.get_by_role("searchbox").fill("<script>alert(")
        rows = page.locator(f"{LIST} tbody tr:visible")
        assert rows.count() > 0
        assert all("<script>alert(" in text.lower() for text in rows.all_inner_texts())
        links = page.locator("#cells table a[href^='#cell-']")
        links.nth(links.count() // 2).click()
        assert page.locator(":target").is_visible()
        assert found.behind == []


@pytest.mark.slow
def test_hostile_names_shut_no_reader_out(browser: Browser, hostile: Path) -> None:
    with visit(browser, hostile) as found:
        assert browser_checks.accessibility(found.page) == []


@pytest.mark.parametrize("name", browser_pages.ODD)
def test_odd_results_give_a_page_that_says_so(browser: Browser, name: str, tmp_path: Path) -> None:
    make, words = browser_pages.ODD[name]
    path = browser_pages.put(tmp_path, name, browser_pages.page(make()))
    for size in (DESKTOP, PHONE):
        with visit(browser, path, size) as found:
            assert words in found.page.inner_text("header")
            assert browser_checks.first_screen(found.page) == []
            browser_checks.unfold(found.page)
            assert browser_checks.layout(found.page) == []
            assert found.behind == []
            if size == DESKTOP and not make().scores["error_ulp_max"].notna().any():
                assert browser_checks.accessibility(found.page) == []


@pytest.mark.parametrize("name", browser_pages.OTHERS)
def test_the_other_pages_open_whole(browser: Browser, name: str, tmp_path: Path) -> None:
    plain = browser_pages.put(tmp_path, name, browser_pages.OTHERS[name]())
    hostile = browser_pages.put(
        tmp_path, f"{name} hostile", browser_pages.OTHERS[name](browser_pages.hostile)
    )
    for path in (plain, hostile):
        for size in (DESKTOP, PHONE):
            with visit(browser, path, size, dark=size == PHONE) as found:
                browser_checks.unfold(found.page)
                assert browser_checks.layout(found.page) == []
                if path == hostile:
                    assert browser_checks.accessibility(found.page) == []
                assert found.behind == []


@pytest.mark.parametrize(
    ("cases", "modes"), [(30, 10), pytest.param(250, 40, marks=pytest.mark.slow)], ids=["300", "10,000"]
)
def test_many_cells_are_paged(browser: Browser, tmp_path: Path, cases: int, modes: int) -> None:
    results = browser_pages.many_cells(cases, modes, pictures=False)
    path = browser_pages.put(tmp_path, "many", browser_pages.page(results))
    with visit(browser, path) as found:
        page = found.page
        assert browser_checks.first_screen(page) == []
        assert f"{cases * modes:,}" in page.inner_text("header")
        table = page.locator(LIST)
        total = table.locator("tbody tr").count()
        sheets = [listed(table)]
        assert 0 < len(sheets[0]) <= 500
        before, after = page.get_by_role("button", name="Previous"), page.get_by_role("button", name="Next")
        assert before.is_disabled()
        while not after.is_disabled():
            after.click()
            sheets.append(listed(table))
        assert len(sheets) > 1
        assert sum(map(len, sheets)) == len({row for sheet in sheets for row in sheet}) == total
        before.click()
        assert listed(table) == sheets[-2]
        table.locator("thead th").first.get_by_role("button").click()
        page.get_by_role("searchbox").fill(f"number {cases - 1}")
        texts = listed(table)
        assert texts
        assert all("number" in text and str(cases - 1) in text for text in texts)
        assert not after.is_visible()
        assert found.behind == []
