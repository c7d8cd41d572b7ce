"""What could make two ports of DetNet differ as the document's do: candidates, tried one by one.

Each candidate is the torch model with one thing changed (`examples/detnet/torch_candidates.py`), the picture
read in another way, or another mode.  Against the model as it is, every stage has the largest difference over
the largest value of the map, which the document prints of its own maps.

A candidate fits where that figure is within `FIRST` of the document's after the first layer, which inherits
nothing, and where the coordinates differ in a like direction: an error that shrinks (or swells) every number
has a cosine near -1 (or 1) with the coordinates, one without direction a cosine near 0.  Weights and picture
are not the document's, so nothing more than that is asked, and what fits is `consistent`, no more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.errors import CannotRun
from precision.studies.detnet_passes import STAGE_CALLS, Passes, shared, source_digest
from precision.studies.detnet_reading import Apart, angles, apart, coordinates, places, quaternions
from precision.studies.material import Material, digest_of
from precision.studies.row import load_document
from precision.studies.telling import asked_modes

FIRST, LATER = 3.0, 5.0
"""Factors within which a figure is like the document's: after the first layer, and where trained weights have
amplified what came before."""
DIRECTION = 0.5
VERSION = 3
"""Of what is measured: another one makes kept figures stale."""

CAUSES: Mapping[str, tuple[str, str]] = {
    "tf32": ("operand rounding", "TF32 operands, ties away"),
    "tf32, cut": ("operand rounding", "TF32 operands, cut off"),
    "float16": ("operand rounding", "float16 operands"),
    "bfloat16": ("operand rounding", "bfloat16 operands"),
    "weights float16": ("operand rounding", "weights through float16"),
    "weights 4 decimals": ("operand rounding", "weights through 4 decimals"),
    "eps 1e-3": ("semantics", "eps 1e-3 for 1e-5 in every batch normalization"),
    "variance": ("semantics", "running variances times 1024/1023"),
    "padding": ("semantics", "padding kernel // 2 for SAME where the stride is 2"),
    "picture over 256": ("data", "levels over 256 in place of 255"),
    "picture one level off": ("data", "every third value of the picture one level off"),
}
"""Of each candidate: its cause, and what it is."""
OTHER_MODES = ("torch.cpu.bf16", "torch.cpu.no_mkldnn", "tensorflow.cpu.no_onednn")


@dataclass(frozen=True)
class Tried:
    """One candidate: how each stage and the coordinates of the joints that stay differ; joints that move."""

    name: str
    stages: Mapping[str, Apart]
    xyz: Apart
    moved: Sequence[int]
    jump: float
    """The largest change of a coordinate of a joint that moves; 0 where none does."""

    @property
    def cause(self) -> str:
        return CAUSES[self.name][0]

    @property
    def words(self) -> str:
        return CAUSES[self.name][1] if self.name in CAUSES else self.name

    def fits(self, first: float, cosine: float) -> bool:
        """Whether it is like a document whose first stage and coordinates have these figures."""
        return like(self.stages["conv1"].ratio, first, FIRST) and self.direction(cosine)

    def direction(self, cosine: float) -> bool:
        return self.xyz.cosine is not None and abs(self.xyz.cosine - cosine) < DIRECTION


def like(value: float, wanted: float, factor: float) -> bool:
    """Whether a positive figure is within a factor of another."""
    return wanted / factor <= value <= wanted * factor


def document_ratio(stage: str) -> float:
    """The document's difference over its magnitude."""
    figures = load_document("detnet").entry(stage).figures
    return float(figures["difference"]) / float(figures["magnitude"])


def document_moved() -> list[int]:
    """The joints whose places the document prints differently."""
    figures = load_document("detnet").entry("uv").figures
    one, other = np.array(figures["tensorflow"]), np.array(figures["torch"])
    return [int(joint) for joint in np.flatnonzero((one != other).any(axis=1))]


def document_xyz() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The document's coordinates, TensorFlow's and PyTorch's."""
    figures = load_document("detnet").entry("xyz").figures
    return np.array(figures["tensorflow"], np.float64), np.array(figures["torch"], np.float64)


def document_xyz_apart() -> Apart:
    """How they differ at the joints that stay."""
    one, other = document_xyz()
    kept = [joint for joint in range(len(one)) if joint not in document_moved()]
    return apart(one[kept], other[kept])


def tried(material: Material) -> dict[str, Tried]:
    """Every candidate, and the other modes that were asked for.  Raises `CannotRun` without torch."""
    mode = asked_modes(material, "torch")[0]
    key = {"mode": mode, "models": source_digest(), "version": VERSION}
    base, notes = material.kept("candidates of the detnet study", key, lambda: _measured(mode))
    for other in [name for name in OTHER_MODES if name in material.modes]:
        try:
            _, found = material.kept(
                "a mode of the detnet study",
                {**key, "other": other},
                lambda other=other: ({}, {other: _measured_mode(base, other)}),  # type: ignore[misc]
            )
        except CannotRun:
            continue
        notes |= found
    return {name: _tried(name, found) for name, found in notes.items()}


def fitting(found: Mapping[str, Tried]) -> list[Tried]:
    """The candidates that fit the document, nearest first stage first."""
    first, cosine = document_ratio("conv1"), document_xyz_apart().cosine
    good = [each for each in found.values() if each.name in CAUSES and each.fits(first, cosine or 0.0)]
    return sorted(good, key=lambda each: abs(np.log(each.stages["conv1"].ratio / first)))


def _measured(mode: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The outputs of the model as it is, by call, and the figures of every candidate."""
    calls, data = list(STAGE_CALLS.values()), shared()
    found: dict[str, Any] = {}
    with Passes(mode) as passes:
        base = passes.own("torch", data.picture(), "detnet", calls)
        for name in CAUSES:
            if name in data.PICTURES:
                other = passes.own("torch", data.PICTURES[name](), "detnet", calls)
            else:
                other = passes.changed(name, data.picture(), "detnet", calls)
            found[name] = _figures(base, other)
    return base, found


def _measured_mode(base: Mapping[str, NDArray[Any]], mode: str) -> dict[str, Any]:
    """The figures of another mode, either framework's."""
    with Passes(mode) as passes:
        calls = list(STAGE_CALLS.values())
        other = passes.own(mode.partition(".")[0], shared().picture(), "detnet", calls)
    return _figures(base, other)


def _figures(base: Mapping[str, NDArray[Any]], other: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    def of(stage: str, outputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        return outputs[STAGE_CALLS[stage]]

    at, now = places(of("hmap", base)), places(of("hmap", other))
    before, after = coordinates(of("lmap", base), at), coordinates(of("lmap", other), now)
    moved = (at != now).any(axis=1)
    return {
        "stages": {stage: vars(apart(of(stage, base), of(stage, other))) for stage in STAGE_CALLS},
        "xyz": vars(apart(before[~moved], after[~moved])),
        "moved": np.flatnonzero(moved).tolist(),
        "jump": float(np.max(np.abs(after - before)[moved], initial=0.0)),
    }


def _tried(name: str, notes: Mapping[str, Any]) -> Tried:
    stages = {stage: Apart(**figures) for stage, figures in notes["stages"].items()}
    return Tried(name, stages, Apart(**notes["xyz"]), notes["moved"], float(notes["jump"]))


@dataclass(frozen=True)
class Turned:
    """Rotations of IKNet against those of the model as it is: root mean square and largest difference of the
    quaternions' components, the median and the largest angle between the rotations in degrees, joint 11's."""

    name: str
    words: str
    cause: str
    rms: float
    largest: float
    median: float
    most: float
    eleven: float


IK_CANDIDATES = ("tf32", "tf32, cut", "float16", "bfloat16", "weights float16", "weights 4 decimals",
                 "eps 1e-3", "variance")  # fmt: skip
INHERITED, MOVED = "coordinates, joint 11 kept", "coordinates, joint 11 moved"


def turned_apart(name: str, words: str, cause: str, a: NDArray[Any], b: NDArray[Any]) -> Turned:
    """The figures of two sets of unit quaternions (21, 4)."""
    d, between = b - a, angles(a, b)
    return Turned(
        name, words, cause, float(np.sqrt(np.mean(d * d))), float(np.max(np.abs(d))),
        float(np.median(between)), float(np.max(between)), float(between[11]),
    )  # fmt: skip


def turned(material: Material) -> list[Turned]:
    """Rotations of IKNet for the document's own coordinates, with one thing changed each."""
    mode = asked_modes(material, "torch")[0]
    one, other = document_xyz()
    key = {
        "mode": mode,
        "models": source_digest(),
        "coordinates": digest_of({"tensorflow": one, "torch": other}),
        "version": VERSION,
    }
    arrays, _ = material.kept("rotations of the detnet study", key, lambda: (_rotations(mode), {}))
    base = quaternions(arrays["as it is"])
    words = {
        INHERITED: "the document's two sets of coordinates as inputs, joint 11 of the first in both",
        MOVED: "the document's two sets of coordinates as inputs",
    }
    return [
        turned_apart(
            name,
            words.get(name) or CAUSES[name][1],
            "inherited" if name in words else CAUSES[name][0],
            base,
            quaternions(array),
        )
        for name, array in ((name, arrays[name]) for name in (*IK_CANDIDATES, INHERITED, MOVED))
    ]


def _rotations(mode: str) -> dict[str, NDArray[Any]]:
    data, (one, other) = shared(), document_xyz()
    kept = other.copy()
    kept[document_moved()] = one[document_moved()]
    given = data.ik_input(one, data.rest())
    calls = ["rotations"]
    with Passes(mode) as passes:
        found = {"as it is": passes.own("torch", given, "iknet", calls)["rotations"]}
        for name in IK_CANDIDATES:
            found[name] = passes.changed(name, given, "iknet", calls)["rotations"]
        for name, xyz in ((INHERITED, kept), (MOVED, other)):
            found[name] = passes.own("torch", data.ik_input(xyz, data.rest()), "iknet", calls)["rotations"]
    return found
