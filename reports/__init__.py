"""Shows results: files, a page, a Markdown summary, a terminal table.

Takes data frames that satisfy `reports.schema` and knows nothing of how they were made.
Importing this package loads neither matplotlib nor seaborn.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from reports.schema import SCHEMA_VERSION, SchemaError, validate
from reports.store import Results, StoreError, load, save

if TYPE_CHECKING:
    from reports.page import render as render
    from reports.summary import markdown as markdown
    from reports.terminal import print_summary as print_summary

__all__ = [
    "SCHEMA_VERSION",
    "Results",
    "SchemaError",
    "StoreError",
    "load",
    "markdown",
    "print_summary",
    "render",
    "save",
    "validate",
]

_LATE = {"render": "reports.page", "markdown": "reports.summary", "print_summary": "reports.terminal"}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LATE[name]), name)
