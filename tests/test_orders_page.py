"""The page of orders is the one that the kept measurements give, and a share below one never reads as all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd

from precision.orders.suite import as_markdown

ROOT = Path(__file__).parent.parent


def test_the_page_is_generated():
    check = [sys.executable, "docs/generate_orders.py", "--check"]
    done = subprocess.run(check, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr or "docs/orders.md differs: run docs/generate_orders.py"


def test_every_cell_without_an_order_has_a_reason():
    table = pd.read_csv(ROOT / "docs" / "results" / "orders" / "orders.csv")
    proved = (table["equal_uniform"] == 1) & (table["equal_normal"] == 1)
    assert table.loc[~proved, "reason"].str.len().gt(10).all()
    assert len(table) == len(table.drop_duplicates(["case", "mode"]))


def test_nearly_all_is_not_all():
    row = {
        "case": "c",
        "mode": "m",
        "order": "a|b",
        "positions": "",
        "calls": 3.0,
        "probes": None,
        "reason": None,
    }
    text = as_markdown(pd.DataFrame([row | {"equal_uniform": 0.99999999, "equal_normal": 1.0}]))
    assert "| 99.9999 % | 100 % |" in text
    assert "a\\|b" in text
