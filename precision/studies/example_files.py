"""Where the models of the studies lie: with the package where it was installed, else among the examples.

They are examples of use, written as a user writes models, and no part of the package. A wheel carries a copy
of them beside this module, so that the studies that run them need no source tree.
"""

from __future__ import annotations

from pathlib import Path

INSTALLED = Path(__file__).parent / "models"
CHECKOUT = Path(__file__).parents[2] / "examples"


def example_folder(name: str) -> Path:
    """The folder of an example, "wgan" or "detnet"; it may be missing where neither is there."""
    found = INSTALLED / name
    return found if found.is_dir() else CHECKOUT / name
