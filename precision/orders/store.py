"""Orders that were revealed beside a run's captures, kept for its judgement.

    DIR/orders/MODE.json           schema, mode, the versions they hold for, the SHA-256 of the file below,
                                   the orders, and for each case which is its own, or why it has none
    DIR/orders/MODE.safetensors    for each order of sums its `owner`: the class of every output, int16

An order is a `Revealed` (a sum of products) or a `RevealedNorm` (a normalization's recipe).  Cases that run
one kernel share one.  It is kept with the versions of the capture that it was revealed beside: with another
library or processor it says nothing of that capture.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from precision.capture import Capture, check_capture, read_json, read_tensors, write_atomically
from precision.cases import Case
from precision.errors import UserError
from precision.modes import Mode
from precision.orders.norm_reveal import RevealedNorm, Stage
from precision.orders.revealed import Revealed, TreeClass
from precision.orders.suite import has_order, orders_of_mode
from precision.requirements import cpu_model
from precision.worker import installed
from reference.norm_recipes import Recipe
from reference.tree import SummationTree

SCHEMA = 1
FOLDER = "orders"

Order = Revealed | RevealedNorm


@dataclass(frozen=True)
class Stored:
    """What was found for one declaration of a case: its order, or in words why there is none."""

    fingerprint: str
    order: Order | str


def to_json(order: Order) -> dict[str, Any]:
    """An order as JSON data; all of it but a `Revealed`'s owner."""
    data = {"kind": "norm" if isinstance(order, RevealedNorm) else "sum", **order.to_json()}
    if isinstance(order, Revealed):
        data["parts"] = [each.part for each in order.classes]
    return data


def from_json(data: Mapping[str, Any], owner: Any = None) -> Order:
    """The inverse of `to_json`.  Raises ValueError for data that is no order."""
    try:
        if data["kind"] == "norm":
            return RevealedNorm(
                None if data["recipe"] is None else Recipe.from_json(data["recipe"]),
                tuple(Stage(**stage) for stage in data["stages"]),
                tuple(str(other) for other in data["alternatives"]),
                {str(kind): float(share) for kind, share in data["shares"].items()},
                int(data["calls"]),
                str(data["reason"]),
            )
        return _sum_from_json(data, owner)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"an order has the fields of schema {SCHEMA}; {error!r}: reveal it again") from None


def _sum_from_json(data: Mapping[str, Any], owner: Any) -> Revealed:
    classes = tuple(
        TreeClass(
            SummationTree.from_json(each["tree"]),
            int(part),
            int(each["outputs"]),
            each["where"],
            each["final"],
        )
        for each, part in zip(data["classes"], data["parts"], strict=True)
    )
    left, right = data["operand_formats"]
    return Revealed(
        str(data["op"]),
        dict(data["params"]),
        {name: tuple(shape) for name, shape in data["shapes"].items()},
        classes,
        np.zeros(0, np.int16) if owner is None else owner,
        dict(data["equal"]),
        left,
        right,
        dict(data["flags"]),
        int(data["calls"]),
        int(data["probes"]),
        float(data["seconds"]),
        str(data["reason"]),
        str(data["mode"]),
        str(data["algorithm"]),
    )


def write_orders(folder: Path, mode: str, versions: Mapping[str, str], found: Mapping[str, Stored]) -> None:
    """Write the orders of a mode's cases, by case id; the JSON last, so that what it names is there."""
    orders: list[Order] = []
    owners: dict[str, Any] = {}
    cells: dict[str, dict[str, Any]] = {}
    for case, stored in found.items():
        cells[case] = {"fingerprint": stored.fingerprint}
        if isinstance(stored.order, str):
            cells[case]["reason"] = stored.order
            continue
        # Equal ones are one object: they were revealed once.
        same = [i for i, other in enumerate(orders) if other is stored.order]
        if not same:
            orders.append(stored.order)
            if isinstance(stored.order, Revealed):
                owners[str(len(orders) - 1)] = np.ascontiguousarray(stored.order.owner)
        cells[case]["order"] = same[0] if same else len(orders) - 1
    place = folder / FOLDER
    place.mkdir(parents=True, exist_ok=True)
    tensors = save(owners)
    write_atomically(place / f"{mode}.safetensors", tensors)
    content = {
        "schema": SCHEMA,
        "mode": mode,
        "versions": dict(versions),
        "sha256": hashlib.sha256(tensors).hexdigest(),
        "orders": [to_json(order) for order in orders],
        "cells": cells,
    }
    write_atomically(place / f"{mode}.json", (json.dumps(content, indent=1) + "\n").encode())


def read_orders(folder: Path, capture: Capture) -> dict[str, Stored]:
    """The stored orders that belong to a mode's capture, by case id; empty where none were kept.

    Raises `UserError` for files of another schema, mode or environment, and for bytes that changed.
    """
    place = folder / FOLDER
    path = place / f"{capture.mode}.json"
    if not path.is_file():
        return {}
    content = read_json(path, "a file of orders", SCHEMA)
    try:
        _check_environment(path, content, capture)
        tensors = read_tensors(place, f"{capture.mode}.safetensors", str(content["sha256"]))
        orders = [from_json(data, tensors.get(str(i))) for i, data in enumerate(content["orders"])]
        return {
            case: Stored(cell["fingerprint"], orders[cell["order"]] if "order" in cell else cell["reason"])
            for case, cell in content["cells"].items()
        }
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"a file of orders has the fields of schema {SCHEMA}; {path}: {error}; "
            "remove it and run with --reveal again"
        ) from None


def _check_environment(path: Path, content: Mapping[str, Any], capture: Capture) -> None:
    if content["mode"] != capture.mode:
        raise UserError(
            f"a file of orders has its mode's name; {path} holds {content['mode']!r}; move it back"
        )
    for name, value in content["versions"].items():
        if capture.versions.get(name) != value:
            raise UserError(
                f"orders hold for the environment that they were revealed in; {path} has {name} {value!r}, "
                f"the capture {capture.versions.get(name)!r}; remove it and run with --reveal again"
            )


def orders_of(stored: Mapping[str, Stored], cases: Iterable[Case]) -> dict[str, Order]:
    """The orders of cases whose declaration is still the one that was revealed."""
    found = {}
    for case in cases:
        kept = stored.get(case.id)
        if kept is not None and not isinstance(kept.order, str) and kept.fingerprint == case.fingerprint():
            found[case.id] = kept.order
    return found


def reveal_captured(
    folder: Path,
    cases: Sequence[Case],
    modes: Sequence[Mode],
    progress: Callable[[str, str], None] = lambda mode, case: None,
) -> None:
    """Reveal the orders of the cases that a run captured, and keep them beside it; what is kept stays.

    A cell that cannot be revealed is kept with its reason.  Raises `UserError` where this environment is not
    the one of a capture: its kernels may be others.
    """
    for mode in modes:
        capture = check_capture(folder, mode.name)
        wanted = [case for case in cases if _captured(capture, case) and has_order(case)]
        if capture is None or not wanted:
            continue
        kept = read_orders(folder, capture)
        pending = [case for case in wanted if _fingerprint(kept, case) != case.fingerprint()]
        for case in wanted:
            if case not in pending:
                progress(mode.name, case.id)
        if not pending:
            continue
        _check_here(capture)
        found = dict(kept)
        for case, order in orders_of_mode(pending, mode):
            found[case.id] = Stored(case.fingerprint(), order)
            progress(mode.name, case.id)
        versions = {name: value for name, value in capture.versions.items() if _telling(name)}
        write_orders(folder, mode.name, versions, found)


def count(folder: Path, cases: Sequence[Case], modes: Sequence[Mode]) -> int:
    """How many cells `reveal_captured` reports as done."""
    total = 0
    for mode in modes:
        capture = check_capture(folder, mode.name)
        total += sum(_captured(capture, case) and has_order(case) for case in cases)
    return total


def _captured(capture: Capture | None, case: Case) -> bool:
    return capture is not None and capture.cells.get(case.id, {}).get("status") == "ok"


def _fingerprint(kept: Mapping[str, Stored], case: Case) -> str:
    return kept[case.id].fingerprint if case.id in kept else ""


def _telling(name: str) -> bool:
    return name == "processor" or name.startswith("distribution ")


def _check_here(capture: Capture) -> None:
    for name, before in capture.versions.items():
        if not _telling(name):
            continue
        now = cpu_model() if name == "processor" else installed(name.removeprefix("distribution "))
        if now != before:
            raise UserError(
                f"orders are revealed in the environment of the capture; {capture.folder} was made with "
                f"{name} {before}, now it is {now}; capture again into another folder"
            )
