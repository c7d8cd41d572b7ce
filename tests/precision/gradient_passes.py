"""A parent that drives the gradient passes of one model and keeps all that it hears."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.tracing import worker
from precision.tracing.process import TraceProcess, units_of
from precision.tracing.units import Unit, build_units, read_calls

Float32 = NDArray[np.float32]
Arrays = dict[str, Float32]


@dataclass
class Heard:
    """What one pass sent, by unit."""

    inputs: dict[int, Arrays] = field(default_factory=dict)
    outputs: dict[int, Float32] = field(default_factory=dict)
    gradients: dict[int, Arrays] = field(default_factory=dict)
    missing: dict[int, list[str]] = field(default_factory=dict)
    errors: dict[int, str] = field(default_factory=dict)
    shared: dict[int, list[str]] = field(default_factory=dict)
    order: list[int] = field(default_factory=list)


class Passes:
    """`with Passes(file, mode) as model:`."""

    def __init__(self, file: Path, mode: str, inputs: list[NDArray[Any]] | None = None) -> None:
        self.process: Any = TraceProcess(file, mode, "A")
        self.file, self.given = file, inputs

    def __enter__(self) -> Passes:
        self.process.__enter__()
        self.process.ready()
        return self.described()

    def described(self) -> Passes:
        process = self.process
        process.ask({"do": "load", "file": str(self.file), "seed": 0})
        if self.given is None:
            head, arrays = process.ask({"do": "inputs"})
            kinds, names = head["kinds"], head["names"]
        else:
            kinds, names = [str(each.dtype) for each in self.given], []
            arrays = {f"in{k}": each.astype(np.float32) for k, each in enumerate(self.given)}
        _, self.arrays = process.ask({"do": "first"}, arrays)
        self.request = {"turn": True, "kinds": kinds, "names": names, "seed": 7}
        found, _ = process.ask({"do": "describe", **self.request}, self.arrays)
        self.units: list[Unit] = build_units(read_calls(found["calls"]), found["outputs"])
        self.named = {unit.name: unit.number for unit in self.units}
        self.request["units"] = units_of([unit.chain for unit in self.units])
        return self

    def __exit__(self, *_: object) -> None:
        self.process.__exit__(None, None, None)

    def weights(self, unit: Unit) -> Arrays:
        found: Arrays = self.process.ask({"do": "weights", "call": unit.main.index})[1]
        return found

    def ordinary(self) -> Heard:
        heard = Heard()

        def answer(head: Any, arrays: Arrays) -> tuple[dict[str, Any], Arrays]:
            heard.outputs[head["unit"]] = arrays.pop("output")
            heard.inputs[head["unit"]] = arrays
            return {}, {}

        self.process.run({"do": "run", "kind": "ordinary", **self.request}, self.arrays, answer)
        return heard

    def gradients(
        self,
        cotangent: Callable[[int, Heard], Float32 | None],
        feed: Callable[[int, Arrays], Arrays | None] = lambda unit, own: None,
        replace: Callable[[int, Float32], Float32 | None] = lambda unit, own: None,
    ) -> Heard:
        heard = Heard()

        def answer(head: Any, arrays: Arrays) -> tuple[dict[str, Any], Arrays]:
            unit, event = head["unit"], head["event"]
            if event == "start":
                heard.inputs[unit] = arrays
                fed = feed(unit, arrays)
                return ({}, {}) if fed is None else ({"feed": True}, fed)
            if event == "end":
                heard.outputs[unit] = arrays["output"]
                new = replace(unit, arrays["output"])
                return {}, {} if new is None else {"output": new}
            if event == "pull":
                heard.order.append(unit)
                gradient = cotangent(unit, heard)
                return ({"skip": True}, {}) if gradient is None else ({}, {"gradient": gradient})
            assert event == "pulled"
            heard.gradients[unit] = arrays
            heard.missing[unit] = head.get("missing", [])
            if "error" in head:
                heard.errors[unit] = head["error"]
            return {}, {}

        self.process.run({"do": "gradients", **self.request}, self.arrays, answer)
        return heard

    def total(self, cotangent: Callable[[int, Float32], Float32 | None]) -> Heard:
        heard = Heard()

        def answer(head: Any, arrays: Arrays) -> tuple[dict[str, Any], Arrays]:
            if head["event"] == "outputs":
                heard.inputs[-1] = arrays
                found = {name: cotangent(int(name[3:]), array) for name, array in arrays.items()}
                return {}, {name: array for name, array in found.items() if array is not None}
            assert head["event"] == "total"
            unit = head["unit"]
            heard.order.append(unit)
            heard.gradients[unit], heard.missing[unit] = arrays, head["missing"]
            heard.shared[unit] = head.get("shared", [])
            return {}, {}

        self.process.run({"do": "total_gradients", **self.request}, self.arrays, answer)
        return heard

    def chained(
        self, last: dict[int, Float32], total: Heard | None = None
    ) -> tuple[Heard, dict[int, Float32]]:
        """Units pulled with what their consumers gave back, added up in float64; nothing fed or replaced.

        last: cotangents of the units that give the model's outputs. total: what stands in where an operand is
        a part of what a unit gives. The second: what arrived everywhere.
        """
        lost: set[int] = set()
        sums: dict[int, NDArray[np.float64]] = {n: c.astype(np.float64) for n, c in last.items()}
        done: set[int] = set()

        def settle(heard: Heard) -> None:
            for unit in set(heard.gradients) - done:
                done.add(unit)
                for k, group in enumerate(self.units[unit].sources):
                    given = heard.gradients[unit].get(f"in{k}")
                    if given is None or not group:
                        continue
                    source = group[0]
                    found = {-1 - k: array for k, array in enumerate(self.arrays.values())} | heard.outputs
                    whole = found.get(source, np.zeros(0))
                    taken = heard.inputs[unit][f"in{k}"]
                    if len(group) > 1 or not np.array_equal(taken.ravel(), whole.ravel()):
                        assert total is not None, (
                            f"{self.units[unit].name} takes a part of what it comes from"
                        )
                        lost.update(group)
                        continue
                    sums[source] = sums.get(source, np.zeros(whole.shape)) + given.reshape(whole.shape)

        def cotangent(unit: int, heard: Heard) -> Float32 | None:
            settle(heard)
            if unit in lost and total is not None and "output" in total.gradients[unit]:
                sums[unit] = total.gradients[unit]["output"].astype(np.float64)
            found = sums.get(unit)
            return None if found is None else found.astype(np.float32)

        heard = self.gradients(cotangent)
        settle(heard)
        return heard, {n: total.astype(np.float32) for n, total in sums.items()}


class Here:
    """Stands in for the process: a torch model in this one, which is not loaded from a file."""

    def __init__(self, module: Any) -> None:
        from precision.frameworks import torch_trace

        self.host = worker.Host(torch_trace, io.BytesIO(), io.BytesIO())
        self.host.model = torch_trace.Model(module, "here")
        self.answers: Any = None
        self.host._exchange = lambda head, arrays: self.answers(head, dict(arrays))

    def ask(self, request: Any, arrays: Any = None) -> Any:
        if request["do"] == "load":
            return {}, {}
        return getattr(self.host, f"do_{request['do']}")(request, arrays or {})

    def run(self, request: Any, arrays: Any, answer: Any) -> None:
        self.answers = answer
        self.ask(request, arrays)


def here(module: Any, inputs: list[NDArray[Any]]) -> Passes:
    """The passes of a torch model in this process."""
    passes = Passes.__new__(Passes)
    passes.process, passes.file, passes.given = Here(module), Path("here"), inputs
    return passes.described()


def by_autograd(unit: Unit, inputs: Arrays, weights: Arrays, gradient: Float32) -> dict[str, NDArray[Any]]:
    """The gradients of a unit by torch's autograd in float64, from what it is declared to be."""
    import torch
    import torch.nn.functional as F

    p = unit.main.params
    leaves = {
        name: torch.from_numpy(array).double().requires_grad_()
        for name, array in {**inputs, **weights}.items()
    }
    x, *others = [leaves[f"in{k}"] for k in range(len(inputs))]
    weight, bias = (leaves.get(name) for name in ("weight", "bias"))
    if unit.before is not None and unit.before.op == "pad":
        sides = unit.before.params["sides"]
        pairs = [sides[2 * axis : 2 * axis + 2] for axis in range(x.ndim)]
        x = F.pad(x, [n for pair in pairs[::-1] for n in pair])
    if "reshape" in (unit.op, unit.calls[0].op):
        before = unit.calls[0] if unit.calls[0].op == "reshape" else unit.main
        x = x.movedim(1, -1) if before.params["order"] == "NHWC" else x
        x = x.reshape(*before.shape[:1], *before.shape[2:], before.shape[1]).movedim(-1, 1) if (
            before.params.get("out_last")) else x.reshape(before.shape)  # fmt: skip
    if "permute" in (unit.op, unit.calls[0].op):
        at = unit.main if unit.op == "permute" else unit.calls[0]
        x = x.permute(at.params["dims"])

    def conv() -> Any:
        sides = p["padding"]
        if sides == "same":
            sides = [n for k in weight.shape[2:] for n in ((k - 1) // 2, k // 2)]
        padded = x if sides == "valid" else F.pad(x, [*sides[2:], *sides[:2]])
        return F.conv2d(padded, weight, bias, p["stride"], 0, p["dilation"], p["groups"])

    def joined() -> Any:
        parts = [x, *others]
        return parts if weight is None else [*parts[: p["at"]], weight, *parts[p["at"] :]]

    def binary(function: Any) -> Any:
        if "scalar" in p:
            pair = (x, p["scalar"]) if p["side"] == "right" else (p["scalar"], x)
            return function(*pair)
        return function(*joined())

    evaluators: dict[str, Callable[[], Any]] = {
        "conv2d": conv,
        "linear": lambda: F.linear(x, weight, bias),
        "batch_norm": lambda: F.batch_norm(
            x, leaves["running_mean"].detach(), leaves["running_var"].detach(), weight, bias,
            p["training"], 0.0, p["eps"],
        ),
        "layer_norm": lambda: F.layer_norm(x, p["normalized_shape"], weight, bias, p["eps"]),
        "relu": lambda: F.relu(x),
        "leaky_relu": lambda: F.leaky_relu(x, p["negative_slope"]),
        "sigmoid": lambda: torch.sigmoid(x),
        "tanh": lambda: torch.tanh(x),
        "gelu": lambda: F.gelu(x, approximate=p["approximate"]),
        "softmax": lambda: F.softmax(x, p["dim"]),
        "max_pool2d": lambda: F.max_pool2d(x, p["kernel_size"], p["stride"]),
        "mean": lambda: x.mean(p["dim"], p["keepdim"]),
        "matmul": lambda: x @ others[0],
        "concat": lambda: torch.cat(joined(), p["dim"]),
        "add": lambda: binary(torch.add),
        "sub": lambda: binary(torch.sub),
        "mul": lambda: binary(torch.mul),
        "embedding": lambda: F.embedding(leaves["indices"].detach().long(), weight),
        **dict.fromkeys(("reshape", "permute"), lambda: x),
    }  # fmt: skip
    output = evaluators[unit.main.op]()
    names = [name for name in leaves if name not in ("running_mean", "running_var", "indices", "mask")]
    cotangent = torch.from_numpy(gradient).double().reshape(output.shape)
    found = torch.autograd.grad(output, [leaves[name] for name in names], cotangent)
    return {
        name if name in inputs else f"weight.{name}": each.numpy()
        for name, each in zip(names, found, strict=True)
    }


def drawn(seed: int, shape: tuple[int, ...]) -> Float32:
    return np.random.default_rng([7, seed]).standard_normal(shape).astype(np.float32)


def apart(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Euclidean distance over b's norm."""
    size = float(np.linalg.norm(b.astype(np.float64)))
    return float(np.linalg.norm(a.astype(np.float64) - b)) / (size or 1.0)


def close(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Sums that cancel are as near as their terms allow."""
    return bool(np.abs(a.astype(np.float64) - b).max() <= 1e-5 * max(1.0, float(np.abs(b).max())))
