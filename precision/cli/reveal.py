"""`precision reveal`: the order of one op's sums, or of a whole suite's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from precision.capture import write_atomically
from precision.cases import ORDER_SUITES, load_suite, select_cases
from precision.errors import CannotRun, UserError
from precision.live import KernelError
from precision.modes import ORDER_MODES, select_modes
from precision.progress import progress

NOT_PROVED = 1

Op = Annotated[str | None, typer.Argument(help="an op, named as in torch.nn.functional: conv2d, linear, …")]
Mode = Annotated[str, typer.Option("--mode", help="the mode to ask")]
Shape = Annotated[list[str] | None, typer.Option("--shape", help="NAME=1,64,56,56; once for each array")]
Param = Annotated[
    list[str] | None, typer.Option("--param", help="NAME=VALUE (JSON); once for each parameter")
]
AsJson = Annotated[bool, typer.Option("--json", help="print the whole result, trees included")]
Drawing = Annotated[Path | None, typer.Option("--svg", help="draw the commonest order into this file")]
Suite = Annotated[str | None, typer.Option("--suite", help="reveal every sum of a built-in suite instead")]
Table = Annotated[bool, typer.Option("--table", help="with --suite: print the table (Markdown)")]
Output = Annotated[
    Path, typer.Option("-o", "--output", help="with --suite: where orders.csv, .md and .json go")
]
Cases = Annotated[str | None, typer.Option("--cases", help="with --suite: comma-separated globs of case ids")]
Modes = Annotated[str | None, typer.Option("--modes", help="with --suite: comma-separated globs of modes")]


From = Annotated[
    Path | None,
    typer.Option("--from", help="reveal from the recorded probes of a run folder or a capture; runs nothing"),
]


def reveal(
    op: Op = None,
    mode: Mode = "torch.cpu",
    shape: Shape = None,
    param: Param = None,
    json_: AsJson = False,
    svg: Drawing = None,
    suite: Suite = None,
    table: Table = False,
    output: Output = Path("out/orders"),
    cases: Cases = None,
    modes: Modes = None,
    from_: From = None,
) -> int:
    """Show the order in which a framework adds; status 1 where it is not proved for every output."""
    if from_ is not None:
        if op is not None or suite is not None:
            raise UserError("--from reveals what was recorded, without an op or --suite; leave these out")
        from precision.cli.recorded import reveal_captured_probes

        return reveal_captured_probes(from_, modes, json_)
    if (op is None) == (suite is None):
        raise UserError("an op or --suite is needed, and not both; e.g. precision reveal conv2d --shape …")
    if suite is not None:
        return _suite(suite, output, cases, modes, table)
    from precision.orders.search import reveal as reveal_op

    try:
        found = reveal_op(str(op), mode, shapes=_shapes(shape or []), params=_params(param or []))
    except (CannotRun, KernelError, ValueError, TypeError) as reason:
        raise UserError(str(reason)) from None
    if json_:
        print(json.dumps(found.to_json(), indent=1))
    else:
        print(found.words)
        if found.classes and found.reason:
            print(found.reason)
        for kind, share in found.equal.items():
            print(
                f"equal bit for bit on fresh {kind} data: {100 * share:.6g} % of {found.owner.size} outputs"
            )
        print(f"{found.calls} calls, {found.probes} probes, {found.seconds:.1f} s")
    if svg is not None and found.classes:
        from reports.tree_drawing import tree_svg

        first = max(found.classes, key=lambda each: each.outputs)
        write_atomically(svg, tree_svg(first.tree.to_json()).encode())
    return 0 if found.proved else NOT_PROVED


def _suite(suite: str, output: Path, cases: str | None, modes: str | None, table: bool) -> int:
    from precision.orders.suite import as_json, as_markdown, has_order, reveal_suite

    chosen = [case for case in select_cases(load_suite(suite, ORDER_SUITES), cases) if has_order(case)]
    wanted = select_modes(modes or "*.cpu,*.cpu.*", ORDER_MODES)
    with progress("reveal", len(chosen) * len(wanted)) as advance:
        found, details = reveal_suite(chosen, wanted, lambda mode, case: advance(f"{mode} {case}"))
    output.mkdir(parents=True, exist_ok=True)
    text = as_markdown(found)
    write_atomically(output / "orders.md", text.encode())
    write_atomically(output / "orders.csv", found.to_csv(index=False).encode())
    write_atomically(output / "orders.json", as_json(details).encode())
    if table:
        print(text, end="")
    proved = int(((found["equal_uniform"] == 1) & (found["equal_normal"] == 1)).sum())
    print(f"{proved} of {len(found)} cells: every output equal bit for bit; {output / 'orders.md'}")
    return 0 if proved == len(found) else NOT_PROVED


def _shapes(given: list[str]) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for text in given:
        name, equals, numbers = text.partition("=")
        try:
            sizes = tuple(int(number) for number in numbers.split(",") if number.strip())
        except ValueError:
            sizes = ()
        if not equals or not sizes or min(sizes) < 1:
            raise UserError(f"a shape is NAME=1,64,56,56 of positive sizes; got {text!r}; write it so")
        found[name.strip()] = sizes
    if not found:
        raise UserError(
            "an op needs the shapes of its arrays; got none; give --shape NAME=1,64,56,56 for each"
        )
    return found


def _params(given: list[str]) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"a parameter is NAME=VALUE; got {text!r}; write e.g. stride=2 or padding=same")
        try:
            found[name.strip()] = json.loads(value)
        except json.JSONDecodeError:
            found[name.strip()] = value  # a word such as same
    return found
