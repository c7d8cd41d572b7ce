"""For test suites: an assertion that fails on another meaning and passes on rounding, without a tolerance.

    from precision.testing import assert_explained

    def test_my_layer():
        assert_explained(my_layer(x), "conv2d", {"input": x, "weight": w, "bias": b}, stride=2, padding=1)

The pytest plugin gives the same as the fixture `explain`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from precision.judging.case_judge import Judge
    from precision.judging.finding import OutputExplained


def assert_explained(actual: Any, op: str, inputs: Mapping[str, Any], **params: Any) -> None:
    """Pass where `actual` is what float32 makes of `op` on `inputs`; else say what it is.

    actual, inputs: arrays or tensors, the inputs by name; op, names and parameters as in torch.nn.functional,
    with `layout` besides. Quick where every element is within both the worst-case bound and what rounding is
    likely to make; else the search of `precision.explain` decides.

    Raises AssertionError, with verdict, cause, worst element and mend, for an output that is neither exact
    nor rounding, or has another shape; CaseError, a ValueError, for a declaration that cannot be computed.
    """
    __tracebackhide__ = True
    from precision.judging.case_folder import CaseError, ShapeError, make_case
    from precision.judging.case_judge import Judge

    if not isinstance(inputs, Mapping):
        raise CaseError(
            f'inputs are arrays by name; got {type(inputs).__name__}; pass {{"input": x, "weight": w}}'
        )
    if not any(value is not None for value in inputs.values()):
        raise CaseError(f'{op} needs its arrays; got none; pass {{"input": x, …}}')
    name = _name(actual)
    try:
        case = make_case({"op": op, "params": params, "arrays": inputs}, {name: actual})
        judge = Judge(case)
        output = case.outputs[name]
        if _surely_rounding(judge, output):
            return
        found = judge.explained(name, output)
    except ShapeError as reason:
        raise AssertionError(str(reason)) from None
    except CaseError as reason:  # one line, without the way it came
        raise CaseError(str(reason)) from None
    if found.verdict not in ("exact", "rounding"):
        raise AssertionError(_message(found, op, judge.truth.value.shape, output.shape))


def _name(actual: Any) -> str:
    """A name that gives the mend in the words of the framework that the tensor is of."""
    module = type(actual).__module__.split(".", maxsplit=1)[0]
    return module if module in ("torch", "tensorflow", "keras") else "actual"


def _surely_rounding(judge: Judge, output: Any) -> bool:
    """Whether no element exceeds the rigorous bound, nor what rounding is likely to make.

    A library's functions are allowed what its worst ones need: a search for another function would find
    none so near.
    """
    import numpy as np

    from precision.meaning.limits import ERFC_ULP, FUNCTION_ULP
    from reference import error_bound

    case, truth = judge.case, judge.truth
    if output.dtype != np.float32 or output.shape != truth.value.shape:
        return False
    wide = output.astype(np.float64)
    if judge.known.violated(wide).any():
        return False
    ulps = ERFC_ULP if case.op == "erfc" else FUNCTION_ULP
    try:
        likely = error_bound(
            case.op, case.arrays, case.params, truth, kind="probabilistic", function_ulp=ulps
        )
    except ValueError:  # an op without such a bound
        return False
    error = np.abs(judge.known.error(wide))
    return bool(np.all((error <= likely) & np.isfinite(likely)))


def _message(found: OutputExplained, op: str, declared: tuple[int, ...], given: tuple[int, ...]) -> str:
    lines = [f"the output is not {op} of these inputs: {found.verdict}, {found.reason}"]
    if declared != given:
        lines.append(f"  shape: declared gives {list(declared)}, got {list(given)}")
    for cause in found.causes:
        if cause.parameter is not None:
            lines.append(
                f"  {cause.parameter}: declared {cause.declared!r}, found {cause.found!r} ({cause.evidence})"
            )
        if cause.fix:
            lines.append(f"  {'next' if cause.parameter is None else 'mend'}: {cause.fix}")
    figures = found.figures
    if figures.get("worst_index") is not None:
        ulp = figures["error_ulp_max"]
        lines.append(
            f"  worst element {figures['worst_index']}: got {figures['worst_got']!r}, correctly rounded "
            f"{figures['worst_rounded']!r}, exact {figures['worst_exact']}"
            + (f"; the error is up to {ulp:.3g} ulp" if ulp is not None else "")
        )
    return "\n".join(lines)
