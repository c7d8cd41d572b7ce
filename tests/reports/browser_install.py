"""Makes sure that there is a browser for the tests of the page: `python browser_install.py`.

Takes the Chromium or Chrome that is here; else Debian's, by apt-get, where this user may install it; else
the build that Playwright offers.  Where none can be had it says so and ends with 0: the tests of the page
are then skipped, with the reason, except in continuous integration, where they fail.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
VARIABLE = "PRECISION_CHROMIUM"
WANTED = (
    "the page is tested in Chromium, and there is none: install it (Debian: apt-get install chromium) "
    f"or set {VARIABLE} to the executable"
)


def executable() -> str | None:
    """The path of the browser to test in; None where there is none.

    Raises `FileNotFoundError` where the environment names one that does not exist.
    """
    named = os.environ.get(VARIABLE)
    if named:
        if not Path(named).is_file():
            raise FileNotFoundError(f"{VARIABLE} must name an executable; {named!r} is no file")
        return named
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    return found or _own_build()


def _own_build() -> str | None:
    """The build that Playwright keeps, if it has been fetched."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        path = driver.chromium.executable_path
    return path if Path(path).is_file() else None


def commands() -> list[list[list[str]]]:
    """Ways to install one, best first; each is a list of commands."""
    ways = []
    root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if shutil.which("apt-get") and (not root or shutil.which("sudo")):
        install = ["apt-get", "install", "-y", "--no-install-recommends", "chromium", "fonts-dejavu-core"]
        ways.append(
            [[*root, "apt-get", "update", "-q"], [*root, "env", "DEBIAN_FRONTEND=noninteractive", *install]]
        )
    ways.append([[sys.executable, "-m", "playwright", "install", "chromium"]])
    return ways


def main() -> None:
    """Install a browser if there is none, and print which one the tests will use."""
    found = executable()
    for way in commands():
        if found:
            break
        for command in way:
            print(f"no Chromium: {' '.join(command)}", flush=True)
            if subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode:
                break
        found = executable()
    print(f"browser for the tests of the page: {found}" if found else f"WARNING: {WANTED}", flush=True)


if __name__ == "__main__":
    main()
