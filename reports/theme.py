"""The colours of the page in light and in dark: one table, from which style sheet and drawings take them.

A drawing is made once, in its light colours; on the page each of them is a custom property, which is another
colour where the page is dark.  Text has a contrast of at least 4.5 to what it stands on, lines and marks of
at least 3 (WCAG 2.1, 1.4.3 and 1.4.11); `contrast` is how that is tested.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

Pair = tuple[str, str]
"""A colour on light and on dark paper."""

PAGE: Mapping[str, Pair] = {
    "paper": ("#ffffff", "#14171b"),
    "panel": ("#f6f5f2", "#1d2126"),
    "ink": ("#1d2329", "#e4e2dd"),
    "soft": ("#57606a", "#a3a9b1"),
    "line": ("#d9d6cf", "#363c44"),
    "link": ("#0b5394", "#8cc0f0"),
    "good": ("#1a6b35", "#7fce98"),
    "bad": ("#a3201d", "#ff968f"),
    "warn": ("#84207c", "#e7a0df"),
    "row": ("#faf9f7", "#191d21"),
    "found": ("#fff1b8", "#423810"),
}
"""What the page itself is made of."""

PLOT: Mapping[str, Pair] = {
    "plot": ("#fbfaf8", "#1a1e23"),
    "pen": ("#24292f", "#e0ded9"),
    "grid": ("#d8d6d0", "#3a4048"),
    "axis": ("#8c8a84", "#868c94"),
    "hollow": ("#ffffff", "#14171b"),
    "torch": ("#c2500a", "#ff9c5b"),
    "tensorflow": ("#0b66a8", "#6fb7f2"),
    "both": ("#5b4a9c", "#b9a9f2"),
    "other": ("#5c5c5c", "#b4b4b4"),
    "quiet": ("#77736b", "#a9a59c"),
    "green": ("#1a6b35", "#74cf92"),
    "red": ("#a3201d", "#ff8d86"),
    "plum": ("#84207c", "#e49bdc"),
    "ochre": ("#8f7200", "#dabd4c"),
    "gold": ("#9c7600", "#e2bc3e"),
    "box": ("#f1efe9", "#262b32"),
    "edge": ("#8f8a7e", "#7b838d"),
    "mark": ("#0b5394", "#8cc0f0"),
}
"""What drawings are made of; `plot` is their paper."""

WASHED = ("torch", "tensorflow", "both", "other", "green", "red", "plum", "gold", "pen")
"""Colours that also fill areas, in a wash of their own: `wash-` and the name."""

_STRENGTH = (0.4, 0.38)
_RAMPS = ("ramp-light", "ramp-dark")

HEAT: tuple[tuple[Pair, Pair], ...] = (
    (("#faebdd", "#000000"), ("#1f2227", "#e4e2dd")),
    (("#f6bf9d", "#000000"), ("#35193e", "#ffffff")),
    (("#f59067", "#000000"), ("#5b1e51", "#ffffff")),
    (("#ef5a41", "#000000"), ("#841e5a", "#ffffff")),
    (("#d82748", "#ffffff"), ("#ad1759", "#ffffff")),
    (("#ad1759", "#ffffff"), ("#cf2450", "#ffffff")),
    (("#7a1f59", "#ffffff"), ("#ef5a41", "#000000")),
    (("#4b1d4a", "#ffffff"), ("#f59b72", "#000000")),
    (("#1e122d", "#ffffff"), ("#faebdd", "#000000")),
)
"""Steps of the heat map, (ground, letters) in light and in dark: each step is farther from the paper."""

GROUPS: tuple[tuple[Pair, Pair], ...] = (
    (("#cfe3f5", "#0a2f4d"), ("#173a57", "#dcecfb")),
    (("#f9d9bf", "#4a2205"), ("#57300f", "#fde6d3")),
    (("#d6ead9", "#0d3a1c"), ("#1a4529", "#dcf3e2")),
    (("#ecd5ec", "#471143"), ("#4d2249", "#f6e0f4")),
    (("#efe3ab", "#3d3000"), ("#4a3d0a", "#f7ecc0")),
    (("#dcdcdc", "#222222"), ("#43474d", "#f0f0f0")),
)
"""Grounds and letters of groups of equal bits, in turns: the letter tells them apart, the colour helps."""


def variables() -> str:
    """The custom properties: light; dark where the system or the reader wants it; light again in print."""
    light, dark = (_declared(side) for side in (0, 1))
    return (
        f":root {{ color-scheme: light dark; {light} }}\n"
        f"@media screen and (prefers-color-scheme: dark) {{ :root:not([data-theme='light']) {{ {dark} }} }}\n"
        f"@media screen {{ :root[data-theme='dark'] {{ color-scheme: dark; {dark} }}\n"
        ":root[data-theme='light'] { color-scheme: light; } }\n"
        "@media print { :root { color-scheme: light; } }"
    )


def _declared(side: int) -> str:
    found = {name: pair[side] for name, pair in {**PAGE, **PLOT}.items()}
    found |= {f"wash-{name}": wash(PLOT[name][side], side) for name in WASHED}
    for kind, steps in (("heat", HEAT), ("group", GROUPS)):
        for number, step in enumerate(steps):
            found[f"{kind}{number}"], found[f"{kind}{number}-ink"] = step[side]
    found["ramp"] = f"url(#{_RAMPS[side]})"
    return " ".join(f"--{name}: {value};" for name, value in found.items())


def ramps() -> str:
    """Filters that turn the greys of a picture, black the worst, into the steps of `HEAT`."""
    found = []
    for side, name in enumerate(_RAMPS):
        steps = [_channels(step[side][0]) for step in reversed(HEAT)]
        values = (" ".join(f"{step[at] / 255:.3f}" for step in steps) for at in range(3))
        tables = (
            f'<feFunc{letter} type="table" tableValues="{each}"/>'
            for letter, each in zip("RGB", values, strict=True)
        )
        found.append(
            f'<filter id="{name}" color-interpolation-filters="sRGB"><feComponentTransfer>'
            f"{''.join(tables)}</feComponentTransfer></filter>"
        )
    return f'<svg class="shared" width="0" height="0" aria-hidden="true">{"".join(found)}</svg>'


def wash(colour: str, side: int = 0) -> str:
    """A colour thinned until letters can stand on it; opaque, for hatching on a transparent one is lost."""
    ground = ("#ffffff", PLOT["plot"][1])[side]
    mixed = (
        round(below + _STRENGTH[side] * (above - below))
        for above, below in zip(_channels(colour), _channels(ground), strict=True)
    )
    return "#" + "".join(f"{part:02x}" for part in mixed)


def themed(drawing: str) -> str:
    """A drawing in which every colour of `PLOT` and every wash of one is its custom property.

    Raises `ValueError` for another colour: it would be the same in light and in dark.
    """
    return re.sub(r"#[0-9a-fA-F]{6}\b", _property, drawing)


def _property(found: re.Match[str]) -> str:
    try:
        return f"var(--{_NAMES[found[0].lower()]})"
    except KeyError:
        raise ValueError(
            f"a drawing has the colours of theme.PLOT; it has {found[0]}; add it there"
        ) from None


def _channels(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[start : start + 2], 16) for start in (1, 3, 5))


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, 1 to 21 (WCAG 2.1, relative luminance of sRGB)."""
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    parts = [part / 255 for part in _channels(colour)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


_NAMES = {
    **{pair[0]: name for name, pair in PLOT.items()},
    **{wash(PLOT[name][0]): f"wash-{name}" for name in WASHED},
}
