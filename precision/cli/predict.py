"""`precision predict TARGET`: what TF32, bfloat16 or float16 would do to a layer, without a GPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

Target = Annotated[str, typer.Argument(help="a case folder, or the id of a suite's case")]
Architecture = Annotated[
    str, typer.Option("--architecture", help="volta … blackwell, a card (h100, a100, …) or sm_90")
]
Format = Annotated[str, typer.Option("--format", help="of the operands: tf32, bf16, fp16")]
Rounding = Annotated[str, typer.Option("--rounding", help="of the operands: rna, rne, rz or auto")]
Order = Annotated[str, typer.Option("--order", help="of the products, one of those that the table names")]
BiasJoins = Annotated[str, typer.Option("--bias", help="joins the sum first or last")]
Limit = Annotated[int, typer.Option("--limit", help="multiply-adds above which a sample is predicted")]
Seed = Annotated[int, typer.Option("--seed", help="of that sample")]
Against = Annotated[
    Path | None, typer.Option("--against", help="score the prediction against captures in this folder")
]
Save = Annotated[Path | None, typer.Option("--save", help="write the predicted output as safetensors")]
AsJson = Annotated[bool, typer.Option("--json", help="print everything as JSON")]


def predict(
    target: Target,
    architecture: Architecture = "h100",
    format_: Format = "tf32",
    rounding: Rounding = "auto",
    order: Order = "channels fastest",
    bias: BiasJoins = "last",
    limit: Limit = 500_000_000,
    seed: Seed = 0,
    against: Against = None,
    save: Save = None,
    json_: AsJson = False,
) -> int:
    """Emulate a layer on a GPU's tensor cores, and score that against the certified truth."""
    # Late: numba takes a second.
    from precision.prediction.predict import predict as predict_case

    found = predict_case(
        target,
        architecture,
        format_,
        rounding=rounding,
        order=order,
        bias_joins=bias,
        limit=limit,
        seed=seed,
        against=against,
    )
    print(json.dumps(found.to_json(), indent=1, allow_nan=False) if json_ else found)
    if save is not None:
        found.save(save)
    return 0
