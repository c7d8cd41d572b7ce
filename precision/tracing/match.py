"""Which unit of B is which unit of A: by order along the graph, type, shape, and at last name.

A global alignment (Needleman & Wunsch 1970, "A general method applicable to the search for similarities",
J. Mol. Biol. 48) of the two linearized graphs: a pair scores by what it has in common, a unit without a
partner costs more if it has weights. Pairs that the user names come first and split the alignment.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher, get_close_matches
from math import prod
from pathlib import Path

from precision.errors import UserError
from precision.tracing.units import Shape, Unit, linearized, squeezed

_FAMILIES = (
    {"relu", "leaky_relu", "elu", "selu", "gelu", "silu", "sigmoid", "tanh", "softplus", "prelu", "clamp"},
    {"softmax", "log_softmax", "sigmoid"},
    {"batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm"},
    {"add", "sub", "mul", "div", "concat"},
    {"mean", "sum", "avg_pool1d", "avg_pool2d", "avg_pool3d", "max_pool1d", "max_pool2d", "max_pool3d"},
    {"reshape", "permute"},
)
_SAME_OP, _FAMILY, _SHAPE, _WEIGHTS, _NAME = 4.0, 1.5, 3.0, 3.0, 0.5
_GAP, _GAP_WITH_WEIGHTS = -0.5, -1.5
_NEVER = float("-inf")


@dataclass(frozen=True)
class Matching:
    """pairs: (unit of A, unit of B) by number; only_a, only_b: units without a partner."""

    pairs: tuple[tuple[int, int], ...]
    only_a: tuple[int, ...]
    only_b: tuple[int, ...]

    @property
    def partner(self) -> dict[int, int]:
        """A's unit of each of B's."""
        return {b: a for a, b in self.pairs}


def match_units(a: Sequence[Unit], b: Sequence[Unit], named: Mapping[str, str] | None = None) -> Matching:
    """Match the units of two models; named: pairs of names that the user gives.

    Raises UserError for a name that a model does not have, and where nothing can be matched.
    """
    fixed = _fixed(a, b, named or {})
    order_a = [n for n in linearized(a) if n not in fixed]
    taken = set(fixed.values())
    order_b = [n for n in linearized(b) if n not in taken]
    pairs = [*fixed.items(), *_aligned(a, b, order_a, order_b)]
    if not pairs:
        raise UserError(
            f"two models are compared layer by layer; none of A's {len(a)} ({_listed(a)}) matches one of "
            f"B's {len(b)} ({_listed(b)}); name pairs in a CSV file for --match"
        )
    pairs.sort()
    seen_a, seen_b = {x for x, _ in pairs}, {y for _, y in pairs}
    return Matching(
        tuple(pairs),
        tuple(unit.number for unit in a if unit.number not in seen_a),
        tuple(unit.number for unit in b if unit.number not in seen_b),
    )


def read_pairs(path: Path) -> dict[str, str]:
    """Pairs of names from a CSV file with the columns a_name, b_name.  Raises UserError."""
    try:
        rows = [row for row in csv.reader(path.read_text("utf-8-sig").splitlines()) if any(row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"--match is a readable CSV file; {path}: {error}; check the path") from None
    if rows and [cell.strip() for cell in rows[0]] in (["a_name", "b_name"], ["a", "b"]):
        rows = rows[1:]
    pairs: dict[str, str] = {}
    for row in rows:
        cells = [cell.strip() for cell in row]
        if len(cells) != 2 or not all(cells):
            raise UserError(
                f"a row of --match is a_name,b_name; {path} has {','.join(row)!r}; write two names"
            )
        if cells[0] in pairs:
            raise UserError(f"a layer is matched once; {path} names {cells[0]!r} twice; remove one row")
        pairs[cells[0]] = cells[1]
    return pairs


def _fixed(a: Sequence[Unit], b: Sequence[Unit], named: Mapping[str, str]) -> dict[int, int]:
    names_a, names_b = ({unit.name: unit.number for unit in units} for units in (a, b))
    fixed: dict[int, int] = {}
    for name_a, name_b in named.items():
        for side, name, known in (("A", name_a, names_a), ("B", name_b, names_b)):
            if name not in known:
                near = get_close_matches(name, known, 1)
                mend = f"did you mean {near[0]!r}?" if near else "names are those of the trace's table"
                raise UserError(f"--match names layers of the models; {side} has no {name!r}; {mend}")
        if names_b[name_b] in fixed.values():
            raise UserError(f"a layer is matched once; --match names B's {name_b!r} twice; remove one row")
        fixed[names_a[name_a]] = names_b[name_b]
    return fixed


def _aligned(
    a: Sequence[Unit], b: Sequence[Unit], order_a: Sequence[int], order_b: Sequence[int]
) -> list[tuple[int, int]]:
    rows, columns = len(order_a), len(order_b)
    best = [[0.0] * (columns + 1) for _ in range(rows + 1)]
    for i in range(rows, -1, -1):
        for j in range(columns, -1, -1):
            if i == rows and j == columns:
                continue
            best[i][j] = max(
                best[i + 1][j] + _gap(a[order_a[i]]) if i < rows else _NEVER,
                best[i][j + 1] + _gap(b[order_b[j]]) if j < columns else _NEVER,
                best[i + 1][j + 1] + score(a[order_a[i]], b[order_b[j]])
                if i < rows and j < columns
                else _NEVER,
            )
    pairs, i, j = [], 0, 0
    while i < rows and j < columns:
        x, y = a[order_a[i]], b[order_b[j]]
        if best[i][j] == best[i + 1][j + 1] + score(x, y):
            pairs.append((x.number, y.number))
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j] + _gap(x):
            i += 1
        else:
            j += 1
    return pairs


def score(a: Unit, b: Unit) -> float:
    """How much two units have in common; minus infinity where they cannot be the same layer."""
    if a.op == b.op:
        # What only moves numbers is that which gives the same shape; the next layer sees what it moved.
        if a.op in ("unknown", "random", "reshape", "permute") and squeezed(a.shape) != squeezed(b.shape):
            return _NEVER
        points = _SAME_OP
    elif any(a.op in family and b.op in family for family in _FAMILIES):
        if squeezed(a.shape) != squeezed(b.shape):
            return _NEVER
        points = _FAMILY
    else:
        return _NEVER
    points += _SHAPE * _alike(squeezed(a.shape), squeezed(b.shape))
    weights_a, weights_b = a.weights.get("weight"), b.weights.get("weight")
    if weights_a is not None and weights_b is not None:
        alike = _alike(weights_a, weights_b)
        points += _WEIGHTS * alike
        if alike < 1.0 and squeezed(a.shape) != squeezed(b.shape):
            return _NEVER
    name_a, name_b = (unit.name.rpartition(".")[2].lower() for unit in (a, b))
    return points + _NAME * SequenceMatcher(None, name_a, name_b).ratio()


def _alike(a: Shape, b: Shape) -> float:
    if a == b:
        return 1.0
    return 0.3 if len(a) == len(b) else 0.1 if prod(a) == prod(b) else 0.0


def _gap(unit: Unit) -> float:
    return _GAP_WITH_WEIGHTS if unit.weights else _GAP


def _listed(units: Sequence[Unit]) -> str:
    ops = list(dict.fromkeys(unit.op for unit in units))
    return ", ".join(ops[:4]) + (", …" if len(ops) > 4 else "")
