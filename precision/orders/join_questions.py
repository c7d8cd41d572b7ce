"""The questions that tell how the terms of an order are joined: `precision.orders.join_probe` reads them.

They follow from the order alone and are made by NumPy alone, so that they can be asked and recorded where
nothing else is installed.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from precision.inputs import Float32
from precision.orders.probe import Order, Path

# Their product is rounded down, so that truncation gives the same.
ALPHA, BETA = float(np.float32(1.2345678)), float(np.float32(1.7661))
PRODUCT = float(np.float32(ALPHA * BETA))  # both exact in float64, and so is their product
ERROR = float(Fraction(PRODUCT) - Fraction(ALPHA) * Fraction(BETA))


@dataclass(frozen=True)
class Join:
    """Whether leaf `leaf` is fused onto what holds `held` (the bias may be either)."""

    leaf: int
    held: int


def joins_of(path: Path, bias: int) -> list[Join]:
    """The questions about a path: each leaf that is added alone, and the leaf that it starts from."""
    found = []
    held = product_below(path.start, bias)
    for number, step in enumerate(path.steps):
        if len(step.terms) == 1:
            term = step.terms[0]
            if isinstance(term, int) and term != bias:
                found.append(Join(term, bias if held is None else held))
            if number == 0 and isinstance(path.start, int) and path.start != bias:
                # What starts here may as well be added to the other: a leaf to a series, or to a bias.
                other = product_below(term, bias)
                found.append(Join(path.start, bias if other is None else other))
        if held is None:
            held = next((p for term in step.terms if (p := product_below(term, bias)) is not None), None)
    return found


def product_below(term: int | Path, bias: int) -> int | None:
    """A product below a term; None for the bias itself."""
    while isinstance(term, Path):
        inside = [term.start, *(t for step in term.steps for t in step.terms)]
        leaf = next((t for t in inside if isinstance(t, int) and t != bias), None)
        if leaf is not None:
            return leaf
        term = next(t for t in inside if isinstance(t, Path))
    return None if term == bias else term


def join_rows(joins: list[Join], bias: int, columns: int) -> Float32:
    """A row for each question, to be asked with the first factors ALPHA."""
    values = np.zeros((len(joins), columns), np.float32)
    for row, join in enumerate(joins):
        if join.held == bias:
            values[row, bias] = -PRODUCT
            values[row, join.leaf] = BETA
        else:
            values[row, join.held] = BETA
            values[row, join.leaf] = -BETA
    return values


def several_terms(order: Order, products: int) -> tuple[int, int, int] | None:
    """Three leaves of the first addition of several terms that is not exact; None where there is none."""
    for path in order.paths:
        for step in path.steps:
            # The bias does as well here: alpha is 1.
            terms = [product_below(term, products) for term in (path.start, *step.terms[:2])]
            first, second, third = (terms + [None] * 2)[:3]
            if len(step.terms) > 1 and not step.exact:
                found = [products if term is None else term for term in (first, second, third)]
                return found[0], found[1], found[2]
    return None


def truncation_rows(terms: tuple[int, int, int], columns: int) -> Float32:
    """+2**q, -2**q and 1, to be asked with first factors 1: the 1 is left as long as q bits are kept."""
    first, second, third = terms
    values = np.zeros((60, columns), np.float32)
    scales = 2.0 ** np.arange(1, 60)
    values[:59, first], values[:59, second], values[:59, third] = scales, -scales, 1.0
    # A tie in float32, whose even neighbour is the one away from zero, of operands that every format has.
    values[59, [first, second, third]] = 1.0, 1.0, 3.0 * 2.0**-23
    return values
