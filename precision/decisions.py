"""Decisions that are read off numbers: the largest score, the k largest, which ones pass a threshold.

A decision is safe where no outputs within the bound of the truth could decide otherwise:

    argmax, top-k   min over i inside, j outside of  (t_i - b_i) - (t_j + b_j)  > 0
    threshold       |t_i - threshold| > b_i                      (an element passes where it is >= threshold)

with t the truth and b the bound on |output - truth|. It is at risk where that fails although the output
decides as the truth does, and flipped where the output decides otherwise. The element responsible is the
outsider that comes nearest, or the one that took the place. Of equal scores the first wins, as in
numpy.argmax; a truth with a tie is never safe.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from precision.errors import UserError
from reference import Truth

if TYPE_CHECKING:
    import pandas as pd

Float64 = NDArray[np.float64]
Indices = NDArray[np.int64]

SAFE, AT_RISK, FLIPPED = "safe", "at risk", "flipped"
KINDS = ("argmax", "top-k", "threshold")


class DecisionError(UserError, ValueError):
    """A decision that cannot be judged; one line."""


@dataclass(frozen=True)
class Decision:
    """One decision of one output.

    index: the sample, as the axes that are left say it. truth, found: what the truth and the output decide (a
    class, k classes best first, or passed). margin: how far the truth's decision is from the other one;
    bound: how much of it the bounds of the two elements take; element: the class, or the index, responsible.
    """

    output: str
    kind: str
    index: tuple[int, ...]
    truth: Any
    found: Any
    margin: float
    bound: float
    status: str
    element: int | tuple[int, ...]


def decide(
    truth: Truth | ArrayLike,
    outputs: Mapping[str, ArrayLike],
    bound: ArrayLike,
    *,
    kind: str = "argmax",
    k: int = 1,
    threshold: float = 0.5,
    axis: int = -1,
) -> list[Decision]:
    """Judge the decisions of outputs against the truth.

    truth: scores, exact or as a certified `Truth` (whose own uncertainty is added to the bound); outputs:
    arrays of its shape, by name; bound: on |output - truth|, an array or one number, not negative. axis: the
    one that holds the classes (argmax, top-k). threshold takes every element by itself and returns only those
    that are not safe, and one row for all that are.

    Raises DecisionError for shapes, names or numbers that do not fit, and for scores that are NaN.
    """
    exact, extra = _values(truth)
    limit = np.broadcast_to(np.asarray(bound, np.float64), exact.shape) + extra
    if kind not in KINDS:
        raise DecisionError(f"a decision is one of {', '.join(KINDS)}; got {kind!r}; name one of them")
    if not (limit >= 0).all():
        raise DecisionError("a bound is >= 0; got a negative one or NaN; give |output - truth| at most")
    if np.isnan(exact).any():
        raise DecisionError("scores are numbers; the truth holds NaN; decide where there is a score")
    given = {name: np.asarray(array, np.float64) for name, array in outputs.items()}
    for name, array in given.items():
        if array.shape != exact.shape:
            raise DecisionError(
                f"outputs have the truth's shape {list(exact.shape)}; {name!r} has {list(array.shape)}"
                "; reshape it"
            )
    if kind == "threshold":
        return [
            row for name, array in given.items() for row in _threshold(name, exact, limit, array, threshold)
        ]
    count = 1 if kind == "argmax" else k
    classes = exact.shape[axis] if exact.ndim else 0
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count < classes:
        raise DecisionError(
            f"k is at least 1 and below the number of classes, {classes}; got {count!r}; "
            "choose another k or axis"
        )
    rows = []
    scores, limits = (np.moveaxis(each, axis, -1) for each in (exact, limit))
    for name, array in given.items():
        moved = np.moveaxis(array, axis, -1)
        for index in np.ndindex(scores.shape[:-1]):
            rows.append(_best(name, kind, index, scores[index], limits[index], moved[index], count))
    return rows


def table(decisions: list[Decision]) -> pd.DataFrame:
    """The decisions as a DataFrame, flipped ones first."""
    import pandas as pd

    order = (FLIPPED, AT_RISK, SAFE)
    rows = sorted(decisions, key=lambda each: order.index(each.status))
    columns = list(Decision.__dataclass_fields__)
    return pd.DataFrame([[getattr(row, name) for name in columns] for row in rows], columns=columns)


def _values(truth: Truth | ArrayLike) -> tuple[Float64, Float64]:
    if isinstance(truth, Truth):
        value = truth.value + truth.residual
        return value, truth.bound + np.abs(value) * 2.0**-52
    exact = np.asarray(truth, np.float64)
    return exact, np.zeros(exact.shape)


def _ranked(scores: Float64, count: int) -> Indices:
    """The best classes, best first, the first of equals first; NaN comes last."""
    keys = np.where(np.isnan(scores), -np.inf, scores)
    return np.argsort(-keys, kind="stable")[:count]


def _best(
    name: str, kind: str, index: tuple[int, ...], t: Float64, b: Float64, y: Float64, count: int
) -> Decision:
    inside, found = _ranked(t, count), _ranked(y, count)
    outside = np.setdiff1d(np.arange(t.size), inside)
    low, high = t[inside] - b[inside], t[outside] + b[outside]
    weakest, nearest = inside[int(np.argmin(low))], outside[int(np.argmax(high))]
    margin, taken = float(t[weakest] - t[nearest]), float(b[weakest] + b[nearest])
    same = set(inside.tolist()) == set(found.tolist())
    element = int(nearest)
    status = SAFE if same and margin > taken else AT_RISK
    if not same:
        status = FLIPPED
        element = int(next(each for each in found.tolist() if each not in inside))
        lost = [each for each in inside.tolist() if each not in found]
        margin = float(t[lost[0]] - t[element])
        taken = float(b[lost[0]] + b[element])
    decided: tuple[Any, Any] = (
        (int(inside[0]), int(found[0])) if count == 1 else (tuple(inside.tolist()), tuple(found.tolist()))
    )
    return Decision(name, kind, index, *decided, margin, taken, status, element)


def _threshold(name: str, t: Float64, b: Float64, y: Float64, threshold: float) -> list[Decision]:
    margins = np.abs(t - threshold)
    passes, passed = t >= threshold, y >= threshold
    flipped, safe = passes != passed, margins > b
    rows = [
        Decision(
            name,
            "threshold",
            tuple(index),
            bool(passes[tuple(index)]),
            bool(passed[tuple(index)]),
            float(margins[tuple(index)]),
            float(b[tuple(index)]),
            FLIPPED if flipped[tuple(index)] else AT_RISK,
            tuple(index),
        )
        for index in np.argwhere(flipped | ~safe).tolist()
    ]
    good = ~flipped & safe
    if good.any():
        flat = int(np.argmin(np.where(good, margins - b, np.inf)))
        at = tuple(int(i) for i in np.unravel_index(flat, t.shape))
        rows.append(
            Decision(
                name,
                "threshold",
                at,
                bool(passes[at]),
                bool(passed[at]),
                float(margins[at]),
                float(b[at]),
                SAFE,
                at,
            )
        )
    return rows
