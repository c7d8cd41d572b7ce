"""The benchmark of replays runs, on small operands, and its NumPy loop is the order that it stands for."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from reference.orders import sequential
from reference.replay import replay


@pytest.fixture(autouse=True)
def beside_the_benchmarks(monkeypatch):
    """As when it is run as a script: its folder is on the path."""
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parent), *sys.path])


def test_every_tree_is_measured():
    import torch
    from bench_replay import measure

    threads = torch.get_num_threads()
    try:
        found = measure(1, 1, shrink=128)
    finally:
        torch.set_num_threads(threads)
    assert len(found) == 9
    for row in found.values():
        assert row["replay"]["of torch"] > 0
        assert all(who["macs_a_second"] > 0 for who in row["rows"].values())
    assert "of numpy loop" in found["chain of rounded products"]["replay"]


def test_the_loop_is_a_chain_of_rounded_products():
    from bench_replay import numpy_loop, operands

    left, right, bias = operands((5, 40, 7))
    assert np.array_equal(
        numpy_loop(left, right, bias), replay(sequential(40, False, "last"), left, right, bias)
    )
