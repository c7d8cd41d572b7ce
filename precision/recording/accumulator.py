"""How a kernel's accumulator adds: the fraction bits that it keeps, how it rounds, whether it flushes.

All are sums of few powers of two, exact as operands in every format (left factors 2^12, for the range of
half precision), so that only the additions can round.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from precision.inputs import Float32
from precision.recording import Kernel, Notes, Tensors
from precision.recording.product import Product

MOST_BITS = 27
"""2^27 is the largest term that half precision holds as 2^12 times a number."""
_LEFT = 2.0**12


def record(kernel: Kernel, probe_id: str, op: str, terms: int) -> tuple[Tensors, Notes]:
    """Ask the rows of `questions`, and two products below the normal range of float32."""
    product = Product(kernel, op, terms)
    asked = questions(terms)
    most = max(len(values) for _, values, _ in asked)
    rows = np.zeros((len(asked), terms), np.float32)
    numbers = np.zeros((len(asked) + 2, most), np.float32)
    places = np.full((len(asked) + 2, most), -1, np.int32)
    for row, (_, values, where) in enumerate(asked):
        rows[row, list(where)] = values
        numbers[row, : len(values)], places[row, : len(where)] = values, where
    answers = [*product.ask(rows / np.float32(_LEFT), _LEFT).tolist(), *_tiny(product)]
    numbers[-2:, 0], places[-2:, 0] = 2.0**-127, 0
    return {"terms": numbers, "places": places, "answer": np.array(answers, np.float32)}, {
        "op": op,
        "terms": terms,
        "names": [*(name for name, _, _ in asked), "flush product 2^-127", "flush operand 2^-127"],
        "uneven": product.uneven,
    }


def questions(terms: int) -> list[tuple[str, Sequence[float], Sequence[int]]]:
    """Return (name, products, places) of every row of three or two products."""
    last = terms - 1
    found: list[tuple[str, Sequence[float], Sequence[int]]] = []
    for bits in range(1, MOST_BITS + 1):
        big = 2.0**bits
        for where, places in (("near", (0, 1, 2)), ("far", (0, 1, last)), ("apart", (0, last, 1))):
            found.append((f"fraction {bits} {where}", (big, -big, 1.0), places))
    for words, added in (("1", 1.0), ("3", 3.0)):
        for sign, name in ((1.0, "2^24"), (-1.0, "-2^24")):
            for where, place in (("near", 1), ("far", last)):
                row = f"round {name} and {words} {where}"
                found.append((row, (sign * 2.0**24, sign * added), (0, place)))
    return found


def _tiny(product: Product) -> list[float]:
    def single(left: float, right: float) -> float:
        row: Float32 = np.zeros((1, product.terms), np.float32)
        row[0, 0] = right
        return float(product.ask(row, left)[0])

    return [single(2.0**-64, 2.0**-63), single(1.0, 2.0**-127)]
