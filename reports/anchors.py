"""Ids of places on the page: the same name gives the same id on every run."""

from __future__ import annotations

import hashlib
import re
import shlex


def anchor(kind: str, name: str) -> str:
    """`kind-name` with only letters that an id and a link can hold.

    A name that has others gets eight digits of its SHA-256, so that two names never share an id.
    """
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", name)
    if plain == name and name:
        return f"{kind}-{name}"
    return f"{kind}-{plain.strip('-')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def command(suite: str, case: str, mode: str) -> str:
    """The command line that measures one cell again, quoted for a shell."""
    parts = ["precision", "report", suite, "--cases", case, "--modes", mode, "-o", "again"]
    return " ".join(shlex.quote(part) for part in parts)
