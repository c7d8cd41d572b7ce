"""A case of the user's own: an op, its parameters, its arrays and the outputs to be judged.

    case.json   {"op": "conv2d", "layout": "NCHW", "params": {"stride": 2},
                 "arrays": {"input": "input.npy", "weight": "weight.npy"}, "outputs": {"torch": "out.npy"}}
    *.npy

Whatever is wrong with it is one line: the rule, what was given, the mend. Files are read without pickle, and
only from inside the folder. They hold what a float32 layer was given and gave: integers (but for classes and
masks) and float64 outputs are refused there, since nobody can tell what was lost on the way; in Python, where
the type was chosen, they are taken and noted.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.errors import UserError
from reference.ops import OPS, checked

KEYS = ("op", "layout", "params", "arrays", "outputs")
_KEPT = {("cross_entropy", "target"), ("dropout", "mask")}
"""Arrays that hold classes or a choice, not float32 numbers."""
_CHANNELS_SECOND = {"cross_entropy", "pixel_shuffle", "pixel_unshuffle"}
_SUGGESTED = 3

Array = NDArray[Any]


class CaseError(UserError, ValueError):
    """A case that cannot be judged; one line that says the rule, what was given and the mend."""


class ShapeError(CaseError):
    """An output of another shape than the declared op gives, which no change of it explains."""


@dataclass(frozen=True)
class Case:
    """A checked declaration; arrays are finite float32 (classes and masks stay what they are).

    outputs: float32, or float64 where the values are no float32 numbers. notes: what was converted.
    `op` is empty, and `arrays` with it, where there are only outputs to be compared.
    """

    op: str
    params: Mapping[str, Any]
    arrays: Mapping[str, Array]
    outputs: Mapping[str, Array]
    notes: tuple[str, ...] = ()


def read_folder(folder: Path, outputs: Mapping[str, Any] | None = None) -> Case:
    """The case of a folder, with more outputs.  Raises CaseError for everything that is wrong with it."""
    if not folder.is_dir():
        what = "a file" if folder.is_file() else "nothing of that name"
        raise CaseError(f"a case is a folder with a case.json; {folder} is {what}; name such a folder")
    return make_case(_declaration(folder / "case.json"), outputs, folder)


def make_case(
    declared: Mapping[str, Any], outputs: Mapping[str, Any] | None = None, folder: Path | None = None
) -> Case:
    """The case of a mapping with the keys of case.json; `outputs` are added to its own.

    Arrays and outputs are NumPy arrays or tensors; with a folder also names of its .npy files.
    Raises CaseError for what does not fit.
    """
    notes: list[str] = []
    for key in declared:
        if key not in KEYS:
            near = get_close_matches(str(key), KEYS, 1)
            if near:
                raise CaseError(
                    f"a case has the keys {', '.join(KEYS)}; got {key!r}; did you mean {near[0]!r}?"
                )
            notes.append(f"the key {key!r} is not used")
    given = {key: _mapping(declared, key) for key in ("params", "arrays", "outputs")}
    found = {**given["outputs"], **(outputs or {})}
    if not found:
        raise CaseError(
            'a case names the outputs to judge; got none; add "outputs": {"torch": "out_torch.npy"}'
        )

    def load(name: str, value: Any, what: str) -> Array:
        if folder is not None and isinstance(value, str):
            return _read_array(folder, value, f"{what} {name!r}")
        if folder is not None and not (what == "output" and name in (outputs or {})):
            raise CaseError(
                f"case.json names an .npy file for each array; got {value!r} for {what} {name!r}; "
                f'save it by np.save and write "{name}": "{name}.npy"'
            )
        if isinstance(value, str):
            raise CaseError(f"{what} {name!r} is an array; got the text {value!r}; pass the array itself")
        return as_array(value, f"{what} {name!r}")

    loaded = {str(name): load(name, value, "output") for name, value in found.items()}
    if folder is not None:
        for name in given["outputs"]:
            _as_stored(f"output {name!r}", loaded[str(name)], double=False)
    judged = {name: _output(name, array, notes) for name, array in loaded.items()}
    if not any(array is not None for array in given["arrays"].values()):
        if len(judged) < 2:
            raise CaseError(
                "an output is judged with the arrays that it was made from; got no arrays and one output; "
                'add "arrays", or a second output to compare it with'
            )
        return Case("", {}, {}, judged, tuple(notes))
    op = _op(declared.get("op"))
    params, in_params = _params(op, declared.get("layout"), given["params"])
    held = {
        str(name): load(name, value, "array")
        for name, value in {**in_params, **given["arrays"]}.items()
        if value is not None
    }
    if folder is not None:
        for name, array in held.items():
            if (op, name) not in _KEPT:
                _as_stored(f"array {name!r}", array, double=True)
    _finite(held)
    arrays = {name: _operand(op, name, array, notes) for name, array in held.items()}
    _check_names(op, arrays, params)
    return Case(op, params, arrays, judged, tuple(notes))


def as_array(value: Any, what: str = "an array") -> Array:
    """A NumPy array of an array, a list of numbers or a framework's tensor; NumPy lacks bfloat16: float32."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.float() if "bfloat16" in str(value.dtype) else value
    if not isinstance(value, np.ndarray) and callable(getattr(value, "numpy", None)):
        value = value.numpy()
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as reason:
        raise CaseError(f"{what} must be one array of numbers; {reason}; give equally long rows") from None
    if array.dtype.name.startswith(("bfloat16", "float8")):
        array = array.astype(np.float32)
    return array


def _declaration(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise CaseError(f"a case folder holds a case.json; {path.parent} has none; write one, see the README")
    try:
        content = json.loads(
            path.read_text("utf-8-sig"), object_pairs_hook=_once, parse_constant=_no_constant
        )
    except CaseError:
        raise
    except (ValueError, RecursionError) as reason:
        raise CaseError(f"case.json must be readable JSON; {reason}; mend {path}") from None
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise CaseError(f"case.json holds one object with the keys {', '.join(KEYS)}; got a {kind}; mend it")
    return content


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise CaseError(f"a key of case.json stands once; got {name!r} twice; remove one")
    return dict(pairs)


def _no_constant(text: str) -> Any:
    raise CaseError(f"numbers of case.json are finite; got {text}; write a number")


def _mapping(declared: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = declared.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise CaseError(f'"{key}" is an object of names and values; got {value!r}; write {{"name": value}}')
    return value


def _op(op: Any) -> str:
    if op is None:
        raise CaseError('a case with arrays names its op; got none; add e.g. "op": "conv2d"')
    if not isinstance(op, str) or op not in OPS:
        near = get_close_matches(str(op).rsplit(".", maxsplit=1)[-1].lower(), OPS, _SUGGESTED)
        mend = f"did you mean {' or '.join(near)}?" if near else "docs/reference.md lists them"
        raise CaseError(f"an op is named as in torch.nn.functional, conv2d or batch_norm; got {op!r}; {mend}")
    return op


def _params(op: str, layout: Any, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters, and the arrays that stand among them (running_mean is an argument in torch)."""
    names = OPS[op].required + OPS[op].optional
    params = {str(k): v for k, v in given.items() if v is not None and k not in names}
    arrays = {str(k): v for k, v in given.items() if v is not None and k in names}
    for name, value in params.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise CaseError(f"a parameter is a finite number; got {name}={value!r}; give the real value")
    if layout is None:
        return params, arrays
    if params.get("layout", layout) != layout:
        raise CaseError(f"a case has one layout; got {layout!r} and {params['layout']!r}; remove one of them")
    if "layout" in OPS[op].params:
        params["layout"] = layout
    elif layout not in ("NCHW", "NHWC", "NCL", "NLC", "NCDHW", "NDHWC"):
        raise CaseError(f"a layout is NCHW or NHWC; got {layout!r}; name the layout of your arrays")
    elif op in _CHANNELS_SECOND and layout.endswith("C"):
        raise CaseError(f"{op} takes its channels on axis 1; got layout {layout!r}; transpose to NCHW")
    return params, arrays


def _check_names(op: str, arrays: Mapping[str, Array], params: Mapping[str, Any]) -> None:
    known = OPS[op].required + OPS[op].optional, OPS[op].params
    for given, names, kind in ((arrays, known[0], "arrays"), (params, known[1], "parameters")):
        for name in given:
            if name not in names:
                near = get_close_matches(name, names, 1)
                listed = ", ".join(names) or "none"
                mend = f"did you mean {near[0]!r}?" if near else "leave it out or rename it"
                raise CaseError(f"{op} takes the {kind} {listed}; got {name!r}; {mend}")
    try:
        checked(op, arrays, params)
    except ValueError as reason:
        raise CaseError(str(reason)) from None


def _as_stored(what: str, array: Array, *, double: bool) -> None:
    """Refuse integers, and float64 if not `double`; what is no number at all is refused later."""
    if array.dtype.kind in "iub":
        raise CaseError(
            f"{what} holds the floats of a float32 layer; got {array.dtype}; "
            "save what the layer was given or gave: array.astype(np.float32)"
        )
    if array.dtype.kind == "f" and array.dtype.itemsize == 8 and not double:
        raise CaseError(
            f"{what} is what a float32 layer gave; got {array.dtype}; save it as float32, or run the layer "
            "in float32 (precision.explain judges float64 arithmetic in Python)"
        )


def _finite(arrays: Mapping[str, Array]) -> None:
    """Raises CaseError where arrays hold NaN or Inf: how many, and which comes first, in each of them."""
    wild = []
    for name, array in arrays.items():
        if array.dtype.kind != "f" or np.isfinite(array).all():
            continue
        finite, nans = np.isfinite(array), int(np.isnan(array).sum())
        first = [int(i) for i in np.argwhere(~finite)[0]]
        wild.append(
            f"array {name!r} holds {nans} NaN and {array.size - int(finite.sum()) - nans} Inf among "
            f"{array.size} values, the first, {array[tuple(first)]}, at {first}"
        )
    if wild:
        raise CaseError(f"the arrays of a case are finite; {', '.join(wild)}; find what made it")


def _operand(op: str, name: str, array: Array, notes: list[str]) -> Array:
    """The array as finite float32."""
    _real(array, f"array {name!r}")
    if (op, name) in _KEPT and array.dtype.kind in "iub":
        return array
    return _single(array, f"array {name!r}", notes)


def _output(name: str, array: Array, notes: list[str]) -> Array:
    """The output as float32; as float64 where its values are no float32 numbers."""
    what = f"output {name!r}"
    _real(array, what)
    if array.dtype.kind == "f" and array.dtype.itemsize == 8:
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            single = array.astype(np.float32)
        if not np.array_equal(single.astype(np.float64), array, equal_nan=True):
            notes.append(
                f"{what} is float64 and more precise than float32: it is judged as float64 arithmetic"
            )
            return np.ascontiguousarray(array, np.float64).reshape(array.shape)
    return _single(array, what, notes)


def _real(array: Array, what: str) -> None:
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind not in "fiub" or size > 8:
        mend = {"c": "give the real and the imaginary part as two cases", "O": "save it as float32"}
        raise CaseError(
            f"{what} holds real numbers of at most 64 bits; got {array.dtype}; "
            f"{mend.get(kind, 'cast it to float32')}"
        )


def _single(array: Array, what: str, notes: list[str]) -> Array:
    """The same numbers as float32.  Raises CaseError where float32 does not have them."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        single = np.ascontiguousarray(array, np.float32).reshape(array.shape)
    if array.dtype.kind == "f" and array.dtype.itemsize == 4:
        return single
    if array.dtype.itemsize > 2:
        same = single.astype(np.float64) == array
        if array.dtype.kind == "f":
            same |= np.isnan(single) & np.isnan(array)
        else:
            same &= (array <= 2**53) & (array >= -(2**53))  # beyond, the comparison itself would round
        if not same.all():
            first = [int(i) for i in np.argwhere(~same)[0]]
            raise CaseError(
                f"{what} holds float32 numbers; got {array.dtype} with others, the first at {first}; "
                "pass what the layer was given: array.astype(np.float32)"
            )
    notes.append(f"{what} is {array.dtype}: taken as float32, which has all its values")
    return single


def _read_array(folder: Path, name: str, what: str) -> Array:
    """One .npy file of the folder."""
    path = _inside(folder, name, what)
    try:
        with path.open("rb") as file:
            start = file.read(6)
            if start != b"\x93NUMPY":
                kind = "an .npz archive" if start[:2] == b"PK" else "no .npy file"
                raise CaseError(f"{what} is an .npy file; {name} is {kind}; write it by np.save")
            file.seek(0)
            array: Array = np.lib.format.read_array(file, allow_pickle=False)
            more = file.read(1)
    except (ValueError, EOFError, MemoryError, OverflowError, TypeError, SyntaxError) as reason:
        if isinstance(reason, CaseError):
            raise
        if "allow_pickle" in str(reason) or "pickle" in str(reason):
            raise CaseError(
                f"{what} holds numbers; {name} holds Python objects (a pickle), which is never loaded; "
                "save it by np.save as float32"
            ) from None
        raise CaseError(
            f"{what} is a whole .npy file; {name} is damaged or cut short ({_first_line(reason)}); "
            "save it again"
        ) from None
    except OSError as reason:
        raise CaseError(
            f"{what} must be readable; {name}: {reason.strerror}; check its permissions"
        ) from None
    if more:
        raise CaseError(f"{what} is one array; {name} goes on after it; save each array in a file of its own")
    return array


def _inside(folder: Path, name: str, what: str) -> Path:
    rule = f"{what} is a file inside the case folder"
    try:
        path = (folder / name).resolve()
        inside = path.is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):
        raise CaseError(f"{rule}; {name!r} is no usable name; name an .npy file") from None
    if not inside or Path(name).is_absolute() or ".." in Path(name).parts:
        raise CaseError(f"{rule}; {name!r} leads out of it; copy the file into {folder}")
    if not path.is_file():
        raise CaseError(f"{rule}; there is no {name!r} in {folder}; check the name in case.json")
    return path


def _first_line(reason: Exception) -> str:
    """The start of a message, without the guesses and addresses of memory in it."""
    line = (str(reason).splitlines() or [type(reason).__name__])[0]
    return re.sub(r"( at 0x[0-9a-f]+)|( \(file seems .*)", "", line)[:120].rstrip(". ")


def tried(function: Callable[[], Any], case: Case) -> Any:
    """The function's result; what the reference refuses (shapes, values of parameters) as a CaseError."""
    try:
        return function()
    except CaseError:
        raise
    except MemoryError:
        raise CaseError(
            f"a case must fit in memory; {case.op} of these parameters does not; check {dict(case.params)}"
        ) from None
    except (ValueError, TypeError, IndexError, OverflowError) as reason:
        text = " ".join(str(reason).split())
        raise CaseError(f"{case.op} cannot be computed as declared: {text}") from None
