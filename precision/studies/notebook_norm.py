"""The notebook's batch normalization: 0.4098 in one framework and 1.3336 in the other, from the printed "
"digits."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from precision.explanation import explain
from precision.studies.experiments import ask, both, framework_results, results
from precision.studies.material import Material
from precision.studies.printed_norm import Solution, filled, integers, solutions, weight_interval
from precision.studies.row import Entry, Row, figure
from precision.studies.telling import listed, number
from reference import evaluate

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

_CHANNELS = 2


def batch_norm(material: Material, entry: Entry) -> Row:
    """The row: statistics and weight solved from the printed digits, then both frameworks on such an "
    "input."""
    printed = np.array(entry.figures["tensorflow"], np.float64)
    smaller = np.array(entry.figures["torch"], np.float64)
    decimals, eps = entry.figures["torch_decimals"], entry.figures["eps"]
    known = solutions(printed, entry.figures["elements"])
    low, high = weight_interval(smaller, decimals, printed)
    one_answer = len(known) == 1 and known[0].eps == eps and not known[0].unbiased
    if not one_answer:
        return _unsolved(entry, len(known))
    found = known[0]
    x = _input(integers(printed), found)
    arrays = {"input": x, "weight": np.ones(_CHANNELS), "bias": np.zeros(_CHANNELS)}
    params = {"training": True, "eps": eps}
    plain = results(both(material, "batch_norm", params, arrays, backend=True))
    weight = float(np.float32((low + high) / 2))
    scaled_arrays = {**arrays, "weight": np.full(_CHANNELS, weight)}
    scaled = results(ask(material, "torch", "batch_norm", params, scaled_arrays, backend=True))
    four = {
        mode: int(np.sum(np.round(y[0, 0].astype(np.float64), decimals) == smaller))
        for mode, y in scaled.items()
    }
    fresh = results(both(material, "new_batch_norm", {"channels": _CHANNELS, "eps": eps}, {}), "weight")
    single = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
    truth = evaluate("batch_norm", single, params)
    off = float(np.max(np.abs(truth.error_ulp(plain_like(x, printed, truth.value))[0, 0])))
    printed_again = all(count == smaller.size for count in four.values())
    same = low <= 1 <= high
    proved = low <= high and not same and printed_again
    story = "one weight of 1 fits both" if same else "no weight turns one into the other"
    if proved:
        story = (
            f"one factor between {float(low):.6f} and {float(high):.6f} turns all {printed.size} "
            "TensorFlow values into torch's printed digits, and no shift is needed: the affine weight of "
            f"channel 0 was not 1. {_named(single, eps, scaled)}. That the layer drew it uniform from [0, "
            "1), as torch did before 1.2, fits the line that the author prints before, and no digit "
            "speaks against it: that part is consistent, not proved"
        )
    ones = all(np.array_equal(y, np.ones(_CHANNELS)) for y in fresh.values())
    top = _top(plain, "torch")
    return entry.row_of(
        now=f"a new layer has weight 1 in both frameworks today: {ones}; with it torch gives {top:.8g} "
        f"where the document has {smaller.max()}, and all {len(plain)} modes are within "
        f"{number(_steps(plain, printed))} float32 steps of the document's TensorFlow; with weight "
        f"{weight:.6g} torch prints {min(four.values())} of the document's own {smaller.size} values",
        truth=f"the printed digits leave one input: sum {found.total}, sum of squares {found.squares} over "
        f"{found.count} integers, so mean {float(found.mean):g} and variance {float(found.variance):g} "
        f"(biased), eps {found.eps:g}; the exact values are within {number(off)} ulp of TensorFlow's",
        cause="semantics" if proved else "none" if same else "unexplained",
        evidence="proved" if proved or same else "none",
        detail=story,
        mend="set the weight: torch.nn.init.ones_(layer.weight); then both frameworks agree"
        if proved
        else "",
        recurs="partly",
        why="TensorFlow's values come out again; torch's need the weight that was drawn then, which a new "
        "layer no longer draws",
        figures=[
            figure("largest value, torch", top, float(smaller.max()), found.value(3)),
            figure(
                "largest value, tensorflow", _top(plain, "tensorflow"), float(printed.max()), found.value(3)
            ),
            figure(f"the same, torch with weight {weight:.6g}", _top(scaled, "torch"), float(smaller.max())),
            figure("ratio torch / tensorflow", weight, float(smaller.max() / printed.max()), 1.0),
            figure("weights of a new layer", listed(f"{y[0]:g}" for y in fresh.values())),
        ],
    )


def _steps(outputs: Mapping[str, Float32], printed: Float64) -> float:
    """Largest distance of the printed plane from the printed values, in float32 steps at the value."""
    shown = printed.astype(np.float32)
    step = np.spacing(np.abs(shown)).astype(np.float64)
    return max(float(np.max(np.abs(y[0, 0].astype(np.float64) - shown) / step)) for y in outputs.values())


def plain_like(x: Float32, printed: Float64, value: Float64) -> Float32:
    """An output of the layer with the printed values of its first channel, the truth elsewhere."""
    output = value.astype(np.float32)
    output[0, 0] = printed.astype(np.float32)
    return output


def _input(shown: NDArray[np.int64], solution: Solution) -> Float32:
    """An x (2, 2, 5, 5) with the printed plane, and any other integers that complete its channel's sums."""
    unseen = filled(shown, solution)
    x = np.zeros((_CHANNELS, _CHANNELS, *shown.shape), np.float32)
    x[0, 0] = shown
    if unseen is not None:
        x[1, 0] = unseen.reshape(shown.shape)
    x[:, 1] = np.arange(2 * shown.size).reshape(2, *shown.shape) % 4
    return x


def _named(arrays: dict[str, Float32], eps: float, outputs: dict[str, Float32]) -> str:
    """What the general search says of torch's output with that weight, where weight 1 is declared."""
    judged = explain(
        {"op": "batch_norm", "params": {"training": True, "eps": eps}, "arrays": arrays}, outputs
    )
    names = {
        f"{cause.parameter}, {cause.evidence}"
        for each in judged.outputs.values()
        for cause in each.causes
        if cause.parameter is not None
    }
    found = listed(sorted(names)) if names else "no parameter"
    return f"Judged as a layer with weight 1, such an output is {judged.verdict}: {found}"


def _top(given: dict[str, Float32], framework: str) -> float:
    return float(np.max(next(iter(framework_results(given, framework).values()))[0, 0]))


def _unsolved(entry: Entry, count: int) -> Row:
    return entry.row_of(
        now=f"the printed digits leave {count} inputs with the declared eps and variance, so none is run",
        truth="not known: the input was not printed",
        cause="unexplained",
        evidence="none",
        detail="the printed values are those of no batch normalization of integers 0..3, or of several",
        mend="",
        recurs="no",
        why="there is no input to try it on",
    )
