"""Cases: an op, its declared parameters and its arrays, as data.

A case is run on three variants of its arrays, all made from the case's id alone.  `data` is what the
case is about.  `probe` holds small integers for which float32 arithmetic is exact in any order, so
that a difference there is a difference of meaning.  `width` shows the full width of float32 instead: see
`precision.judging.probe`.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from precision.errors import UserError
from precision.inputs import Array, Float32, make_arrays

if TYPE_CHECKING:
    from precision.recording import RecordedProbe

T = TypeVar("T")

VARIANTS = ("data", "probe", "width")
SUITES = ("default", "smoke", "gpu")
STUDIES = ("conv-difference", "notebook", "same-outputs", "wgan", "detnet")
"""Suites whose report also explains the rows of a document (`precision.studies`)."""
ORDER_SUITES = (*SUITES, "sums")
"""Suites whose orders can be revealed: also sums that are not scored."""


@dataclass(frozen=True)
class Case:
    """One declared computation.

    `natural` holds, by framework, the parameters of the call that users of that framework write
    for this layer where it is *not* the declared function (`padding=1` for TensorFlow's SAME, say);
    the worker then makes that call, and the verdict says what it is.
    `probe_params` replaces parameters on the probe (an eps that keeps the arithmetic exact).
    """

    id: str
    title: str
    family: str
    op: str
    params: Mapping[str, Any]
    arrays: Mapping[str, Array]
    probe: Mapping[str, Array]
    width: Mapping[str, Array]
    data: str
    note: str
    natural: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    probe_params: Mapping[str, Any] = field(default_factory=dict)

    def declared(self, variant: str) -> dict[str, Any]:
        """Return the declared parameters on a variant."""
        return {**self.params, **(self.probe_params if variant == "probe" else {})}

    def call(self, framework: str, variant: str) -> dict[str, Any]:
        """Return the parameters of the call that a worker of `framework` makes."""
        return {**self.declared(variant), **self.natural.get(framework, {})}

    def make(self, variant: str) -> dict[str, Float32]:
        """Return the arrays of a variant."""
        return make_arrays(self.id, variant, self.declared_arrays(variant))

    def declared_arrays(self, variant: str) -> Mapping[str, Array]:
        """Return the declarations of a variant's arrays."""
        return {"data": self.arrays, "probe": self.probe, "width": self.width}[variant]

    def fingerprint(self) -> str:
        """SHA-256 of the declaration: a capture made for another declaration does not fit."""
        declaration = {
            "id": self.id,
            "op": self.op,
            "params": dict(self.params),
            "probe_params": dict(self.probe_params),
            "natural": {name: dict(params) for name, params in self.natural.items()},
            "arrays": {name: _plain(array) for name, array in self.arrays.items()},
            "probe": {name: _plain(array) for name, array in self.probe.items()},
            "width": {name: _plain(array) for name, array in self.width.items()},
        }
        return hashlib.sha256(json.dumps(declaration, sort_keys=True).encode()).hexdigest()


class Asked(Protocol):
    """What a worker is asked for: a case, or a probe of a suite."""

    @property
    def id(self) -> str:
        """Its stable name."""

    def fingerprint(self) -> str:
        """SHA-256 of its declaration."""


def _plain(array: Array) -> list[Any]:
    return [list(array.shape), array.recipe, dict(array.arguments)]


def load_suite(name: str, known: Iterable[str] = (*SUITES, *STUDIES)) -> tuple[Case, ...]:
    """Return the cases of a built-in suite, in order.  Raises `UserError` for an unknown name."""
    if name not in known:
        raise UserError(f"a suite is one of {', '.join(known)}; got {name!r}; choose one of these")
    cases: tuple[Case, ...] = _module(name).CASES
    return cases


def _module(name: str) -> Any:
    return importlib.import_module(f"precision.suites.{name.replace('-', '_')}")


def load_probes(name: str) -> tuple[RecordedProbe, ...]:
    """Return a suite's probes: what is asked of a mode and recorded, beside the cases that are scored."""
    load_suite(name)
    probes: tuple[RecordedProbe, ...] = getattr(_module(name), "PROBES", ())
    return probes


def kept_elements(name: str) -> tuple[int, int] | None:
    """Return (largest output that a suite keeps whole, elements kept of a larger one); None: all whole."""
    load_suite(name)
    module = _module(name)
    return (module.FULL_UP_TO, module.KEPT) if hasattr(module, "FULL_UP_TO") else None


A = TypeVar("A", bound=Asked)


def select_cases(cases: Iterable[A], patterns: str | None) -> tuple[A, ...]:
    """Return the cases (or probes) whose id matches one of the comma-separated globs (all for None)."""
    return tuple(match_names(cases, patterns, "case", lambda case: case.id))


def match_names(items: Iterable[T], patterns: str | None, kind: str, name: Callable[[T], str]) -> list[T]:
    """Return the items whose name matches a comma-separated list of globs, in their own order.

    Raises `UserError` for a pattern that matches nothing: a typing error must not run less, silently.
    """
    everything = list(items)
    if patterns is None:
        return everything
    chosen: set[str] = set()
    for pattern in filter(None, (part.strip() for part in patterns.split(","))):
        matches = {name(item) for item in everything if fnmatchcase(name(item), pattern)}
        if not matches:
            known = ", ".join(name(item) for item in everything)
            raise UserError(f"a {kind} is named as in this list: {known}; got {pattern!r}; choose from it")
        chosen |= matches
    if not chosen:
        raise UserError(f"at least one {kind} is needed; got {patterns!r}; name one, or leave the option out")
    return [item for item in everything if name(item) in chosen]
