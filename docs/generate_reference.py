"""Writes the table of operations in docs/reference.md from the registry.

python docs/generate_reference.py           write it
python docs/generate_reference.py --check   status 1 where the page differs from the registry
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from functools import partial
from pathlib import Path

from reference import OPS, Op

PAGE = Path(__file__).resolve().parent / "reference.md"
BLOCK = re.compile(r"(<!-- ops -->\n).*?(<!-- /ops -->)", re.DOTALL)


def docstring(op: Op) -> str:
    """That of its truth, or of the public function of its name: some truths are made from a plan."""
    function = op.truth.func if isinstance(op.truth, partial) else op.truth
    # Other modules have functions of the same names: the one that is called like the op comes first.
    loaded = [name for name in sys.modules if name.startswith("reference.")]
    modules = [sys.modules[name] for name in sorted(loaded, key=lambda n: (n != f"reference.{op.name}", n))]
    for found in (function, *(vars(module).get(op.name) for module in modules)):
        if callable(found) and inspect.getdoc(found):
            return inspect.getdoc(found) or ""
    return ""


def summary(op: Op) -> str:
    """The first sentence of its docstring; of a gradient without one, what its name says."""
    first = docstring(op).split("\n\n")[0]
    sentence = re.split(r"(?<=[.:;])\s", " ".join(first.split()), maxsplit=1)[0]
    sentence = sentence.rstrip(".:;").removeprefix("Certified ")
    if not sentence and (parts := re.fullmatch(r"(\w+)_(input|other|weight|bias)_grad", op.name)):
        sentence = f"gradient of `{parts[1]}` with respect to its {parts[2]}"
    return sentence.replace("|", "\\|")


def row(op: Op) -> str:
    arrays = [f"`{name}`" for name in op.required] + [f"[`{name}`]" for name in op.optional]
    params = [f"`{name}`" for name in op.params]
    cells = [f"`{op.name}`", " ".join(arrays), " ".join(params), "yes" if op.plain else "", summary(op)]
    return "| " + " | ".join(cells) + " |"


def table() -> str:
    head = ["| operation | arrays | parameters | plain | what it is |", "|---|---|---|---|---|"]
    return "\n".join([*head, *(row(OPS[name]) for name in sorted(OPS))]) + "\n"


def page() -> str:
    """The page as it should be."""
    return BLOCK.sub(lambda found: found[1] + table() + found[2], PAGE.read_text(encoding="utf-8"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--check", action="store_true", help="write nothing; status 1 if the page is out of date"
    )
    if parser.parse_args().check:
        sys.exit(page() != PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
