"""Facts of the doctor's fake framework, in this shell's environment."""

from __future__ import annotations

import os


def facts():
    if os.environ.get("DOCTOR_FACTS") == "raise":
        raise ImportError("a library is broken")
    if os.environ.get("DOCTOR_FACTS") == "exit":
        os._exit(3)
    print("onednn_verbose,v1,info,oneDNN v9.8.7 (commit N/A)", flush=True)
    return {
        "versions": {"doctor": "1.0"},
        "devices": ["cpu"],
        "switches": {"pin": os.environ.get("OMP_NUM_THREADS")},
    }
