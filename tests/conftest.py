"""Settings of all tests: no property is judged by the wall clock, which a busy machine slows at will.

`make test` draws the same examples each time, so that its outcome is a matter of the code alone.
`--examples N` draws N times as many, other ones each time, and `make test-all` does so.
"""

from __future__ import annotations

import pytest
from hypothesis import settings

settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")

_SETTINGS = "_hypothesis_internal_use_settings"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--examples", type=int, metavar="N", help="draw N times as many examples of each property, at random"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    times = config.getoption("--examples")
    if times is None:
        return
    if times < 1:
        raise pytest.UsageError(f"--examples is 1 or more, not {times}")
    seen = set()
    for item in items:
        test = getattr(item, "obj", None)
        test = getattr(test, "__func__", test)  # of a method
        if hasattr(test, _SETTINGS) and id(test) not in seen:
            seen.add(id(test))
            had = getattr(test, _SETTINGS)
            wanted = settings(had, max_examples=times * had.max_examples, derandomize=False)
            setattr(test, _SETTINGS, wanted)
