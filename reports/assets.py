"""The page's own style and script, as they stand in it."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from markupsafe import Markup

from reports import theme, tree_drawing

TEMPLATES = Path(__file__).parent / "templates"


def style() -> Markup:
    """The style sheet: colours, the page, and the looks of drawn trees, which stand in `.drawing`."""
    steps = [f".heat .h{n} {_ground(f'heat{n}')}" for n in range(len(theme.HEAT))]
    groups = [f".heat .g{n} {_ground(f'group{n}')}" for n in range(len(theme.GROUPS))]
    trees = [f".drawing {rule.strip()}" for rule in tree_drawing.RULES.strip().splitlines()]
    parts = [theme.variables(), _text("style.css"), *steps, *groups, *trees]
    return Markup("\n".join(parts))  # our own files, the only text that is not escaped


def _ground(name: str) -> str:
    return f"{{ background: var(--{name}); color: var(--{name}-ink); }}"


def ramps() -> Markup:
    """The filters that colour the pictures of error maps."""
    return Markup(theme.ramps())


def script() -> Markup:
    """The script."""
    return Markup(_text("script.js"))


def script_hash() -> str:
    """What the page's policy allows to run: the SHA-256 of the script, in base64."""
    return base64.b64encode(hashlib.sha256(_text("script.js").encode()).digest()).decode("ascii")


def _text(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8").strip()
