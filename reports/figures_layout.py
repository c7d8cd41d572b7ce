"""How much room axes have: the letters, ticks and columns of a legend that fit at the size of the text."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reports.plots import power, shortened

_LETTER = 0.6
"""Mean width of a letter of DejaVu Sans, of its size."""

_USUAL = 0.775
"""Of its part of a figure what axes take before any layout."""


@dataclass(frozen=True)
class Room:
    """Inches that axes have together with their labels, and the size of letters in points."""

    width: float
    height: float
    size: float

    def letters(self, inches: float | None = None, scale: float = 1.0) -> int:
        """Letters, of that scale, that fit into so many inches; into the whole width if none are given."""
        inches = self.width if inches is None else inches
        return max(1, int(inches * 72.0 / (_LETTER * scale * self.size)))

    def inner(self, labels: Sequence[str], scale: float = 1.0) -> float:
        """Inches across that labels at the left, and one line of words beside them, leave."""
        longest = max((len(line) for label in labels for line in label.split("\n")), default=0)
        taken = (longest * scale * _LETTER + 3.0) * self.size / 72.0
        return max(0.25 * self.width, self.width - taken)


def room(ax: Any) -> Room:
    """The room of axes, as it is before any layout."""
    import matplotlib as mpl  # noqa: PLC0415 (at the top only in `plots`, which says what to install)

    figure = ax.figure
    place = ax.get_position(original=True)
    parts = min(1.0, place.width / _USUAL), min(1.0, place.height / _USUAL)
    width, height = figure.bbox.width / figure.dpi, figure.bbox.height / figure.dpi
    return Room(float(parts[0] * width), float(parts[1] * height), float(mpl.rcParams["font.size"]))


def row_letters(space: Room, rows: int) -> float:
    """Points of letters of which so many rows fit into axes."""
    return float(np.clip(0.68 * space.height * 72.0 / max(1, rows) / 1.05, 4.0, space.size))


def exponents(powers: Any, most: int = 8, least: int = -1) -> list[int]:
    """Whole exponents of 2 from below the least to above the largest finite power, `least` among them."""
    finite = powers[np.isfinite(powers)]
    low = min(least, int(np.floor(finite.min(initial=0.0))))
    high = max(least + 2, int(np.ceil(finite.max(initial=0.0))))
    step = max(1, -(-(high - low) // most))
    return list(range(least - step * ((least - low) // step), high + step, step))


def across(powers: Any, space: Room, inches: float, least: int = -1) -> list[int]:
    """Exponents for an axis of so many inches: as many as have room for their labels."""
    for most in range(8, 1, -1):
        ticks = exponents(powers, most, least)
        if sum(len(power(tick)) + 2 for tick in ticks) <= space.letters(inches):
            return ticks
    return exponents(powers, 1, least)


def up(powers: Any, space: Room, least: int = -1) -> list[int]:
    """Exponents for an upright axis: at most seven, fewer where it is low."""
    lines = 0.6 * space.height * 72.0 / (2.0 * space.size)
    return exponents(powers, int(np.clip(lines, 1, 7)), least)


def log2_axis(axis: Any, ticks: Sequence[float]) -> None:
    """Label an axis that holds exponents of 2 with the values themselves."""
    axis.set_ticks(list(ticks), labels=[power(tick) for tick in ticks])


def lines(text: str, letters: int) -> str:
    """Text broken into lines of at most so many letters."""
    return textwrap.fill(text, max(8, letters), break_long_words=False)


def broken(name: str, letters: int) -> str:
    """A dotted name in lines of at most so many letters; a part that is longer is shortened."""
    out = [""]
    for whole in name.replace(".", "\n.").split("\n"):
        part = shortened(whole, max(8, letters))
        if not out[-1] or len(out[-1]) + len(part) <= letters:
            out[-1] += part
        else:
            out.append(part)
    return "\n".join(out)


def _wide(entries: Sequence[str], columns: int) -> int:
    """Letters across that a legend of so many columns takes; five for a line's sample and a gap."""
    return sum(max(len(entry) for entry in part) + 5 for part in np.array_split(np.array(entries), columns))


def legend(ax: Any, space: Room, *, right: bool = False, handles: Any = None) -> None:
    """A legend above the axes, in as many columns as there is room for.

    right: it ends where the axes end, and may stand above the labels at their left.
    """
    entries = ax.get_legend_handles_labels()[1] if handles is None else [h.get_label() for h in handles]
    if not entries:
        return
    letters = space.letters(space.width - (0.2 if right else 0.8), 0.8)
    columns = next(
        (count for count in range(min(4, len(entries)), 1, -1) if _wide(entries, count) <= letters), 1
    )
    ax.legend(
        **({} if handles is None else {"handles": handles}), frameon=False, fontsize="small", ncols=columns,
        loc="lower right" if right else "lower left", bbox_to_anchor=(1, 1) if right else (0, 1),
        borderaxespad=0.3, handlelength=2.2, columnspacing=1.2,
    )  # fmt: skip
