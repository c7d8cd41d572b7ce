"""The nested loops in which leaves are visited, and their names."""

from __future__ import annotations

from collections.abc import Sequence


def loops_of(leaves: Sequence[int]) -> list[tuple[int, int]] | None:
    """(count, stride) of each loop, outermost first, that give these leaves in order; None if there are none.

    leaves[i_1 … i_m] = leaves[0] + i_1 stride_1 + … + i_m stride_m, the last loop the fastest.
    """
    starts, loops = list(leaves), list[tuple[int, int]]()
    while len(starts) > 1:
        stride, count = starts[1] - starts[0], 1
        while count < len(starts) and starts[count] - starts[count - 1] == stride:
            count += 1
        if len(starts) % count:
            return None
        loops.append((count, stride))
        heads = starts[::count]
        if any(
            starts[i * count + j] != head + j * stride for i, head in enumerate(heads) for j in range(count)
        ):
            return None
        starts = heads
    return loops[::-1]


def words_of_loops(leaves: Sequence[int], axes: Sequence[tuple[str, int]], total: int) -> str | None:
    """The loops over named axes, such as "5 kernel rows x 16 input channels", outermost first.

    axes: names and sizes, the last the fastest; without any, and where they do not number `total` leaves, the
    leaves are terms.  None if the leaves are not visited in loops along the axes.
    """
    size = 1
    for _, length in axes:
        size *= length
    if not axes or size != total:
        axes = (("term", total),)
    loops = loops_of(leaves)
    if loops is None:
        return None
    words: list[str] = []
    for count, stride in loops or [(1, 1)]:
        named = _named(leaves[0], count, stride, axes)
        if named is None:
            return None
        words += named
    return " x ".join(words)


def _named(start: int, count: int, stride: int, axes: Sequence[tuple[str, int]]) -> list[str] | None:
    """The words for one loop that begins at the leaf `start`."""
    unit = 1
    for place in range(len(axes) - 1, -1, -1):
        name, size = axes[place]
        if abs(stride) < unit * size or (place == 0 and count == 1):
            break
        unit *= size
    else:
        return None
    if stride % unit:
        return None
    step = stride // unit
    first = start // unit % size
    last = first + (count - 1) * step
    reverse = " in reverse" if step < 0 else ""
    if 0 <= last < size:
        every = "" if abs(step) == 1 or count == 1 else f" (every {_nth(abs(step))})"
        return [f"{count:,} {name}{'s' * (count != 1)}{every}{reverse}"]
    # The loop runs on into the next axis: whole turns of this one.
    whole = abs(step) == 1 and count % size == 0 and first == (0 if step > 0 else size - 1)
    outer = _named(start, count // size, step * size * unit, axes) if whole else None
    return None if outer is None else [*outer, f"{size:,} {name}s{reverse}"]


def _nth(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
