"""The rows of a study's run, for the results."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from precision.capture import Capture
from precision.judging.judgement import Reference
from precision.modes import Mode
from precision.studies.material import Material
from precision.studies.row import Rows

Table = Sequence[dict[str, Any]]


def study_rows(
    study: str,
    folder: Path,
    references: Mapping[str, Reference],
    tables: Mapping[str, Table],
    modes: Sequence[Mode],
    captures: Mapping[str, Capture],
) -> list[dict[str, Any]]:
    """The rows of `reports.schema.STUDIES`, in the order of the study's document.

    references: of the cases that were judged, by id; tables: at least `scores` and `budgets`; captures: by
    mode.  Experiments that the folder does not keep are run, where the mode can run here.
    """
    rows: Rows = importlib.import_module(f"precision.studies.{study.replace('-', '_')}").rows
    with Material(folder, references, tables["scores"], tables["budgets"], modes, captures) as material:
        found = rows(material)
    return [{"order": order, **row.to_json()} for order, row in enumerate(found)]
