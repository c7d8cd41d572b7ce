"""The order of a sum as a drawing: time goes from left to right, a box is one accumulator.

Takes the JSON form of a tree of additions and returns one SVG that stands alone.  What repeats is drawn once,
with the number of times, so that a sum of thousands of terms fits a page; what would still be too much is
drawn as a box that says how many terms it holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from reports.theme import PAGE, PLOT

Json = Mapping[str, Any]

_CHARACTER = 6.7  # width of one, at 12 px
_BOX, _GAP, _STEP, _RADIUS = 24.0, 9.0, 34.0, 9.0
_MOST_BOXES, _MOST_ITEMS, _MOST_LEVELS = 40, 12, 24
_PAIRS = {**PAGE, **PLOT}
_NAMES = ("ink", "soft", "box", "edge", "mark")
_LIGHT, _DARK = (
    f"background: {PAGE['paper'][side]}; " + " ".join(f"--{name}: {_PAIRS[name][side]};" for name in _NAMES)
    for side in (0, 1)
)
RULES = """
  text { font: 12px 'DejaVu Sans', Verdana, 'Segoe UI', Helvetica, Arial, sans-serif; fill: var(--ink); }
  .title { font-size: 15px; font-weight: 600; }
  .soft { fill: var(--soft); }
  .many { fill: var(--mark); font-weight: 600; }
  .box { fill: var(--box); stroke: var(--edge); }
  .more { fill: none; stroke: var(--edge); stroke-dasharray: 4 3; }
  .line { fill: none; stroke: var(--edge); stroke-width: 1.5; }
  .sign { fill: var(--box); stroke: var(--mark); stroke-width: 1.5; }
  .mark { text-anchor: middle; fill: var(--mark); }
"""
"""How the parts look, one rule a line, in custom properties that a page defines as well."""

_STYLE = f"\n  svg {{ {_LIGHT} }}\n  @media (prefers-color-scheme: dark) {{ svg {{ {_DARK} }} }}{RULES}"


@dataclass
class _Part:
    """A drawing of one item: its size, the height at which its value leaves at the right, its elements."""

    width: float
    height: float
    out: float
    elements: list[str] = field(default_factory=list)

    def at(self, x: float, y: float) -> str:
        body = "".join(self.elements)
        return f'<g transform="translate({x:g},{y:g})">{body}</g>'


def tree_svg(tree_json: Json, title: str | None = None) -> str:
    """A standalone SVG of a tree in its JSON form (`SummationTree.to_json`), readable in light and in dark.

    title: the heading; by default, how many terms are added.  Raises ValueError for data that is no tree.
    """
    try:
        bias = int(tree_json["leaves"]) if tree_json["bias"] else -1
        heading = title if title is not None else _heading(tree_json)
        drawn = _Drawer(bias).item(tree_json["root"], 0)
        notes = [_arithmetic(tree_json), *_signs(tree_json["root"])]
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise ValueError(
            f"a drawing needs a tree's JSON form, got {error!r}: write it with to_json"
        ) from None
    top, left = 44.0 + 18.0 * len(notes), 20.0
    width = max(left * 2 + drawn.width + 24.0, 40.0 + _CHARACTER * max(len(heading) * 1.3, *map(len, notes)))
    height = top + drawn.height + 28.0
    lines = [
        f'<text class="soft" x="{left:g}" y="{44 + 18 * n}">{escape(note)}</text>'
        for n, note in enumerate(notes)
    ]
    end = left + drawn.width
    out = f'<path class="line" d="M{end:g} {top + drawn.out:g}h20m-6 -4l6 4l-6 4"/>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" role="img">'
        f"<title>{escape(heading)}</title><style>{_STYLE}</style>"
        f'<text class="title" x="{left:g}" y="24">{escape(heading)}</text>'
        f"{''.join(lines)}{drawn.at(left, top)}{out}</svg>\n"
    )


def _heading(tree: Json) -> str:
    terms = int(tree["leaves"])
    return f"The order of a sum of {terms:,} term{'s' * (terms != 1)}" + " and a bias" * bool(tree["bias"])


def _arithmetic(tree: Json) -> str:
    words = ["From left to right; a box is one accumulator, its terms are added one by one"]
    if tree["accumulator"] == "binary64":
        words.append("sums in binary64")
    if tree["operands"] != "binary32":
        words.append(f"factors rounded to {tree['operands']}")
    if tree["flush"]:
        words.append("subnormal numbers count as zeros")
    return "; ".join(words) + "."


def _signs(root: Json) -> list[str]:
    """What the signs mean, as far as they occur."""
    found: dict[str, None] = {}
    todo = [root]
    while todo:
        item = todo.pop()
        # The products of an addition of many are not fused one by one.
        todo += [part for part in _children(item) if "series" in item or "run" not in part]
        if "series" in item:
            if len(item["series"]) > 1:
                found["+ : one addition, rounded."] = None
        elif "run" in item:
            if item["fused"] and _count(item) > 1:
                found["fused: a product and its addition, rounded once."] = None
        else:
            bits = item["fraction_bits"]
            cut = "exactly" if bits is None else f"cut to {int(bits)} bits below the largest"
            found[f"Σ : all terms added at once, {cut}, then rounded ({item['rounding']})."] = None
    return sorted(found)


def _children(item: Json) -> list[Json]:
    if "run" in item:
        return []
    if "series" in item:
        return list(item["series"])
    return [part for step in _steps(item) for part in step]


def _steps(item: Json) -> list[list[Json]]:
    return list(item["steps"]) if "steps" in item else [item["fused"]]


def _count(item: Json) -> int:
    """Terms below an item."""
    total, todo = 0, [item]
    while todo:
        part = todo.pop()
        todo += _children(part)
        total += sum(int(stretch[1]) for stretch in part.get("run", ()))
    return total


def _shape(item: Json) -> tuple[Any, ...]:
    """Equal for items that differ in nothing but the numbers of their leaves."""
    found: list[Any] = []
    todo = [item]
    while todo:
        part = todo.pop()
        inner = _children(part)
        todo += reversed(inner)
        if "run" in part:
            found.append(("run", _count(part), bool(part["fused"])))
        else:
            lengths = tuple(map(len, _steps(part))) if "series" not in part else ()
            found.append((len(inner), lengths, part.get("fraction_bits"), part.get("rounding")))
    return tuple(found)


def _boxes(item: Json) -> int:
    """Boxes that an item takes, with what repeats drawn once."""
    total, todo = 0, [item]
    while todo:
        part = todo.pop()
        if "run" in part:
            total += 1
        elif "series" in part:
            todo += [group[0] for group in _groups(part["series"])[:_MOST_ITEMS]]
        else:
            total += min(2, len(_steps(part)))
            todo += [inner for inner in _steps(part)[0] if "run" not in inner]
    return total


def _groups(items: Sequence[Json]) -> list[list[Json]]:
    """Neighbours of one shape together; the first item, which starts the accumulator, stands alone."""
    out: list[list[Json]] = []
    last: tuple[Any, ...] = ()
    for place, item in enumerate(items):
        shape = _shape(item)
        if place > 1 and shape == last:
            out[-1].append(item)
        else:
            out.append([item])
        last = shape
    return out


@dataclass(frozen=True)
class _Drawer:
    """Draws items; `bias` is the number of the leaf that is no product, -1 for none."""

    bias: int

    def item(self, item: Json, level: int) -> _Part:
        if level > _MOST_LEVELS:
            return self._more(f"{_count(item):,} terms", "more")
        if "run" in item:
            return self._run(item, 1)
        if "series" in item:
            return self._series(list(item["series"]), level)
        return self._fused(item, level)

    def _run(self, item: Json, times: int, verb: str = "") -> _Part:
        stretches = [tuple(map(int, stretch)) for stretch in item["run"]]
        leaves = [first + n * step for first, count, step in stretches for n in range(count)]
        if leaves == [self.bias]:
            return self._more("bias", "box")
        terms = [leaf for leaf in leaves if leaf != self.bias]
        words = [f"{len(terms):,} term{'s' * (len(terms) != 1)}" + " each" * (times > 1)]
        if times == 1:
            words.append(_listed(terms))
        if len(leaves) > 1:
            words += [verb] * bool(verb)
        if len(leaves) > 1 and verb != "at once":
            words.append("fused" if item["fused"] else "products rounded")
        if self.bias in leaves:
            words.append("starts from the bias" if leaves[0] == self.bias else "then the bias")
        return self._more(" · ".join(words), "box")

    def _more(self, text: str, style: str) -> _Part:
        width = _CHARACTER * len(text) + 20.0
        return _Part(
            width,
            _BOX,
            _BOX / 2,
            [
                f'<rect class="{style}" width="{width:g}" height="{_BOX:g}" rx="5"/>'
                f'<text x="10" y="16">{escape(text)}</text>'
            ],
        )

    def _series(self, items: list[Json], level: int) -> _Part:
        if len(items) == 1:
            return self.item(items[0], level)
        groups = _groups(items)
        before: Json = items[0] if len(items) == 2 and "run" not in items[0] else {"series": items[:-1]}
        alike = _shape(before) == _shape(items[-1])
        if alike or (len(items) == 2 and all("run" not in part for part in items)):
            return self._pair(before, items[-1], alike, level)
        rows: list[tuple[_Part, int]] = []
        boxes = 0
        for n, group in enumerate(groups):
            boxes += _boxes(group[0])
            if n and (n >= _MOST_ITEMS or boxes > _MOST_BOXES):
                rest = [item for later in groups[n:] for item in later]
                rows.append((self._more(_summary(rest), "more"), 1))
                break
            if n and "run" in group[0]:  # no accumulator of their own
                times = sum(map(_count, group))
                rows.append((self._run(group[0], len(group), "one by one" * (times > 1)), times))
            else:
                rows.append((self._repeated(group, level + 1), len(group)))
        return _spine(rows, "+")

    def _repeated(self, group: list[Json], level: int) -> _Part:
        first = group[0]
        inner: Sequence[Json] = first.get("series", ())
        if len(group) > 1 and len(inner) == 1 and "run" in inner[0]:
            return self._run(inner[0], len(group))
        return self.item(first, level)

    def _pair(self, first: Json, second: Json, alike: bool, level: int) -> _Part:
        upper = self.item(first, level + 1)
        if _boxes(first) + _boxes(second) <= _MOST_BOXES:
            lower = self.item(second, level + 1)
        elif alike:
            lower = self._more(f"{_count(second):,} terms, in the same way", "more")
        else:
            lower = self._more(_summary([second]), "more")
        width = max(upper.width, lower.width) + _STEP
        below = upper.height + _GAP
        outs = upper.out, below + lower.out
        middle = sum(outs) / 2
        x = width - _RADIUS
        lines = [
            f'<path class="line" d="M{part.width:g} {out:g}H{x:g}V{middle:g}"/>'
            for part, out in zip((upper, lower), outs, strict=True)
        ]
        parts = [upper.at(0, 0), lower.at(0, below), *lines, _sign(x, middle, "+")]
        return _Part(width, below + lower.height, middle, parts)

    def _fused(self, item: Json, level: int) -> _Part:
        steps = _steps(item)
        rows: list[tuple[_Part, int]] = []
        for group in _groups([{"fused": step, "fraction_bits": None, "rounding": ""} for step in steps])[
            :_MOST_ITEMS
        ]:
            parts = group[0]["fused"]
            for inner in parts:
                part = (
                    self._run(inner, len(group), "at once") if "run" in inner else self.item(inner, level + 1)
                )
                rows.append((part, len(group)))
        return _spine(rows, "Σ") if len(rows) > 1 else _Part(*_single(rows[0][0]))


def _summary(items: Sequence[Json]) -> str:
    return f"{sum(map(_count, items)):,} more terms, in {len(items):,} sum{'s' * (len(items) != 1)}"


def _single(part: _Part) -> tuple[float, float, float, list[str]]:
    x = part.width + _STEP - _RADIUS
    line = f'<path class="line" d="M{part.width:g} {part.out:g}H{x:g}"/>'
    return part.width + _STEP, part.height, part.out, [part.at(0, 0), line, _sign(x, part.out, "Σ")]


def _listed(leaves: Sequence[int]) -> str:
    """The numbers of the terms, shortened."""
    if len(leaves) < 4:
        return ", ".join(map(str, leaves))
    if leaves[1] == leaves[0] + 1:
        return (
            f"{leaves[0]}, {leaves[1]}, … {leaves[-1]}"
            if leaves[2] != leaves[0] + 2
            else f"{leaves[0]} … {leaves[-1]}"
        )
    return f"{leaves[0]}, {leaves[1]}, … {leaves[-1]}"


def _sign(x: float, y: float, text: str) -> str:
    return (
        f'<circle class="sign" cx="{x:g}" cy="{y:g}" r="{_RADIUS:g}"/>'
        f'<text class="mark" x="{x:g}" y="{y + 4:g}">{text}</text>'
    )


def _spine(rows: Sequence[tuple[_Part, int]], sign: str) -> _Part:
    """An accumulator along the top: each further row joins it from below, one after another."""
    head = rows[0][0]
    x, y = head.width + _STEP - _RADIUS, head.height
    signs: list[str] = []
    parts = [head.at(0, 0)]
    for part, times in rows[1:]:
        y += _GAP
        x = max(x, part.width + _STEP - _RADIUS)
        parts += [
            part.at(0, y),
            f'<path class="line" d="M{part.width:g} {y + part.out:g}H{x:g}V{head.out:g}"/>',
        ]
        signs.append(_sign(x, head.out, sign))
        wide = 0.0
        if times > 1:
            label = f"× {times:,}"
            wide = _CHARACTER * len(label) + 4.0
            signs.append(
                f'<text class="many" x="{x + _RADIUS + 5:g}" y="{head.out + _BOX / 2 + 9:g}">{label}</text>'
            )
        y += part.height
        x += _STEP + wide
    x -= _STEP
    parts.append(f'<path class="line" d="M{head.width:g} {head.out:g}H{x + _RADIUS:g}"/>')
    return _Part(x + _RADIUS, y, head.out, [*parts, *signs])
