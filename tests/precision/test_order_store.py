"""Orders beside captures: what is written is what is read, and nothing else is taken for it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from precision.capture import Capture
from precision.cases import load_suite
from precision.errors import UserError
from precision.orders.norm_reveal import RevealedNorm, Stage
from precision.orders.revealed import Revealed
from precision.orders.search import reveal_run
from precision.orders.store import Stored, from_json, orders_of, read_orders, to_json, write_orders
from reference.norm_recipes import CATALOGUE

SHAPES = {"input": (3, 20), "weight": (5, 20)}
VERSIONS = {"processor": "of the test", "distribution numpy": "1"}


def kernel(arrays):
    """Two halves, each one product after another."""
    x, w = arrays["input"], arrays["weight"]
    halves = []
    for part in (slice(0, 8), slice(8, 20)):
        total = np.zeros((len(x), len(w)), np.float32)
        for k in range(part.start, part.stop):
            total = total + x[:, k, None] * w[None, :, k]
        halves.append(total)
    return halves[0] + halves[1]


@pytest.fixture(scope="module")
def summed() -> Revealed:
    found = reveal_run(kernel, "linear", SHAPES, {})
    assert found.proved
    return replace(found, mode="torch.cpu", flags={"odd": True})


NORM = RevealedNorm(
    CATALOGUE[0], (Stage("statistics", "two-pass", "output"),), ("another: one",), {"uniform": 1.0}, 7, ""
)
UNKNOWN = RevealedNorm(None, (), (), {"uniform": 0.25}, 3, "no recipe predicts every bit")


def through_text(order, owner=None):
    return from_json(json.loads(json.dumps(to_json(order))), owner)


def test_an_order_of_sums_comes_back_whole(summed):
    again = through_text(summed, summed.owner)
    assert isinstance(again, Revealed)
    assert again.owner is summed.owner
    assert to_json(again) == to_json(summed)
    assert [each.tree.canonical() for each in again.classes] == [
        each.tree.canonical() for each in summed.classes
    ]
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
    assert np.array_equal(again.replay(arrays), kernel(arrays))
    assert np.array_equal(again.bound(arrays), summed.bound(arrays))


@pytest.mark.parametrize("norm", [NORM, UNKNOWN])
def test_a_recipe_comes_back_whole(norm):
    assert through_text(norm) == norm


@pytest.mark.parametrize("recipe", CATALOGUE[:: max(1, len(CATALOGUE) // 20)], ids=lambda recipe: recipe.name)
def test_every_kind_of_recipe_comes_back(recipe):
    assert through_text(replace(NORM, recipe=recipe)).recipe == recipe


@pytest.mark.parametrize("damage", [{"kind": "norm"}, {"classes": 3}, {"operand_formats": None}])
def test_what_is_no_order_is_refused(summed, damage):
    with pytest.raises(ValueError, match="reveal it again"):
        from_json({**to_json(summed), **damage}, summed.owner)


@pytest.fixture
def folder(tmp_path, summed):
    found = {
        "a": Stored("1", summed), "b": Stored("2", summed), "c": Stored("3", NORM), "d": Stored("4", "no"),
    }  # fmt: skip
    write_orders(tmp_path, "torch.cpu", VERSIONS, found)
    return tmp_path


def capture(folder, **versions):
    return Capture(folder / "captures/torch.cpu", "torch.cpu", versions={**VERSIONS, **versions})


def test_a_mode_is_read_back_and_shared_orders_are_kept_once(folder, summed):
    found = read_orders(folder, capture(folder))
    assert list(found) == ["a", "b", "c", "d"]
    assert found["a"].order is found["b"].order
    assert np.array_equal(found["a"].order.owner, summed.owner)
    assert found["a"].order.owner.dtype == np.int16
    assert (found["c"], found["d"]) == (Stored("3", NORM), Stored("4", "no"))
    assert len(json.loads((folder / "orders/torch.cpu.json").read_text())["orders"]) == 2
    assert read_orders(folder, Capture(folder / "captures/x", "torch.cpu.avx2")) == {}


def test_the_same_orders_are_the_same_bytes(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    write_orders(other, "torch.cpu", VERSIONS, read_orders(folder, capture(folder)))
    for path in (folder / "orders").iterdir():
        assert path.read_bytes() == (other / "orders" / path.name).read_bytes()


def test_an_order_of_another_declaration_is_not_used(folder, summed):
    case = load_suite("smoke")[0]
    stored = {case.id: Stored(case.fingerprint(), summed), "else": Stored("1", summed)}
    assert orders_of(stored, [case]) == {case.id: summed}
    assert orders_of({case.id: Stored("older", summed)}, [case]) == {}
    assert orders_of({case.id: Stored(case.fingerprint(), "no sum")}, [case]) == {}


def edited(folder, **change):
    path = folder / "orders/torch.cpu.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f: edited(f, schema=2), "newer than this version"),
        (lambda f: edited(f, schema=0), "older than this version"),
        (lambda f: edited(f, mode="torch.cpu.avx2"), "has its mode's name"),
        (lambda f: edited(f, versions={"processor": "another"}), "hold for the environment"),
        (lambda f: edited(f, orders=[]), "run with --reveal again"),
        (lambda f: edited(f, cells=3), "run with --reveal again"),
        (lambda f: (f / "orders/torch.cpu.json").write_text("{"), "readable JSON"),
        (lambda f: (f / "orders/torch.cpu.safetensors").write_bytes(b"x"), "its bytes have changed"),
        (lambda f: (f / "orders/torch.cpu.safetensors").unlink(), "must be readable"),
    ],
)
def test_damage_is_one_line(folder, damage, words):
    damage(folder)
    with pytest.raises(UserError, match=words) as caught:
        read_orders(folder, capture(folder))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.slow
def test_a_run_reveals_its_orders_and_the_score_uses_them(precision_command, tmp_path):
    folder = tmp_path / "run"
    asked = ("run", "smoke", "--modes", "torch.cpu", "--reveal", "-o", str(folder))
    assert precision_command(*asked).returncode == 0
    kept = (folder / "orders/torch.cpu.json").read_bytes()
    assert set(json.loads(kept)["cells"]) == {case.id for case in load_suite("smoke")}
    assert precision_command(*asked).returncode == 0
    assert (folder / "orders/torch.cpu.json").read_bytes() == kept
    assert precision_command("score", str(folder)).returncode == 0
    edited(folder, versions={"processor": "another"})
    done = precision_command("score", str(folder))
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    shutil.rmtree(folder / "orders")
    assert precision_command("score", str(folder)).returncode == 0
