"""The order, or the recipe, that gives an output's own bits: what `precision explain` proves rounding with.

First an order that was revealed for the mode, where there is one, then all that are known
(`precision.orders.known`, `reference.norm_recipes`, tensor cores).  The framework is not run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from precision.meaning.norm_form import NORMS
from precision.orders.known import Axes, other_trees
from precision.orders.known_tensor import tensor_trees
from precision.orders.match_norms import ONE_PASS, cost_of_one_pass, matched_recipes
from precision.orders.match_sums import Found, SumMatch, Trees, matched_sum
from precision.orders.match_tally import Ending
from precision.orders.norm_reveal import RevealedNorm, replay_norm
from precision.orders.revealed import Revealed
from reference.norm_recipes import Recipe
from reference.sum_plans import PLANS
from reference.tree import SummationTree
from reference.tree_words import describe

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Known = Revealed | RevealedNorm | Recipe

_NAMED = 3


@dataclass(frozen=True)
class OrderMatch:
    """What an order makes of a case's arrays.

    replay: the output by that order, NaN where none is known; proved: it is the output, bit for bit, and not
    by chance; words: the order and how far it holds.  bound: of the error by this order, where it was
    revealed and is not exact.  formula: what another formula than the declared one adds to the error, and its
    name.
    """

    replay: Float32
    proved: bool
    words: str
    bound: Float64 | None = None
    formula: Float64 | None = None
    formula_words: str = ""
    trees: tuple[tuple[str, SummationTree], ...] = ()
    """Which outputs, in words, and the tree that they follow; empty where the order is no tree."""


def match_order(
    op: str,
    arrays: Mapping[str, Any],
    params: Mapping[str, Any],
    output: Float32,
    rounded: Float32,
    order: Known | None = None,
    formats: Mapping[str, tuple[str, str]] | None = None,
    ending: Ending | None = None,
) -> OrderMatch | None:
    """The order of an output that may be a float32 evaluation of the op; None where none is known.

    op, arrays, params: as for `reference.evaluate`, the factors already rounded to `formats`
    ({name: (format, rounding)}); rounded: the truth, correctly rounded to float32; order: one that was
    revealed for this op and these shapes, which is replayed first; ending: what follows each sum of products.

    Raises ValueError for an order of another op or other shapes.
    """
    given = None if order is None else _given(op, arrays, params, output, order)
    if given is not None and given.proved:
        return given
    found = None
    single = {name: array for name, array in arrays.items() if array is not None}
    if all(np.asarray(array).dtype == np.float32 for array in single.values()) and output.size:
        if op in PLANS:
            found = _of_sums(op, single, params, output, rounded, formats or {}, ending)
        elif op in NORMS:
            found = _of_norms(op, single, params, output)
    if found is not None and found.proved:
        return found
    return given or found


def _given(
    op: str, arrays: Mapping[str, Any], params: Mapping[str, Any], output: Float32, order: Known
) -> OrderMatch | None:
    recipe: Recipe | None = None
    if isinstance(order, Revealed):
        if order.op != op:
            raise ValueError(
                f"an order is replayed on the op that it was revealed for, {order.op}; got {op}; reveal it"
            )
        if not order.classes:
            return None
        replay, words = order.replay(arrays), order.words
    else:
        chosen = order.recipe if isinstance(order, RevealedNorm) else order
        if chosen is None:
            return None
        recipe = chosen
        replay, words = replay_norm(chosen, op, arrays, params), chosen.words()
    proved = bool(_same(replay, output).all())
    if proved:
        formula = None if recipe is None else cost_of_one_pass(recipe, op, arrays, params)
        detail = f"{words}: the revealed order gives all {output.size:,} outputs, bit for bit"
        named = words if formula is not None else ""
        return OrderMatch(replay, True, detail, None, formula, named, _trees(order))
    wrong = int(np.sum(~_same(replay, output) & ~np.isnan(replay)))
    detail = f"{words}: the revealed order gives all but {wrong:,} of {output.size:,} outputs, bit for bit"
    bound = order.bound(arrays) if isinstance(order, Revealed) else None
    return OrderMatch(replay, False, detail, bound, trees=_trees(order))


def _trees(order: Known) -> tuple[tuple[str, SummationTree], ...]:
    classes = order.classes if isinstance(order, Revealed) else ()
    return tuple((each.where, each.tree) for each in classes)


def _of_sums(
    op: str, arrays: Mapping[str, Float32], params: Mapping[str, Any], output: Float32, rounded: Float32,
    formats: Mapping[str, tuple[str, str]], ending: Ending | None,
) -> OrderMatch | None:  # fmt: skip
    names = {kind for kind, _ in formats.values()}
    trees: Trees = other_trees
    if names:
        trees = _both(lambda axes, bias: tensor_trees(axes, bias, names), other_trees)
    match = matched_sum(op, arrays, params, output, rounded, trees, ending)
    if not match.found:
        return None
    whole = bool(match.known.all())
    proved = whole and match.differing == 0
    followed = tuple((each.where, each.trees[0]) for each in match.found)
    return OrderMatch(match.replay, proved, _words(match, output), trees=followed)


def _both(*sources: Callable[[Axes, bool], Any]) -> Callable[[Axes, bool], Any]:
    def trees(axes: Axes, bias: bool) -> Any:
        for source in sources:
            yield from source(axes, bias)

    return trees


def _words(match: SumMatch, output: Float32) -> str:
    """Every order with the outputs that it is of, how many outputs it gives, and what that is worth."""
    numbers = any(each.final for each in match.found)
    groups: dict[str, list[str]] = {}
    for each in match.found:
        groups.setdefault(_order(each, numbers), []).append(each.where)
    texts = [
        words if len(groups) == 1 and match.known.all() else f"{' and '.join(where)}: {words}"
        for words, where in groups.items()
    ]
    count = int(match.known.sum()) - match.differing
    size = "all" if count == output.size else f"{count:,} of"
    given = f"{'; '.join(texts)}: {size} {output.size:,} outputs, bit for bit"
    return f"{given}; {_worth(match.found)}"


def _order(found: Found, numbers: bool) -> str:
    words = list(dict.fromkeys(describe(tree, products=not numbers) for tree in found.trees))
    text = " or ".join(words[:_NAMED])
    if len(words) > _NAMED:
        text += f" or {len(words) - _NAMED} more"
    return text + (f"; {found.final}" if found.final else "")


def _worth(found: list[Found]) -> str:
    first = found[0]
    tried = sum(each.tried for each in found)
    if first.tried and first.fitting == first.tried:
        return f"every one of {tried:,} orders tried gives these bits"
    nearest = max(each.nearest for each in found)
    return f"of {tried:,} orders tried, one that fails gives at most {_percent(nearest)} of the outputs"


def _of_norms(
    op: str, arrays: Mapping[str, Float32], params: Mapping[str, Any], output: Float32
) -> OrderMatch | None:
    try:
        match = matched_recipes(op, arrays, params, output)
    except ValueError:
        return None
    if not match.recipes:
        return None
    recipe = match.recipes[0]
    words = " or ".join(one.words() for one in match.recipes[:_NAMED])
    if len(match.recipes) > _NAMED:
        words += f" or {len(match.recipes) - _NAMED} more"
    given = "all" if match.exact else "all but one of"
    detail = (
        f"{words}: {given} {output.size:,} outputs, bit for bit; of {match.tried:,} recipes tried, one that "
        f"fails gives at most {_percent(match.nearest)} of a sample"
    )
    if not match.telling:
        return OrderMatch(np.full_like(output, np.nan), False, f"{detail}: too few outputs to tell by")
    formula = None
    if all(one.statistics.method == ONE_PASS for one in match.recipes):
        formula = cost_of_one_pass(recipe, op, arrays, params)
    replay = replay_norm(recipe, op, arrays, params)
    return OrderMatch(replay, match.exact, detail, None, formula, recipe.statistics.words())


def _percent(share: float) -> str:
    # Never rounded up to all.
    return f"{min(100 * share, 99.99):.4g} %"


def _same(a: Float32, b: Float32) -> npt.NDArray[np.bool_]:
    return np.asarray((a == b) | np.isnan(a) & np.isnan(b))
