"""The checks of the page are themselves checked: each rejects what is planted, and passes a sound page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import browser_checks
import browser_install
import pytest
from browser import DESKTOP, PHONE, chromium, visit
from browser_pages import put
from playwright.sync_api import Browser

SOUND = (Path(__file__).parent / "browser_sound.html").read_text(encoding="utf-8")

LAYOUT = {
    "wide": '<div style="width:3000px;height:4px"></div>',
    "overlap": '<p style="margin-top:-1.1em">A second line that lies upon the one before it</p>',
    "spills": '<p style="width:60px;white-space:nowrap">A line that is wider than its own box is</p>',
    "cut": '<p style="width:60px;white-space:nowrap;overflow:hidden">A line of which the end is lost</p>',
    "covered": '<div style="position:absolute;left:0;top:0;width:100%;height:5rem;background:#eee"></div>',
    "outside": '<p style="position:absolute;left:-40px">Half of this lies left of the page</p>',
}
DRAWINGS = {
    "overlap": '<text x="10" y="20">one two three</text><text x="40" y="22">four</text>',
    "spills": '<text x="150" y="20">longer than the drawing is wide</text>',
}
GRAVE = {
    "svg-img-alt": '<svg role="img" width="9" height="9"><text>1</text></svg>',
    "color-contrast": '<p style="color:#bbb;background:#fff">Hardly to be read</p>',
    "image-alt": '<img width="9" src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">',
    "scrollable-region-focusable": '<div style="overflow:auto;height:20px"><p>one</p><p>two</p></div>',
    "label": '<input type="text">',
    "link-in-text-block": '<p>A <a href="#x" style="color:#222;text-decoration:none">link</a> and more</p>',
}
BEHIND = {
    "console error": "<script>console.error('a fault')</script>",
    "error: ": "<script>undefined.field</script>",
    "dialog: ": "<script>alert('hello')</script>",
    "request: ": '<img alt="" src="http://127.0.0.1:9/picture.png">',
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def page(tmp_path: Path) -> Callable[[str], Path]:
    """Writes the sound page with something planted in it."""
    return lambda planted: put(tmp_path, "planted", SOUND.replace("<p>PLANT</p>", planted))


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_a_sound_page_passes_every_check(
    browser: Browser, page: Callable[[str], Path], size: tuple[int, int]
) -> None:
    with visit(browser, page(""), size) as found:
        assert browser_checks.layout(found.page) == []
        assert browser_checks.first_screen(found.page) == []
        assert browser_checks.accessibility(found.page) == []
        assert found.behind == []


def test_faults_of_the_layout_are_found(browser: Browser, page: Callable[[str], Path]) -> None:
    for kind, planted in LAYOUT.items():
        with visit(browser, page(planted), PHONE) as found:
            faults = browser_checks.layout(found.page)
            assert any(fault.startswith(f"{kind}: ") for fault in faults), (kind, faults)


def test_what_is_folded_counts_once_it_is_unfolded(browser: Browser, page: Callable[[str], Path]) -> None:
    with visit(browser, page("")) as found:
        browser_checks.unfold(found.page)
        assert any(fault.startswith("overlap: ") for fault in browser_checks.layout(found.page))


def test_faults_inside_pictures_are_found(browser: Browser, page: Callable[[str], Path]) -> None:
    for kind, texts in DRAWINGS.items():
        drawing = f'<svg xmlns="http://www.w3.org/2000/svg" width="200" height="60">{texts}</svg>'
        with visit(browser, page(drawing)) as found:
            faults = browser_checks.layout(found.page)
            assert [fault for fault in faults if kind in fault], (kind, faults)
            assert found.behind == []


def test_what_hinders_readers_is_found(browser: Browser, page: Callable[[str], Path]) -> None:
    for rule, planted in GRAVE.items():
        with visit(browser, page(planted)) as found:
            faults = browser_checks.accessibility(found.page)
            assert [fault.split()[0] for fault in faults] == [rule], faults


def test_an_incomplete_first_screen_is_found(browser: Browser, page: Callable[[str], Path]) -> None:
    path = page("")
    text = path.read_text(encoding="utf-8")
    changes = {
        "verdict": ("<h1>All is well</h1>", "<h1></h1>"),
        "number": ("<li>4</li>", ""),
        "provenance": ("<dl>", '<dl style="margin-top:900px">'),
    }
    for what, (old, new) in changes.items():
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")
        with visit(browser, path) as found:
            faults = browser_checks.first_screen(found.page)
            assert [fault.split(":")[0] for fault in faults] == [what], faults


def test_what_happens_behind_the_page_is_noted(browser: Browser, page: Callable[[str], Path]) -> None:
    for kind, planted in BEHIND.items():
        with visit(browser, page(planted)) as found:
            assert any(each.startswith(kind) for each in found.behind), (kind, found.behind)


def test_a_link_that_the_policy_of_a_page_blocks_is_noted_too(
    browser: Browser, page: Callable[[str], Path]
) -> None:
    path = page('<img alt="" src="http://127.0.0.1:9/picture.png">')
    policy = '<meta http-equiv="Content-Security-Policy" content="img-src data:"><title>'
    path.write_text(path.read_text(encoding="utf-8").replace("<title>", policy), encoding="utf-8")
    with visit(browser, path) as found:
        assert found.behind


def test_another_script_than_the_known_checker_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    browser_checks.axe.cache_clear()
    monkeypatch.setattr(browser_checks, "AXE", "0" * 64)
    with pytest.raises(ValueError, match="must have the SHA-256 0000"):
        browser_checks.axe()
    browser_checks.axe.cache_clear()


def test_a_browser_is_looked_for_where_it_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    named = tmp_path / "browser"
    monkeypatch.setenv(browser_install.VARIABLE, str(named))
    with pytest.raises(FileNotFoundError, match="must name an executable"):
        browser_install.executable()
    named.touch()
    assert browser_install.executable() == str(named)


def test_a_browser_that_is_missing_is_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tool = tmp_path / "apt-get"
    tool.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n/bin/cp "$0" {tmp_path}/chromium\n')
    tool.chmod(0o755)
    (tmp_path / "sudo").write_text('#!/bin/sh\nshift\nexec "$@"\n')
    (tmp_path / "sudo").chmod(0o755)
    (tmp_path / "env").symlink_to("/usr/bin/env")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(browser_install.VARIABLE, raising=False)
    monkeypatch.setattr(browser_install, "_own_build", lambda: None)
    browser_install.main()
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked[0] == "update -q"
    assert asked[1].split()[:2] == ["install", "-y"]
    assert "chromium" in asked[1].split()
    assert browser_install.executable() == str(tmp_path / "chromium")
    browser_install.main()
    assert len((tmp_path / "asked").read_text().splitlines()) == len(asked)


def test_no_browser_is_a_failure_in_continuous_integration_and_a_skip_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(browser_install, "executable", lambda: None)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="install it"), chromium():
        pass
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="install it"), chromium():
        pass
