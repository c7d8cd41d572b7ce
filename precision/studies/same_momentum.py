"""SGD with momentum and Nesterov in three rules of two frameworks: where they part, and by what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from precision.inputs import Array
from precision.studies import momentum as rules
from precision.studies.experiments import ask
from precision.studies.material import Material
from precision.studies.row import Entry, Row, figure
from precision.studies.telling import listed, number

Single = NDArray[np.float32]

STEPS, SIZE, RATE = 30, 32, 0.1
CHANGE, LATER = 10, 0.01
"""In the second row the rate falls to LATER after CHANGE steps."""
_NAMES = {
    "torch": "torch.optim.SGD",
    "tf1": "tf.compat.v1.train.MomentumOptimizer",
    "keras": "keras.optimizers.SGD",
}


@dataclass(frozen=True)
class Path:
    """What one rule did in one mode, beside its exact path and the evaluation that gives its bits."""

    rule: str
    mode: str
    output: Single
    exact: NDArray[np.float64]
    replay: rules.Replay | None

    @property
    def name(self) -> str:
        return f"{_NAMES[self.rule]} ({self.mode})"

    def distance(self, exact: NDArray[np.float64]) -> float:
        """Largest distance from an exact path, over all steps."""
        return float(np.max(np.abs(self.output - exact)))


def _paths(material: Material, rates: Sequence[float], momentum: float) -> list[Path]:
    start = Array((SIZE,), "normal").make("same-outputs/momentum/param")
    grads = Array((STEPS, SIZE), "normal").make("same-outputs/momentum/grads")
    arrays = {"param": start, "grads": grads}
    found = []
    for rule in rules.RULES:
        framework = "torch" if rule == "torch" else "tensorflow"
        params = {"rule": rule, "rates": list(rates), "momentum": momentum, "nesterov": True}
        exact = rules.exact_path(start, grads, rates, momentum, rule)
        for mode, answer in ask(material, framework, "momentum", params, arrays).items():
            tried = rules.replays(start, grads, rates, momentum, rule)
            found.append(Path(rule, mode, answer["param"], exact, rules.found(answer["param"], tried)))
    return found


def nesterov(material: Material, entry: Entry) -> Row:
    """A constant rate: one exact path, three float32 formulas."""
    paths = _paths(material, [RATE] * STEPS, entry.figures["momentum"])
    first = {each.rule: each for each in reversed(paths)}
    one = all(np.array_equal(each.exact, paths[0].exact) for each in paths)
    off = {each.name: each.distance(each.exact) for each in paths}
    unproved = [each.name for each in paths if each.replay is None]
    parted = [
        f"{a} and {b} from step {step}" if step else f"{a} and {b} never"
        for a, b in (("torch", "tf1"), ("torch", "keras"), ("tf1", "keras"))
        for step in (rules.first_parted(first[a].output, first[b].output),)
    ]
    ways = dict.fromkeys(f"{_NAMES[p.rule]}: {p.replay.words}" for p in paths if p.replay is not None)
    differ = any("from step" in each for each in parted)
    return entry.row_of(
        now=f"after {STEPS} steps of {SIZE} parameters the paths are at most {number(max(off.values()))} "
        f"from the exact one; in bits {listed(parted)}",
        truth=f"the three rules are one path in exact arithmetic: {one} ({STEPS} steps in fractions)",
        cause=("algorithm" if differ else "none") if one and not unproved else "unexplained",
        evidence="proved" if one and not unproved else "none",
        detail="Keras's buffer is -rate times that of the other two, and TF1 multiplies the rate into "
        "both parts of the step: other products, other roundings. Every bit of every step is given by: "
        f"{'; '.join(ways)}"
        if not unproved
        else f"no evaluation that was tried gives the bits of {listed(unproved)}",
        mend="",
        recurs="yes" if one else "no",
        why="the document prints no numbers; that the optimizers belong together holds for a constant rate",
        figures=[figure(f"largest distance from the exact path, {name}", value, None, 0.0)
                 for name, value in off.items()],
    )  # fmt: skip


def nesterov_schedule(material: Material, entry: Entry) -> Row:
    """A rate that falls: Keras's buffer keeps the old one, so its path is another one."""
    rates = [RATE] * CHANGE + [LATER] * (STEPS - CHANGE)
    paths = _paths(material, rates, entry.figures["momentum"])
    exact = {each.rule: each.exact for each in paths}
    step = rules.first_parted(exact["torch"], exact["keras"])
    gap = float(np.max(np.abs(exact["torch"] - exact["keras"])))
    own = {each.name: each.distance(each.exact) for each in paths}
    other = {each.name: each.distance(exact["torch" if each.rule == "keras" else "keras"]) for each in paths}
    proved = all(each.replay is not None for each in paths)
    on_own = all(own[name] < other[name] / 2 for name in own)
    settled = step is not None and proved and on_own
    return entry.row_of(
        now=f"each rule is within {number(max(own.values()))} of its own exact path and at least "
        f"{number(min(other.values()))} from the other",
        truth=f"two exact paths: they part at step {step}, the first with the new rate, and are up to "
        f"{number(gap)} apart within {STEPS} steps",
        cause="semantics" if settled else "unexplained",
        evidence="proved" if settled else "none",
        detail="keras.optimizers.SGD stores momentum·buffer - rate·gradient: the old rate stays in the "
        "buffer and decays with it; torch and tf.train.MomentumOptimizer store gradients and multiply by "
        "the rate of the step. Every bit of every step is replayed by each rule's own formula"
        if settled
        else "not every path is replayed, or a path is not nearest to its own rule",
        mend="scale Keras's buffer by new rate / old rate when the rate changes, or compare with a "
        "constant rate",
        recurs="no" if settled else "yes",
        why="the document pairs the optimizers without a schedule; with one, Keras's rule is no longer "
        "theirs",
        figures=[
            figure("first step with another exact path", step, None, CHANGE + 1),
            *(
                figure(f"distance from its own exact path, {name}", value, None, 0.0)
                for name, value in own.items()
            ),
            *(figure(f"distance from the other, {name}", value) for name, value in other.items()),
        ],
    )
