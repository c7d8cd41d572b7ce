"""The smallest integers on which two functions differ: a difference of meaning that can be checked by hand.

Sizes first: each is made as small as it can be while the arrays, filled with integers from fixed seeds,
still tell the two functions apart by at least 1/2 somewhere. Then values: one after another is set to 0 or 1.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from precision.meaning.gather import SUMS
from precision.meaning.hypotheses import IDENTITY, Change, Declaration, Float64, Memory, Shape
from precision.meaning.norm_form import NORMS, NormForm, Statistics, form_of, replaced, values
from precision.meaning.norms import norm_changes
from precision.meaning.sums import sum_changes
from reference import evaluate

LEAST = 0.5
"""By how much the results differ at least."""
_RANGES = (2, 8, 64, 1024)
_MOST_VALUES = 160
_LARGEST_SIZES = (2, 4, 12)
_SEEDS, _FULL_SIZE = range(3, 19), 1 << 16

Arrays = dict[str, Any]
Evaluate = Callable[[Arrays], Float64 | None]
Sizes = dict[str, int]


@dataclass(frozen=True)
class Counterexample:
    """Arrays of small integers (float32), what the declared function makes of them, and the found one."""

    arrays: Mapping[str, Any]
    declared: Float64
    found: Float64


def smallest(
    op: str,
    params_declared: Mapping[str, Any],
    params_found: Mapping[str, Any],
    arrays: Mapping[str, Any],
) -> Counterexample | None:
    """The smallest integer arrays on which `op` with either parameters differs by at least 1/2.

    arrays: some on which both are defined, to shrink from; only their shapes are used, and the values of
    those that are not float32. None where nothing was found (an eps may be too small to tell on integers).
    The same arguments give the same arrays. Raises ValueError for an unknown op.
    """
    given = {name: np.asarray(array) for name, array in arrays.items() if array is not None}
    evaluate(op, given, params_declared)  # refuses what does not fit
    declared = Declaration(op, given, dict(params_declared))
    return _shrunk(
        declared,
        lambda some: _result(_plain(op, some, params_declared)),
        lambda some: _result(_plain(op, some, params_found)),
    )


def smallest_between(declared: Declaration, found: Declaration) -> Counterexample | None:
    """The same for a declaration and a hypothesis that was made from it by the changes that it names."""
    plain = Declaration(declared.op, declared.arrays, declared.params)
    return _shrunk(
        plain,
        lambda some: _result(_plain(plain.op, some, plain.params)),
        lambda some: _result(_replayed(plain, found, some)),
    )


def _plain(op: str, arrays: Arrays, params: Mapping[str, Any]) -> Declaration:
    """The op on these arrays; a normalized shape follows their sizes."""
    if params.get("normalized_shape") is None:
        return Declaration(op, arrays, params)
    count = np.size(params["normalized_shape"])
    return Declaration(op, arrays, {**params, "normalized_shape": list(arrays["input"].shape[-count:])})


def _result(declared: Declaration | None) -> Float64 | None:
    """The function in float64; None where the arrays do not fit it."""
    if declared is None:
        return None
    try:
        if declared.form == IDENTITY:
            value = np.asarray(declared.arrays["input"], np.float64)
        elif isinstance(declared.form, NormForm):
            value = values(declared.form, Statistics(declared.arrays["input"]))
        else:
            value = evaluate(declared.op, declared.arrays, declared.params).value
        for step in declared.after:
            if step.arrange is not None:
                value = step.arrange(value)
            elif step.function is not None:
                value = step.function(value)
    except (ValueError, IndexError):
        return None
    return value


def _replayed(declared: Declaration, found: Declaration, arrays: Arrays) -> Declaration | None:
    """The changes of `found` on other arrays; None where one of them does not fit these."""
    again = Declaration(found.op, arrays, found.params, None, found.after)
    if found.form == IDENTITY:
        return Declaration(found.op, arrays, found.params, IDENTITY, found.after)
    try:
        if declared.op in NORMS and isinstance(found.form, NormForm):
            start = Declaration(
                declared.op,
                arrays,
                declared.params,
                form_of(declared.op, arrays, declared.params),
                found.after,
            )
            return _norm_replayed(start, found)
        for change in found.changes:
            again = _array_change(again, declared, change)
    except ValueError:
        return None
    return again


def _norm_replayed(again: Declaration, found: Declaration) -> Declaration | None:
    for change in found.changes:
        if change.parameter == "eps":
            again = again.changed(change, form=replaced(again.form, eps=change.found))
            continue
        if any(step.name.startswith(f"{change.parameter}: ") for step in found.after):
            continue
        same = [item for item in norm_changes(again) if item.changes[-1].key == change.key]
        if not same:
            return None
        again = same[0]
    return again


def _array_change(again: Declaration, declared: Declaration, change: Change) -> Declaration:
    """A change of arrays made again; parameters and steps are there already."""
    if declared.op not in SUMS:
        return again
    for item in sum_changes(Declaration(declared.op, again.arrays, declared.params), (), Memory()):
        if item.changes[-1].key == change.key and item.arrays is not again.arrays:
            return Declaration(again.op, item.arrays, again.params, None, again.after)
    return again


def _shrunk(declared: Declaration, first: Evaluate, second: Evaluate) -> Counterexample | None:
    symbols = _symbols(declared)
    sizes = {symbol: size for shape in symbols.values() for symbol, size in shape}
    kept = _kernel_symbols(declared)
    starts = [{s: n if s in kept else min(n, most) for s, n in sizes.items()} for most in _LARGEST_SIZES]

    if sum(np.size(array) for array in declared.arrays.values()) <= _FULL_SIZE:
        starts.append(sizes)
    for shapes in (False, True):  # a difference of shape counts only where there is no other
        differ = partial(_differ, first=first, second=second, shapes=shapes)
        for reach, begin in itertools.product(_RANGES, starts):
            if _telling(declared, symbols, begin, reach, differ) is not None:
                small = _smaller(declared, symbols, begin, reach, kept, differ)
                return _simplified(small, first, second, differ)
    return None


def _telling(
    declared: Declaration,
    symbols: Mapping[str, list[tuple[str, int]]],
    sizes: Sizes,
    reach: int,
    differ: Callable[[Arrays], bool],
) -> Arrays | None:
    """Integers in these sizes that tell the functions apart, from the first seed that gives some."""
    for seed in _SEEDS:
        arrays = _filled(declared, symbols, sizes, reach, seed)
        if differ(arrays):
            return arrays
    return None


def _symbols(declared: Declaration) -> dict[str, list[tuple[str, int]]]:
    """(symbol, size) of each axis of each array: equal symbols are one size."""
    found: dict[str, list[tuple[str, int]]] = {}
    shapes = {name: np.shape(array) for name, array in declared.arrays.items()}
    for name, shape in shapes.items():
        found[name] = [(_symbol(declared, shapes, name, axis), n) for axis, n in enumerate(shape)]
    return found


def _symbol(declared: Declaration, shapes: Mapping[str, Shape], name: str, axis: int) -> str:
    op, shape = declared.op, shapes[name]
    if op in SUMS:
        return _sum_symbol(declared, shapes, name, axis)
    if name == "input" or shape == shapes.get("input"):
        return f"axis {axis}"
    for other, n in enumerate(shapes.get("input", ())):  # entries of a channel, or of normalized axes
        if n == shape[axis] and (other == (other + len(shape) - axis) or other > 0):
            last = len(shapes["input"]) - len(shape) + axis
            both = op in ("layer_norm", "rms_norm") and shapes["input"][last] == n
            return f"axis {last}" if both else f"axis {other}"
    return f"{name} {axis}"


def _sum_symbol(declared: Declaration, shapes: Mapping[str, Shape], name: str, axis: int) -> str:
    rank = len(shapes[name])
    if declared.op == "linear":
        if name == "input":
            return "I" if axis == rank - 1 else f"rows {axis}"
        return "O" if name == "bias" or axis == 0 else "I"
    last = str(declared.params.get("layout", "NCHW")).endswith("C")
    if name == "bias":
        return "outer"
    if name == "input":
        channel = rank - 1 if last else 1
        return "N" if axis == 0 else "channels" if axis == channel else f"size {axis - (1 if last else 2)}"
    outer, inner = (rank - 1, rank - 2) if last else (0, 1)
    if axis in (outer, inner):
        return "outer" if axis == outer else "inner"
    return f"kernel {axis - (0 if last else 2)}"


def _kernel_symbols(declared: Declaration) -> set[str]:
    """Sizes that are held: those of kernels, and channels where groups tie them."""
    held = {f"kernel {axis}" for axis in range(3)}
    simple = declared.params.get("groups", 1) == 1 and declared.op in SUMS
    if declared.op.startswith("conv_transpose") or (declared.op in SUMS and not simple):
        held |= {"channels", "inner", "outer"}
    if declared.op == "group_norm":
        held |= {"axis 1"}
    return held


def _filled(
    declared: Declaration, symbols: Mapping[str, list[tuple[str, int]]], sizes: Sizes, reach: int, seed: int
) -> Arrays:
    """Integers from a seed in the shapes that the sizes give; arrays of other types are cut."""
    rng = np.random.default_rng(seed)
    arrays: Arrays = {}
    for name in sorted(declared.arrays):
        shape = tuple(sizes[symbol] for symbol, _ in symbols[name])
        array = declared.arrays[name]
        if array.dtype.kind not in "f" or name == "mask":
            arrays[name] = array[tuple(slice(n) for n in shape)]
            continue
        low = 1 if name == "running_var" else -2
        drawn = rng.integers(low, 3, shape)
        arrays[name] = (drawn * (reach // 2 if name in ("weight", "input") else 1)).astype(np.float32)
        if declared.op in NORMS and name == "input":
            arrays[name] = drawn.astype(np.float32)
    return arrays


def _differ(arrays: Arrays, first: Evaluate, second: Evaluate, shapes: bool) -> bool:
    """Whether the results differ by `LEAST` somewhere, or in shape where that counts."""
    a = first(arrays)
    b = second(arrays) if a is not None else None
    if a is None or b is None:
        return False
    if a.shape != b.shape:
        return shapes
    with np.errstate(invalid="ignore"):
        return bool((np.abs(a - b) >= LEAST).any())


def _smaller(
    declared: Declaration,
    symbols: Mapping[str, list[tuple[str, int]]],
    sizes: Sizes,
    reach: int,
    kept: set[str],
    differ: Callable[[Arrays], bool],
) -> Arrays:
    now = dict(sizes)
    tied = {"channels": "inner"} if "channels" in now and "channels" not in kept else {}
    for _ in range(2):
        for symbol in sorted(now):
            if symbol in kept or symbol in tied.values():
                continue
            for size in range(1, now[symbol]):
                tried = {**now, symbol: size}
                if symbol in tied:
                    tried[tied[symbol]] = size
                if _telling(declared, symbols, tried, reach, differ) is not None:
                    now = tried
                    break
    return _telling(declared, symbols, now, reach, differ) or {}


def _simplified(
    arrays: Arrays, first: Evaluate, second: Evaluate, differ: Callable[[Arrays], bool]
) -> Counterexample:
    """Values set to 0 or 1, one after another, where the results still differ."""
    if sum(array.size for array in arrays.values()) <= _MOST_VALUES:
        for name, index in list(_places(arrays)):
            for number in (0.0, 1.0):
                if arrays[name][index] == number:
                    break
                tried = {**arrays, name: arrays[name].copy()}
                tried[name][index] = number
                if differ(tried):
                    arrays = tried
                    break
    a, b = first(arrays), second(arrays)
    if a is None or b is None:
        raise ArithmeticError("a shrunk case is no case any more: this is a defect of the toolkit")
    return Counterexample(arrays, a, b)


def _places(arrays: Arrays) -> Iterator[tuple[str, tuple[int, ...]]]:
    for name in sorted(arrays):
        if arrays[name].dtype.kind == "f" and name != "running_var":
            for index in np.ndindex(arrays[name].shape):
                yield name, index
