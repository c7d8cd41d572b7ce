"""Shows results: files, a page, a Markdown summary, a terminal table, figures, tables for papers.

Takes data frames that satisfy `reports.schema` and knows nothing of how they were made.
Importing this package loads neither matplotlib nor seaborn; what draws is loaded when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from reports.schema import SCHEMA_VERSION, SchemaError, validate
from reports.store import Results, StoreError, load, save

if TYPE_CHECKING:
    from reports import export as export
    from reports import figures as figures
    from reports.figures import plot_budget as plot_budget
    from reports.figures import plot_errors as plot_errors
    from reports.figures import plot_growth as plot_growth
    from reports.figures import plot_heatmap as plot_heatmap
    from reports.figures import plot_histogram as plot_histogram
    from reports.figures import plot_invariance as plot_invariance
    from reports.figures import plot_layers as plot_layers
    from reports.figures import plot_map as plot_map
    from reports.figures import plot_order as plot_order
    from reports.figures import plot_profile as plot_profile
    from reports.figures import plot_switch as plot_switch
    from reports.page import render as render
    from reports.result import Result as Result
    from reports.summary import markdown as markdown
    from reports.terminal import print_summary as print_summary

_FIGURES = (
    "plot_budget", "plot_errors", "plot_growth", "plot_heatmap", "plot_histogram", "plot_layers", "plot_map",
    "plot_order", "plot_profile", "plot_switch",
)  # fmt: skip
_MODULES = ("export", "figures")
_LATE = {
    "Result": "reports.result",
    "markdown": "reports.summary",
    "print_summary": "reports.terminal",
    "render": "reports.page",
    **dict.fromkeys(_FIGURES, "reports.figures"),
}

__all__ = [
    "SCHEMA_VERSION",
    "Result",
    "Results",
    "SchemaError",
    "StoreError",
    "export",
    "figures",
    "load",
    "markdown",
    "plot_budget",
    "plot_errors",
    "plot_growth",
    "plot_heatmap",
    "plot_histogram",
    "plot_invariance",
    "plot_layers",
    "plot_map",
    "plot_order",
    "plot_profile",
    "plot_switch",
    "print_summary",
    "render",
    "save",
    "validate",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"reports.{name}")
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LATE[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
