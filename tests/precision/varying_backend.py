"""A driver without a framework whose results depend on what they should not, as the switch `fault` says."""

from __future__ import annotations

import os
import signal

import numpy as np

from precision.errors import CannotRun

DEFAULTS = {"fault": "none", "threads": 2, "memory_format": "contiguous"}
state = dict(DEFAULTS)
calls = [0]


def configure(device, switches):
    state.update(DEFAULTS)
    state.update(switches)
    return dict(state)


def versions():
    return {}


def run(op, params, arrays):
    calls[0] += 1
    x, weight = (arrays[name].astype(np.float64) for name in ("input", "weight"))
    if op == "linear":
        output = (x @ weight.T + arrays["bias"]).astype(np.float32)
    elif op == "conv2d":
        output = np.einsum("nchw,oc->nohw", x, weight[:, :, 0, 0]).astype(np.float32)
    else:
        raise CannotRun(f"no kernel for {op}")
    up = np.nextafter(output, np.float32(np.inf))
    fault, count = state["fault"], len(x)
    wrong = {
        "repeats": calls[0] == 13,
        "processes": LATER,
        "batch": count == 1,
        "width": x.shape[-1] > params.get("usual", x.shape[-1] - 1),
        "threads": state["threads"] == 1,
        "memory format": state["memory_format"] == "channels_last",
    }.get(fault, False)
    if fault == "dies" and count == 8:
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "nan" and count == 2:
        output[0].flat[0] = np.nan
    if fault == "position":
        return np.concatenate([output[:4], up[4:]])
    return up if wrong else output


def _later() -> bool:
    """Whether another process of the test came before this one."""
    path = os.environ["VARYING_SEEN"]
    if os.path.exists(path):
        return True
    with open(path, "w") as file:
        file.write("seen")
    return False


LATER = _later()
