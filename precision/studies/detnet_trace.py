"""Traces of DetNet and IKNet, torch against Keras: what each stage adds by itself and what it inherits."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.errors import CannotRun, UserError
from precision.studies.detnet_passes import FILES, STAGE_CALLS, model_file, shared, source_digest
from precision.studies.detnet_reading import Apart, apart
from precision.studies.material import Material
from precision.studies.telling import asked_modes, number, weakest
from precision.tracing.judge import FINE
from precision.tracing.models import trace
from precision.tracing.result import Trace

Float32 = NDArray[np.float32]
Layers = Sequence[Mapping[str, Any]]

VERSION = 1
"""Of what is kept: another one makes kept traces stale."""
SIDES = {"a": "PyTorch", "b": "TensorFlow"}
_KEPT = (
    "layer_a", "layer_b", "op", "verdict", "parameter", "evidence", "mend", "own_relative_a",
    "own_relative_b", "total_relative_a", "total_relative_b", "inherited_relative_a",
    "inherited_relative_b", "amplification_a", "amplification_b", "total_abs_max_a", "total_abs_max_b",
)  # fmt: skip
_LAST = {"iknet": {"rotations": "rotations"}, "detnet": STAGE_CALLS}
_WHOLE = {"iknet": ("rotations",), "detnet": ("hmap", "lmap")}
"""Stages whose arrays are kept: NAME.truth, NAME.ordinary_a, NAME.ordinary_b."""


@dataclass(frozen=True)
class Traced:
    """A trace as a study needs it.

    layers: rows of the trace's table, `_KEPT` of them. between: of each stage's last output, how TensorFlow's
    is apart from PyTorch's; modes of both.
    """

    modes: Mapping[str, str]
    layers: Layers
    between: Mapping[str, Apart]
    unmatched: Sequence[str]
    arrays: Mapping[str, Float32]

    def stage(self, name: str) -> Layers:
        """The layers of a stage, in order; what stands between stages belongs to the next one."""
        found: list[Mapping[str, Any]] = []
        at, pending = "", []
        for row in self.layers:
            pending.append(row)
            at = stage_of(str(row["layer_a"])) or at
            if stage_of(str(row["layer_a"])):
                if at == name:
                    found += pending
                pending = []
        return found

    def differing(self, layers: Layers) -> Layers:
        """Layers that are neither exact nor rounding."""
        return [row for row in layers if row["verdict"] not in FINE]


def stage_of(layer: str) -> str:
    """The stage that a layer belongs to by its name; "" for what stands between stages."""
    first = layer.partition(".")[0]
    return {"relu1": "conv1", "relu2": "squeeze", "heat": "hmap"}.get(
        first, first if first in STAGE_CALLS else ""
    )


def traced(material: Material, net: str) -> Traced:
    """The trace of DetNet ("detnet") or IKNet ("iknet") in the first mode of each framework.

    Raises `CannotRun` where a mode or the models are missing.
    """
    modes = {"a": asked_modes(material, "torch")[0], "b": asked_modes(material, "tensorflow")[0]}
    key = {"net": net, "modes": modes, "models": source_digest(candidates=False), "version": VERSION}
    arrays, notes = material.kept("a trace of the detnet study", key, lambda: _made(net, modes))
    between = {stage: Apart(**figures) for stage, figures in notes["between"].items()}
    return Traced(modes, notes["layers"], between, notes["unmatched"], arrays)


def _made(net: str, modes: Mapping[str, str]) -> tuple[dict[str, Float32], dict[str, Any]]:
    data = shared()
    given = data.picture() if net == "detnet" else data.joints()
    one, other = (FILES[framework].removesuffix(".py") for framework in ("torch", "tensorflow"))
    with (
        model_file(f"import {one}\n    return {one}.{net}()") as a,
        model_file(f"import {other}\n    return {other}.{net}()") as b,
        tempfile.TemporaryDirectory(prefix="precision-detnet-") as folder,
    ):
        try:
            found = trace(a, b, input=given, mode_a=modes["a"], mode_b=modes["b"], output=Path(folder))
        except UserError as error:
            raise CannotRun(f"the trace of {net}: {error}") from None
        return told(found, net)


def told(found: Trace, net: str) -> tuple[dict[str, Float32], dict[str, Any]]:
    """The arrays and the notes of a trace that has its arrays."""
    arrays: dict[str, Float32] = {}
    between = {}
    for stage, call in _LAST[net].items():
        layer = found.layer(call)
        if "ordinary_b" in layer:
            between[stage] = vars(apart(layer["ordinary_a"], layer["ordinary_b"]))
        if stage in _WHOLE[net]:
            names = ("truth", "ordinary_a", "ordinary_b")
            arrays |= {f"{stage}.{name}": layer[name] for name in names if name in layer}
    notes = {
        "layers": [{name: row[name] for name in _KEPT} for row in found.rows],
        "between": between,
        "unmatched": [name for side in ("a", "b") for name in found.unmatched[side]],
    }
    return arrays, notes


def growth(layers: Layers, side: str) -> tuple[float, str, float, float]:
    """(largest own error, its layer, what the last layer inherits, its total error), over each output."""
    worst = max(layers, key=lambda row: row[f"own_relative_{side}"] or 0.0)
    last = layers[-1]
    return (
        worst[f"own_relative_{side}"] or 0.0,
        str(worst["layer_a"]),
        last[f"inherited_relative_{side}"] or 0.0,
        last[f"total_relative_{side}"] or 0.0,
    )


def growth_words(layers: Layers, modes: Mapping[str, str]) -> str:
    """What the stage adds and inherits in both frameworks, in words."""
    parts = []
    for side, framework in SIDES.items():
        own, layer, inherited, _ = growth(layers, side)
        parts.append(
            f"{framework} ({modes[side]}): no layer adds more than {number(own)} of its output by itself "
            f"({layer}), the last one inherits {number(inherited)}"
        )
    return "; ".join(parts)


def verdict_words(layers: Layers) -> str:
    """How many of a stage's layers are rounding, and with which evidence."""
    good = [row for row in layers if row["verdict"] in FINE]
    proved = sum(row["evidence"] == "proved" for row in good)
    return (
        f"{len(good)} of {len(layers)} layers are exact or rounding, {proved} of them proved bit for bit"
        if good
        else f"none of {len(layers)} layers is rounding"
    )


def evidence_of(layers: Layers) -> str:
    """The weakest evidence among the layers."""
    return weakest(str(row["evidence"]) for row in layers)


def difference_words(layers: Layers) -> str:
    """The layers that differ in more than rounding, in words."""
    return "; ".join(
        f"{row['layer_a']}: {row['verdict']}"
        + (f", {row['parameter']} ({row['evidence']})" if row["parameter"] else "")
        for row in layers
    )
