"""The command that shows orders: its answers, and one line for what cannot be."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pandas as pd
import pytest

SHAPES = ("--shape", "input=3,20", "--shape", "weight=12,20")


def test_an_order_in_words_json_and_a_drawing(precision_command, tmp_path):
    svg = tmp_path / "order.svg"
    done = precision_command("reveal", "linear", *SHAPES, "--svg", str(svg))
    assert done.returncode == 0, done.stderr
    assert "terms" in done.stdout
    assert "equal bit for bit on fresh normal data: 100 %" in done.stdout
    assert ElementTree.parse(svg).getroot().tag.endswith("svg")
    data = json.loads(precision_command("reveal", "linear", *SHAPES, "--json").stdout)
    assert data["proved"] is True
    assert data["mode"] == "torch.cpu"
    assert sum(each["outputs"] for each in data["classes"]) == 36


def test_a_suite_is_a_table(precision_command, tmp_path):
    done = precision_command(
        "reveal",
        "--suite",
        "smoke",
        "--cases",
        "*conv2d*",
        "--modes",
        "torch.cpu",
        "--table",
        "-o",
        str(tmp_path),
    )
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "orders.csv")
    assert (table["equal_uniform"] == 1).all()
    assert table["order"].str.len().min() > 10
    assert (tmp_path / "orders.md").read_text() in done.stdout
    assert len(json.loads((tmp_path / "orders.json").read_text())["cells"]) == len(table)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("reveal",), "an op or --suite"),
        (("reveal", "linear", "--suite", "smoke"), "not both"),
        (("reveal", "linear"), "needs the shapes"),
        (("reveal", "linear", "--shape", "input"), "NAME=1,64,56,56"),
        (("reveal", "linear", "--shape", "input=3,0"), "positive sizes"),
        (("reveal", "relu", *SHAPES), "conv2d"),
        (("reveal", "linear", *SHAPES, "--mode", "torch.gpu"), "torch.cpu"),
        (("reveal", "linear", *SHAPES, "--param", "stride"), "NAME=VALUE"),
        (("reveal", "linear", *SHAPES, "--param", "stride=2"), "stride"),
        (("reveal", "linear", "--shape", "input=3,20", "--shape", "weight=12,21"), "(O, K)"),
        (("reveal", "linear", *SHAPES, "--mode", "torch.cuda.tf32"), "no NVIDIA GPU"),
        (("reveal", "--suite", "nonsense"), "a suite is one of"),
    ],
)
def test_bad_input_is_one_line(precision_command, arguments, word):
    done = precision_command(*arguments)
    assert done.returncode == 2
    assert word in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
