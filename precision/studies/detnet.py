"""The rows of DetNet and IKNet: maps, places, coordinates, rotations."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np

from precision.decisions import AT_RISK, FLIPPED, SAFE, Decision, decide
from precision.errors import CannotRun
from precision.live import KernelError
from precision.studies.detnet_candidates import (
    FIRST, FLIPPED as FLIPPED_INPUT, INHERITED, LATER, Tried, Turned, document_moved, document_ratio,
    document_xyz, document_xyz_apart, fitting, like, tried, turned, turned_apart,
)  # fmt: skip
