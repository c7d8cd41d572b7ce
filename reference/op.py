"""What an operation is to the rest of the package: its functions, and what they take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reference import grouped
from reference.truth import Truth


@dataclass(frozen=True)
class Op:
    """One operation. The functions take the arrays, then the parameters, as keyword arguments."""

    name: str
    truth: Callable[..., Truth]
    plain: Callable[..., npt.NDArray[np.float32]] | None  # None where no textbook float32 form is given
    terms: Callable[..., int] | None  # None where the op has no sum
    required: tuple[str, ...]  # arrays that must be given
    optional: tuple[str, ...]  # arrays that may be given
    params: tuple[str, ...]
    needed: tuple[str, ...] = ()  # parameters without a default
    rows: Callable[..., grouped.Grouped] | None = None  # a normalization's rows; takes no eps, no momentum
    eps: float = 0.0  # a normalization's default
