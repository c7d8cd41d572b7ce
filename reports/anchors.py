"""Ids of places on the page: the same name gives the same id on every run."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Mapping
from typing import Any


def anchor(kind: str, name: str) -> str:
    """`kind-name` with only letters that an id and a link can hold.

    A name that has others gets eight digits of its SHA-256, so that two names never share an id.
    """
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", name)
    if plain == name and name:
        return f"{kind}-{name}"
    return f"{kind}-{plain.strip('-')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def cell_anchor(row: Mapping[str, Any]) -> str:
    """The id of a cell: its case, its mode, and its output where that has a name of its own."""
    return mode_anchor(row["case"], row["output"], row["mode"])


def mode_anchor(case: str, output: str | None, mode: str) -> str:
    """The id of one mode's result of a case."""
    parts = [case, mode, *([output] if output and output != "output" else [])]
    # Where a part holds what parts them, another letter does, which no plain id has.
    between = "\n" if any("--" in part or part.strip("-") != part for part in parts) else "--"
    return anchor("cell", between.join(parts))


def command(suite: str, case: str, mode: str) -> str:
    """The command line that measures one cell again, quoted for a shell."""
    parts = ["precision", "report", suite, "--cases", case, "--modes", mode, "-o", "again"]
    return " ".join(shlex.quote(part) for part in parts)
