"""Opens pages in a real browser, as a reader would, and notes all that goes wrong behind them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import browser_install
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

DESKTOP = (1280, 800)
PHONE = (390, 844)
PATIENCE = 120_000
"""Milliseconds until a step counts as lost: a loaded machine is no fault of the page."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser, closed afterwards.  Without one: a skip, or in continuous integration a failure.

    It must not outlive a module of tests: while it runs, no other event loop can.
    """
    path = browser_install.executable()
    if path is None:
        if os.environ.get("CI"):
            pytest.fail(browser_install.WANTED)
        pytest.skip(browser_install.WANTED)
    quiet = ["--disable-dev-shm-usage", "--disable-gpu", "--font-render-hinting=none"]
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=[*quiet, *root], timeout=PATIENCE)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Visit:
    """An open page and what went wrong behind it: messages, errors, dialogs, requests."""

    page: Page
    behind: list[str] = field(default_factory=list)


@contextmanager
def visit(
    browser: Browser,
    file: Path,
    size: tuple[int, int] = DESKTOP,
    *,
    dark: bool = False,
    script: bool = True,
    fragment: str = "",
) -> Iterator[Visit]:
    """Open the file from disk, with the network off, in a window of that size."""
    address = file.resolve().as_uri()
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if dark else "light",
        java_script_enabled=script,
        reduced_motion="reduce",
        offline=True,
    )
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    found = Visit(page)

    def message(each: Any) -> None:
        if each.type in ("error", "warning"):
            found.behind.append(f"console {each.type}: {each.text}")

    def dialog(each: Any) -> None:
        found.behind.append(f"dialog: {each.message}")
        each.dismiss()

    def request(each: Any) -> None:
        if each.url.split("#")[0] != address and not each.url.startswith("data:"):
            found.behind.append(f"request: {each.url[:200]}")

    page.on("console", message)
    page.on("pageerror", lambda error: found.behind.append(f"error: {error}"))
    page.on("dialog", dialog)
    page.on("request", request)
    try:
        page.goto(address + fragment, wait_until="load")
        yield found
    finally:
        context.close()
