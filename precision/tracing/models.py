"""Two models, layer by layer: each layer's own error, what it inherits, and where their meaning parts.

    trace = precision.trace("a.py", "b.py", shape=(1, 3, 224, 224), weights="a")
    print(trace.first_difference)

A model file defines model(), which returns an nn.Module or a keras.Model as it is to be run (inference:
return net.eval()), and optionally inputs(). Each model runs in a process of its own, in a mode.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.errors import CannotRun, UserError
from precision.live import find_mode
from precision.modes import Mode
from precision.tracing.backward.chain import GradientRow
from precision.tracing.backward.follow import gradient_rows
from precision.tracing.carry import carry_weights
from precision.tracing.decide import last_decisions
from precision.tracing.follow import Follower
from precision.tracing.judge import UNKNOWN, Finding
from precision.tracing.match import Matching, match_units, read_pairs
from precision.tracing.process import ModelError, TraceProcess
from precision.tracing.result import Trace, gradient_values, row_values
from precision.tracing.run import Chain, Row, Side, ordinary_pass
from precision.tracing.store import Store, write_layer
from precision.tracing.units import FLOAT32, build_units, read_calls

Float32 = NDArray[np.float32]
Progress = Callable[[str], None]
_MOVES = ("reshape", "permute")
_DEFAULT_MODES = {"torch": "torch.cpu", "tensorflow": "tensorflow.cpu"}


def trace(
    a: str | Path,
    b: str | Path,
    *,
    input: Any = None,
    shape: Sequence[int] | None = None,
    seed: int = 0,
    mode_a: str | None = None,
    mode_b: str | None = None,
    weights: str | None = None,
    match: Mapping[str, str] | str | Path | None = None,
    output: str | Path | None = None,
    gradients: bool = False,
    timeout: float = 600.0,
    progress: Progress = lambda what: None,
) -> Trace:
    """Trace the model of file `b` against that of file `a`.

    input: an array, several in a list, or by keyword in a dict, in A's layout; shape: of standard normal
    numbers from `seed` instead; without both, A's `inputs()`, or the shape that a Keras model knows. seed:
    also of the weights that a model draws. mode_a, mode_b: modes, by default the framework that the file
    imports on the CPU. weights: "a" carries A's weights into B, "b" the other way. match: {name in A: name
    in B}, or a CSV file of such pairs, for what order, type and shape do not tell. output: a folder for the
    table and every layer's arrays. gradients: go back through both models too, see
    `precision.tracing.backward.chain`; both graphs are then in memory. timeout: seconds for one layer.

    Raises UserError, one line, for models, inputs, weights or matches that do not fit; CannotRun for a mode
    that this machine does not have.
    """
    files = {"a": _file(a, "A"), "b": _file(b, "B")}
    modes = {"a": _mode(files["a"], mode_a, "a"), "b": _mode(files["b"], mode_b, "b")}
    if weights not in (None, "a", "b"):
        raise UserError(f"weights are carried from a or from b; got {weights!r}; name one of the two")
    named = match if isinstance(match, Mapping) else read_pairs(Path(match)) if match is not None else {}
    with ExitStack() as stack:
        store = Store()
        stack.callback(store.close)
        processes = {}
        for side in ("a", "b"):
            process = TraceProcess(files[side], modes[side], side.upper(), timeout)
            stack.callback(process.close)
            processes[side] = process
        for process in processes.values():
            process.ready()
        loaded = {side: _loaded(process, seed, progress) for side, process in processes.items()}
        arrays, kinds, keys = _inputs(processes["a"], loaded["a"], input, shape, seed)
        request = {"kinds": kinds, "names": keys, "turn": True, "seed": int(seed)}
        sides = {side: _side(process, arrays, request) for side, process in processes.items()}
        matching = match_units(sides["a"].units, sides["b"].units, named)
        notes = [note for head in loaded.values() for note in head["notes"]]
        if weights is not None:
            pairs = [(sides["a"].units[x], sides["b"].units[y]) for x, y in matching.pairs]
            if weights == "a":
                notes += carry_weights(sides["a"], sides["b"], pairs)
            else:
                notes += carry_weights(sides["b"], sides["a"], [(y, x) for x, y in pairs])
        ordinary = {
            side: ordinary_pass(sides[side], store, lambda name, s=side: progress(f"{s.upper()} {name}"))  # type: ignore[misc]
            for side in ("a", "b")
        }
        rows = [Row(unit) for unit in sides["a"].units]
        chain = Chain(sides["a"], ordinary["a"], store, rows, lambda name: progress(f"truth {name}"))
        follower = Follower(sides["b"], ordinary["b"], chain, matching)
        try:
            follower.run()
        except ModelError as error:
            notes.append(f"B was not run to its end on A's values: {error}")
        chain.advance()
        _unjudged(rows, sides["b"], matching)
        back = _back(follower, chain, int(seed), progress, notes) if gradients else []
        back_values = [gradient_values(each) for each in back]
        decisions = last_decisions(rows, sides["a"].outputs, store, chain.limit)
        values = [row_values(row) for row in rows]
        kept = Path(output) if output is not None else None
        if kept is not None:
            _keep(kept / "layers", rows, values, store)
            _keep(kept / "gradients", back, back_values, store)
        unmatched = {
            "a": [sides["a"].units[n].name for n in matching.only_a],
            "b": [sides["b"].units[n].name for n in matching.only_b],
        }
        weighted = _matter(sides["a"], matching.only_a) + _matter(sides["b"], matching.only_b)
        found = Trace(
            values,
            unmatched,
            notes,
            decisions,
            {side: mode.name for side, mode in modes.items()},
            {side: str(path) for side, path in files.items()},
            {side: process.versions for side, process in processes.items()},
            kept,
            weighted,
            back_values,
        )
    if kept is not None:
        found.write(kept)
    return found


def _back(
    follower: Follower, chain: Chain, seed: int, progress: Progress, notes: list[str]
) -> list[GradientRow]:
    """The rows of the gradients; what they have to say is added to the notes."""
    found, said = gradient_rows(follower, chain, seed, progress)
    notes += said
    return found


def _file(path: str | Path, side: str) -> Path:
    found = Path(path)
    if not found.is_file():
        raise UserError(
            f"model {side} is a Python file that defines model(); {path} is no file; check the path"
        )
    return found.resolve()


def _mode(file: Path, name: str | None, side: str) -> Mode:
    """The mode asked for, or the default one of the framework that the file imports."""
    if name is not None:
        return find_mode(name)
    try:
        tree = ast.parse(file.read_text("utf-8-sig"))
    except (SyntaxError, UnicodeDecodeError, ValueError) as error:
        raise UserError(f"a model file is Python; {file}: {error}; mend it") from None
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    found = {"torch"} & names | ({"tensorflow"} if names & {"tensorflow", "keras"} else set())
    if len(found) != 1:
        what = "imports both torch and tensorflow" if found else "imports neither torch nor keras itself"
        raise UserError(f"a model runs in one framework; {file} {what}; give --mode-{side} torch.cpu, say")
    return find_mode(_DEFAULT_MODES[found.pop()])


def _loaded(process: TraceProcess, seed: int, progress: Progress) -> dict[str, Any]:
    progress(f"{process.side} load")
    head, _ = process.ask({"do": "load", "file": str(process.file), "seed": int(seed)})
    return head


def _inputs(
    process: TraceProcess, loaded: Mapping[str, Any], given: Any, shape: Sequence[int] | None, seed: int
) -> tuple[dict[str, Float32], list[str], list[str]]:
    """The inputs channels first, their dtypes, and their keywords where they have such."""
    keys: list[str] = []
    if given is not None and shape is not None:
        raise UserError("an input is given or drawn; got both an input and a shape; leave one out")
    if given is not None:
        keys = [str(key) for key in given] if isinstance(given, Mapping) else []
        listed = list(given.values()) if keys else given
        many = listed if isinstance(listed, list | tuple) else [listed]
        found = [_checked(np.asarray(each)) for each in many]
        kinds = ["float32" if each.dtype.kind == "f" else str(each.dtype) for each in found]
        arrays = {f"in{k}": each.astype(np.float32) for k, each in enumerate(found)}
    elif shape is None and loaded["has_inputs"]:
        head, arrays = process.ask({"do": "inputs"})
        kinds, keys = list(head["kinds"]), list(head["names"])
    else:
        size = list(shape) if shape is not None else loaded["shape"]
        if size is None:
            raise UserError(
                f"a model is traced on an input; {process.file} has no inputs(), its model no shape; "
                "give --shape 1,3,224,224, --input x.npy, or define inputs()"
            )
        if not size or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in size):
            raise UserError(f"a shape is positive integers; got {size}; give e.g. 1,3,224,224")
        numbers = np.random.default_rng(seed).standard_normal(size)
        arrays, kinds = {"in0": numbers.astype(np.float32)}, ["float32"]
    _, arrays = process.ask({"do": "first"}, arrays)
    return arrays, kinds, keys


def _checked(array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
        raise UserError(f"an input holds real numbers; got {array.dtype}; cast it to float32")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise UserError("an input is finite; it holds NaN or Inf; find what made them")
    if array.dtype.kind in "iu" and array.size and int(np.abs(array.astype(np.int64)).max()) >= 2**24:
        raise UserError("integer inputs are below 2**24; larger ones were given; give smaller indices")
    return array


def _side(process: TraceProcess, arrays: dict[str, Float32], request: Mapping[str, Any]) -> Side:
    head, _ = process.ask({"do": "describe", **request}, arrays)
    calls = read_calls(head["calls"])
    if not calls:
        raise UserError(
            f"a model calls layers on its input; {process.file} calls none that are seen; "
            "write it with the framework's own functions"
        )
    units = build_units(calls, head["outputs"])
    kinds_given = sorted({unit.main.kind for unit in units} - {FLOAT32})
    judged = process.side != "A" or any(unit.main.kind == FLOAT32 for unit in units)
    if kinds_given and not judged:
        raise UserError(
            f"layers are judged in float32; those of model {process.side}, {process.file}, give "
            f"{', '.join(kinds_given)}; cast the model to float32"
        )
    ends = {index for group in head["outputs"] for index in group}
    through = {call.index: call for call in calls if call.transparent}
    last = []
    for end in ends:
        at = end
        while at in through and through[at].sources and through[at].sources[0]:
            at = through[at].sources[0][0]
        last += [unit.number for unit in units if unit.main.index == at]
    return Side(process, units, request, arrays, tuple(sorted(last)))


def _unjudged(rows: Sequence[Row], b: Side, matching: Matching) -> None:
    """What is said of units that never gave a float32 array to judge."""
    for row in rows:
        if row.a.main.kind != FLOAT32:
            detail = f"it gives {row.a.main.kind}: only float32 is judged; its own output goes on"
            row.finding_a = Finding(UNKNOWN, detail=detail)
    for x, y in matching.pairs:
        row, unit = rows[x], b.units[y]
        if row.finding_b is not None:
            continue
        row.b = unit
        row.finding_b = Finding("not run", detail="B did not get there on A's values")
        kinds = row.a.main.kind, unit.main.kind
        if kinds[0] != kinds[1]:
            detail = f"B computes in {kinds[1]} where A computes in {kinds[0]}"
            mend = f"compute in {kinds[0]}: no automatic mixed precision, no cast before the layer"
            row.finding_b = Finding("semantics", "dtype", *kinds, "proved", detail, mend)
        elif kinds[0] != FLOAT32:
            row.finding_b = replace(row.finding_a)


def _matter(side: Side, unmatched: Sequence[int]) -> list[str]:
    """Names of the unmatched units that leave a comparison incomplete: with weights, or at the model's end.

    What others do is seen at the next unit with a partner, which is fed its own input first.
    """
    return [
        side.units[n].name
        for n in unmatched
        if side.units[n].weights or (n in side.outputs and side.units[n].op not in _MOVES)
    ]


def _keep(
    folder: Path, rows: Sequence[Row | GradientRow], values: Sequence[dict[str, Any]], store: Store
) -> None:
    for k, (row, value) in enumerate(zip(rows, values, strict=True)):
        if "truth" in row.keys:
            name = f"{k:04d}.safetensors"
            arrays = {key: store.get(digest) for key, digest in row.keys.items()}
            value["file"], value["sha256"] = name, write_layer(folder, name, arrays)


__all__ = ["CannotRun", "Trace", "trace"]
