"""The benchmarks run: every task on small operands, the worker's protocol, and the plot."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CONV = {
    "shapes": [[1, 3, 6, 7], [4, 3, 3, 3], [4]],
    "stride": 1,
    "padding": [1] * 4,
    "data": "normal",
    "threads": 1,
}
PRODUCT = {"shapes": [[3, 8], [2, 8]], "data": "uniform", "threads": 1}
NORM = {"op": "batch_norm", "shapes": [[2, 3, 4, 4]], "data": "normal", "threads": 1}
SPECS = {"conv": (CONV, 1 * 6 * 7 * 4 * 27), "product": (PRODUCT, 48), "norm": (NORM, 96)}


@pytest.fixture(autouse=True)
def beside_the_benchmarks(monkeypatch):
    """As when they are run as scripts: their folder is on the path."""
    monkeypatch.setattr(sys, "path", [str(HERE), *sys.path])


def test_every_task_runs_and_counts_its_work():
    import torch
    from tasks import TASKS

    grad, threads = torch.is_grad_enabled(), torch.get_num_threads()
    try:
        for name, make in TASKS.items():
            spec, work = SPECS[name.split("_")[1]]
            call, counted = make(spec)
            assert call() is not None
            assert counted == work
    finally:
        torch.set_grad_enabled(grad)
        torch.set_num_threads(threads)


def test_the_exact_convolution_is_the_truth():
    from tasks import exact_conv, truth_conv

    value, residual, bound = exact_conv(CONV)[0]()
    truth = truth_conv(CONV)[0]()
    assert not bound.any()
    apart = (value - truth.value.transpose(0, 2, 3, 1)) + residual
    assert (abs(apart) <= 2 * truth.bound.max() + 2.0**-50).all()


def test_a_worker_answers_and_the_figures_are_ratios():
    from blocks import Workers, ratio

    with Workers(1) as workers:
        times = workers.compare(["numpy_norm"], NORM, 2, 2)["numpy_norm"]
    assert times["timings"] == 4
    assert 0 < times["seconds_least"] <= times["seconds_median"]
    assert ratio(times, times, per_work=True)["ratio"] == 1.0
    with Workers(1) as workers, pytest.raises(RuntimeError, match="ended with status 1"):
        workers.ask("numpy_norm", {"op": "none"}, calls=1)


def test_the_plot_is_drawn(tmp_path):
    from picture import draw

    row = {"a": {"ratio": 2.0}}
    scaling = {
        "points": [{"macs": 1e7, "seconds": 0.01}, {"macs": 1e8, "seconds": 0.1}],
        "slope": 1.0,
        "level": 1e-9,
    }
    results = {"certified": row, "exact": row, "norms": row, "scaling": scaling}
    draw({"results": results, "limits": {"exact": 25.0}}, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000
