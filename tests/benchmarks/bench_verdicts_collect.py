"""The cells of the verdict benchmark drawn from a seed, and what the frameworks return for them."""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import verdict_cells_norms
import verdict_cells_others
import verdict_cells_sums
from verdict_cells import OPERANDS, ROUNDING, Cell, Family, Layer, is_clear, is_subtle, unchanged

from precision.errors import CannotRun
from precision.live import KernelError, Live
from precision.modes import MODES, Mode
from precision.requirements import missing
from reference import Truth, error_bound, evaluate
from reference.formats import FORMATS, round_to

HERE = Path(__file__).parent
FAMILIES = (*verdict_cells_sums.FAMILIES, *verdict_cells_norms.FAMILIES, *verdict_cells_others.FAMILIES)
PRODUCTS = frozenset(family.name for family in verdict_cells_sums.FAMILIES)
"""Families whose operands a bfloat16 mode may round."""
SECONDS = 180.0


@dataclass(frozen=True)
class Output:
    """What a framework returned for a cell, with the certified truth of the declared op."""

    cell: Cell
    value: np.ndarray
    truth: Truth
    strength: str
    """`rounding`, `clear`, `subtle` or `invalid`; see `verdict_cells`."""


def cpu_modes() -> dict[str, Mode]:
    return {mode.name: mode for mode in MODES if mode.device == "cpu" and not missing(mode)}


def cells(seed: int, count: int, modes: Iterable[str]) -> list[Cell]:
    """So many cells: families in turn, each half as declared and half planted, every plant in turn."""
    turns = [family for family in FAMILIES for _ in range(family.weight)]
    names = sorted(modes)
    # Half of the families begin with a plant, so that those that come once or twice are not all as declared.
    visits = {family.name: (place + seed) % 2 for place, family in enumerate(FAMILIES)}
    found = []
    for number in range(count):
        family = turns[(number * 17 + seed) % len(turns) if len(turns) % 17 else (number + seed) % len(turns)]
        visit = visits[family.name]
        visits[family.name] += 1
        found.append(_cell(family, visit, seed * 100_003 + number, names, seed))
    return found


def _cell(family: Family, visit: int, seed: int, modes: list[str], start: int) -> Cell:
    rng = np.random.default_rng(seed)
    data = family.data[int(rng.integers(0, len(family.data)))]
    plants = list(family.plants.values())
    planted, layer = None, family.draw(rng, data)
    if visit % 2:
        for turn in range(4 * len(plants)):
            layer = family.draw(rng, data)
            planted = plants[(visit // 2 + start + turn // 4) % len(plants)](rng, layer)
            if planted is not None:
                break
    usable = [
        name
        for name in modes
        if name.partition(".")[0] in family.frameworks
        and not (family.name not in PRODUCTS and name.endswith("bf16"))
        and not (planted is not None and name.endswith("bf16"))
    ]
    mode = usable[int(rng.integers(0, len(usable)))] if usable else "torch.cpu"
    return Cell(seed, family.name, layer, planted or unchanged(layer), mode)


def large_cells(seed: int, modes: Iterable[str]) -> list[Cell]:
    """Layers of 100 million multiply-adds and more, and normalizations of 3 million elements."""
    sums, norms = verdict_cells_sums, verdict_cells_norms
    known = set(modes)
    made = []

    def add(name: str, layer: Layer, plant: Any, mode: str) -> None:
        rng = np.random.default_rng([seed, len(made)])
        planted = (unchanged(layer) if plant is None else plant(rng, layer)) or unchanged(layer)
        chosen = mode if mode in known else "torch.cpu"
        made.append(Cell(seed + len(made), f"large {name}", layer, planted, chosen, True))

    rng = np.random.default_rng(seed)
    params = {"stride": 1, "padding": 1, "dilation": 1, "groups": 1}
    bias = rng.standard_normal(64).astype(np.float32)
    conv = Layer(
        "conv2d",
        {
            "input": sums.drawn(rng, "normal", 1, 64, 56, 56),
            "weight": sums.weights(rng, 64, 64, 3, 3),
            "bias": bias,
        },
        params,
        "normal",
    )
    add("conv2d", conv, None, "tensorflow.cpu")
    add("conv2d", conv, sums.element("weight"), "torch.cpu")
    add("conv2d", conv, sums.pair(sums.flip, sums.bias("missing")), "torch.cpu.avx2")
    wide = {**conv.arrays, "input": sums.drawn(rng, "uniform", 1, 64, 112, 112)}
    add(
        "conv2d",
        Layer("conv2d", wide, {**params, "stride": 2}, "uniform"),
        sums.padding_side,
        "tensorflow.cpu",
    )
    add("conv2d", conv, sums.operands("tf32"), "torch.cpu.no_mkldnn")
    add("conv2d", conv, sums.checkpoint, "torch.cpu")
    rows = {"input": sums.drawn(rng, "normal", 2048, 1024), "weight": sums.weights(rng, 64, 1024)}
    add("linear", Layer("linear", rows, {}, "normal"), sums.channels_permuted, "torch.cpu")
    turned = {"input": sums.drawn(rng, "normal", 1, 64, 28, 28), "weight": sums.weights(rng, 64, 128, 4, 4)}
    turned_params = {**params, "stride": 2}
    add(
        "conv_transpose2d",
        Layer("conv_transpose2d", turned, turned_params, "normal"),
        sums.channels_reversed,
        "torch.cpu",
    )
    x = sums.drawn(rng, "normal", 8, 32, 112, 112)
    scale = {"weight": rng.uniform(0.5, 1.5, 32).astype(np.float32), "bias": bias[:32]}
    normal = Layer("batch_norm", {"input": x, **scale}, {"training": True, "eps": 1e-5}, "normal")
    add("batch_norm", normal, None, "torch.cpu")
    add("batch_norm", normal, norms.eps(1e-3), "tensorflow.cpu")
    return made


class Calls(Live):
    """A worker that answers the benchmark's calls."""

    def call(self, cell: Cell) -> np.ndarray:
        planted = cell.planted
        arrays = {name: np.asarray(array, np.float32) for name, array in planted.arrays.items()}
        module = f"verdict_cells_{self.mode.framework}"
        message = {"op": planted.op, "params": dict(planted.params), "module": module}
        return self._call(message, arrays)["output"]


def outputs(drawn: list[Cell], modes: Mapping[str, Mode]) -> tuple[list[tuple[Cell, np.ndarray]], list[str]]:
    """What the frameworks return, and what could be called nowhere; what a mode has not runs in torch.cpu."""
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH", ""))))
    by_mode: dict[str, list[tuple[int, Cell]]] = defaultdict(list)
    for number, cell in enumerate(drawn):
        by_mode[cell.mode].append((number, cell))
    found: dict[int, tuple[Cell, np.ndarray]] = {}
    again: list[tuple[int, Cell]] = []

    def run(framework: str) -> None:
        for name in sorted(by_mode):
            if name.partition(".")[0] == framework:
                again.extend(_in_mode(modes[name], by_mode[name], found))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, ("torch", "tensorflow")))
    for _, cell in again:
        print(f"not in {cell.mode}: {cell.words[:60]}: {' '.join(cell.note.split())[:120]}", file=sys.stderr)
    moved = [(number, replace(cell, mode="torch.cpu")) for number, cell in sorted(again, key=lambda a: a[0])]
    refused = _in_mode(modes["torch.cpu"], moved, found) if moved else []
    return [found[number] for number in sorted(found)], [f"{cell.words}: {cell.note}" for _, cell in refused]


def _in_mode(
    mode: Mode, asked: list[tuple[int, Cell]], found: dict[int, tuple[Cell, np.ndarray]]
) -> list[tuple[int, Cell]]:
    """Each call's result; a crash costs its own cell and a new process."""
    refused, rest = [], list(asked)
    while rest:
        with Calls(mode, SECONDS) as live:
            while rest and live.alive:
                number, cell = rest.pop(0)
                try:
                    found[number] = cell, live.call(cell)
                except (CannotRun, KernelError) as reason:
                    refused.append((number, replace(cell, note=str(reason))))
    return refused


def judgeable(found: Iterable[tuple[Cell, np.ndarray]]) -> Iterator[Output]:
    """Every output with the truth of its declaration, and with how clearly its plant can be seen."""
    from verdict_cells_torch import double

    for asked, value in found:
        bf16 = asked.planted.kind == ROUNDING and asked.mode.endswith("bf16")
        cell = _as_bfloat16(asked) if bf16 else asked
        layer, planted = cell.layer, cell.planted
        truth = evaluate(layer.op, layer.arrays, layer.params)
        declared = truth.value + truth.residual
        if planted.kind == ROUNDING:
            yield Output(cell, value, truth, ROUNDING)
            continue
        meant = double(planted.op, planted.params, planted.arrays)
        if meant.shape != declared.shape:
            yield Output(cell, value, truth, "clear")
            continue
        bound = error_bound(layer.op, layer.arrays, layer.params, truth)
        apart, error = meant - declared, value - meant
        if bf16 and not is_subtle(value - declared, error):
            # The mode did not round these operands: its output is no nearer to that of rounded ones.
            yield Output(replace(cell, planted=unchanged(layer)), value, truth, ROUNDING)
            continue
        alone = [double(each.op, each.params, each.arrays) for each in planted.alone]
        if not all(each.shape != meant.shape or is_clear(meant - each, bound) for each in alone):
            yield Output(cell, value, truth, "invalid")
            continue
        strength = "clear" if is_clear(apart, bound) else "subtle" if is_subtle(apart, error) else "invalid"
        yield Output(cell, value, truth, strength)


def _as_bfloat16(cell: Cell) -> Cell:
    """The cell of a mode that rounds the factors to bfloat16, as its plant."""
    factors = ("input", "weight", "other", "grad_output")
    kind = FORMATS["bfloat16"]
    rounded = {
        name: round_to(array, kind).astype(np.float32) if name in factors else array
        for name, array in cell.layer.arrays.items()
    }
    planted = replace(
        cell.planted,
        name="implicit bfloat16",
        kind=OPERANDS,
        arrays=rounded,
        wanted=(("operands", "bfloat16"),),
    )
    return replace(cell, planted=planted)
