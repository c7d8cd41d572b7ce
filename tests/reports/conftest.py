"""Made-up results for the tests of reports."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from reports.store import Results

sys.path.insert(0, str(Path(__file__).parent))  # the factory is a plain module beside the tests

import synthetic_results


@pytest.fixture
def results() -> Results:
    """Six cases in eight modes that ran and four that did not."""
    return synthetic_results.results()
