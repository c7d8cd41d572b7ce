"""Captures: what a mode returned for its cases, on disk, with the environment it ran in.

A capture is a folder:

    manifest.json         schema, mode, switches asked and read back, versions, and for every cell its
                          status, timing, input checksums, and the SHA-256 of its file
    CASE.safetensors      the outputs of one cell: the tensors `data`, `probe` and `width`, float32; where
                          the cell has `whole`, samples of them at the flat indices `index`
    PROBE.safetensors     the answers of one probe of a suite (a cell whose kind is `probe`)

Every file is written to a temporary name and renamed, the manifest last: what the manifest lists is
complete.  A capture can be read, scored and rendered on any machine.  Nothing is pickled.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from precision.cases import VARIANTS
from precision.errors import UserError
from precision.sampling import Sampled, output_sha256

SCHEMA = 2
OLDEST = 1
"""Captures of schema 1 have neither samples nor probes; all else is the same."""
MANIFEST = "manifest.json"


@dataclass
class Capture:
    """The manifest of one mode's capture, and where it lies."""

    folder: Path
    mode: str
    status: str = "run"
    reason: str = ""
    asked: dict[str, Any] = field(default_factory=dict)
    read_back: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    finished: str = ""
    """UTC time of the last finished cell."""
    cells: dict[str, dict[str, Any]] = field(default_factory=dict)

    def save(self) -> None:
        """Write the manifest (temporary name, then rename)."""
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {"schema": SCHEMA} | {key: getattr(self, key) for key in _FIELDS}
        write_atomically(self.folder / MANIFEST, (json.dumps(content, indent=1) + "\n").encode())

    def outputs(self, case_id: str) -> dict[str, NDArray[np.float32]]:
        """Return the whole arrays of one cell, by variant.

        Raises `UserError` unless the bytes are those captured, and for a cell of which only a sample was kept
        (`samples` takes both).
        """
        if "whole" in self.cells[case_id]:
            raise UserError(
                f"whole outputs are needed here; {self.folder} keeps a sample of case {case_id}; "
                "score the run, or capture the case in another suite"
            )
        tensors = self._tensors(case_id)
        missing = set(VARIANTS) - set(tensors)
        if missing or any(tensor.dtype != np.float32 for tensor in tensors.values()):
            raise self._unfit(case_id)
        return tensors

    def samples(self, case_id: str) -> dict[str, Sampled]:
        """Return what was kept of a cell's outputs, by variant.  Raises `UserError` as `outputs` does."""
        whole = self.cells[case_id].get("whole")
        if whole is None:
            return {
                variant: Sampled(array, None, array.shape, output_sha256(array))
                for variant, array in self.outputs(case_id).items()
            }
        tensors = self._tensors(case_id)
        index = tensors.pop("index", None)
        shape = tuple(int(size) for size in whole["shape"])
        fit = (
            set(VARIANTS) <= set(tensors) == set(whole["sha256"])
            and index is not None
            and index.dtype == np.int64
            and index.ndim == 1
            and bool(np.all(np.diff(index) > 0))
            and 0 <= index.min(initial=0) <= index.max(initial=0) < math.prod(shape)
            and all(t.dtype == np.float32 and t.shape == index.shape for t in tensors.values())
        )
        if not fit:
            raise self._unfit(case_id)
        return {
            variant: Sampled(values, index, shape, str(whole["sha256"][variant]))
            for variant, values in tensors.items()
        }

    def answers(self, probe_id: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Return the notes and the tensors of a suite's probe.  Raises `UserError` for changed bytes."""
        cell = self.cells[probe_id]
        if cell.get("kind") != "probe":
            raise UserError(f"answers are those of a suite's probes; {probe_id!r} is a case; take samples")
        return dict(cell["notes"]), self._tensors(probe_id)

    def verify(self, cell_id: str) -> None:
        """Raise `UserError` unless a good cell's file is as captured and holds what it should."""
        if self.cells[cell_id].get("kind") == "probe":
            self.answers(cell_id)
        else:
            self.samples(cell_id)

    def _tensors(self, cell_id: str) -> dict[str, NDArray[Any]]:
        cell = self.cells[cell_id]
        return read_tensors(self.folder, str(cell["file"]), str(cell["sha256"]))

    def _unfit(self, case_id: str) -> UserError:
        return UserError(
            f"a cell's file holds the float32 tensors data, probe and width; "
            f"{self.folder / self.cells[case_id]['file']} does not; capture again"
        )


_FIELDS = tuple(item.name for item in fields(Capture) if item.name != "folder")


def load_capture(folder: Path) -> Capture:
    """Read and check a manifest.

    Raises `UserError` for an older or newer schema, a missing or unreadable manifest or file, a file name
    that leads out of the folder, and (on `Capture.outputs`) bytes that changed.
    """
    content = read_json(folder / MANIFEST, "a capture", SCHEMA, OLDEST)
    try:
        capture = Capture(folder, **{key: content[key] for key in _FIELDS})
        files = {case: _checked_cell(cell) for case, cell in capture.cells.items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"a manifest has the fields of schema {SCHEMA}; {folder / MANIFEST} lacks {error}; capture again"
        ) from None
    for case, name in files.items():
        if name is not None and not _inside(folder, name).is_file():
            raise UserError(
                f"a capture holds every file that its manifest lists; {folder} lacks {name} "
                f"of case {case}; copy the whole folder, or capture again"
            )
    return capture


_PROBE_FIELDS = {
    "file": str, "sha256": str, "fingerprint": str, "seconds": float | None, "notes": dict, "kernels": list,
}  # fmt: skip
_CELL_FIELDS = {
    "file": str, "sha256": str, "inputs": dict, "fingerprint": str, "seconds": float | None,
    "repeats": int, "distinct": int, "kernels": list,
}  # fmt: skip
_WHOLE_FIELDS = {"shape": list, "sha256": dict}


def _checked_cell(cell: dict[str, Any]) -> str | None:
    """Return the file of a good cell, None for a failed one; KeyError or TypeError where it is neither."""
    if cell["status"] != "ok":
        str(cell["reason"])
        return None
    _check_types(cell, _PROBE_FIELDS if cell.get("kind") == "probe" else _CELL_FIELDS)
    if "whole" in cell:
        _check_types(cell["whole"], _WHOLE_FIELDS)
    return str(cell["file"])


def _check_types(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for name, kind in wanted.items():
        if not isinstance(found[name], kind):
            raise TypeError(f"{name!r} of type {getattr(kind, '__name__', kind)}")


def check_capture(folder: Path, mode: str) -> Capture | None:
    """Return the capture of a mode in a run folder, every file verified; None where there is none yet."""
    place = folder / "captures" / mode
    if not (place / MANIFEST).exists():
        return None
    capture = load_capture(place)
    if capture.mode != mode:
        raise UserError(
            f"a capture lies in a folder of its mode's name; {place} holds {capture.mode!r}; move it back"
        )
    for case_id, cell in capture.cells.items():
        if cell["status"] == "ok":
            capture.verify(case_id)
    return capture


def read_json(path: Path, what: str, schema: int, oldest: int | None = None) -> dict[str, Any]:
    """Read a versioned JSON file, with a message each for missing, unreadable, too old and too new.

    oldest: the oldest schema that is still read; without it only `schema` is.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{what} has a file {path.name}; {path.parent} has none; check the path") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path} must be readable JSON; {error}; restore it or make it again") from None
    found = content.get("schema") if isinstance(content, dict) else None
    if not isinstance(found, int):
        raise UserError(f"{what} names its schema in {path.name}; {path} does not; make it again")
    if found > schema:
        raise UserError(f"{path} is of schema {found}, newer than this version's {schema}; update precision")
    if found < (schema if oldest is None else oldest):
        raise UserError(f"{path} is of schema {found}, older than this version's {schema}; make it again")
    return dict(content)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under a temporary name in its folder, then rename it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)


def write_tensors(path: Path, tensors: Mapping[str, NDArray[Any]]) -> str:
    """Write a safetensors file atomically, and return its SHA-256."""
    content = save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()})
    write_atomically(path, content)
    return hashlib.sha256(content).hexdigest()


def read_tensors(folder: Path, name: str, sha256: str) -> dict[str, NDArray[Any]]:
    """Read a safetensors file inside `folder` whose bytes must have the given SHA-256."""
    path = _inside(folder, name)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} must be readable; {error.strerror}; capture again") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise UserError(
            f"{path} must have the checksum that its manifest lists; its bytes have changed; "
            "restore the file, or capture again into another folder"
        )
    try:
        return dict(load(content))
    except (SafetensorError, ValueError) as error:
        raise UserError(f"{path} must be a safetensors file; {error}; capture again") from None


def _inside(folder: Path, name: str) -> Path:
    path = folder / name
    if Path(name).name != name or not path.resolve().is_relative_to(folder.resolve()):
        raise UserError(
            f"a manifest names files of its own folder; {folder / MANIFEST} names {name!r}, "
            "which leads out of it; do not trust this capture"
        )
    return path
