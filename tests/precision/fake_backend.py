"""A driver without a framework, for tests of the runner: it misbehaves as `FAKE_PLAN` says.

FAKE_PLAN is JSON, {case id or "start": behaviour}; FAKE_LOG names a file that gets one line for every call.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time

import numpy as np

from precision.errors import CannotRun
from reference import plain_float32

PLAN = json.loads(os.environ.get("FAKE_PLAN", "{}"))
CALLS: list[str] = []
WORK = os.path.dirname(sys.argv[1])  # the job of `python -m precision.worker JOB` lies in it
START = os.environ["FAKE_LOG"].removesuffix(".log") + ".start"


def configure(device, switches):
    behaviour = PLAN.get("start")
    if behaviour == "cannot":
        raise CannotRun("the fake device is not there")
    if behaviour == "deaf":
        return dict.fromkeys(switches, "something else")
    if behaviour == "die" or (behaviour == "die once" and not os.path.exists(START)):
        with open(START, "w") as start:
            start.write("killed")
        os.kill(os.getpid(), signal.SIGKILL)
    if behaviour == "exit":
        print("the fake framework gives up")
        sys.exit(3)
    return dict(switches)


def versions():
    return {"fake": "1.0"}


def run(op, params, arrays):
    case = json.loads(open(os.path.join(WORK, "current.json")).read())["case"]
    with open(os.environ["FAKE_LOG"], "a") as log:
        log.write(case + "\n")
    behaviour = PLAN.get(case)
    CALLS.append(case)
    if behaviour == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if behaviour == "signal 36":
        os.kill(os.getpid(), 36)
    if behaviour == "exit":
        os._exit(7)
    if behaviour == "hang":
        time.sleep(600)
    if behaviour == "slow":
        time.sleep(0.4)
    if behaviour == "raise":
        raise RuntimeError("no kernel\nfor this <op>")
    if behaviour == "chatter":
        sys.stdout.buffer.write(os.urandom(1 << 20))
    if behaviour == "flood":
        while True:
            sys.stdout.buffer.write(b"x" * (1 << 20))
    if behaviour == "float64":
        return np.zeros((1, 1))
    if behaviour == "garbage":
        # A complete-looking answer that is none, written where the real one would be.
        with open(os.path.join(WORK, f"{case}.json"), "wb") as answer:
            answer.write(b"\x00{not json")
        time.sleep(0.3)
        os._exit(0)
    output = plain_float32(op, arrays, params)
    if behaviour == "first call off" and CALLS.count(case) == 1:
        output = output + np.float32(1000)
    if behaviour == "offset":
        output = output + np.float32(1)
    if behaviour == "nan":
        output = output.copy()
        output.flat[3] = np.nan
    if behaviour == "shape":
        output = output[..., :-1]
    return output
