"""Where an error lives that no change of the declaration explains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from precision.meaning.hypotheses import Declaration, Float64, Known, unravelled

_FEW = 8
LAST = ("linear", "matmul", "layer_norm", "rms_norm", "softmax", "log_softmax")


@dataclass(frozen=True)
class Where:
    """Outputs beyond the bound: how many, which kind of place, its indices along an axis, the worst one."""

    count: int
    share: float
    kind: str
    indices: tuple[int, ...]
    worst: tuple[int, ...]
    words: str


def where(known: Known, output: Float64, declared: Declaration) -> Where:
    """Describe the outputs that are beyond the declared function's limit; there is at least one."""
    wrong = known.violated(output)
    with np.errstate(invalid="ignore", divide="ignore"):
        excess = np.abs(known.error(output)) / np.where(known.limit > 0, known.limit, 2.0**-149)
    excess = np.where(np.isnan(excess), np.inf, excess)
    flat = np.array([np.argmax(excess)])
    worst = tuple(int(i[0]) for i in unravelled(flat, output.shape))
    count, share = int(np.count_nonzero(wrong)), float(np.mean(wrong))
    kind, indices, words = _kind(wrong, declared)
    amount = f"{count} of {output.size} outputs are beyond the bound"
    return Where(count, share, kind, indices, worst, f"{amount}, {words}; the worst is at {list(worst)}")


def _kind(
    wrong: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], declared: Declaration
) -> tuple[str, tuple[int, ...], str]:
    rank, count = wrong.ndim, int(np.count_nonzero(wrong))
    if count == 1:
        return "one position", tuple(map(int, np.argwhere(wrong)[0])), "all at one position"
    if rank < 2:
        return "everywhere", (), "without a pattern that is known"
    last = declared.op in LAST or str(declared.params.get("layout", "NCHW")).endswith("C")
    channel = rank - 1 if last else 1
    for axis, kind in ((channel, "channels"), (0, "samples")):
        others = tuple(a for a in range(rank) if a != axis)
        hit = np.flatnonzero(wrong.any(axis=others))
        if hit.size <= max(1, wrong.shape[axis] // 2) and hit.size < wrong.shape[axis]:
            shown = ", ".join(map(str, hit[:_FEW])) + (" …" if hit.size > _FEW else "")
            return kind, tuple(int(i) for i in hit), f"all in the {kind} {shown}"
    spatial = [a for a in range(1, rank) if a != channel]
    depth = _border(wrong, spatial)
    if depth is not None:
        return "borders", (depth,), f"all within {depth} of the border of the image"
    images = wrong.any(axis=(0, channel)) if spatial else np.ones(2, np.bool_)
    if np.count_nonzero(images) == 1:
        place = tuple(int(i[0]) for i in np.nonzero(images))
        return "one position", place, f"all at the position {list(place)} of the image"
    return "everywhere", (), "spread over channels, samples and positions"


def _border(wrong: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], spatial: list[int]) -> int | None:
    """The least depth of a frame that holds all of them; None where the frame is half of the image."""
    if not spatial:
        return None
    for depth in range(1, max(2, min(wrong.shape[a] for a in spatial) // 4 + 1)):
        inner = [slice(None)] * wrong.ndim
        for axis in spatial:
            inner[axis] = slice(depth, wrong.shape[axis] - depth)
        inside = wrong[tuple(inner)]
        if inside.size == 0:
            return None
        if not inside.any():
            return depth
    return None
