"""Traces of the example's models, layer by layer, on a few samples."""

from __future__ import annotations

from typing import Any

from precision.errors import CannotRun, UserError
from precision.studies.telling import listed, number
from precision.studies.wgan_live import EXAMPLES, Models, Notes, digest
from precision.tracing.models import trace
from precision.tracing.result import Trace

FILES = {
    "generator": ("torch_generator.py", "keras_generator.py"),
    "block": ("torch_block.py", "keras_block.py"),
}
SAMPLES = {"generator": 16, "block": 4}


def traced(models: Models, what: str) -> Notes:
    """What the trace of a pair of files says: fine, words, growth, and the layers that differ.

    Raises `CannotRun` where a mode or the example is missing.
    """
    modes = {framework: models.mode(framework) for framework in ("torch", "tensorflow")}
    key = {"trace": what, "modes": modes, "examples": digest(), "version": 3}
    _, notes = models.material.kept("a trace of the wgan example", key, lambda: ({}, _notes(what, modes)))
    return notes


def _notes(what: str, modes: dict[str, str]) -> Notes:
    one, other = (EXAMPLES / name for name in FILES[what])
    try:
        found = trace(one, other, mode_a=modes["torch"], mode_b=modes["tensorflow"], weights=None)
    except UserError as error:
        raise CannotRun(f"the trace of {what}: {error}") from None
    return told(found, SAMPLES[what])


def told(found: Trace, samples: int) -> dict[str, Any]:
    """A trace as notes of a row."""
    layers = [row for row in found.rows if row["layer_b"] is not None]
    differing = [row for row in layers if row["verdict"] == "semantics"]
    good = [row for row in layers if row["verdict"] in ("exact", "rounding")]
    words = f"{len(good)} of {len(found.rows)} layers are exact or within the rigorous bound of their truth"
    words += f" ({samples} samples)"
    if differing:
        each = (
            f"{row['layer_a']}: {row['parameter']}, {row['declared']} in PyTorch, {row['found']} in "
            "TensorFlow "
            f"({row['evidence']})"
            for row in differing
        )
        words = f"{listed(each)}; {words}"
    most = []
    for side, framework in (("a", "PyTorch"), ("b", "TensorFlow")):
        worst = max(good, key=lambda row, side=side: row[f"own_relative_{side}"] or 0.0, default=None)  # type: ignore[misc]
        if worst is not None:
            own, total = (number(worst[f"{what}_relative_{side}"] or 0.0) for what in ("own", "total"))
            most.append(
                f"{own} of its output by {worst['layer_a']} in {framework} (with what it inherits {total})"
            )
    return {
        "fine": found.fine,
        "words": words,
        "growth": f"the most that one layer adds by itself is {' and '.join(most)}",
        "differing": [
            {name: row[name] for name in ("layer_a", "parameter", "evidence")}
            | {"declared": str(row["declared"]), "found": str(row["found"])}
            for row in differing
        ],
    }
