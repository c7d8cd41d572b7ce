"""Input arrays handed over as safetensors files, instead of being made from their seeds.

For machines where nothing but the framework should run, and to prove that both ways give the same bits:

    DIR/inputs.json                       schema, suite, SHA-256 of every file
    DIR/CASE.data.safetensors, CASE.probe.safetensors
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from precision.capture import read_json, read_tensors, write_atomically, write_tensors
from precision.cases import VARIANTS, Case
from precision.errors import UserError
from precision.inputs import check_arrays

SCHEMA = 1
INPUTS = "inputs.json"


def write_inputs(folder: Path, cases: Sequence[Case]) -> None:
    """Write the arrays of the cases into a new or empty folder."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"inputs are written into a new or empty folder; {folder} is not; name another")
    folder.mkdir(parents=True, exist_ok=True)
    checksums = {}
    for case in cases:
        for variant in VARIANTS:
            name = f"{case.id}.{variant}.safetensors"
            checksums[name] = write_tensors(folder / name, case.make(variant))
    content = {"schema": SCHEMA, "sha256": checksums}
    write_atomically(folder / INPUTS, (json.dumps(content, indent=1) + "\n").encode())


def verify_inputs(folder: Path, cases: Sequence[Case]) -> dict[str, Any]:
    """Check that `folder` holds the cases' arrays, unchanged and of the declared shapes.

    Returns what a worker needs to find them.  Raises `UserError` otherwise.
    """
    checksums = read_json(folder / INPUTS, "a folder of inputs", SCHEMA).get("sha256", {})
    for case in cases:
        for variant in VARIANTS:
            name = f"{case.id}.{variant}.safetensors"
            if name not in checksums:
                raise UserError(
                    f"the inputs hold every case that runs; {folder} lacks {name}; "
                    f"write them with `precision inputs`, or choose other --cases"
                )
            arrays = read_tensors(folder, name, str(checksums[name]))
            check_arrays(case.id, case.declared_arrays(variant), arrays)
    return {"folder": str(folder.resolve()), "sha256": checksums}
