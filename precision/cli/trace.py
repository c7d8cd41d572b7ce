"""`precision trace A.py B.py`: two models, layer by layer."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from precision.errors import CannotRun, UserError

FOUND_SOMETHING = 1
_EVERY = 20

A = Annotated[Path, typer.Argument(help="a Python file that defines model(), and inputs() if you like")]
B = Annotated[Path, typer.Argument(help="the model to compare with it; the same file for another mode")]
Input = Annotated[Path | None, typer.Option("--input", help="an .npy file, laid out as A takes it")]
Shape = Annotated[str | None, typer.Option("--shape", help="draw the input, say 1,3,224,224")]
Seed = Annotated[int, typer.Option(help="of the drawn input, and of random layers")]
ModeA = Annotated[str | None, typer.Option("--mode-a", help="a mode, say torch.cpu.bf16")]
ModeB = Annotated[str | None, typer.Option("--mode-b", help="a mode, say tensorflow.cpu.xla")]
Weights = Annotated[str | None, typer.Option(help="a: carry A's weights into B; b: the other way")]
Match = Annotated[Path | None, typer.Option(help="a CSV file of pairs: a_name,b_name")]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="keep the table and all arrays here")]
Gradients = Annotated[bool, typer.Option("--gradients", help="go back through both models too")]
AsJson = Annotated[bool, typer.Option("--json", help="print the trace as JSON")]
Timeout = Annotated[float, typer.Option(help="seconds a model may take for one layer")]


def trace(
    a: A,
    b: B,
    input_: Input = None,
    shape: Shape = None,
    seed: Seed = 0,
    mode_a: ModeA = None,
    mode_b: ModeB = None,
    weights: Weights = None,
    match: Match = None,
    output: Output = None,
    gradients: Gradients = False,
    json_: AsJson = False,
    timeout: Timeout = 600.0,
) -> int:
    """Compare two models layer by layer.  Status 1 where more than rounding was found."""
    # Late: numba takes a second.
    from precision.tracing.models import trace as trace_models

    advance = _Lines()
    try:
        found = trace_models(
            a,
            b,
            input=None if input_ is None else _array(input_),
            shape=None if shape is None else _shape(shape),
            seed=seed,
            mode_a=mode_a,
            mode_b=mode_b,
            weights=weights,
            match=match,
            output=output,
            gradients=gradients,
            timeout=timeout,
            progress=advance,
        )
    except CannotRun as error:
        raise UserError(f"a mode runs on this machine; {error}; choose another one") from None
    finally:
        advance.end()
    if output is not None:
        from precision.capture import write_atomically
        from reports.trace_page import TracePage, page

        tables = (found.table, found.decisions, found.notes, found.unmatched, found.gradients)
        shown = TracePage(str(a), str(b), *tables)
        write_atomically(output / "trace.html", page(shown).encode())
    if json_:
        print(json.dumps(found.to_json(), indent=1, allow_nan=False))
    else:
        print(found)
    return 0 if found.fine else FOUND_SOMETHING


class _Lines:
    """Progress on standard error: one line that is rewritten on a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        self.count, self.terminal = 0, sys.stderr.isatty()

    def __call__(self, what: str) -> None:
        self.count += 1
        if self.terminal:
            print(f"\r\033[Ktrace {self.count} {what[:80]}", end="", file=sys.stderr, flush=True)
        elif self.count % _EVERY == 0:
            print(f"trace {self.count} {what}", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self.terminal and self.count:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def _shape(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"a shape is integers with commas; got {text!r}; give e.g. 1,3,224,224") from None


def _array(path: Path) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"--input is an .npy file of numbers; {path}: {reason}; save it by np.save") from None
