"""The frameworks' own gradients, at the worker's end: of every unit by itself, and of a model as a whole.

In a pass `gradients` every unit is cut off: its operands are leaves, its output goes on as numbers alone, and
its graph is held until the parent hands a cotangent over; the units are then pulled from the last to the
first. In a pass `total` nothing is cut; all gradients come from one walk back through the whole model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from precision.worker import one_line

if TYPE_CHECKING:
    from precision.tracing.tape import Tape, Weight

Float32 = NDArray[np.float32]
CUT, WHOLE = "gradients", "total"
"""The kinds of passes with gradients."""
CONSTANT = ("mask", "indices")
"""Arrays of a call that are no weights: nothing is asked of them."""
STATISTICS = ("running_mean", "running_var")
"""Weights that no gradient is wanted of."""


class Swap:
    """What stands in the place of operands: where one tensor is two operands, each place has its own."""

    def __init__(self, old: Sequence[Any], new: Sequence[Any]) -> None:
        self._new: dict[int, list[Any]] = {}
        self._any = any(a is not b for a, b in zip(old, new, strict=True))
        for a, b in zip(old, new, strict=True):
            self._new.setdefault(id(a), []).append(b)

    def __bool__(self) -> bool:
        return self._any

    def __call__(self, tensor: Any) -> Any:
        """What stands for a tensor at its next place; itself where nothing does."""
        found = self._new.get(id(tensor))
        if found is None:
            return tensor
        return found.pop(0) if len(found) > 1 else found[0]


@dataclass
class Part:
    """What is kept of one unit until its gradients are asked for; handles are the framework's."""

    operands: dict[str, Any] = field(default_factory=dict)
    last_in: bool = False
    weights: Mapping[str, Weight] = field(default_factory=dict)
    output: Any = None
    like: Any = None
    """A tensor of the output's shape."""
    last_out: bool = False


class Graphs:
    """How a framework differentiates; one object for one pass, implemented by each framework."""

    def __init__(self, whole: bool) -> None:
        self.whole = whole
        self.parts: dict[int, Part] = {}
        self.stopped: dict[int, list[str]] = {}
        """In a whole pass: of units the operands from others that nothing flows back through."""
        self.inputs: dict[str, tuple[Any, bool]] = {}
        """Of the whole model: a handle of each float32 input, and whether it lies channels last."""

    # What each framework does

    @contextmanager
    def running(self, model: Any) -> Iterator[None]:
        """Encloses a pass and the way back; the model is as it was afterwards."""
        yield

    def entering(self, tensor: Any) -> tuple[Any, Any]:
        """(the tensor that the model is given in place of an input, the input's handle)."""
        raise NotImplementedError

    def taken(self, unit: int, tensor: Any) -> tuple[Any, Any]:
        """(what a unit is given in place of an operand, its handle): a leaf, or the same tensor under
        another name, through which flows this unit's part alone."""
        raise NotImplementedError

    def flows(self, tensor: Any) -> bool:
        """Whether a gradient flows back through a tensor, in a whole pass."""
        raise NotImplementedError

    def itself(self, unit: int, tensor: Any) -> Any:
        """A handle of an operand that the unit is given itself, in a whole pass; None without one."""
        return None

    def watch(self, unit: int, weight: Any) -> None:
        """See to it that there will be a gradient with respect to a native weight."""
        raise NotImplementedError

    def handle(self, unit: int, output: Any) -> Any:
        """A handle of a unit's output, which may be changed in place later."""
        raise NotImplementedError

    def cut(self, tensor: Any) -> Any:
        """A copy of a tensor that nothing flows back from."""
        raise NotImplementedError

    def drop(self, unit: int) -> None:
        """Nothing is asked of a unit's graph."""

    def identity(self, weight: Any) -> int:
        """The same number for the same native weight."""
        return id(weight)

    def uses(self, weight: Any) -> int:
        """In how many places the whole model is known to take a native weight, of a unit or not; 0 where only
        the units tell."""
        return 0

    def gradients(
        self, unit: int, outputs: Sequence[Any], cotangents: Sequence[Any], sources: Sequence[Any]
    ) -> list[Any]:
        """The gradients of sum(cotangent * output), dense and float32; None where there is none.  unit: -1
        for the whole model."""
        raise NotImplementedError

    # What is the same for all

    def start(
        self,
        unit: int,
        operands: tuple[Any, ...],
        last: bool,
        number: Callable[[Any], bool],
        fixed: Sequence[Any] = (),
        tracked: Sequence[bool] = (),
    ) -> tuple[Any, ...]:
        """The operands that the unit is given.

        fixed: those that are not others in a whole pass; tracked: whether each comes from another unit.
        """
        part = self.parts[unit] = Part(last_in=last)
        given, count = [], 0
        for operand, comes in zip(operands, tracked or [False] * len(operands), strict=True):
            new = operand
            if number(operand):
                if self.whole and comes and not self.flows(operand):
                    self.stopped.setdefault(unit, []).append(f"in{count}")
                if self.whole and any(each is operand for each in fixed):
                    part.operands[f"in{count}"] = self.itself(unit, operand)
                else:
                    new, part.operands[f"in{count}"] = self.taken(unit, operand)
                count += 1
            given.append(new)
        return tuple(given)

    def weigh(self, unit: int, weights: Mapping[str, Weight]) -> None:
        """Before a unit's last call is computed: its weights."""
        part = self.parts.setdefault(unit, Part())
        part.weights = {name: weight for name, weight in weights.items() if name not in CONSTANT}
        for name, weight in part.weights.items():
            if weight.native is not None and name not in STATISTICS:
                self.watch(unit, weight.native)

    def end(self, unit: int, output: Any, last: bool) -> None:
        """After it: its output."""
        part = self.parts[unit]
        part.output, part.like, part.last_out = self.handle(unit, output), output, last

    def enter(self, name: str, tensor: Any, last: bool) -> Any:
        """An input of the model as the model is given it."""
        if not self.whole:
            return tensor
        given, handle = self.entering(tensor)
        if handle is not None:
            self.inputs[name] = handle, last
        return given


def wanted(part: Part) -> dict[str, Any]:
    """What a unit's gradients are taken with respect to, by name."""
    natives = {
        f"weight.{name}": weight.native
        for name, weight in part.weights.items()
        if weight.native is not None and name not in STATISTICS
    }
    return {**part.operands, **natives}


def pull_units(tape: Tape, graphs: Graphs, outputs: Sequence[Any]) -> None:
    """Ask for a cotangent of every unit, from the last to the first, and send what autograd makes of it."""
    for unit in sorted(graphs.parts, reverse=True):
        part = graphs.parts.pop(unit)
        if part.output is None:
            continue
        head, arrays = tape.exchange({"event": "pull", "unit": unit}, {})
        if head.get("skip") or "gradient" not in arrays:
            graphs.drop(unit)
            continue
        found: dict[str, Float32] = {}
        answer: dict[str, Any] = {"event": "pulled", "unit": unit}
        try:
            cotangent = tape.frame.to_tensor(arrays["gradient"], part.like, part.last_out)
            names = wanted(part)
            got = graphs.gradients(unit, [part.output], [cotangent], list(names.values()))
            found = _canonical(tape, part, dict(zip(names, got, strict=True)))
            answer["missing"] = _missing((*part.operands, *_named(part.weights)), found)
        except Exception as error:
            # Whatever autograd raises is the answer for this unit alone.
            answer["error"] = one_line(error)
        tape.exchange(answer, found)


def pull_all(tape: Tape, graphs: Graphs, outputs: Sequence[Any]) -> None:
    """Ask for cotangents of the model's outputs, and send the gradients of every unit and input."""
    numbers = [each for each in outputs if tape.frame.is_number(each)]
    sent = {f"out{k}": tape.frame.to_array(each, tape.last([each])) for k, each in enumerate(numbers)}
    _, arrays = tape.exchange({"event": "outputs"}, sent)
    names = [(each, f"out{k}") for k, each in enumerate(numbers) if f"out{k}" in arrays]
    cotangents = [tape.frame.to_tensor(arrays[name], each, tape.last([each])) for each, name in names]
    sources: list[Any] = [handle for handle, _ in graphs.inputs.values()]
    places: dict[int, dict[str, int]] = {}
    for unit, part in graphs.parts.items():
        asked = wanted(part) | ({} if part.output is None else {"output": part.output})
        places[unit] = {name: len(sources) + k for k, name in enumerate(asked)}
        sources += asked.values()
    got = graphs.gradients(-1, [each for each, _ in names], cotangents, sources)
    shared = _shared(graphs)
    for unit in sorted(graphs.parts, reverse=True):
        part = graphs.parts[unit]
        found = _canonical(tape, part, {name: got[at] for name, at in places[unit].items()})
        missing = _missing(("output", *_named(part.weights)), found)
        head = {"event": "total", "unit": unit, "missing": missing}
        head |= {"shared": shared.get(unit, []), "stopped": graphs.stopped.get(unit, [])}
        tape.exchange(head, found)
    found = {
        name: tape.frame.to_array(gradient, last)
        for (name, (_, last)), gradient in zip(graphs.inputs.items(), got, strict=False)
        if gradient is not None
    }
    tape.exchange({"event": "total", "unit": -1, "missing": _missing(graphs.inputs, found)}, found)


def _canonical(tape: Tape, part: Part, got: Mapping[str, Any]) -> dict[str, Float32]:
    """Native gradients as arrays, each in the layout of what it is the gradient of."""
    found = {}
    for name, gradient in got.items():
        if gradient is None:
            continue
        if name.startswith("weight."):
            weight = part.weights[name.removeprefix("weight.")]
            found[name] = weight.canonical(tape.frame.to_array(gradient, False))
        else:
            found[name] = tape.frame.to_array(gradient, part.last_out if name == "output" else part.last_in)
    return found


def _named(weights: Iterable[str]) -> list[str]:
    return [f"weight.{name}" for name in weights]


def _missing(names: Iterable[str], found: Mapping[str, Any]) -> list[str]:
    return [name for name in names if name not in found]


def _shared(graphs: Graphs) -> dict[int, list[str]]:
    """Of each unit the weights that are used elsewhere too: their gradient is that of all uses together."""
    users: dict[tuple[int, str], list[tuple[int, str]]] = {}
    places: dict[tuple[int, str], int] = {}
    for unit, part in graphs.parts.items():
        for name, weight in part.weights.items():
            if weight.native is not None:
                key = graphs.identity(weight.native), weight.rows
                users.setdefault(key, []).append((unit, name))
                places[key] = graphs.uses(weight.native)
    found: dict[int, list[str]] = {}
    for key, group in users.items():
        for unit, name in group if max(len(group), places[key]) > 1 else ():
            found.setdefault(unit, []).append(name)
    return found
