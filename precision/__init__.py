"""Scores frameworks' float32 outputs against a certified truth, and says bug or rounding.

`import precision` loads neither a framework nor matplotlib: frameworks are imported only in
worker processes, and the report's libraries only when a report is written.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from precision.explanation import Explanation, explain
    from precision.order_search import reveal, reveal_run
    from precision.prediction import Prediction, predict
    from precision.trace_models import trace
    from precision.trace_result import Trace

__version__ = "0.1.0"
__all__ = ["Explanation", "Prediction", "Trace", "explain", "predict", "reveal", "reveal_run", "trace"]

_MODULES = {
    "Explanation": "explanation",
    "explain": "explanation",
    "reveal": "order_search",
    "reveal_run": "order_search",
    "Prediction": "prediction",
    "predict": "prediction",
    "Trace": "trace_result",
    "trace": "trace_models",
}


def __getattr__(name: str) -> Any:
    # Late: these need numba, which takes a second.
    if name in _MODULES:
        return getattr(import_module(f"precision.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'precision' has no attribute {name!r}")
