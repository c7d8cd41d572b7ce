"""How well a prediction agrees with outputs that were recorded: of captures, or of the user's case folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from precision.capture import MANIFEST, load_capture
from precision.errors import UserError
from precision.modes import MODES
from precision.prediction.figures import accumulation
from precision.prediction.target import Target
from reference.formats import format_of, round_to
from reference.truth import Truth

if TYPE_CHECKING:
    from precision.prediction.figures import Variant
    from precision.prediction.predict import Prediction

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Recorded:
    """An output that was recorded, or a sample of it at the flat indices `index`.

    format: to which the mode that returned it rounds its float32 sums.
    """

    values: Float32
    index: Indices | None = None
    format: str = "binary32"


def recorded_outputs(target: Target, against: Path | None) -> dict[str, Recorded]:
    """Outputs by name: those of the user's case folder, and those of captures.

    against: a capture (a folder with a manifest), or a run folder with captures in it. Raises UserError for
    another folder, a case that is not of a suite, and captures that lack it or were made for another
    declaration of it.
    """
    found = {name: Recorded(np.asarray(array, np.float32)) for name, array in target.outputs.items()}
    if against is None:
        return found
    if target.case is None:
        raise UserError(
            f"captures hold cases of a suite; {target.title} is none; leave --against out: the outputs of a "
            "case folder are compared by themselves"
        )
    folders = [against] if (against / MANIFEST).is_file() else _captures(against)
    captures = [load_capture(folder) for folder in folders]
    held = [each for each in captures if each.cells.get(target.case.id, {}).get("status") == "ok"]
    if not held:
        raise UserError(
            f"a prediction is compared with captures of its case; {against} holds none of {target.case.id}; "
            "capture it, or name another folder"
        )
    for capture in held:
        if capture.cells[target.case.id]["fingerprint"] != target.case.fingerprint():
            raise UserError(
                f"a capture fits the case as it is declared now; {capture.folder} was made for another "
                f"declaration of {target.case.id}; capture again"
            )
        kept = capture.samples(target.case.id)["data"]
        fmt = next((mode.output_format for mode in MODES if mode.name == capture.mode), "binary32")
        found[capture.mode] = Recorded(kept.values, kept.index, fmt)
    return found


def _captures(folder: Path) -> list[Path]:
    found = sorted(path.parent for path in folder.glob(f"captures/*/{MANIFEST}"))
    if not found:
        raise UserError(
            f"captures are compared from a folder with a {MANIFEST}, or a run folder with captures in it; "
            f"{folder} is neither; check the path"
        )
    return found


def agreement(prediction: Prediction, recorded: Mapping[str, Recorded]) -> tuple[dict[str, Any], ...]:
    """A row for each recorded output and each variant, the best variant of an output first.

    share_equal: of elements equal bit for bit. correlation: of the predicted with the recorded error.
    rms_ratio, bias_ratio: predicted error over recorded error, of the root mean square and of the mean along
    the sign of the result. A ratio is missing where its divisor is zero or, for the bias, no larger than two
    standard errors of itself: nothing can be said then.
    """
    rows = []
    for name, each in recorded.items():
        pair = _common(prediction, each.values, each.index)
        if pair is None:
            rows.append({"recorded": name, "variant": "", "elements": 0, "reason": "of another shape"})
            continue
        mine, theirs = pair
        truth = prediction.truth.arranged(partial(_places, mine))
        found = [
            {"recorded": name, **_row(variant, _returned(variant, each, mine), theirs, truth)}
            for variant in (prediction.predicted, *prediction.others)
        ]
        found.sort(key=lambda row: (-row["share_equal"], -(row["correlation"] or -1.0)))
        rows += found
    return tuple(rows)


def _common(prediction: Prediction, values: Float32, index: Indices | None) -> tuple[Indices, Float32] | None:
    """Places in the predicted numbers, and the recorded numbers of the same elements."""
    if index is None and values.size != prediction.outputs:
        return None
    if prediction.index is None and index is None:
        if values.shape != prediction.output.shape:
            return None
        return np.arange(values.size), values.reshape(-1)
    ours = np.arange(prediction.outputs) if prediction.index is None else prediction.index
    theirs = np.arange(values.size) if index is None else index
    _, mine, other = np.intersect1d(ours, theirs, assume_unique=True, return_indices=True)
    return (mine, values.reshape(-1)[other]) if mine.size else None


def _returned(variant: Variant, recorded: Recorded, mine: Indices) -> Float32:
    """The predicted numbers as the mode hands them out: rounded to its format, to nearest even."""
    output = variant.output.reshape(-1)[mine]
    if recorded.format == "binary32":
        return output
    with np.errstate(over="ignore", invalid="ignore"):
        return round_to(output, format_of(recorded.format)).astype(np.float32)


def _places(chosen: Indices, array: Float64) -> Float64:
    return array.reshape(-1)[chosen]


def _row(variant: Variant, output: Float32, recorded: Float32, truth: Truth) -> dict[str, Any]:
    equal = output.view(np.uint32) == recorded.view(np.uint32)
    with np.errstate(invalid="ignore", over="ignore"):
        unit = truth.ulp(np.float32)
        predicted, real = truth.error(output) / unit, truth.error(recorded) / unit
    usable = np.isfinite(predicted) & np.isfinite(real)
    predicted, real = predicted[usable], real[usable]
    return {
        "variant": f"{variant.kind}: {variant.name}",
        "elements": output.size,
        "share_equal": float(np.mean(equal)),
        "correlation": _correlation(predicted, real),
        "rms_ratio": _ratio(_rms(predicted), _rms(real)),
        "bias_ratio": _bias_ratio(output, recorded, truth),
        "difference_ulp_max": float(np.max(np.abs(predicted - real), initial=0.0)),
        "reason": "",
    }


def _correlation(a: Float64, b: Float64) -> float | None:
    """Pearson's; None where one of them does not vary."""
    a, b = a - np.mean(a) if a.size else a, b - np.mean(b) if b.size else b
    lengths = _rms(a), _rms(b)
    if not min(lengths) > 0:
        return None
    return float(np.mean((a / lengths[0]) * (b / lengths[1])))


def _bias_ratio(output: Float32, recorded: Float32, truth: Truth) -> float | None:
    ours, theirs = accumulation(output, truth), accumulation(recorded, truth)
    if ours[0] is None or theirs[0] is None or theirs[1] is None:
        return None
    noise = theirs[1] / recorded.size**0.5
    return ours[0] / theirs[0] if abs(theirs[0]) > 2 * noise else None


def _ratio(a: float, b: float) -> float | None:
    return a / b if b else None


def _rms(values: Float64) -> float:
    top = float(np.max(np.abs(values), initial=0.0))
    return top * float(np.sqrt(np.mean(np.square(values / top)))) if top else 0.0
