"""Rows of the notebook that calls the same layer in both frameworks; batch normalization has its own "
"module."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from precision.explanation import explain
from precision.inputs import Array
from precision.studies.experiments import Answers, ask, both, results
from precision.studies.material import Material
from precision.studies.notebook_norm import batch_norm
from precision.studies.row import Entry, Row, figure, made
from precision.studies.telling import both as both_frameworks
from precision.studies.telling import groups, leading, listed, missing_words, number, outputs
from precision.studies.wide import joined
from precision.suites.notebook import DOWN, EVEN_PAD, EVEN_SAME, ODD, UP
from reference import evaluate

Float32 = NDArray[np.float32]


def rows(material: Material) -> list[Row]:
    """The study's rows; see `precision.studies.row`."""
    return made("notebook", _MAKERS, material)


def _padding(material: Material, case: str, modes: list[str]) -> tuple[str, str, str, str]:
    """(evidence, declared, found, mend) of the padding that differs; empty words where none is named."""
    for mode in modes:
        for cause in material.causes(case, mode):
            if cause["parameter"] == "padding":
                declared, found = json.loads(cause["declared"]), json.loads(cause["found"])
                return str(cause["evidence"]), str(declared), str(found), str(cause["fix"])
    return "none", "", "", ""


def _conv_even(material: Material, entry: Entry) -> Row:
    torch, tensorflow = both_frameworks(material, EVEN_PAD)
    found = outputs(material, EVEN_PAD)
    own = {mode: int(np.sum(found[mode] != found[torch[0]])) for mode in tensorflow}
    cause, _ = leading(material, EVEN_PAD, tensorflow)
    evidence, declared, other, mend = _padding(material, EVEN_PAD, tensorflow)
    turned = _padding(material, EVEN_SAME, torch)
    exact = leading(material, EVEN_PAD, torch)[0] == "none"
    printed = [np.array(entry.figures[name]) for name in ("torch", "tensorflow")]
    differing = int(np.sum(printed[0] != printed[1]))
    size = found[torch[0]].size
    differs = min(own.values()) > 0
    return entry.row_of(
        now=f"{min(own.values())} of {size} outputs differ between {torch[0]} (padding=1) and each of "
        f"{len(tensorflow)} tensorflow modes (SAME)" + missing_words(material, EVEN_PAD),
        truth=f"with padding 1 the torch modes return the exact result: {'yes' if exact else 'no'}; SAME "
        f"is another function here, whose exact result tensorflow returns, padding {other or 'not found'}",
        cause=cause,
        evidence=evidence if other else "none",
        detail=f"TensorFlow's SAME pads {other} [top, bottom, left, right] where {declared} is declared: "
        "stride 2 on an even size leaves one pixel, which it puts at the bottom and right; the other way "
        f"round, the torch call padding=1 for a declared SAME is found as {turned[2] or 'nothing'}",
        mend=mend,
        recurs="yes" if differs != entry.figures["equal"] else "no",
        why="that the outputs differ recurs; x and w were not printed, so the document's own numbers "
        "cannot be computed again",
        figures=[
            figure("np.all(to_out == tf_out)", not differs, entry.figures["equal"], False),
            figure("outputs that differ", min(own.values()), differing, note=f"of {size}; of the printed 27"),
        ],
    )


def _conv_odd(material: Material, entry: Entry) -> Row:
    both_frameworks(material, ODD)
    found = outputs(material, ODD)
    equal = len(groups(found)) == 1
    cause, evidence = leading(material, ODD, found)
    return entry.row_of(
        now=f"{len(found)} modes of both frameworks return "
        f"{'the same bits' if equal else f'{len(groups(found))} different results'}"
        + missing_words(material, ODD),
        truth="sums of small integers: exact in every order"
        + ("" if cause != "none" else ", and every mode is"),
        cause=cause,
        evidence=evidence,
        detail="on 5×5 with stride 2 and a 3×3 kernel SAME needs two pixels, one on each side: the same "
        "as padding=1",
        mend="",
        recurs="yes" if equal == entry.figures["equal"] else "no",
        why="exact arithmetic has one result",
        figures=[figure("np.all(to_conv2d == tf_conv2d)", equal, entry.figures["equal"], True)],
    )


def _calls(material: Material, x: Float32, slope: float) -> dict[str, Float32]:
    """Leaky ReLU as the notebook writes it, and tf.nn.leaky_relu, in every mode."""
    given, arrays = {"negative_slope": slope}, {"input": x}
    torch = ask(material, "torch", "pointwise", {"function": "leaky_relu", **given}, arrays)
    found = {f"{mode} F.leaky_relu": each["output"] for mode, each in torch.items()}
    for function, name in (("maximum", "tf.maximum(x, x * slope)"), ("leaky_relu", "tf.nn.leaky_relu")):
        answers = ask(material, "tensorflow", "pointwise", {"function": function, **given}, arrays)
        found |= {f"{mode} {name}": each["output"] for mode, each in answers.items()}
    return found


def _leaky_relu(material: Material, entry: Entry) -> Row:
    """Equal, but the data have no negative number: with some, and with another slope, for comparison."""
    slope = 0.2
    low, high = entry.figures["low"], entry.figures["high"]
    x = Array((2, 2, 5, 5), "integers", {"low": low, "high": high}).make("notebook/leaky-relu/input")
    wide = Array((64, 64), "normal").make("notebook/leaky-relu/wide")
    own, other, signed = _calls(material, x, slope), _calls(material, x, 0.01), _calls(material, wide, slope)
    blind = bool(np.min(x) >= 0) and len(groups({**own, **other})) == 1
    kept = float(np.float32(slope))
    truth = evaluate("leaky_relu", {"input": wide}, {"negative_slope": kept}).round(np.float32)
    wrong = [name for name, y in signed.items() if not np.array_equal(y, truth)]
    equal = len(groups(own)) == 1
    fine = equal and not wrong and len(groups(signed)) == 1
    return entry.row_of(
        now=f"all {len(own)} calls return the same bits on the integers {low}..{high}: {equal}; on "
        f"{wide.size} numbers of both signs {len(signed) - len(wrong)} of {len(signed)} return the "
        "correctly rounded result",
        truth=f"slope {kept!r}, the float32 next to {slope}, times x, rounded once",
        cause="none" if fine else "unexplained",
        evidence="proved" if fine else "none",
        detail=("the notebook's data have no negative number, so its test cannot see the slope: with 0.01 "
                "in place of 0.2 all calls give the same bits too; numbers of both signs settle it: "
                if blind else "")
        + (f"all give the same bits, on {int(np.sum(wide < 0))} negative numbers" if fine else listed(wrong)),
        mend="compare on data of both signs; name the slope, whose default is 0.01 in F.leaky_relu and "
        "0.2 in tf.nn.leaky_relu",
        recurs="yes" if equal == entry.figures["equal"] else "no",
        why="one product, rounded once, has one result",
        figures=[figure("all equal on the integers", equal, entry.figures["equal"], True),
                 figure("all equal on both signs", len(groups(signed)) == 1, None, True)],
    )  # fmt: skip


def _null_class(material: Material, entry: Entry) -> Row:
    logits = np.array(entry.figures["logits"], np.float32)
    pairs = np.stack([logits, np.zeros_like(logits)], axis=1)
    double = {"dtype": "float64"}

    def printed(function: str, x: Float32, **rest: int) -> list[NDArray[np.float64]]:
        answers = both(material, "pointwise", {"function": function, **double, **rest}, {"input": x})
        return [joined("output", answer) for answer in answers.values()]

    ones = printed("softmax", logits[:, None], dim=1)
    shown = {
        "sigmoid": printed("sigmoid", logits),
        "softmax": printed("softmax", pairs, dim=1),
        "one_column": [one.reshape(-1) for one in ones],
    }
    decimals = entry.figures["decimals"]
    same = {
        name: all(np.array_equal(np.round(y, decimals), entry.figures[name]) for y in found)
        for name, found in shown.items()
    }
    many = Array((1024,), "uniform", {"low": -20.0, "high": 20.0}).make("notebook/null-class/logits")
    two = np.stack([many, np.zeros_like(many)], axis=1)
    sigmoid = results(both(material, "pointwise", {"function": "sigmoid"}, {"input": many}))
    softmax = results(both(material, "pointwise", {"function": "softmax", "dim": 1}, {"input": two}))
    identity = _same_truth(many, two)
    off = {mode: int(np.sum(sigmoid[mode] != softmax[mode][:, 0])) for mode in sigmoid}
    judged = explain({"op": "sigmoid", "params": {}, "arrays": {"input": many}}, sigmoid)
    other = explain({"op": "softmax", "params": {"dim": 1}, "arrays": {"input": two}}, softmax)
    rounding = judged.fine and other.fine
    worst = max(float(max(each.scores["error_ulp_max"])) for each in (judged, other))
    return entry.row_of(
        now=f"all printed digits come out in {len(shown['sigmoid'])} modes: {all(same.values())}; in "
        f"float32 sigmoid(x) and the first column of softmax([x, 0]) differ in {min(off.values())} to "
        f"{max(off.values())} of {many.size} logits",
        truth="1/(1 + exp(-x)) = exp(x)/(exp(x) + exp(0)): the certified truths of both are one number "
        f"for {identity} of {many.size} logits; softmax of one column is exactly 1",
        cause=("algorithm" if max(off.values()) else "none") if rounding else "unexplained",
        evidence=("bounded" if max(off.values()) else "proved") if rounding else "none",
        detail=f"two formulas of one function: each is within {number(worst)} ulp of the truth and within "
        "the bound of its own formula, so what differs is rounding"
        if rounding
        else f"{judged.verdict} and {other.verdict}",
        mend="",
        recurs="yes" if all(same.values()) else "no",
        why="float64 has more digits than were printed",
        figures=[
            *(
                figure(f"{name}, printed digits equal", same[name], True, True)
                for name in ("sigmoid", "softmax", "one_column")
            ),
            *(figure(f"float32 logits that differ, {mode}", count, None, 0) for mode, count in off.items()),
        ],
    )


def _same_truth(many: Float32, two: Float32) -> int:
    """For how many logits the certified intervals of both truths meet."""
    a = evaluate("sigmoid", {"input": many}, {})
    b = evaluate("softmax", {"input": two}, {"dim": 1})
    apart = np.abs((a.value - b.value[:, 0]) + (a.residual - b.residual[:, 0]))
    return int(np.sum(apart <= a.bound + b.bound[:, 0] + 2.0**-60 * np.abs(a.value)))


def _cross_entropy(material: Material, entry: Entry) -> Row:
    arrays = {
        "input": np.array(entry.figures["logits"], np.float32),
        "target": np.array(entry.figures["labels"], np.float32),
    }
    answers = both(material, "cross_entropy", {}, arrays)
    single = {mode: y.reshape(()) for mode, y in results(answers).items()}
    op = "binary_cross_entropy_with_logits"
    truth = evaluate(op, arrays, {"reduction": "mean"})
    judged = explain({"op": op, "params": {"reduction": "mean"}, "arrays": arrays}, single)
    doubles = {mode: float(joined("double", a).item()) for mode, a in answers.items() if "double.high" in a}
    wanted = [entry.figures["torch"], entry.figures["tensorflow"]]
    shown = [*(float(y.item()) for y in single.values()), *doubles.values()]
    fine = judged.verdict == "exact"
    excess = float(truth.residual) + (float(truth.value) - 50.0)
    return entry.row_of(
        now=f"{listed(f'{value:g}' for value in dict.fromkeys(shown))} in {len(single)} modes in float32 "
        f"and {len(doubles)} in float64",
        truth=f"50 + {number(excess)}: log(1 + exp(-100)) is not 0, but far below the last place",
        cause="none" if fine else "unexplained",
        evidence="proved" if fine else "none",
        detail="both compute max(x, 0) - x y + log(1 + exp(-|x|)), which neither overflows nor loses the "
        "small term: every result is the correctly rounded truth"
        if fine
        else judged.verdict,
        mend="",
        recurs="yes" if all(value == wanted[0] == wanted[1] for value in shown) else "no",
        why="the result is exact but for a term below half an ulp",
        figures=[
            figure("loss, float32", float(next(iter(single.values())).item()), wanted[0], float(truth.value)),
            figure("loss, float64", next(iter(doubles.values()), None), wanted[1], float(truth.value)),
        ],
    )


def _autodiff(material: Material, entry: Entry) -> Row:
    """Exact gradients by the chain rule in fractions, beside what each framework returns and keeps."""
    answers = both(material, "autodiff", {}, {"input": np.ones(1, np.float32)})
    x = Fraction(1)
    values = [x, x + 2, 3 * (x + 2), (3 * (x + 2)) ** 2]
    last = 2 * values[2]
    gradients = np.array([last * 3, last * 3, last, Fraction(1)], np.float64)
    exact = np.array(values, np.float64)
    wrong, kept = [], {}
    for mode, answer in answers.items():
        found = answer["gradients"].reshape(-1)
        known = ~np.isnan(found)
        kept[mode] = [bool(each) for each in known]
        if not (np.array_equal(answer["values"].reshape(-1), exact)
                and known[0] and np.array_equal(found[known], gradients[known])):  # fmt: skip
            wrong.append(mode)
    torch = [each for mode, each in kept.items() if mode.startswith("torch")]
    same = all(each == entry.figures["kept"] for each in torch)
    gradient = [float(answer["gradients"].reshape(-1)[0]) for answer in answers.values()]
    right = not wrong and all(value == entry.figures["gradient"] for value in gradient)
    return entry.row_of(
        now=f"x.grad is {listed(dict.fromkeys(f'{value:g}' for value in gradient))} in {len(answers)} "
        f"modes; torch keeps it for x alone: {same}; a tape of tensorflow returns all four",
        truth=f"d/dx (3 (x + 2))² = 18 (x + 2) = {gradients[0]:g}; of the steps "
        f"{listed(f'{g:g}' for g in gradients)}",
        cause="none" if not wrong else "unexplained",
        evidence="proved" if not wrong else "none",
        detail="every value and gradient is exact by the chain rule in fractions; None is no zero: "
        "autograd fills .grad of leaves alone, the inner gradients exist and are asked for by "
        "retain_grad() or autograd.grad"
        if not wrong
        else f"{listed(wrong)} differ from the exact gradient",
        mend="",
        recurs="yes" if right and same else "no",
        why="small integers are exact",
        figures=[
            figure("x.grad", gradient[0], entry.figures["gradient"], float(gradients[0])),
            figure("which of the four .grad torch keeps", str(torch[0]), str(entry.figures["kept"])),
        ],
    )


def _deconvolution(material: Material, entry: Entry) -> Row:
    both_frameworks(material, UP)
    x, w = (np.array(entry.figures[name], np.float32)[None, None] for name in ("x", "w"))
    there = {"stride": 2, "padding": 2, "dilation": 1, "groups": 1}
    down = both(material, "conv2d", there, {"input": x, "weight": w}, backend=True)
    small = evaluate("conv2d", {"input": x, "weight": w}, there).round(np.float32)
    back = {**there, "output_padding": 0}
    up = both(material, "conv_transpose2d", back, {"input": small, "weight": w}, backend=True)
    large = evaluate("conv_transpose2d", {"input": small, "weight": w}, back).round(np.float32)
    wrong = [m for m, a in down.items() if not np.array_equal(a["output"], small)]
    wrong += [m for m, a in up.items() if not np.array_equal(a["output"], large)]
    case = material.reference(DOWN).arrays
    sizes = [case["input"].shape[-1], *(material.truth(name).value.shape[-1] for name in (DOWN, UP))]
    cause, evidence = leading(material, UP, material.modes_of(UP))
    keras = _keras_sizes(material, small, w)
    fine = cause == "none" and not wrong and leading(material, DOWN, material.modes_of(DOWN))[0] == "none"
    return entry.row_of(
        now=f"{' → '.join(map(str, sizes))} in {len(material.modes_of(UP))} modes; on the printed 9×9 and "
        f"5×5 {len(down) + len(up) - len(wrong)} of {len(down) + len(up)} calls return the exact result, "
        f"{x.shape[-1]} → {small.shape[-1]} → {large.shape[-1]}" + missing_words(material, UP),
        truth="sums of small integers: exact in every order",
        cause="none" if fine else cause if cause != "none" else "unexplained",
        evidence="proved" if fine else evidence if cause != "none" else "none",
        detail="19 and 20 both come down to 10, so the way back has to say which: output_padding=0 gives "
        f"2·10 - 1; Keras's Conv2DTranspose(padding='same') gives {keras[0]} for {small.shape[-1]} and "
        f"with output_padding=0 {keras[1]}, {'the same numbers' if keras[2] else 'other numbers'} as torch",
        mend="give output_padding in both frameworks, and compare numbers and not shapes alone",
        recurs="yes" if sizes == entry.figures["sizes"] else "no",
        why="shapes and sums of integers do not depend on rounding",
        figures=[
            figure("sizes", str(sizes), str(entry.figures["sizes"]), str(entry.figures["sizes"])),
            figure("sum of the 9×9 result", float(large.sum()), None, float(large.sum())),
        ],
    )


def _keras_sizes(material: Material, small: Float32, w: Float32) -> tuple[int, int, bool]:
    """Sizes that Keras's layer gives without and with output_padding=0, and whether the latter is torch's."""

    def call(**rest: int) -> Answers:
        arrays = {"input": small, "weight": w}
        return ask(material, "tensorflow", "keras_transposed", {"stride": 2, **rest}, arrays)

    plain, padded = (next(iter(results(each).values())) for each in (call(), call(output_padding=0)))
    back = {"stride": 2, "padding": 2, "output_padding": 0, "dilation": 1, "groups": 1}
    truth = evaluate("conv_transpose2d", {"input": small, "weight": w}, back).round(np.float32)
    return plain.shape[-1], padded.shape[-1], np.array_equal(padded, truth)


_MAKERS = {
    "conv-even": _conv_even,
    "conv-odd": _conv_odd,
    "leaky-relu": _leaky_relu,
    "batch-norm": batch_norm,
    "null-class": _null_class,
    "cross-entropy": _cross_entropy,
    "autodiff": _autodiff,
    "deconvolution": _deconvolution,
}
