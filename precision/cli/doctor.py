"""`precision doctor`: what is installed, which modes can run here, which bits each switch changes."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console

from precision.errors import UserError
from precision.progress import progress

AsJson = Annotated[bool, typer.Option("--json", help="print everything as JSON")]
Asked = Annotated[
    bool, typer.Option("--live/--no-live", help="run every mode on tiny layers (under a minute)")
]
Seconds = Annotated[float, typer.Option(help="for all of it; a slow machine needs more to ask every mode")]


def doctor(json_: AsJson = False, live: Asked = True, seconds: Seconds = 54.0) -> int:
    """Show frameworks, libraries, modes, contradicting switches, and which modes differ in bits here."""
    # Late: it needs NumPy and the formats, which --help does not.
    from precision.doctor.diagnosis import diagnose, steps
    from precision.doctor.text import show

    if not seconds > 0:
        raise UserError(f"the time limit is above 0 seconds; got {seconds:g}; give --seconds 60, say")
    with progress("doctor", steps(live)) as advance:
        found = diagnose(live, advance, seconds=seconds)
    if json_:
        print(json.dumps(found.to_json(), indent=1, allow_nan=False))
    else:
        show(found, Console())
    return 0
