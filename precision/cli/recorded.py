"""`precision reveal --from FOLDER`: the orders of a capture's kernels, from its recorded probes."""

from __future__ import annotations

import json
from pathlib import Path

from precision.capture import MANIFEST, Capture, check_capture, load_capture
from precision.errors import UserError
from precision.modes import CAPTURE_MODES, select_modes

NOT_PROVED = 1


def reveal_captured_probes(folder: Path, modes: str | None, as_json: bool) -> int:
    """Print what every order probe of a run folder, or of one capture, shows.

    Status 1 where an order is not proved.  Raises `UserError` for a folder without captures, or captures
    without such probes.
    """
    from precision.orders.records import recorded_orders

    found = [order for capture in _captures(folder, modes) for order in recorded_orders(capture, "gpu")]
    if not found:
        raise UserError(
            f"orders are revealed from the order probes of suite gpu; {folder} has none; "
            "capture them: precision run gpu --cases 'order-*,operands-*'"
        )
    if as_json:
        cells = [
            {"probe": each.probe, "rounding": each.rounding, **each.revealed.to_json()} for each in found
        ]
        print(json.dumps({"schema": 1, "orders": cells}, indent=1))
    else:
        for each in found:
            revealed = each.revealed
            operands = (
                ""
                if revealed.left_format == "binary32"
                else (f"operands {revealed.left_format} ({each.rounding}); ")
            )
            shares = ", ".join(f"{100 * share:.6g} % of {kind}" for kind, share in revealed.equal.items())
            proof = f" [equal bit for bit: {shares}, {each.elements} outputs each]" if shares else ""
            print(f"{revealed.mode} {each.probe}: {operands}{revealed.words}{proof}")
    return 0 if all(each.revealed.proved for each in found) else NOT_PROVED


def _captures(folder: Path, modes: str | None) -> list[Capture]:
    if (folder / MANIFEST).is_file():
        return [load_capture(folder)]
    if not (folder / "captures").is_dir():
        raise UserError(
            f"a run folder has a folder captures, and a capture a {MANIFEST}; {folder} has neither; "
            "check the path"
        )
    names = {path.parent.name for path in (folder / "captures").glob(f"*/{MANIFEST}")}
    known = tuple(mode for mode in CAPTURE_MODES if mode.name in names)
    captures = (check_capture(folder, mode.name) for mode in select_modes(modes, known))
    return [capture for capture in captures if capture is not None]
