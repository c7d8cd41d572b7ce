"""Scores frameworks' float32 outputs against a certified truth, and says bug or rounding.

`import precision` loads neither a framework nor matplotlib: frameworks are imported only in
worker processes, and the report's libraries only when a report is written.
"""

__version__ = "0.1.0"
