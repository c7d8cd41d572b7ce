"""`precision explain FOLDER`: what a user's own outputs are."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

FOUND_SOMETHING = 1

Folder = Annotated[Path, typer.Argument(help="a case folder: case.json and .npy files")]
AsJson = Annotated[bool, typer.Option("--json", help="print the causes as JSON")]


def explain(folder: Folder, json_: AsJson = False) -> int:
    """Judge a user's own outputs: bug or rounding?  Status 1 where one is neither exact nor rounding."""
    # Late: numba takes a second.
    from precision.explanation import explain as explain_case

    found = explain_case(folder)
    if json_:
        print(json.dumps(found.to_json(), indent=1, allow_nan=False))
        for note in found.case.notes:
            print(f"precision: {note}", file=sys.stderr)
    else:
        print(found)
    return 0 if found.fine else FOUND_SOMETHING
