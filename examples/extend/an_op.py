"""An op of one's own, in one file: softsign, x / (1 + |x|) (Turian, Bergstra & Bengio 2009).

    python examples/extend/an_op.py

An op is its truth (certified), its textbook float32 form, and the names that it takes; beside it stands how
far a correct float32 program may be off.  Once added, everything that judges by a truth knows it:
`precision.explain`, `precision.testing`, `precision.extend.measure`.  An op that the package shall keep is
one more file in `reference/`, a line in the `OPS` of its kind and one in the bounds.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from precision import explain
from precision.extend import add_op
from reference.escalate import finish
from reference.op import Op
from reference.operands import operand
from reference.tracked import FLUSH, Rules
from reference.truth import Truth


def softsign(input: npt.ArrayLike) -> Truth:
    """x / (1 + |x|), of any shape; 1 and -1 at the infinities, NaN at NaN.

    In float64 the sum and the quotient are each within a relative 2**-53 of what they stand for, so the value
    is within 2.01 * 2**-53 of the truth.  `finish` finds the elements that this does not settle, and asks
    `refine` for them: the truth is rational, so a fraction is exact.  Raises ValueError for other dtypes than
    float32.
    """
    x = operand(input, "input").astype(np.float64)
    finite = np.isfinite(x)
    inside = np.where(finite, x, 0.0)
    value = np.where(finite, inside / (1.0 + np.abs(inside)) + 0.0, np.sign(x))  # + 0.0: a zero is +0
    bound = np.where(value == 0.0, 0.0, np.where(finite, 2.01 * 2.0**-53 * np.abs(value), 0.0))
    magnitude = np.where(finite, np.abs(value), np.inf)
    flat = inside.reshape(-1)

    def refine(index: int, bits: int) -> tuple[Fraction, Fraction]:
        exact = Fraction(float(flat[index]))
        return exact / (1 + abs(exact)), Fraction(0)

    return finish(value, np.zeros_like(value), bound, magnitude, refine, signed=True)


def plain(input: Any) -> npt.NDArray[np.float32]:
    """The textbook form: every operation rounded to float32."""
    x = np.asarray(input, np.float32)
    one = np.float32(1.0)
    return np.asarray(x / (one + np.abs(x)), np.float32)


def bound(op: str, arrays: Any, params: Any, truth: Truth, rules: Rules) -> npt.NDArray[np.float64]:
    """Sum and quotient are rounded once each: 2 u |y|; as much again for other forms, and what is flushed."""
    return 4.0 * rules.u * np.abs(truth.value) * rules.second + 2.0 * FLUSH


SOFTSIGN = Op("softsign", softsign, plain, None, ("input",), (), ())


def main() -> None:
    """Judge two ways to compute it: one that rounds, and one that is another function."""
    add_op(SOFTSIGN, bound)
    x = np.random.default_rng(0).normal(0, 2, (64, 16)).astype(np.float32)
    outputs = {
        "textbook": plain(x),
        "squared": (x / np.sqrt(1 + x.astype(np.float64) ** 2)).astype(np.float32),
    }
    found = explain({"op": "softsign", "params": {}, "arrays": {"input": x}}, outputs)
    for name, each in found.outputs.items():
        print(f"{name}: {each.verdict}")


if __name__ == "__main__":
    main()
