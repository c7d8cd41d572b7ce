"""DetNet and IKNet: the feature maps after each stage, the joints' places, coordinates and rotations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from precision.errors import CannotRun
from precision.live import KernelError
from precision.studies.detnet_candidates import tried, turned
from precision.studies.detnet_passes import STAGE_CALLS
from precision.studies.detnet_reads import uv_row, xyz_row
from precision.studies.detnet_rotations import quaternions_row
from precision.studies.detnet_stages import stage_row
from precision.studies.detnet_trace import traced
from precision.studies.material import Material
from precision.studies.row import Maker, Row, made

MAKERS: Mapping[str, Maker] = {
    **dict.fromkeys(STAGE_CALLS, stage_row),
    "uv": uv_row,
    "xyz": xyz_row,
    "quaternions": quaternions_row,
}


def rows(material: Material) -> list[Row]:
    """The study's rows; see `precision.studies.row`."""
    _prepare(material)
    return made("detnet", MAKERS, material)


def _prepare(material: Material) -> None:
    """Do the long work side by side; the rows find it kept.

    The trace waits for its two models half of the time, so that the candidates run meanwhile.
    """

    def others() -> None:
        for work in (tried, turned, _ik):
            _quietly(work, material)

    with ThreadPoolExecutor(2) as pool:
        for task in (pool.submit(_quietly, _det, material), pool.submit(others)):
            task.result()


def _det(material: Material) -> object:
    return traced(material, "detnet")


def _ik(material: Material) -> object:
    return traced(material, "iknet")


def _quietly(work: Callable[[Material], Any], material: Material) -> None:
    """What cannot be made is said by the row that asks for it."""
    with suppress(CannotRun, KernelError):
        work(material)
