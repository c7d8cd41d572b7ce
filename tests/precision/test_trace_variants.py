"""Variants drawn at random and planted in whole models: the trace names each layer and what was swapped."""

from __future__ import annotations

import importlib
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from precision.tracing.models import trace
from precision.tracing.result import Trace

MODELS = Path(__file__).parent / "traced"
FINE = {"exact", "rounding"}
Plant = tuple[str, str, tuple[str, ...]]


@pytest.fixture(scope="module")
def models() -> Iterator[Any]:
    """The modules `plain_models` and `mutations`, which model files import too."""
    before = list(sys.path)
    sys.path.insert(0, str(MODELS))
    yield importlib.import_module("plain_models"), importlib.import_module("mutations")
    sys.path[:] = before


def drawn(models: Any, name: str, seed: int, count: int, *, missing: bool = False) -> list[Plant]:
    """Changes of different layers, as many different kinds as there are; missing: one of a left out layer."""
    generator = random.Random(f"{name} {seed}")
    possible: list[Plant] = models[1].possible(models[0].plain(name))
    generator.shuffle(possible)
    if missing:
        return [next(each for each in possible if each[1] == "missing")]
    chosen: list[Plant] = []
    for again in (False, True):
        for plant in possible:
            layers, kinds = {each[0] for each in chosen}, {each[1] for each in chosen}
            fits = plant[0] not in layers and plant[1] != "missing" and (again or plant[1] not in kinds)
            if fits and len(chosen) < count:
                chosen.append(plant)
    return chosen


def file_of(folder: Path, name: str, plants: Sequence[Plant] = ()) -> Path:
    lines = [f"    net = mutations.mutated(net, {layer!r}, {kind!r})" for layer, kind, _ in plants]
    path = folder / f"{name}_{len(plants)}_{abs(hash(tuple(plants)))}.py"
    path.write_text(
        f"import sys\nsys.path.insert(0, {str(MODELS)!r})\nimport torch\nimport mutations, plain_models\n"
        f"def model():\n    net = plain_models.plain({name!r})\n" + "\n".join([*lines, "    return net\n"])
    )
    return path


def traced(models: Any, folder: Path, name: str, plants: Sequence[Plant], mode_b: str = "torch.cpu") -> Trace:
    one, other = file_of(folder, name), file_of(folder, name, plants)
    return trace(one, other, mode_a="torch.cpu", mode_b=mode_b, shape=models[0].SHAPES[name])


def missed(found: Trace, plants: Sequence[Plant]) -> list[str]:
    """The plants that the trace does not name, and the layers that it names without one."""
    rows = {row["layer_a"]: row for row in found.rows}
    wrong = []
    planted: set[str] = set()
    for layer, kind, wanted in plants:
        own = [name for name in rows if name == layer or name.startswith((f"{layer}.", f"{layer}#"))]
        planted |= set(own)
        named = {part for name in own for part in str(rows[name]["parameter"]).split(", ")}
        verdicts = {rows[name]["verdict"] for name in own}
        if wanted and not named & set(wanted):
            wrong.append(f"{layer}: {kind} is not named: {verdicts} {named}")
        if not wanted and (not verdicts <= FINE or not any(rows[name]["differences"] for name in own)):
            wrong.append(f"{layer}: {kind} is not shown by the output and is not listed: {verdicts}")
    wrong += [
        f"{name}: {row['verdict']} {row['parameter']} without a plant"
        for name, row in rows.items()
        if name not in planted and not (row["verdict"] in FINE and row["verdict_a"] in FINE)
    ]
    return wrong


@pytest.mark.parametrize("name", ["small", "vit"])
def test_variants_are_named_and_nothing_else_is(models: Any, tmp_path: Path, name: str) -> None:
    plants = drawn(models, name, 0, 8)
    assert len(plants) == 8
    found = traced(models, tmp_path, name, plants)
    assert missed(found, plants) == []
    # The check itself: what is not planted is missed, and what is not expected is reported.
    others = {row["layer_a"] for row in found.rows} - {layer for layer, _, _ in plants}
    assert missed(found, [*plants, (sorted(others)[0], "eps", ("eps",))])
    shown = [each for each in plants if each[2]]
    assert any("without a plant" in each for each in missed(found, shown[1:]))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
@pytest.mark.parametrize("name", ["resnet", "generator", "vit", "small"])
def test_a_sweep_of_variants(models: Any, tmp_path: Path, name: str, seed: int) -> None:
    plants = drawn(models, name, seed, 10)
    assert missed(traced(models, tmp_path, name, plants), plants) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet", "generator"])
def test_a_layer_that_is_left_out_is_named(models: Any, tmp_path: Path, name: str) -> None:
    (plant,) = drawn(models, name, 4, 1, missing=True)
    found = traced(models, tmp_path, name, [plant])
    first = found.first_difference
    assert first is not None
    assert first.parameter == "input"
    assert f"{plant[0]} (relu)" in first.mend or plant[0] in str(first.declared)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["no_mkldnn", "channels_last", "threads1", "avx2", "deterministic"])
@pytest.mark.parametrize("name", ["resnet", "generator", "vit", "small"])
def test_models_without_a_plant_are_fine(models: Any, tmp_path: Path, name: str, mode: str) -> None:
    found = traced(models, tmp_path, name, [], f"torch.cpu.{mode}")
    assert found.fine, str(found)
    assert found.unmatched == {"a": [], "b": []}
