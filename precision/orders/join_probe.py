"""How the terms of a revealed order are joined: fused or rounded first, and which of two starts.

Counts of leaves do not tell an FMA from a multiplication and an addition, nor which of the first two leaves
starts a chain.  One inexact product does, by its sign: with every first factor alpha, second factors beta at
leaf i, -beta at leaf j and 0 elsewhere, and e = round(alpha beta) - alpha beta, the answer is +e where j is
fused onto an accumulator that holds i, -e where i is fused onto one that holds j, and 0 where both products
are rounded.  For the bias, -round(alpha beta) stands in its place.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from precision.orders.join_questions import (
    ALPHA,
    ERROR,
    Join,
    join_rows,
    joins_of,
    product_below,
    several_terms,
    truncation_rows,
)
from precision.orders.probe import Ask, NoTree, Order, Path, Step
from reference.tree import Fused, Item, Run, SummationTree, series


def assemble(ask: Ask, order: Order, products: int, bias: bool, exact: bool) -> SummationTree:
    """Return the summation tree of a revealed order of `products` products and perhaps a bias.

    exact: products of this op never round (one factor is 1, or both have few bits): nothing is to be asked.
    Raises `NoTree` where an answer is none of the three.
    """
    if isinstance(order.top, int):
        return SummationTree(Run((order.top,)), products, bias)
    joins = {join: None for path in order.paths for join in joins_of(path, products)}
    fused = _ask_joins(ask, list(joins), products, bias) if not exact else dict.fromkeys(joins, 0)
    bits, rounding = _several(ask, order, products, bias)
    built: dict[int, Item] = {}

    def item(term: int | Path, is_fused: bool) -> Item:
        return Run((term,), is_fused) if isinstance(term, int) else built[id(term)]

    for path in reversed(order.paths):  # what hangs on a path comes after it, and is built before
        built[id(path)] = _series(path, products, fused, item, bits, rounding)
    return SummationTree(built[id(order.top)], products, bias)


def _ask_joins(ask: Ask, joins: list[Join], bias: int, has_bias: bool) -> dict[Join, int]:
    """+1: the leaf is fused onto what holds the other; -1: the other way round; 0: both were rounded."""
    if not joins:
        return {}
    signs: list[int] = []
    columns = bias + has_bias
    rows = max(1, 2**24 // columns)
    for first in range(0, len(joins), rows):
        some = joins[first : first + rows]
        values = join_rows(some, bias, columns)
        for join, answer in zip(some, ask(values, ALPHA).astype(np.float64).tolist(), strict=True):
            # Onto a bias of -round(p), a fused product leaves -e; onto a product, -p leaves +e.
            wanted = -ERROR if join.held == bias else ERROR
            if answer not in (0.0, wanted, -wanted):
                raise NoTree(
                    f"terms {join.held} and {join.leaf} cancel but for a rounding error of {abs(ERROR):g}; "
                    f"they left {answer:g}: this is no float32 sum of products"
                )
            signs.append(0 if answer == 0.0 else 1 if answer == wanted else -1)
    return dict(zip(joins, signs, strict=True))


def _series(
    path: Path,
    bias: int,
    fused: dict[Join, int],
    item: Callable[[int | Path, bool], Item],
    bits: int | None,
    rounding: str,
) -> Item:
    held = product_below(path.start, bias)
    value: Item = item(path.start, True)
    for number, step in enumerate(path.steps):
        if len(step.terms) > 1:
            parts = [value, *(item(term, True) for term in step.terms)]
            value = Fused(tuple(parts), None if step.exact else bits, "RNE" if step.exact else rounding)
        else:
            value = _joined(path, number, step, value, bias, held, fused, item)
        if held is None:
            held = next((p for term in step.terms if (p := product_below(term, bias)) is not None), None)
    return value


def _joined(
    path: Path,
    number: int,
    step: Step,
    value: Item,
    bias: int,
    held: int | None,
    fused: dict[Join, int],
    item: Callable[[int | Path, bool], Item],
) -> Item:
    term = step.terms[0]
    sign = fused.get(Join(term, bias if held is None else held), 0) if isinstance(term, int) else 0
    if number or not isinstance(path.start, int):
        if isinstance(term, int):
            return series(value, Run((term,), sign > 0))
        return series(value, item(term, False))
    start = path.start
    other = product_below(term, bias)
    back = 0 if start == bias else fused.get(Join(start, bias if other is None else other), 0)
    if isinstance(term, int) and sign > 0:
        return series(Run((start,)), Run((term,)))
    if isinstance(term, int):
        return series(Run((term,)), Run((start,), back > 0))
    return series(item(term, False), Run((start,), back > 0))


def _several(ask: Ask, order: Order, products: int, bias: bool) -> tuple[int | None, str]:
    """Fraction bits and rounding of the first addition of several terms that is not exact."""
    terms = several_terms(order, products)
    return (None, "RNE") if terms is None else _truncation(ask, terms, products + bias)


def _truncation(ask: Ask, terms: tuple[int, int, int], columns: int) -> tuple[int, str]:
    """+2**q, -2**q and 1: the 1 is left as long as q bits of fraction are kept."""
    values = truncation_rows(terms, columns)
    answers = ask(values, 1.0)
    kept = int(np.argmin(answers[:59] == 1.0))
    return kept, "RZ" if answers[59] == 2.0 + 2.0**-22 else "RNE"
