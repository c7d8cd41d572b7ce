"""Which unit is meant by an architecture's or a card's name, and how its libraries round operands."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

from precision.errors import UserError
from reference.tensorcore import OPERAND_MODES, Unit, unit_of

ARCHITECTURES: Mapping[str, tuple[str, ...]] = {
    "volta": ("v100", "sm_70", "7.0"),
    "turing": ("t4", "rtx20", "sm_75", "7.5"),
    "ampere": ("a100", "a10", "a40", "a6000", "rtx30", "sm_80", "sm_86", "8.0", "8.6"),
    "ada": ("l4", "l40", "l40s", "rtx40", "sm_89", "8.9"),
    "hopper": ("h100", "h200", "gh200", "sm_90", "9.0"),
    "blackwell": ("b100", "b200", "gb200", "rtx50", "sm_100", "sm_120", "10.0", "12.0"),
}
"""Other names by which an architecture is known: cards and compute capabilities."""

FORMATS: Mapping[str, str] = {"tf32": "tf32", "bf16": "bf16", "bfloat16": "bf16", "fp16": "fp16",
                              "float16": "fp16", "tf32.wmma": "tf32.wmma"}  # fmt: skip


def named_unit(architecture: str, fmt: str) -> Unit:
    """The unit of an architecture, a card ("h100") or a compute capability ("sm_90").

    Raises UserError for names and combinations that do not exist.
    """
    name = str(architecture).lower()
    found = next((known for known, others in ARCHITECTURES.items() if name == known or name in others), None)
    if found is None:
        known = [*ARCHITECTURES, *(other for others in ARCHITECTURES.values() for other in others)]
        near = get_close_matches(name, known, 1)
        mend = f"did you mean {near[0]!r}?" if near else "choose one of these"
        listed = ", ".join(f"{key} ({others[0]})" for key, others in ARCHITECTURES.items())
        raise UserError(f"an architecture is {listed}; got {architecture!r}; {mend}")
    kind = FORMATS.get(str(fmt).lower())
    if kind is None:
        raise UserError(f"a format of operands is one of {', '.join(FORMATS)}; got {fmt!r}; name one of them")
    try:
        return unit_of(found, kind)
    except ValueError:
        offered = [each for each in ("tf32", "bf16", "fp16", "tf32.wmma") if _exists(found, each)]
        raise UserError(
            f"the tensor cores of {found} take {', '.join(offered)}; got {fmt!r}; choose one of these, or "
            "another architecture"
        ) from None


def _exists(architecture: str, fmt: str) -> bool:
    try:
        unit_of(architecture, fmt)
    except ValueError:
        return False
    return True


def operand_rounding(unit: Unit, given: str) -> tuple[str, str]:
    """How operands are rounded ("RNE", "RNA" or "RZ"), and why it is taken to be so.

    given: one of these in any case, or "auto".  Raises UserError for another word.
    """
    word = str(given).upper()
    if word in OPERAND_MODES:
        return word, "as asked"
    if word != "AUTO":
        raise UserError(f"operands are rounded by rna, rne, rz or auto; got {given!r}; name one of them")
    if unit.format.name != "tf32":
        return "RNE", "conversions of frameworks to 16 bits round to nearest, ties to even"
    # CUTLASS, include/cutlass/numeric_conversion.h: ties away from zero below sm_90, to even from there on.
    if unit.architecture in ("hopper", "blackwell"):
        return "RNE", "what CUTLASS does from sm_90 on; cuDNN and cuBLAS do not document theirs"
    return "RNA", "what CUTLASS does below sm_90; cuDNN and cuBLAS do not document theirs"
