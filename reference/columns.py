"""Gathering the operands of sums of products into columns, so that a matrix product can do the sums.

`starts`, `run`, `step`, `offsets` and `groups` are those of `Scheme`.
"""

from __future__ import annotations

from typing import Any

from reference.jit import compiled


@compiled
def fill_terms_first(
    x: Any, starts: Any, run: int, step: int, offsets: Any, groups: Any, group0: int, k0: int, m0: int,
    wide: Any, sizes: Any,
) -> None:  # fmt: skip
    """wide[g, k, m] = operand k0+k of position m0+m in group group0+g; sizes = |wide| in float32."""
    count = wide.shape[2]
    for g in range(wide.shape[0]):
        for k in range(wide.shape[1]):
            base = groups[group0 + g] + offsets[k0 + k]
            row, column = m0 // run, m0 % run
            m = 0
            while m < count:  # one run at a time: its start, then a plain strided copy
                length = min(run - column, count - m)
                first = base + starts[row] + column * step
                if step == 1:  # contiguous: the compiler needs to know
                    for r in range(length):
                        value = x[first + r]
                        wide[g, k, m + r] = value
                        sizes[g, k, m + r] = abs(value)
                else:
                    for r in range(length):
                        value = x[first + r * step]
                        wide[g, k, m + r] = value
                        sizes[g, k, m + r] = abs(value)
                m += length
                row, column = row + 1, 0


@compiled
def fill_terms_last(
    x: Any, starts: Any, run: int, step: int, offsets: Any, groups: Any, group0: int, k0: int, m0: int,
    wide: Any, sizes: Any,
) -> None:  # fmt: skip
    """wide[g, m, k]: as `fill_terms_first`, with the terms of one position side by side."""
    for g in range(wide.shape[0]):
        row, column = m0 // run, m0 % run
        for m in range(wide.shape[1]):
            base = groups[group0 + g] + starts[row] + column * step
            for k in range(wide.shape[2]):
                value = x[base + offsets[k0 + k]]
                wide[g, m, k] = value
                sizes[g, m, k] = abs(value)
            column += 1
            if column == run:
                row, column = row + 1, 0
