"""How figures are written: few digits, never rounded to a claim, missing shown as missing."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Mapping
from typing import Any

NOT_MEASURED = "not measured"
INFINITE = "∞"
_FROM_RIGHT = ("R", "AL", "AN")
_JOINTS = "=,;:→·|\n"
_APART, _END = "\u2068", "\u2069"

SIGNS: Mapping[str, str] = {
    "exact": "=",
    "rounding": "≈",
    "semantics": "≠",
    "data": "#",
    "unexplained": "?",
    "error": "✗",
    "not run": "–",
}
"""A sign for each verdict, so that colour is never the only one."""


def figure(value: float | None, digits: int = 3) -> str:
    """A real figure in `digits` significant digits: 14.4, 0.00012, 8.4e-6, 2.3e5."""
    if value is None or math.isnan(value):
        return NOT_MEASURED
    if math.isinf(value):
        return INFINITE if value > 0 else "-" + INFINITE
    if value == 0:
        return "0"
    mantissa, power = f"{value:.{digits - 1}e}".split("e")  # as a number it could be more than the largest
    if -4 < int(power) < 4:
        return f"{float(f'{mantissa}e{power}'):.{max(0, digits - 1 - int(power))}f}"
    return f"{mantissa}e{int(power)}"


def short(value: float | None) -> str:
    """A figure for a narrow place, in at most four letters up to 9,999: 14, 1.2, 0.50, 2160, 8e30."""
    if value is None or not math.isfinite(value) or abs(value) < 99.5:
        return figure(value, 2)
    if abs(value) < 9999.5:
        return f"{value:.0f}"
    mantissa, power = f"{value:.0e}".split("e")
    return f"{mantissa}e{int(power)}"


def signed(value: float | None) -> str:
    """A figure with its sign, at most two decimals: +0.02, -14.20, +512; small ones as -3.1e-5."""
    if value is None or not math.isfinite(value) or value == 0:
        return figure(value)
    if 0.005 <= abs(value) < 100:
        return f"{value:+.2f}"
    return ("+" if value > 0 else "") + figure(value, 3 if abs(value) >= 100 else 2)


def share(value: float | None) -> str:
    """A share as a percentage that says 0 % and 100 % only where they are exact."""
    if value is None or math.isnan(value):
        return NOT_MEASURED
    if value in (0.0, 1.0):
        return f"{100 * value:.0f} %"
    if 0 < abs(value) < 0.0005:
        return "<0.1 %" if value > 0 else "-<0.1 %"
    if 0.9995 < value < 1:
        return ">99.9 %"
    if 1 < value < 1.0005:
        return ">100 %"
    return f"{100 * value:.1f} %"


def count(value: int | None) -> str:
    """An integer with thousands set apart: 65,536."""
    return NOT_MEASURED if value is None else f"{value:,}"


def times(number: int, singular: str, plural: str = "") -> str:
    """`1 cell`, `2,000 cells`."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def listing(text: str | None, shapes: bool = False) -> str:
    """A JSON object as `name: value` pairs in one line; any other text as it is.

    With `shapes`, a list is a shape and is written 16×256×16×32; () is that of a single number.
    """
    try:
        value: Any = json.loads(text or "{}")
    except ValueError:
        return text or ""
    if not isinstance(value, dict):
        return plain(value)
    return ", ".join(f"{key}: {_shape(item) if shapes else plain(item)}" for key, item in value.items())


def _shape(value: Any) -> str:
    return "×".join(map(str, value)) or "()" if isinstance(value, list) else plain(value)


def visible(text: str) -> str:
    """Text in which letters that hide or turn others around (control, format, half pairs) are written out."""
    if text.isprintable():  # no such letter is
        return text
    return "".join(f"\\u{ord(letter):04x}" if _hidden(letter) else letter for letter in text)


def _hidden(letter: str) -> bool:
    return letter not in "\n\t" and unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")


def isolated(text: str) -> str:
    """Text as a page shows it: what hides is written out, what is written from the right is set apart."""
    return turned_apart(visible(text))


def turned_apart(text: str) -> str:
    """Text in which every stretch that is written from right to left turns nothing around but itself.

    A stretch reaches from its first such letter to its last, over signs and digits between them, but not over
    what joins names to a list: names stand in the list's order.  Marks of isolation around it (Unicode
    Standard Annex 9, section 2.4) keep its neighbours in their places.
    """
    if text.isascii():
        return text
    found: list[str] = []
    start, end = -1, -1
    for place, letter in enumerate(text):
        way = unicodedata.bidirectional(letter)
        if way in _FROM_RIGHT:
            found += [] if start >= 0 else [text[end + 1 : place]]
            start, end = (place if start < 0 else start), place
        elif (way == "L" or letter in _JOINTS) and start >= 0:
            found.append(f"{_APART}{text[start : end + 1]}{_END}")
            start = -1
    if start >= 0:
        found.append(f"{_APART}{text[start : end + 1]}{_END}")
    return "".join([*found, text[end + 1 :]])


def plain(value: Any) -> str:
    """A value in one line: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
