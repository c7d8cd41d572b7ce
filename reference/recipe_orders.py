"""Orders in which libraries add the terms of a statistic, as data; each is evaluated by one kernel.

The terms of row r are x_j, or (x_j - m_r)**2 with m_r = 0 for a plain square.  A square is rounded and then
added, or joins its accumulator by a fused multiply-add.  Accumulators start at +0.

| kind | order |
|---|---|
| sequential | one accumulator; with several parts, one each, and the parts are added in order |
| wide | as sequential, with accumulators in double; the result is not rounded |
| cascade | four levels, a full one is added to the next; `lanes` x `streams` of them side by side |
| cascade columns | a cascade down a column: one stream in groups of 32 columns, four streams in the others |
| packs | `streams` accumulators of `lanes`, lanes added in halves; over 8192 terms: in two |
| lanes | term j joins lane j % `lanes`; groups of `streams` lanes are added in pairs, then lanes in pairs |
| windows | windows of `lanes` neighbouring terms in order, then windows of their sums, until one is left |
| line lanes | lines of an image, line i in lane i % `lanes`; lanes in halves, then the lines left over |
| interleaved | `streams` sums in turn; sequential in columns that fill no pack, and under 16 terms |
| channel lanes | lane l takes channels l, l + lanes, … of a group, pixel by pixel; lanes added in halves |
| channel parts | one accumulator a channel and part; channels in order, the parts of each within |

Parts are threads (or images) that take neighbouring terms: "even" parts of ceil(terms / parts) of a row (of
all samples for `channel parts`), or whole "images", the first parts one image more where they do not come out
even; where there are more threads than images, each image is split alike.  A cascade by images has one part
an image.  "blocks" are parts of `lanes` terms, however many.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from reference import order_kernels as kernels

Single = npt.NDArray[np.float32]

KINDS = (
    "sequential",
    "wide",
    "cascade",
    "cascade columns",
    "packs",
    "lanes",
    "windows",
    "line lanes",
    "interleaved",
    "channel lanes",
    "channel parts",
)
SPLITS = ("even", "images", "blocks")


@dataclass(frozen=True)
class Layout:
    """What an order may depend on beside the terms: where a row lies in the array that is normalized.

    rows: how many rows there are in all, and `chosen` which of them are summed.  `columns` rows make one
    sample (all of them where a row runs through every sample); each has `samples` images, `depth` channels,
    and `pixels` a channel, in lines of `width`.
    """

    rows: int
    columns: int
    samples: int
    depth: int
    pixels: int
    chosen: npt.NDArray[np.int64]
    width: int = 1


@dataclass(frozen=True)
class Order:
    """One order; see the table of the module.

    partials: the format in which the sums of the parts are added.  terms: "binary64" squares differences in
    double.
    """

    kind: str
    lanes: int = 8
    streams: int = 4
    parts: int = 1
    split: str = "even"
    fused: bool = False
    partials: str = "binary32"
    terms: str = "binary32"

    def __post_init__(self) -> None:
        if self.kind not in KINDS or self.split not in SPLITS:
            raise ValueError(
                f"an order is one of {', '.join(KINDS)}, split {' or '.join(SPLITS)}; got {self.kind!r}, "
                f"{self.split!r}: choose from these"
            )
        if min(self.lanes, self.streams, self.parts) < 1 or self.lanes & (self.lanes - 1):
            raise ValueError(
                f"lanes are a power of two, streams and parts positive; got {self.lanes}, {self.streams}, "
                f"{self.parts}: correct them"
            )

    @property
    def divisible(self) -> bool:
        """Whether the order depends on a number of parts, which is the machine's and not the kernel's."""
        return self.kind == "channel parts" or (self.kind == "sequential" and self.split != "blocks")

    def with_parts(self, parts: int) -> Order:
        """The same order among another number of threads."""
        return replace(self, parts=parts)

    def bounds(self, layout: Layout, terms: int) -> npt.NDArray[np.int64]:
        """First terms of the parts of a row, and its end."""
        if self.split == "even":
            return np.minimum(np.arange(self.parts + 1) * -(-terms // self.parts), terms)
        if self.split == "blocks":
            return np.append(np.arange(0, terms, self.lanes), terms)
        parts = layout.samples if self.kind == "cascade" else self.parts
        images = min(layout.samples, parts)
        pixels = terms // layout.samples
        within = _balanced(pixels, max(1, parts // images)) if images == layout.samples else np.array([0])
        first = _balanced(layout.samples, images)[:-1] * pixels
        edges = (first[:, None] + within[None, :-1]).ravel() if images == layout.samples else first
        return np.append(edges, terms)

    def sums(self, x: Single, mean: npt.NDArray[Any], squares: bool, layout: Layout) -> npt.NDArray[Any]:
        """Sums (R,) of the rows of x (R, N), or of (x - mean)**2: float64 if `wide` or partials are, else
        float32.
        """
        out = np.zeros(x.shape[0], np.float32)
        m = mean.astype(np.float32)
        place = layout.chosen % layout.columns
        if self.kind in ("sequential", "wide"):
            bounds, double = self.bounds(layout, x.shape[1]), np.zeros(x.shape[0])
            if self.kind == "wide":
                wide_terms = self.terms == "binary64"
                kernels.wide_sequential(x, mean.astype(np.float64), squares, wide_terms, bounds, double)
                return double
            wide = self.partials == "binary64"
            kernels.sequential(x, m, squares, self.fused, bounds, wide, double)
            return double if wide else double.astype(np.float32)
        if self.kind == "cascade":
            bounds = self.bounds(layout, x.shape[1])
            kernels.cascade(x, m, squares, self.lanes, self.streams, bounds, out)
        elif self.kind == "cascade columns":
            kernels.cascade_columns(x, m, squares, place, layout.columns, out)
        elif self.kind == "packs" or (self.kind == "interleaved" and layout.columns == 1):
            starts = layout.chosen * x.shape[1]
            kernels.packs(x, m, squares, self.lanes, self.streams, starts, out)
        elif self.kind == "windows":
            kernels.windows(x, m, squares, self.lanes, out)
        elif self.kind == "line lanes":
            kernels.line_lanes(x, m, squares, self.fused, self.lanes, layout.width, out)
        elif self.kind == "lanes":
            kernels.lanes(x, m, squares, self.fused, self.lanes, self.streams, out)
        elif self.kind == "interleaved":
            # A vector of neighbouring sums is one of columns of the same sample.
            first = layout.chosen // self.lanes * self.lanes
            fits = first % layout.columns + self.lanes <= layout.columns
            packed = fits & (first + self.lanes <= layout.rows)
            kernels.interleaved(x, m, squares, self.streams, packed, out)
        elif self.kind == "channel lanes":
            kernels.channel_lanes(x, m, squares, self.fused, self.lanes, layout.depth, out)
        else:
            chunk = -(-layout.samples * layout.pixels // self.parts)
            sample = layout.chosen // layout.columns
            kernels.channel_parts(x, m, squares, self.fused, layout.depth, sample, chunk, out)
        return out

    def words(self) -> str:
        """The order as a phrase."""
        parts = f" in {self.parts} parts" if self.parts > 1 else ""
        if self.split == "images" and (self.kind == "cascade" or self.parts > 1):
            parts = " for each image" if self.kind == "cascade" else f" in {self.parts} parts of whole images"
        if self.split == "blocks":
            parts = f" in blocks of {self.lanes}"
        if parts and self.partials == "binary64":
            parts += " that are added in double"
        return {
            "sequential": "one after another",
            "wide": "one after another in double",
            "cascade": f"a cascade of four levels in {self.streams} × {self.lanes} lanes",
            "cascade columns": "a cascade of four levels down each column",
            "packs": f"{self.streams} × {self.lanes} lanes, then lanes in halves",
            "line lanes": f"lines of an image in {self.lanes} lanes, lanes in halves, then the other lines",
            "windows": f"windows of {self.lanes} in order, then windows of their sums",
            "lanes": f"{self.lanes} lanes, groups of {self.streams} in pairs, lanes in pairs",
            "interleaved": f"{self.streams} sums in turn",
            "channel lanes": f"channels in {self.lanes} lanes, then lanes in halves",
            "channel parts": "each channel, then channels in order",
        }[self.kind] + parts


def _balanced(count: int, parts: int) -> npt.NDArray[np.int64]:
    """Edges of `parts` neighbouring shares of `count`, the first ones larger by one where it does not come
    out even.
    """
    size, more = divmod(count, parts)
    return np.cumsum([0] + [size + (p < more) for p in range(parts)])
