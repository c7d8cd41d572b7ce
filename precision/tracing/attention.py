"""Scaled dot-product attention as one layer: its truth, the bound of its rounding, other meanings of it.

    output[t] = sum over s of p[t, s] value[s],  p[t] = softmax over s of scale query[t]·key[s] + mask[t, s]

query (..., T, H), key (..., S, H), value (..., S, V); mask broadcasts to (..., T, S), float32, -Inf where
nothing is attended to. Vaswani et al. 2017, "Attention Is All You Need", arXiv 1706.03762, section 3.2.1.

Bounds. With unit roundoff u a score is within e = gamma(H + 6) (scale sum |query key| + |mask|) of its own;
an exponential of the difference to the largest score within the factor 1 +- d with d = expm1(e + 2 u
|difference|) + c u, where c u is the error of the exponential and of rescaling it (a blocked, "flash"
evaluation multiplies it once for each block of keys); both sums are within gamma(S + 4) of theirs. So the
numerator and the denominator are within t = (1 + d)(1 + gamma(S + 4)) - 1 of theirs, and |output - truth| <=
2 t / (1 - t) sum p |value|, where d < 1/4. The same in float64 bounds the truth's own error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.judging.finding import Cause, OutputExplained
from precision.score import errors, scores
from reference import Truth
from reference.escalate import finish
from reference.intervals import Interval, Reals, enclose

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Params = Mapping[str, Any]

ATTENTION = "attention"
_U32, _U64 = 2.0**-24, 2.0**-53
_EXP32, _EXP64 = 32.0, 8.0
"""Errors of an exponential in units of u: vectorized ones of the frameworks, NumPy's."""
_NARROW = {"TF32": 2.0**-11, "bfloat16": 2.0**-8}
"""Unit roundoffs of operands that are narrower than float32."""
_BLOCK = 32
"""Keys of the smallest block of a blocked evaluation."""
_TOO_WIDE = 2.0**-2
_MARGIN = 1.0 + 2.0**-20
"""For the bound's own evaluation in float64."""
_OPERANDS = ("query", "key", "value")


@dataclass(frozen=True)
class Attention:
    """One call: arrays and parameters.  Raises ValueError where shapes do not fit, or a query sees no key."""

    query: Float32
    key: Float32
    value: Float32
    mask: Float32 | None
    scale: float

    @classmethod
    def of(cls, inputs: Sequence[Float32], params: Params) -> Attention:
        """From a unit's inputs: query, key, value, and the mask if there is one."""
        if len(inputs) not in (3, 4):
            raise ValueError(
                f"attention takes query, key, value and perhaps a mask; got {len(inputs)} arrays"
            )
        mask = inputs[3] if len(inputs) > 3 else None
        found = cls(inputs[0], inputs[1], inputs[2], mask, float(params["scale"]))
        q, k, v = found.query, found.key, found.value
        if q.shape[-1] != k.shape[-1] or k.shape[:-1] != v.shape[:-1] or q.shape[:-2] != k.shape[:-2]:
            shapes = ", ".join(str(list(each.shape)) for each in inputs[:3])
            raise ValueError(f"query, key and value fit each other; their shapes are {shapes}")
        if sees_nothing(found.mask):
            raise ValueError("a query attends to a key; one is masked from all of them: leave it out")
        return found

    @cached_property
    def _masked(self) -> Float64:
        scores = np.zeros((*self.query.shape[:-1], self.key.shape[-2]))
        return scores if self.mask is None else scores + self.mask.astype(np.float64)

    @cached_property
    def scores(self) -> Float64:
        """scale query·key + mask, in float64."""
        q, k = self.query.astype(np.float64), self.key.astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            scores: Float64 = self.scale * np.matmul(q, np.swapaxes(k, -1, -2)) + self._masked
        return scores

    @cached_property
    def _sizes(self) -> Float64:
        """Of every score the sum of its absolute terms."""
        q, k = np.abs(self.query.astype(np.float64)), np.abs(self.key.astype(np.float64))
        masked = np.where(np.isfinite(self._masked), np.abs(self._masked), 0.0)
        with np.errstate(over="ignore"):
            sizes: Float64 = abs(self.scale) * np.matmul(q, np.swapaxes(k, -1, -2)) + masked
        return sizes

    @cached_property
    def _weights(self) -> Float64:
        with np.errstate(invalid="ignore"):
            raised = np.exp(self.scores - self.scores.max(-1, keepdims=True))
        weights: Float64 = raised / raised.sum(-1, keepdims=True)
        return weights

    def _bound(self, u: float, exponential: float, tiny: float) -> Float64:
        """On |output - truth| where everything is computed with unit roundoff u."""
        heads, keys = self.query.shape[-1], self.key.shape[-2]
        with np.errstate(invalid="ignore", over="ignore"):
            apart = np.where(np.isfinite(self.scores), self.scores.max(-1, keepdims=True) - self.scores, 0.0)
            each = _gamma(heads + 6, u) * self._sizes + 2.0 * u * apart
            # What has no weight left has no say, however uncertain its score is.
            counted = np.where(self._weights > u * 2.0**-100, each, 0.0)
            worst = np.expm1(counted.max(-1, keepdims=True)) + exponential * u * (1 + -(-keys // _BLOCK))
            worst = np.where(worst < _TOO_WIDE, worst, np.inf)
            size = np.matmul(self._weights, np.abs(self.value.astype(np.float64)))
            total = np.abs(self.value.astype(np.float64)).sum(-2, keepdims=True)
            each_sum = (1.0 + worst) * (1.0 + _gamma(keys + 4, u)) - 1.0
            bound: Float64 = _MARGIN * size * 2.0 * each_sum / (1.0 - each_sum) + tiny * total
        return np.where(np.isnan(bound), np.inf, bound)

    @cached_property
    def truth(self) -> Truth:
        """The certified truth; elements that the float64 bound leaves open are evaluated in intervals."""
        v = self.value.astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            value = np.matmul(self._weights, v)
            size = np.matmul(self._weights, np.abs(v))
        bound = self._bound(_U64, _EXP64, 2.0**-150)
        return finish(value, np.zeros_like(value), bound, size, self._refine, signed=False)

    @cached_property
    def limit(self) -> Float64:
        """Rigorous bound on |output - truth| of a float32 evaluation: any order, blocked or not."""
        with np.errstate(over="ignore"):
            limit = self._bound(_U32, _EXP32, 2.0**-120) + 0.5 * self.truth.ulp(np.float32)
        return np.where(np.isfinite(self.truth.value), limit, 0.0)

    def _refine(self, index: int, bits: int) -> tuple[Fraction, Fraction]:
        *batch, row, column = (int(i) for i in np.unravel_index(index, self.truth_shape))
        at = tuple(batch)
        query, keys, values = self.query[at][row], self.key[at], self.value[at][:, column]
        masked = self._masked[at][row]
        seen = [s for s in range(len(keys)) if np.isfinite(masked[s])]
        scale = Fraction(self.scale)
        left = [Fraction(float(q)) for q in query]
        scored = [
            scale * sum((q * Fraction(float(k)) for q, k in zip(left, keys[s], strict=True)), Fraction(0))
            + Fraction(float(masked[s]))
            for s in seen
        ]
        # Keys of one score share one exponential. Those of different rationals are linearly independent over
        # the rationals (Lindemann-Weierstrass): the output is zero only where each score's values add to it.
        sums: dict[Fraction, tuple[Fraction, int]] = {}
        for s, score in zip(seen, scored, strict=True):
            total, count = sums.get(score, (Fraction(0), 0))
            sums[score] = total + Fraction(float(values[s])), count + 1
        if not any(total for total, _ in sums.values()):
            return Fraction(0), Fraction(0)
        if len(sums) == 1:
            total, count = next(iter(sums.values()))
            return total / count, Fraction(0)
        top = max(sums)

        def formula(reals: Reals) -> Interval:
            over, under = reals.rational(0), reals.rational(0)
            for score, (total, count) in sums.items():
                raised = reals.exp(reals.rational(score - top))
                over, under = over + raised * reals.rational(total), under + raised * reals.rational(count)
            return over / under

        return enclose(formula, bits)

    @property
    def truth_shape(self) -> tuple[int, ...]:
        return (*self.query.shape[:-1], self.value.shape[-1])

    def explains(self, output: Float32) -> bool:
        """Whether every output is within the bound of rounding."""
        if output.shape != self.truth_shape:
            return False
        apart = np.abs(self.truth.error(output))
        return bool((apart <= self.limit + self.truth.bound).all())

    def explained(self, name: str, output: Float32) -> OutputExplained:
        """The verdict on an output, other meanings tried."""
        if output.shape != self.truth_shape:
            reason = f"its shape is {list(output.shape)}, not {list(self.truth_shape)}"
            cause = Cause("unexplained", detail=reason, fix="look at this call in both models")
            return OutputExplained(name, "unexplained", reason, (cause,))
        found = errors(self.truth, output)
        figures = scores(self.truth, found)
        if np.array_equal(output, found.rounded, equal_nan=True):
            return OutputExplained(name, "exact", "every output is the truth, correctly rounded", (), figures)
        if self.explains(output):
            detail = "every output is within the rigorous bound of scores, exponentials and sums in float32"
            cause = Cause("accumulation", share=1.0, evidence="bounded", detail=detail)
            return OutputExplained(name, "rounding", detail, (cause,), figures)
        for parameter, declared, has, fix, other in self._others():
            if other.explains(output):
                detail = f"{parameter} is {has}, not {declared}: so every output is within the rigorous bound"
                cause = Cause("semantics", parameter, declared, has, 1.0, None, "proved", detail, fix)
                return OutputExplained(name, "semantics", detail, (cause,), figures)
        beyond = int((np.abs(self.truth.error(output)) > self.limit + self.truth.bound).sum())
        reason = f"{beyond} outputs are beyond the bound of rounding in float32"
        fix = "look at the scale and the mask of both"
        for kind, u in _NARROW.items():
            if bool((np.abs(self.truth.error(output)) <= self._bound(u, _EXP32, 2.0**-120)).all()):
                reason += f"; products of {kind} operands could do it, which is not shown"
                fix = f"turn {kind} products off, and trace again"
                break
        cause = Cause("unexplained", share=1.0, detail=reason, fix=fix)
        return OutputExplained(name, "unexplained", reason, (cause,), figures)

    def _others(self) -> list[tuple[str, Any, Any, str, Attention]]:
        """Meanings that are often meant or made by mistake: (parameter, declared, found, mend, itself)."""
        width, told = self.query.shape[-1], masked_in_words(self.mask)
        found: list[tuple[str, Any, Any, str, Attention]] = []
        for scale in (1.0, width**-0.5, 1.0 / width, float(width) ** 0.5, self.scale * width**-0.5):
            if abs(scale - self.scale) > 1e-6 * abs(self.scale):
                fix = f"scale the scores by {self.scale:.6g}"
                found.append(("scale", self.scale, scale, fix, self._with(scale=scale)))
        queries, keys = self.query.shape[-2], self.key.shape[-2]
        causal = np.where(np.tri(queries, keys) > 0, np.float32(0), np.float32(-np.inf))
        for words, mask in (("none", None), ("causal", causal)):
            if words != told:
                found.append(("mask", told, words, f"mask the scores: {told}", self._with(mask=mask)))
        if queries == keys:
            arrays = {name: getattr(self, name) for name in _OPERANDS}
            for one, other in (("query", "key"), ("key", "value"), ("query", "value")):
                if arrays[one].shape == arrays[other].shape:
                    swapped = self._with(**{one: arrays[other], other: arrays[one]})
                    order = [other if name == one else one if name == other else name for name in _OPERANDS]
                    found.append(
                        ("operand order", list(_OPERANDS), order, f"swap {one} and {other}", swapped)
                    )
        return found

    def _with(self, **changed: Any) -> Attention:
        given = {name: getattr(self, name) for name in (*_OPERANDS, "mask", "scale")}
        return Attention(**{**given, **changed})


def sees_nothing(mask: Float32 | None) -> bool:
    """Whether a query is masked from every key: frameworks give NaN or 0 there, and neither is a softmax."""
    return mask is not None and bool(np.isneginf(mask).all(-1).any())


def masked_in_words(mask: Float32 | None) -> str:
    """Of a mask what can be said of it: none, causal, or how much of it is shut out."""
    if mask is None or not mask.any():
        return "none"
    shut = np.isneginf(mask)
    if mask.ndim >= 2:
        later = np.tri(mask.shape[-2], mask.shape[-1], dtype=np.int8) == 0
        if mask.shape[-2] > 1 and bool((shut == later).all()) and not mask[~shut].any():
            return "causal"
    if not mask[~shut].any():
        return f"{float(shut.mean()):.0%} shut out"
    return "added numbers"


def _gamma(count: int, u: float) -> float:
    return count * u / (1.0 - count * u)
