"""A batch normalization layer converted from TensorFlow: training, running statistics, inference."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from precision.explanation import explain
from precision.inputs import Array
from precision.studies.experiments import ask, both, results
from precision.studies.material import Material
from precision.studies.row import Entry, Row, figure
from precision.studies.telling import groups, leading, listed, missing_words, number
from reference import evaluate

Single = NDArray[np.float32]

EPS, MOMENTUM = 1e-5, 0.1
CONVENTIONS = ("torch", "keras", "tensorflow_fused")
_NEAR = 4.0
"""A running statistic is a convention's where it is within so many ulp of that convention's truth."""
_CASE = "batch-norm-training"


def _images(entry: Entry) -> Single:
    return Array(tuple(entry.figures["shape"]), "uniform").make("same-outputs/batch-norm/input")


def _layers(material: Material, x: Single, momentum: float = MOMENTUM) -> dict[str, dict[str, Single]]:
    return both(material, "batch_norm_layer", {"eps": EPS, "momentum": momentum}, {"input": x[None]})


def batch_norm(material: Material, entry: Entry) -> Row:
    """Training: the batch's own statistics, so momentum plays no part; affine=False is a weight of 1."""
    x = _images(entry)
    found = results(_layers(material, x))
    channels = x.shape[1]
    arrays = {"input": x, "weight": np.ones(channels, np.float32), "bias": np.zeros(channels, np.float32)}
    params = {"training": True, "eps": EPS}
    judged = explain({"op": "batch_norm", "params": params, "arrays": arrays}, found)
    truth = evaluate("batch_norm", arrays, params)
    squares = float(np.sum(truth.value**2))
    own = {mode: float(np.sum(y.astype(np.float64) ** 2)) for mode, y in found.items()}
    worst = float(max(judged.scores["error_ulp_max"]))
    layer, evidence = leading(material, _CASE, material.modes_of(_CASE))
    distinct = len(groups(found))
    fine = judged.fine and layer not in ("semantics", "data", "unexplained")
    return entry.row_of(
        now=f"{distinct} different results of {len(found)} modes, at most {number(worst)} ulp from the "
        f"truth; the sum of squares is {number(min(own.values()), 9)} to {number(max(own.values()), 9)}; "
        "the layer on 8×64×28×28 "
        f"is {layer} in all modes" + missing_words(material, _CASE),
        truth=f"sum of squares {number(squares, 12)}: n v / (v + eps), which is {x.size} but for eps",
        cause=("algorithm" if distinct > 1 else "none") if fine else "unexplained",
        evidence="bounded" if fine else "none",
        detail="with equal eps both layers are one function in training: affine=False is a weight of 1 "
        "and a bias of 0, and the running statistics are not used; what is left is rounding of other "
        f"formulas for the mean and the variance (large layer: {layer}, {evidence})"
        if fine
        else f"{judged.verdict}, {layer}",
        mend="name eps in both: it is 1e-5 in torch and 1e-3 in Keras unless given",
        recurs="yes" if fine else "no",
        why="the document prints no numbers; that the outputs agree holds",
        figures=[figure(f"sum of squares, {mode}", value, None, squares) for mode, value in own.items()],
    )


def conventions(x: Single, output: Single, statistic: str, momentum: float) -> list[tuple[str, float]]:
    """Every (convention, momentum) whose certified running statistic is within a few ulp of an output.

    momentum: as it was given to the layer; 1 - momentum is tried as well. Start: mean 0, variance 1.
    """
    start = np.full(x.shape[1], float(statistic == "running_var"), np.float32)
    fits = []
    for convention, share in product(CONVENTIONS, (momentum, 1.0 - momentum)):
        arrays = {"input": x, statistic: start}
        truth = evaluate(f"batch_norm_{statistic}", arrays, {"momentum": share, "convention": convention})
        if np.all(np.abs(truth.error_ulp(output)) <= _NEAR):
            fits.append((convention, share))
    return fits


def batch_norm_statistics(material: Material, entry: Entry) -> Row:
    """The same momentum means two things, and the variances differ by n / (n - 1)."""
    x = _images(entry)
    found = _layers(material, x)
    mended = ask(
        material, "torch", "batch_norm_layer", {"eps": EPS, "momentum": 1 - MOMENTUM}, {"input": x[None]}
    )
    means = {m: conventions(x, a["running_mean"], "running_mean", MOMENTUM) for m, a in found.items()}
    variances = {m: conventions(x, a["running_var"], "running_var", MOMENTUM) for m, a in found.items()}
    named = {mode: _convention(means[mode], variances[mode]) for mode in found}
    unnamed = [mode for mode, names in named.items() if not names]
    torch = next(mode for mode in found if mode.startswith("torch"))
    keras = next(mode for mode in found if mode.startswith("tensorflow"))
    gap = {
        key: float(np.max(np.abs(found[torch][key] - found[keras][key])))
        for key in ("running_mean", "running_var", "inference")
    }
    left = {key: float(np.max(np.abs(next(iter(mended.values()))[key] - found[keras][key]))) for key in gap}
    ratio = x.size // x.shape[1]
    same = set(named[torch]) & set(named[keras])
    alone = all(len(names) == 1 for names in named.values())
    agree = bool(same) and not unnamed
    settled = not unnamed and not same and alone
    return entry.row_of(
        now=f"with momentum={MOMENTUM:g} in both, after one batch the running means are "
        f"{number(gap['running_mean'])} and the running variances {number(gap['running_var'])} apart, the "
        f"outputs of inference {number(gap['inference'])}",
        truth="conventions that give the statistics: "
        f"{'; '.join(f'{m}: {listed(n)}' for m, n in named.items())}",
        cause="semantics" if settled else "none" if agree else "unexplained",
        evidence="proved" if settled else "bounded" if agree else "none",
        detail="momentum: torch weighs the new batch by it, Keras by 1 minus it. With "
        f"momentum={1 - MOMENTUM:g} in torch the means agree to {number(left['running_mean'])}, and the "
        f"variances are {number(left['running_var'])} apart: torch divides by n - 1 (n = {ratio} here) and "
        f"stores that, Keras by n. Each statistic is within {_NEAR:g} ulp of the certified one of its own "
        "convention and of no other"
        if settled
        else f"not named: {listed(unnamed)}"
        if unnamed
        else ("one convention in both" if same else "several conventions give the same statistics"),
        mend="momentum = 1 - MOMENTUM in torch; scale a converted running variance by n / (n - 1), or "
        "accept that it differs for small batches",
        recurs="no" if settled else "yes",
        why="the document gives both layers one MOMENTUM, which is right for the outputs of training alone",
        figures=[
            *(figure(f"{key}, torch - tensorflow, the same momentum", value) for key, value in gap.items()),
            *(figure(f"{key}, the same, torch with 1 - momentum", value) for key, value in left.items()),
        ],
    )


def _convention(means: list[tuple[str, float]], variances: list[tuple[str, float]]) -> list[str]:
    """Conventions that give both statistics with the momentum as it was given to the layer."""
    given = {name for name, share in means if share == MOMENTUM}
    return [name for name, share in variances if share == MOMENTUM and name in given]
