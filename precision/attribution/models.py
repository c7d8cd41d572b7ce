"""What a captured kernel did to its operands and how it may have added: read from probes and the GPU's name.

Rounding of operands: three products q(v) * 1 part the roundings to a format (a tie next to an even and to an
odd significand, and what is just above a tie); that is a proof for the kernel that was asked.  How it adds is
known of an architecture, not of a kernel: fused additions of `reference.tensorcore`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from precision.prediction.units import ARCHITECTURES, FORMATS
from reference.tensorcore import PROBES, Unit, unit_of
from reference.tensorcore import operand_rounding_of as candidates_of

FLOAT32, UNKNOWN = "float32", "unknown"


@dataclass(frozen=True)
class OperandRounding:
    """What was done to both factors, and what the probes showed in words.

    format: "tf32", "bfloat16", "binary16", "float32" (left as they are) or "unknown"; mode: RNE, RNA or RZ.
    """

    format: str
    mode: str
    words: str

    @property
    def rounded(self) -> bool:
        """Whether operands are known to be rounded."""
        return self.format not in (FLOAT32, UNKNOWN)


def operand_rounding_of(
    left: Sequence[float], right: Sequence[float] | None = None, probes: Sequence[float] = PROBES
) -> OperandRounding:
    """The rounding of operands by what came back for `probes` * 1 as left and as right factor.

    Where the probes leave several formats open (TF32 and binary16 differ in range only) the answer is TF32 if
    it is among them; where they leave several modes open, or the two factors were treated in two ways, it is
    unknown.  Raises ValueError if there are not as many answers as probes.
    """
    found = candidates_of(left, probes)
    if right is not None:
        other = candidates_of(right, probes)
        if found and other and not set(found) & set(other):
            return OperandRounding(UNKNOWN, "", f"left factors: {_listed(found)}; right: {_listed(other)}")
        found = [each for each in found if each in other]
    if not found:
        return OperandRounding(UNKNOWN, "", "the answers are no rounding of the operands to a known format")
    if ("binary32", "none") in found:
        return OperandRounding(FLOAT32, "", "operands came through whole: float32, or split in several parts")
    formats = list(dict.fromkeys(fmt for fmt, _ in found))
    chosen = "tf32" if "tf32" in formats else formats[0]
    modes = [mode for fmt, mode in found if fmt == chosen]
    if len(modes) > 1 or (len(formats) > 1 and chosen != "tf32"):
        return OperandRounding(UNKNOWN, "", f"the probes leave open: {_listed(found)}")
    return OperandRounding(chosen, modes[0], f"the probes show operands rounded to {chosen} by {modes[0]}")


def _listed(found: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{fmt} {mode}" for fmt, mode in found) or "no known rounding"


@dataclass(frozen=True)
class Adder:
    """How sums are added.

    kind: "tensor cores" with their `unit`; "float32": additions that round to nearest, in some order; or
    "unknown".
    """

    kind: str
    unit: Unit | None
    words: str


FLOAT32_ADDER = Adder("float32", None, "float32 additions that round to nearest, in some order")


def architecture_model(capability: str, fmt: str = "tf32") -> Adder:
    """The adder of a GPU by its compute capability ("8.0") for operands of `fmt`.

    kind "unknown", with the reason in words, where none is known. A capability that is not listed is taken
    for that of its major version where all that are listed of it agree.
    """
    match = re.fullmatch(r"\s*(?:sm_)?(\d+)\.?(\d)\s*", str(capability))
    if match is None:
        return Adder(
            UNKNOWN, None, f"unknown architecture: {capability!r} is no compute capability such as 8.0"
        )
    major, minor = match[1], match[2]
    listed = {
        name: architecture
        for architecture, names in ARCHITECTURES.items()
        for name in names
        if re.fullmatch(r"\d+\.\d", name)
    }
    exact = listed.get(f"{major}.{minor}")
    same = {each for name, each in listed.items() if name.split(".")[0] == major}
    architecture = exact or (same.pop() if len(same) == 1 else None)
    if architecture is None:
        return Adder(
            UNKNOWN, None, f"unknown architecture: compute capability {major}.{minor} is not modelled"
        )
    if fmt not in FORMATS:
        return Adder(UNKNOWN, None, f"no tensor cores are known for operands of {fmt}")
    try:
        unit = unit_of(architecture, FORMATS[fmt])
    except ValueError:
        return Adder(UNKNOWN, None, f"the tensor cores of {architecture} take no {fmt}")
    checked = "compared with recorded results" if unit.recorded else "from its description, never compared"
    return Adder("tensor cores", unit, f"{unit.name} a step, {unit.fraction_bits} fraction bits, {checked}")
