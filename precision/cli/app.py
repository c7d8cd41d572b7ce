"""The command line.  Standard output is the answer, standard error is progress and complaints."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from precision import __version__
from precision.capturing import choose
from precision.cases import STUDIES, SUITES, Case, load_suite, select_cases
from precision.cli.compare import compare
from precision.cli.doctor import doctor
from precision.cli.explain import explain
from precision.cli.export import export
from precision.cli.invariance import invariance
from precision.cli.predict import predict
from precision.cli.reveal import reveal
from precision.cli.trace import trace
from precision.errors import UserError
from precision.modes import Mode
from precision.progress import progress
from precision.runner import load_run
from precision.runner import run as run_modes

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Scores PyTorch's and TensorFlow's float32 outputs against a certified truth: bug or rounding?",
)

FOUND_SOMETHING = 1
TABLE_WIDTH = 100
ROUNDING_ONLY = frozenset({"exact", "rounding", "not run"})

Suite = Annotated[
    str, typer.Argument(help=f"a built-in suite ({', '.join(SUITES)}) or study ({', '.join(STUDIES)})")
]
Named = Annotated[str | None, typer.Option("--suite", help="the suite, by name")]
Output = Annotated[Path, typer.Option("-o", "--output", help="the run folder; made, or gone on with")]
Folder = Annotated[Path, typer.Argument(help="a run folder")]
Cases = Annotated[
    str | None, typer.Option("--cases", help="comma-separated globs of case ids; all without it")
]
Modes = Annotated[
    str | None, typer.Option("--modes", help="comma-separated globs of mode names; all without it")
]
Timeout = Annotated[float, typer.Option(help="seconds a worker may take for one case")]
Jobs = Annotated[int, typer.Option(help="workers at a time; 1 keeps the timings clean")]
Reveal = Annotated[
    bool, typer.Option(help="also reveal in which order each kernel adds, to prove its rounding (minutes)")
]
Inputs = Annotated[Path | None, typer.Option(help="take the arrays from a folder made by `precision inputs`")]


def _version(value: bool) -> None:
    if value:
        print(f"precision {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False,
) -> None:
    pass


@app.command()
def report(
    suite: Suite = "default",
    output: Output = Path("out/report"),
    cases: Cases = None,
    modes: Modes = None,
    timeout: Timeout = 120.0,
    jobs: Jobs = 1,
    inputs: Inputs = None,
    reveal: Reveal = False,
) -> int:
    """Run, score and render: the main job.  Status 1 where something other than rounding was found."""
    _check_plots()
    run(suite, output, cases, modes, timeout, jobs, inputs, reveal)
    score(output)
    return render(output)


@app.command()
def run(
    suite: Suite = "default",
    output: Output = Path("out/report"),
    cases: Cases = None,
    modes: Modes = None,
    timeout: Timeout = 120.0,
    jobs: Jobs = 1,
    inputs: Inputs = None,
    reveal: Reveal = False,
    named: Named = None,
) -> int:
    """Capture the suite's cases in every mode; on the same folder, go on where it stopped."""
    suite = named or suite
    chosen, wanted = choose(suite, cases, modes)
    total = len(chosen) * len(wanted)
    try:
        with progress("capture", total) as advance:
            run_modes(
                output,
                suite,
                chosen,
                wanted,
                timeout=timeout,
                jobs=jobs,
                inputs=inputs,
                progress=lambda mode, case: advance(f"{mode} {case}"),
            )
        if reveal:
            _reveal(output, [case for case in chosen if isinstance(case, Case)], wanted)
    except KeyboardInterrupt:
        print(
            f"precision: stopped; finished cells are kept in {output}; the same command goes on from there",
            file=sys.stderr,
        )
        raise
    return 0


@app.command()
def score(folder: Folder) -> int:
    """Judge a run folder's captures against the certified truth; write FOLDER/results."""
    from precision.results import score_run
    from reports import Results, save

    with progress("score", len(load_run(folder)["cases"])) as advance:
        found = score_run(folder, advance)
    save(Results(**_complete(found)), folder / "results")
    return 0


@app.command()
def render(folder: Folder) -> int:
    """Write the report of a run folder's results: FOLDER/index.html and FOLDER/summary.md."""
    from reports import StoreError, load, print_summary
    from reports.invariance import load as load_invariance

    _check_plots()
    from precision.results import captures_digest
    from reports import render as write_page
    from reports.page import refuse

    try:
        results = load(folder / "results")
        invariance = load_invariance(folder / "results")
    except StoreError as error:
        refuse(str(error), folder)
        raise UserError(str(error)) from None
    if (folder / "run.json").is_file() and results.run.get("captures") != captures_digest(folder):
        note = f"the captures in {folder} changed since they were scored; run `precision score {folder}`"
        print(f"precision: {note}", file=sys.stderr)
    with progress("render", 1) as advance:
        paths = write_page(results, folder, invariance)
        advance("page")
    # Off a terminal there is no width to fit: a log or a file gets the table's own.
    console = Console()
    print_summary(results, console if console.is_terminal else Console(width=TABLE_WIDTH))
    for path in paths:
        print(path)
    verdicts = set(results.scores["verdict"])
    if verdicts <= {"not run"}:
        print("precision: nothing was measured: no cell was run", file=sys.stderr)
        return FOUND_SOMETHING
    return 0 if verdicts <= ROUNDING_ONLY else FOUND_SOMETHING


@app.command()
def inputs(
    suite: Suite = "default",
    output: Output = Path("out/inputs"),
    cases: Cases = None,
) -> int:
    """Write the suite's input arrays as safetensors files, for `--inputs`."""
    from precision.handover import write_inputs

    write_inputs(output, select_cases(load_suite(suite), cases))
    print(output)
    return 0


app.command()(explain)
app.command()(predict)
app.command()(doctor)
app.command()(reveal)
app.command()(trace)
app.command()(invariance)
app.command()(compare)
app.command()(export)


def _reveal(folder: Path, cases: Sequence[Case], modes: Sequence[Mode]) -> None:
    from precision.orders.store import count, reveal_captured

    with progress("reveal", count(folder, cases, modes)) as advance:
        reveal_captured(folder, cases, modes, lambda mode, case: advance(f"{mode} {case}"))


def _check_plots() -> None:
    for name in ("matplotlib", "seaborn"):
        if importlib.util.find_spec(name) is None:
            raise UserError(
                f"a report is drawn with matplotlib and seaborn; {name} is not installed; "
                "pip install 'precision[plots]'"
            )


def _complete(found: dict[str, Any]) -> dict[str, Any]:
    """Give the score table every column where no cell at all has figures."""
    from reports.schema import SCORES

    if "elements" not in found["scores"].columns:
        found["scores"] = found["scores"].reindex(columns=[column.name for column in SCORES])
    return found
