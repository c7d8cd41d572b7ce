"""Errors along channels and conditions, and what an order lets expect, against plain loops and real sums."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import numpy as np
import pytest

from precision.judging.case_details import Details, expected_counts, expected_sigma, order_rows, profiles
from precision.judging.case_folder import Case
from precision.judging.case_judge import Judge
from precision.judging.distribution import EDGES
from precision.orders.match import OrderMatch
from precision.score import errors
from reference import evaluate
from reference.orders import blocked, sequential
from reference.replay import replay

RANDOM = np.random.default_rng(5)
TERMS, ROWS, COLUMNS = 300, 24, 24


def linear() -> Case:
    arrays = {
        "input": RANDOM.uniform(-1, 1, (ROWS, TERMS)).astype(np.float32),
        "weight": RANDOM.uniform(-1, 1, (COLUMNS, TERMS)).astype(np.float32),
    }
    return Case("linear", {}, arrays, {})


CASE = linear()
TRUTH = evaluate("linear", CASE.arrays, {})
LEFT, RIGHT = CASE.arrays["input"], np.ascontiguousarray(CASE.arrays["weight"].T)


def test_profiles_are_those_of_plain_loops() -> None:
    output = replay(sequential(TERMS), LEFT, RIGHT)
    found = errors(TRUTH, output)
    rows = profiles(TRUTH, found)
    channels = [row for row in rows if row["axis"] == "channel"]
    assert [row["low"] for row in channels] == list(range(COLUMNS))
    for row in channels:
        column = found.scaled[:, int(row["low"])].tolist()
        assert row["count"] == ROWS
        assert row["error_scaled_ulp_rms"] == pytest.approx(
            math.sqrt(math.fsum(x * x for x in column) / ROWS)
        )
        assert row["error_scaled_ulp_mean"] == pytest.approx(math.fsum(column) / ROWS)
    octaves = [row for row in rows if row["axis"] == "condition"]
    condition = (TRUTH.magnitude / np.abs(TRUTH.value)).reshape(-1).tolist()
    ulp = found.ulp.reshape(-1).tolist()
    for row in octaves:
        inside = [u for c, u in zip(condition, ulp, strict=True) if row["low"] <= c < row["high"]]
        assert row["count"] == len(inside)
        assert row["error_ulp_rms"] == pytest.approx(
            math.sqrt(math.fsum(u * u for u in inside) / len(inside))
        )
    assert sum(row["count"] for row in octaves) == ROWS * COLUMNS


def test_many_channels_are_joined_and_none_is_lost() -> None:
    arrays = {"input": LEFT[:3], "weight": RANDOM.uniform(-1, 1, (200, TERMS)).astype(np.float32)}
    truth = evaluate("linear", arrays, {})
    found = errors(truth, truth.round(np.float32))
    channels = [row for row in profiles(truth, found) if row["axis"] == "channel"]
    assert len(channels) == 64
    assert channels[0]["low"] == 0
    assert channels[-1]["high"] == 199
    assert all(b["low"] == a["high"] + 1 for a, b in pairwise(channels))
    assert sum(row["count"] for row in channels) == 600
    assert not [row for row in profiles(truth, found, {"layout": "NHWC"}) if row["axis"] == "channel"]


@pytest.mark.parametrize(
    "tree", [sequential(TERMS), sequential(TERMS, fused=False), blocked(TERMS, 25, None)]
)
def test_the_errors_of_a_replay_are_as_large_as_expected(tree) -> None:
    sigma = expected_sigma(CASE, TRUTH, tree)
    assert sigma is not None
    found = errors(TRUTH, replay(tree, LEFT, RIGHT))
    assert sigma.size == ROWS * COLUMNS  # no more than are sampled, by channel
    assert 0.88 < math.sqrt(np.mean((found.ulp.T.reshape(-1) / sigma) ** 2)) < 1.12
    counts = {(row["bin_left_ulp"], row["bin_right_ulp"]): row["expected"] for row in
              expected_counts(sigma, found.ulp.size)}  # fmt: skip
    assert sum(counts.values()) == pytest.approx(found.ulp.size, abs=1.0)
    inside = sum(count for (left, right), count in counts.items() if left >= -4 and right <= 4)
    assert inside == pytest.approx(int(np.sum(np.abs(found.ulp) <= 4)), rel=0.1)


def test_another_order_is_seen_in_what_is_expected() -> None:
    chain, blocks = (
        expected_sigma(CASE, TRUTH, tree) for tree in (sequential(TERMS), blocked(TERMS, 25, None))
    )
    assert chain is not None
    assert blocks is not None
    assert np.median(chain) > 1.5 * np.median(blocks)


def test_expected_counts_are_normal() -> None:
    rows = expected_counts(np.array([2.0]), 1_000_000)
    for row in rows:
        left, right = (
            0.5 * math.erf(row[f"bin_{side}_ulp"] / 2 / math.sqrt(2)) for side in ("left", "right")
        )
        assert row["expected"] == pytest.approx(1e6 * (right - left), abs=1e-6)
    assert {row["bin_left_ulp"] for row in rows} <= set(EDGES.tolist())


def test_rows_of_an_order_keep_its_tree_and_claim_no_more_than_the_match() -> None:
    tree = sequential(TERMS)
    output = replay(tree, LEFT, RIGHT)
    rows, likely = order_rows(CASE, TRUTH, OrderMatch(output, True, "a chain", trees=(("all", tree),)))
    assert json.loads(rows[0]["tree"])["leaves"] == TERMS
    assert rows[0]["evidence"] == "proved"
    assert rows[0]["expected_ulp_rms"] > 0
    assert likely
    # Not proved, not declared, or no tree: no expectation.
    doubted = OrderMatch(output, False, "a chain", trees=(("all", tree),))
    assert order_rows(CASE, TRUTH, doubted)[0][0]["evidence"] == "none"
    assert order_rows(CASE, TRUTH, doubted)[1] == []
    proved = OrderMatch(output, True, "a chain", trees=(("all", tree),))
    assert order_rows(CASE, TRUTH, proved, declared=False)[1] == []
    bare = order_rows(CASE, TRUTH, OrderMatch(output, True, "a recipe"))
    assert bare[0][0]["tree"] is None
    assert bare[1] == []


def test_what_judges_an_output_tells_its_order_once() -> None:
    judge = Judge(CASE)
    details = Details(CASE, TRUTH)
    output = replay(sequential(TERMS), LEFT, RIGHT)
    explained = judge.explained("torch", output)
    assert explained.order is not None
    for mode in ("torch.cpu", "torch.cpu.threads1"):
        details.add({"mode": mode}, "digest", errors(TRUTH, output), explained)
    assert {row["mode"] for row in details.tables["orders"]} == {"torch.cpu"}
    assert details.tables["expected"]
    assert "chain" in details.tables["orders"][0]["words"]
    shifted = judge.explained("torch", output + np.float32(1.0))
    other = Details(CASE, TRUTH)
    other.add({"mode": "torch.cpu"}, "digest", None, shifted)
    assert other.tables["expected"] == []
    assert other.tables["profiles"] == []
