"""Runs docs/example.ipynb, cell by cell, and keeps what its cells show.

python docs/generate_example.py            run the notebook and write its outputs into it
python docs/generate_example.py --check    run it; status 1 where a cell fails or shows nothing that it should

Needs no Jupyter: a cell's last expression is shown as a notebook would, by its `_repr_html_`, its picture or its
text.
"""

from __future__ import annotations

import argparse
import ast
import base64
import contextlib
import io
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reports.figures_base import document

NOTEBOOK = Path(__file__).resolve().parent / "example.ipynb"


def executed(notebook: Mapping[str, Any]) -> dict[str, Any]:
    """The notebook with the outputs of a run in one namespace; an exception of a cell passes."""
    os.environ.setdefault("MPLBACKEND", "agg")
    space: dict[str, Any] = {"__name__": "__main__"}
    cells, count = [], 0
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            cells.append(cell)
            continue
        count += 1
        outputs = _outputs("".join(cell["source"]), space, count)
        cells.append({**cell, "execution_count": count, "outputs": outputs})
    return {**notebook, "cells": cells}


def _outputs(source: str, space: dict[str, Any], count: int) -> list[dict[str, Any]]:
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    shown: list[dict[str, Any]] = []
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, f"cell {count}", "exec"), space)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), f"cell {count}", "eval"), space)
            if value is not None:
                shown = [
                    {
                        "output_type": "execute_result",
                        "execution_count": count,
                        "metadata": {},
                        "data": _data(value),
                    }
                ]
    if printed.getvalue():
        stream = {
            "output_type": "stream",
            "name": "stdout",
            "text": printed.getvalue().splitlines(keepends=True),
        }
        shown.insert(0, stream)
    return shown


def _data(value: Any) -> dict[str, Any]:
    """What a notebook shows of a value: its own HTML or picture, and its text."""
    data: dict[str, Any] = {"text/plain": repr(value).splitlines(keepends=True)}
    if hasattr(value, "savefig") or hasattr(value, "_repr_png_"):
        picture = value._repr_png_() if hasattr(value, "_repr_png_") else document(value, "png", 110.0)
        data["image/png"] = base64.b64encode(picture).decode("ascii")
        data["text/plain"] = [f"<{type(value).__name__}>"]
    elif hasattr(value, "_repr_html_"):
        data["text/html"] = value._repr_html_().splitlines(keepends=True)
    return data


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    found = executed(json.loads(NOTEBOOK.read_text(encoding="utf-8")))
    if options.check:
        kept = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
        pairs = zip(found["cells"], kept["cells"], strict=True)
        kinds = [[_kinds(cell) for cell in pair] for pair in pairs]
        return int(any(now != then for now, then in kinds))
    NOTEBOOK.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


def _kinds(cell: Mapping[str, Any]) -> list[list[str]]:
    """Of each output what it is shown as: figures may differ on another machine, this may not."""
    return [sorted(output.get("data", {"stream": ""})) for output in cell.get("outputs", [])]


if __name__ == "__main__":
    sys.exit(main())
