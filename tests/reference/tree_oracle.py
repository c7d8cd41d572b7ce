"""What the tests of trees share: random trees, data that tells them apart, and an oracle in fractions.

The oracle takes one output at a time and shares no code with the replay.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from hypothesis import strategies as st

from reference.tree import Fused, Item, Run, Series, SummationTree

PRECISION = {"binary32": 24, "tf32": 11, "bfloat16": 8, "binary16": 11}
LARGEST = Fraction(2**24 - 1) * Fraction(2) ** 104
NORMAL = Fraction(2) ** -126


def floor_log2(size: Fraction) -> int:
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    return exponent if Fraction(2) ** exponent <= size else exponent - 1


def to_unit(size: Fraction, unit: Fraction, mode: str) -> Fraction:
    whole, rest = divmod(size, unit)
    half = unit / 2
    up = mode != "RZ" and (rest > half or (rest == half and (mode == "RNA" or whole % 2 == 1)))
    return (whole + up) * unit


def rounded(
    exact: Fraction,
    zero: float,
    precision: int = 24,
    emin: int = -126,
    mode: str = "RNE",
    flush: bool = False,
) -> float:
    """`exact` rounded; `zero` is what an exact zero gives.  Overflow is infinity, except that RZ stops."""
    if exact == 0:
        return zero
    sign, size = math.copysign(1.0, exact), abs(exact)
    exponent = floor_log2(size)
    if flush and to_unit(size, Fraction(2) ** (exponent - precision + 1), mode) < Fraction(2) ** emin:
        return sign * 0.0
    result = to_unit(size, Fraction(2) ** (max(exponent, emin) - precision + 1), mode)
    if precision == 24 and result > LARGEST:
        return sign * math.inf
    return sign * float(result)


def both_negative(terms: list[float]) -> float:
    return -0.0 if all(math.copysign(1.0, term) < 0 for term in terms) else 0.0


class Oracle:
    """One output of one tree: `left` and `right` have K numbers each."""

    def __init__(self, tree: SummationTree, left, right, bias: float = 0.0):
        self.tree, self.flush = tree, tree.flush
        self.double = tree.accumulator == "binary64"
        self.factors = [
            (self.operand(float(a)), self.operand(float(b))) for a, b in zip(left, right, strict=True)
        ]
        self.factors.append((1.0, self.quiet(float(bias))))
        self.emin = -14 if tree.operands == "binary16" else -126

    def quiet(self, x: float) -> float:
        return math.copysign(0.0, x) if self.flush and 0 < abs(x) < 2.0**-126 else x

    def operand(self, x: float) -> float:
        x, name = self.quiet(x), self.tree.operands
        if not math.isfinite(x) or name == "binary32":
            return x
        found = rounded(Fraction(x), x, PRECISION[name], -14 if name == "binary16" else -126)
        largest = (2 - 2.0 ** (1 - PRECISION[name])) * 2.0 ** (15 if name == "binary16" else 127)
        return math.copysign(math.inf, x) if abs(found) > largest else found

    def result(self, terms: list[float], mode: str = "RNE", flush: bool | None = None) -> float:
        """The exact sum of float64 terms, rounded once to the accumulator's format."""
        if not all(math.isfinite(term) for term in terms):
            return math.fsum(terms) if not any(map(math.isnan, terms)) and not both(terms) else math.nan
        exact = sum(map(Fraction, terms), Fraction(0))
        if self.double:
            return rounded(exact, both_negative(terms), 53, -1022, mode)
        found = rounded(exact, both_negative(terms), mode=mode, flush=self.flush)
        if mode == "RZ" and math.isinf(found):
            return math.copysign(float(LARGEST), found)
        return found

    def product(self, leaf: int) -> float:
        a, b = self.factors[leaf]
        return a * b  # exact in float64

    def join(self, acc: float, leaf: int, fused: bool) -> float:
        term = self.product(leaf) if fused else self.result([self.product(leaf)])
        return self.result([acc, term])

    def value(self, item: Item) -> float:
        if isinstance(item, Run):
            return self.value(Series((item,)))
        if isinstance(item, Fused):
            return self.many(item)
        acc: float = 0.0 if self.tree.zero_start else -0.0
        for place, part in enumerate(item.items):
            if isinstance(part, Run):
                for leaf in part.leaves:
                    acc = self.join(acc, leaf, part.fused)
            elif place == 0 and isinstance(part, Series):
                acc = self.value(part)
            else:
                acc = self.result([acc, self.value(part)])
        return acc

    def many(self, item: Fused) -> float:
        leaves = [leaf for part in item.items if isinstance(part, Run) for leaf in part.leaves]
        nodes = [self.value(part) for part in item.items if not isinstance(part, Run)]
        terms = [self.product(leaf) for leaf in leaves] + nodes
        if item.fraction_bits is not None and all(map(math.isfinite, terms)):
            places = [sum(self.place(x, self.emin) for x in self.factors[k]) for k in leaves]
            places = [
                self.place(self.product(k), -126) if k == self.tree.leaves else place
                for k, place in zip(leaves, places, strict=True)
            ] + [self.place(node, -126) for node in nodes]
            live = [(Fraction(t), p) for t, p in zip(terms, places, strict=True) if t]
            if not live:
                return 0.0
            unit = Fraction(2) ** (max(p for _, p in live) - item.fraction_bits)
            total = sum((int(t / unit) * unit for t, _ in live), Fraction(0))
            kind = (53, -1022) if self.double else (24, -126)
            return rounded(total, 0.0, *kind, mode=item.rounding, flush=self.flush and not self.double)
        if self.tree.zero_start and not nodes:
            terms.append(0.0)
        return self.result(terms, item.rounding)

    @staticmethod
    def place(x: float, emin: int) -> int:
        return max(floor_log2(abs(Fraction(x))), emin) if x else 0

    def output(self) -> float:
        value = self.value(self.tree.root)
        if not math.isfinite(value):
            return value
        return rounded(Fraction(value), value, flush=self.flush)


def both(terms: list[float]) -> bool:
    """Infinities of both signs."""
    return math.inf in terms and -math.inf in terms


@st.composite
def items(draw, leaves: list[int], depth: int = 3) -> Item:
    """A random item over these leaves."""
    if len(leaves) == 1 and draw(st.booleans()):
        return Run(tuple(leaves), draw(st.booleans()))
    kind = draw(st.sampled_from(["run", "series", "series", "exact", "truncated"])) if depth else "run"
    if kind == "run":
        return Run(tuple(leaves), draw(st.booleans()))
    cuts = sorted(draw(st.lists(st.integers(1, max(1, len(leaves) - 1)), max_size=4, unique=True)))
    parts = [leaves[a:b] for a, b in zip([0, *cuts], [*cuts, len(leaves)], strict=True) if b > a]
    found = tuple(draw(items(part, depth - 1)) for part in parts)
    if kind == "series":
        return Series(found)
    bits = None if kind == "exact" else draw(st.sampled_from([0, 7, 23, 24, 25]))
    return Fused(found, bits, draw(st.sampled_from(["RNE", "RZ", "RNA"])))


@st.composite
def trees(draw, most: int = 11) -> SummationTree:
    count = draw(st.integers(1, most))
    bias = draw(st.booleans())
    leaves = draw(st.permutations(range(count + bias)))
    kept = draw(st.integers(1, len(leaves)))
    return SummationTree(
        draw(items(list(leaves[:kept]))),
        count,
        bias,
        draw(st.sampled_from(["binary32", "binary32", "binary64"])),
        draw(st.sampled_from(["binary32", "binary32", "tf32", "bfloat16", "binary16"])),
        draw(st.booleans()),
        draw(st.booleans()),
    )


def data(rng: np.random.Generator, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    """float32 numbers on which orders differ."""
    x = rng.standard_normal(shape)
    if kind == "wide":
        x = x * 2.0 ** rng.integers(-60, 60, shape)
    if kind == "tiny":  # products around the smallest normal number
        x = x * 2.0 ** rng.integers(-70, -56, shape)
    if kind == "all":
        x = x * 2.0 ** rng.integers(-149, 127, shape)
    if kind == "cancelling":
        x = np.sign(x) * rng.choice([1.0, 1 + 2.0**-23, 2.0**12, 2.0**12 + 2.0**-11], shape)
    if kind == "special":
        x = rng.choice([0.0, -0.0, 1.0, -1.0, 2.0**-149, -(2.0**-126), np.inf, -np.inf, np.nan, 3e38], shape)
    if kind == "zeros":
        x = rng.choice([0.0, -0.0, 1.0, -1.0, 2.0**-140, -(2.0**-100)], shape)
    return x.astype(np.float32)


KINDS = ("normal", "wide", "tiny", "all", "cancelling", "special", "zeros")


def expected(tree: SummationTree, left, right, bias) -> np.ndarray:
    found = [
        [Oracle(tree, left[p], right[:, c], bias[c]).output() for c in range(right.shape[1])]
        for p in range(left.shape[0])
    ]
    with np.errstate(over="ignore"):
        return np.array(found, np.float64).astype(np.float32)


def same(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Equal bits; one NaN is as good as another."""
    return (a.view(np.uint32) == b.view(np.uint32)) | (np.isnan(a) & np.isnan(b))
