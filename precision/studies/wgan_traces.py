"""Traces of the example's models, layer by layer, on a few samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from precision.errors import CannotRun, UserError
from precision.studies.telling import listed, number
from precision.studies.wgan_live import EXAMPLES, Models, Notes, digest
from precision.trace_models import trace
from precision.trace_result import Trace

FILES = {"generator": ("torch_model.py", "keras_model.py"), "block": ("torch_block.py", "keras_block.py")}
SAMPLES = 4


def traced(models: Models, what: str) -> Notes:
    """What the trace of a pair of files says: fine, words, growth, and the layers that differ.

    Raises `CannotRun` where a mode or the example is missing.
    """
    modes = {framework: models.mode(framework) for framework in ("torch", "tensorflow")}
    key = {"trace": what, "modes": modes, "examples": digest(), "version": 1}
    _, notes = models.material.kept("a trace of the wgan example", key, lambda: ({}, _notes(what, modes)))
    return notes


def _notes(what: str, modes: dict[str, str]) -> Notes:
    one, other = (EXAMPLES / name for name in FILES[what])
    try:
        found = trace(one, other, mode_a=modes["torch"], mode_b=modes["tensorflow"], weights=None)
    except UserError as error:
        raise CannotRun(f"the trace of {what}: {error}") from None
    return told(found, one)


def told(found: Trace, file: Path) -> dict[str, Any]:
    """A trace as notes of a row."""
    layers = [row for row in found.rows if row["layer_b"] is not None]
    differing = [row for row in layers if row["verdict"] == "semantics"]
    good = [row for row in layers if row["verdict"] in ("exact", "rounding")]
    words = f"{len(good)} of {len(found.rows)} layers are exact or within the rigorous bound of their truth"
    words += f" ({file.stem} on {SAMPLES} samples)"
    if differing:
        each = (
            f"{row['layer_a']}: {row['parameter']}, {row['declared']} in PyTorch, {row['found']} in "
            "TensorFlow "
            f"({row['evidence']})"
            for row in differing
        )
        words = f"{listed(each)}; {words}"
    own = max((row["own_relative_b"] or 0.0 for row in good), default=0.0)
    total = max((row["total_relative_b"] or 0.0 for row in good), default=0.0)
    return {
        "fine": found.fine,
        "words": words,
        "growth": (
            f"no layer adds more than {number(own)} of its output by itself, "
            f"{number(total)} is the most inherited"
        ),
        "differing": [
            {name: row[name] for name in ("layer_a", "parameter", "evidence")}
            | {"declared": str(row["declared"]), "found": str(row["found"])}
            for row in differing
        ],
    }
