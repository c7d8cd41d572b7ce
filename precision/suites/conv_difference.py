"""The layer of "Difference of Convolution Calculation": the same arrays, two frameworks, 1e-3 apart."""

from __future__ import annotations

from precision.cases import Case
from precision.suites import default

UNIFORM, ONES = "conv2d-5x5-s2-uniform", "conv2d-5x5-s2-ones"

CASES: tuple[Case, ...] = tuple(case for case in default.CASES if case.id in (UNIFORM, ONES))
