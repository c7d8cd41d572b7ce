"""How the terms of a revealed order are joined: fused or rounded first, and which of two starts.

Counts of leaves do not tell an FMA from a multiplication and an addition, nor which of the first two leaves
starts a chain.  One inexact product does, by its sign: with every first factor alpha, second factors beta at
leaf i, -beta at leaf j and 0 elsewhere, and e = round(alpha beta) - alpha beta, the answer is +e where j is
fused onto an accumulator that holds i, -e where i is fused onto one that holds j, and 0 where both products
are rounded.  For the bias, -round(alpha beta) stands in its place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from precision.order_probe import Ask, NoTree, Order, Path, Step
from reference.tree import Fused, Item, Run, SummationTree, series

# Their product is rounded down, so that truncation gives the same.
ALPHA, BETA = float(np.float32(1.2345678)), float(np.float32(1.7661))
_PRODUCT = float(np.float32(ALPHA * BETA))  # both exact in float64, and so is their product
_ERROR = float(Fraction(_PRODUCT) - Fraction(ALPHA) * Fraction(BETA))


@dataclass(frozen=True)
class _Join:
    """Whether leaf `leaf` is fused onto what holds `held` (the bias may be either)."""

    leaf: int
    held: int


def assemble(ask: Ask, order: Order, products: int, bias: bool, exact: bool) -> SummationTree:
    """Return the summation tree of a revealed order of `products` products and perhaps a bias.

    exact: products of this op never round (one factor is 1, or both have few bits): nothing is to be asked.
    Raises `NoTree` where an answer is none of the three.
    """
    if isinstance(order.top, int):
        return SummationTree(Run((order.top,)), products, bias)
    joins = {join: None for path in order.paths for join in _joins(path, products)}
    fused = _ask_joins(ask, list(joins), products, bias) if not exact else dict.fromkeys(joins, 0)
    bits, rounding = _several(ask, order, products, bias)
    built: dict[int, Item] = {}

    def item(term: int | Path, is_fused: bool) -> Item:
        return Run((term,), is_fused) if isinstance(term, int) else built[id(term)]

    for path in reversed(order.paths):  # what hangs on a path comes after it, and is built before
        built[id(path)] = _series(path, products, fused, item, bits, rounding)
    return SummationTree(built[id(order.top)], products, bias)


def _joins(path: Path, bias: int) -> list[_Join]:
    """The questions about a path: each leaf that is added alone, and the leaf that it starts from."""
    found = []
    held = _product(path.start, bias)
    for number, step in enumerate(path.steps):
        if len(step.terms) == 1:
            term = step.terms[0]
            if isinstance(term, int) and term != bias:
                found.append(_Join(term, bias if held is None else held))
            if number == 0 and isinstance(path.start, int) and path.start != bias:
                # What starts here may as well be added to the other: a leaf to a series, or to a bias.
                other = _product(term, bias)
                found.append(_Join(path.start, bias if other is None else other))
        if held is None:
            held = next((p for term in step.terms if (p := _product(term, bias)) is not None), None)
    return found


def _product(term: int | Path, bias: int) -> int | None:
    """A product below a term; None for the bias itself."""
    while isinstance(term, Path):
        inside = [term.start, *(t for step in term.steps for t in step.terms)]
        leaf = next((t for t in inside if isinstance(t, int) and t != bias), None)
        if leaf is not None:
            return leaf
        term = next(t for t in inside if isinstance(t, Path))
    return None if term == bias else term


def _ask_joins(ask: Ask, joins: list[_Join], bias: int, has_bias: bool) -> dict[_Join, int]:
    """+1: the leaf is fused onto what holds the other; -1: the other way round; 0: both were rounded."""
    if not joins:
        return {}
    signs: list[int] = []
    columns = bias + has_bias
    rows = max(1, 2**24 // columns)
    for first in range(0, len(joins), rows):
        some = joins[first : first + rows]
        values = np.zeros((len(some), columns), np.float32)
        for row, join in enumerate(some):
            if join.held == bias:
                values[row, bias] = -_PRODUCT
                values[row, join.leaf] = BETA
            else:
                values[row, join.held] = BETA
                values[row, join.leaf] = -BETA
        for join, answer in zip(some, ask(values, ALPHA).astype(np.float64).tolist(), strict=True):
            # Onto a bias of -round(p), a fused product leaves -e; onto a product, -p leaves +e.
            wanted = -_ERROR if join.held == bias else _ERROR
            if answer not in (0.0, wanted, -wanted):
                raise NoTree(
                    f"terms {join.held} and {join.leaf} cancel but for a rounding error of {abs(_ERROR):g}; "
                    f"they left {answer:g}: this is no float32 sum of products"
                )
            signs.append(0 if answer == 0.0 else 1 if answer == wanted else -1)
    return dict(zip(joins, signs, strict=True))


def _series(
    path: Path,
    bias: int,
    fused: dict[_Join, int],
    item: Callable[[int | Path, bool], Item],
    bits: int | None,
    rounding: str,
) -> Item:
    held = _product(path.start, bias)
    value: Item = item(path.start, True)
    for number, step in enumerate(path.steps):
        if len(step.terms) > 1:
            parts = [value, *(item(term, True) for term in step.terms)]
            value = Fused(tuple(parts), None if step.exact else bits, "RNE" if step.exact else rounding)
        else:
            value = _joined(path, number, step, value, bias, held, fused, item)
        if held is None:
            held = next((p for term in step.terms if (p := _product(term, bias)) is not None), None)
    return value


def _joined(
    path: Path,
    number: int,
    step: Step,
    value: Item,
    bias: int,
    held: int | None,
    fused: dict[_Join, int],
    item: Callable[[int | Path, bool], Item],
) -> Item:
    term = step.terms[0]
    sign = fused.get(_Join(term, bias if held is None else held), 0) if isinstance(term, int) else 0
    if number or not isinstance(path.start, int):
        if isinstance(term, int):
            return series(value, Run((term,), sign > 0))
        return series(value, item(term, False))
    start = path.start
    other = _product(term, bias)
    back = 0 if start == bias else fused.get(_Join(start, bias if other is None else other), 0)
    if isinstance(term, int) and sign > 0:
        return series(Run((start,)), Run((term,)))
    if isinstance(term, int):
        return series(Run((term,)), Run((start,), back > 0))
    return series(item(term, False), Run((start,), back > 0))


def _several(ask: Ask, order: Order, products: int, bias: bool) -> tuple[int | None, str]:
    """Fraction bits and rounding of the first addition of several terms that is not exact."""
    for path in order.paths:
        for step in path.steps:
            # The bias does as well here: alpha is 1.
            terms = [_product(term, products) for term in (path.start, *step.terms[:2])]
            first, second, third = (terms + [None] * 2)[:3]
            if len(step.terms) > 1 and not step.exact:
                found = [products if term is None else term for term in (first, second, third)]
                return _truncation(ask, (found[0], found[1], found[2]), products + bias)
    return None, "RNE"


def _truncation(ask: Ask, terms: tuple[int, int, int], columns: int) -> tuple[int, str]:
    """+2**q, -2**q and 1: the 1 is left as long as q bits of fraction are kept."""
    first, second, third = terms
    values = np.zeros((60, columns), np.float32)
    scales = 2.0 ** np.arange(1, 60)
    values[:59, first], values[:59, second], values[:59, third] = scales, -scales, 1.0
    # A tie in float32, whose even neighbour is the one away from zero.
    values[59, first], values[59, second] = 1.0, 1.0 + 3.0 * 2.0**-23
    answers = ask(values, 1.0)
    kept = int(np.argmin(answers[:59] == 1.0))
    return kept, "RZ" if answers[59] == 2.0 + 2.0**-22 else "RNE"
