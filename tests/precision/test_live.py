"""A process that answers call after call: what a crash, a slow call or a late answer cost."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest

from precision.cases import load_suite, select_cases
from precision.live import KernelError, Live
from precision.modes import select_modes
from precision.orders import suite

X = {"input": np.ones((2, 3), np.float32), "weight": np.ones((2, 3), np.float32)}


def kill(live):
    os.kill(live._process.pid, signal.SIGKILL)
    live._process.wait()


def test_a_killed_process_is_told_in_one_line_and_makes_no_more_calls():
    with Live("torch.cpu") as live:
        assert live.alive
        kill(live)
        assert not live.alive
        for _ in range(2):
            with pytest.raises(KernelError, match="the process ended: status -9"):
                live.run("linear", {}, X)


def test_a_late_answer_is_never_taken_for_the_next_one():
    with Live("torch.cpu") as live:
        live.timeout = 1e-6
        with pytest.raises(KernelError, match="no answer within 1e-06 s"):
            live.run("linear", {}, {name: np.ones((500, 500), np.float32) for name in X})
        live.timeout = 60.0
        with pytest.raises(KernelError, match="start another"):
            live.run("linear", {}, X)


def test_a_crash_costs_its_own_case_only(monkeypatch):
    chosen = select_cases(load_suite("smoke"), "*conv2d*")
    assert len(chosen) >= 2
    reveal = suite._reveal

    def crashing(live, case, shapes, params):
        if case is chosen[0]:
            kill(live)
        return reveal(live, case, shapes, params)

    monkeypatch.setattr(suite, "_reveal", crashing)
    table, details = suite.reveal_suite(chosen, select_modes("torch.cpu"))
    assert "the process ended" in table["reason"][0]
    assert (table["equal_normal"][1:] == 1.0).all()
    assert all(not reason for reason in table["reason"][1:])
    assert f"{chosen[1].id}/torch.cpu" in details
