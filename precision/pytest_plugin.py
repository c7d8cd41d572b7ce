"""The pytest plugin: a fixture `explain` that fails a test on another meaning, and not on rounding.

    def test_my_layer(explain):
        explain(my_layer(x), "linear", {"input": x, "weight": w})

Nothing is loaded for a test that does not use it.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.fixture
def explain() -> Callable[..., None]:
    """`precision.testing.assert_explained(actual, op, inputs, **params)`."""
    from precision.testing import assert_explained

    return assert_explained
