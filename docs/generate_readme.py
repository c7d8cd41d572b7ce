"""Writes the figures of README.md: nothing in a generated block is typed by hand.

    python docs/generate_readme.py                 run the example, keep its results, write the blocks
    python docs/generate_readme.py --picture DIR   also take docs/report.png from the report in DIR
    python docs/generate_readme.py --check         status 1 where README.md differs from the kept results

A block stands between `<!-- NAME -->` and `<!-- /NAME -->`.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from rich.console import Console

import reports
from precision.capture import load_capture

ROOT = Path(__file__).resolve().parent.parent
README, KEPT, PICTURE = ROOT / "README.md", ROOT / "docs" / "results", ROOT / "docs" / "report.png"
CASE = "conv2d-5x5-s2-uniform"
PAIR = ("torch.cpu", "tensorflow.cpu")
COMMAND = f"precision report default --cases {CASE} --modes '*.cpu*' -o out/example"


def measure() -> None:
    """Run the README's own command, and keep its results and what the two defaults differ by."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "example"
        arguments = ["report", "default", "--cases", CASE, "--modes", "*.cpu*", "-o", str(folder)]
        subprocess.run([sys.executable, "-m", "precision", *arguments], check=True, stdout=subprocess.DEVNULL)
        for old in KEPT.glob("*.*"):  # the folders beside them are other pages' results
            old.unlink()
        shutil.copytree(folder / "results", KEPT, dirs_exist_ok=True)
        first, second = (load_capture(folder / "captures" / mode).outputs(CASE)["data"] for mode in PAIR)
    difference = np.abs(first.astype(np.float64) - second.astype(np.float64))
    pair = {
        "largest": float(difference.max()),
        "elements": int(difference.size),
        "above_1e-3": int((difference > 1e-3).sum()),
    }
    (KEPT / "pair.json").write_text(json.dumps(pair, indent=1) + "\n")


def blocks() -> dict[str, str]:
    """Return the text of every generated block, from the kept results alone."""
    results = reports.load(KEPT)
    pair = json.loads((KEPT / "pair.json").read_text())
    rows = results.scores.set_index("mode")
    one, two = (rows.loc[mode] for mode in PAIR)
    versions, machine = results.run["versions"], results.run["machine"]
    sink = io.StringIO()
    reports.print_summary(results, Console(file=sink, width=100))
    exact_probes = one["probe_error_abs_max"] == two["probe_error_abs_max"] == 0
    if {one["verdict"], two["verdict"]} != {"rounding"} or not exact_probes:
        raise SystemExit(
            "the README's example is one of rounding; on this machine it is not: write another text"
        )
    example = (
        f"PyTorch {versions['torch']} and TensorFlow {versions['tensorflow']}, the same convolution "
        "(1×16×32×256 input, 5×5 kernel, 256→512 channels, stride 2, SAME), the same float32 arrays, the same "
        f"CPU ({machine['processor']}): the two outputs differ by up to **{pair['largest']:.2g}**, and "
        f"{pair['above_1e-3']:,} of {pair['elements']:,} elements by more than 1e-3. Is it a bug?\n\n"
        f"No, it is rounding. Against the certified truth, PyTorch is off by at most {one['error_abs_max']:.2g} "
        f"(median {one['error_ulp_median']:.2f} ulp) and TensorFlow by {two['error_abs_max']:.2g} "
        f"(median {two['error_ulp_median']:.2f} ulp). On small integers, where float32 is exact in any order, both "
        "return the exact result: they compute the same function. And the rest is proved: the "
        f"{int(results.cases['terms'].iloc[0]):,} terms of each sum, added again in float32 in one order, give "
        f"every output of the framework, bit for bit. PyTorch: {_order(results, PAIR[0])}. TensorFlow: "
        f"{_order(results, PAIR[1])}. PyTorch ran oneDNN's "
        f"`{one['kernels']}` and TensorFlow `{two['kernels']}`; PyTorch in channels_last runs "
        f"`{rows.loc['torch.cpu.channels_last', 'kernels']}` and gives "
        f"{_same(rows, 'torch.cpu.channels_last', 'tensorflow.cpu')}. "
        "(The orders of all kernels in all modes: [docs/orders.md](docs/orders.md).)"
    )
    return {"example": example, "table": f"```text\n$ {COMMAND}\n{sink.getvalue().rstrip()}\n```"}


def _order(results: reports.Results, mode: str) -> str:
    """The proved order of a mode's sums, in words."""
    budgets = results.budgets
    (row,) = budgets[(budgets["mode"] == mode) & (budgets["cause"] == "accumulation")].to_dict("records")
    words, found, _ = str(row["detail"]).partition(": all ")
    if row["evidence"] != "proved" or not found:
        raise SystemExit("the README's example is one of proved orders; here it is not: write another text")
    return words


def _same(rows: object, first: str, second: str) -> str:
    groups = rows["bits_group"]  # type: ignore[index]
    return "TensorFlow's result to the last bit" if groups[first] == groups[second] else "yet another result"


def written(text: str) -> str:
    """Return README's text with every block replaced."""
    for name, content in blocks().items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)", re.DOTALL)
        text, count = pattern.subn(lambda found, content=content: found[1] + content + found[2], text)
        if count != 1:
            raise SystemExit(f"README.md has one block {name!r}; found {count}")
    return text


def take_picture(report: Path) -> None:
    """Take the first screen of a report with headless Chromium."""
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [
                "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                "--disable-background-networking", "--disable-component-update", "--disable-sync",
                "--no-first-run", f"--user-data-dir={profile}", "--window-size=1280,1000",
                f"--screenshot={PICTURE}", (report / "index.html").resolve().as_uri(),
            ],
            check=True,
            capture_output=True,
        )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    if options.check:
        return int(written(README.read_text()) != README.read_text())
    if options.picture:
        take_picture(options.picture)
    measure()
    README.write_text(written(README.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
