"""Scores frameworks' float32 outputs against a certified truth, and says bug or rounding.

`import precision` loads neither a framework nor matplotlib: frameworks are imported only in
worker processes, and the report's libraries only when a report is written.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from precision.explanation import Explanation, explain
    from precision.orders.search import reveal, reveal_run
    from precision.prediction.predict import Prediction, predict
    from precision.tracing.models import trace
    from precision.tracing.result import Trace

__version__ = "0.1.0"
__all__ = ["Explanation", "Prediction", "Trace", "explain", "predict", "reveal", "reveal_run", "trace"]

_MODULES = {
    "Explanation": "explanation",
    "explain": "explanation",
    "reveal": "orders.search",
    "reveal_run": "orders.search",
    "Prediction": "prediction.predict",
    "predict": "prediction.predict",
    "Trace": "tracing.result",
    "trace": "tracing.models",
}


def __getattr__(name: str) -> Any:
    # Late: these need numba, which takes a second.
    if name in _MODULES:
        return getattr(import_module(f"precision.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'precision' has no attribute {name!r}")
