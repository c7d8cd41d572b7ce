"""A driver without a framework, for tests of the doctor: DOCTOR_PLAN says how it misbehaves."""

from __future__ import annotations

import json
import os
import time

import numpy as np

from precision.errors import CannotRun
from reference import plain_float32

PLAN = json.loads(os.environ.get("DOCTOR_PLAN", "{}"))
state = {"calls": 0, "dial": 0}


def configure(device, switches):
    if PLAN.get("start") == "cannot":
        raise CannotRun("the fake device is not there")
    if PLAN.get("start") == "hang":
        time.sleep(600)
    state["dial"] = switches.get("dial", 0)
    return dict(switches)


def versions():
    return {"doctor": "1.0"}


def run(op, params, arrays):
    behaviour = PLAN.get(op)
    state["calls"] += 1
    if behaviour == "die":
        os._exit(7)
    if behaviour == "cannot":
        raise CannotRun("no such kernel")
    if behaviour == "raise":
        raise RuntimeError("kernel failed")
    output = plain_float32(op, arrays, params)
    if behaviour == "varies":
        output = output + np.float32(state["calls"])
    if behaviour == "dial":
        output = output + np.float32(state["dial"])
    return output
