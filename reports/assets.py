"""The page's own style and script, as they stand in it."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"


def style() -> Markup:
    """The style sheet."""
    return Markup(_text("style.css"))  # our own files, the only text that is not escaped


def script() -> Markup:
    """The script."""
    return Markup(_text("script.js"))


def script_hash() -> str:
    """What the page's policy allows to run: the SHA-256 of the script, in base64."""
    return base64.b64encode(hashlib.sha256(_text("script.js").encode()).digest()).decode("ascii")


def _text(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8").strip()
