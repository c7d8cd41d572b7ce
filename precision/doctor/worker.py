"""The far end of `precision.doctor.facts` (`python -m precision.doctor.worker MODULE FILE`).

A fresh process in the user's own environment: what is read is what a program started from this shell gets.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

from precision.capture import write_atomically
from precision.worker import die_with_parent, one_line


def main(module: str, target: str) -> int:
    """Write the module's facts as JSON; what it raises is an answer too."""
    die_with_parent()
    try:
        answer = {"facts": importlib.import_module(module).facts()}
    except Exception as error:
        # A framework that cannot even be imported is what a doctor is asked about.
        answer = {"reason": one_line(error)}
    write_atomically(Path(target), json.dumps(answer).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
