"""Records the functional calls that a PyTorch model makes, under the names of its modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.overrides import TorchFunctionMode

from precision.frameworks import torch_trace_calls as calls
from precision.frameworks import torch_trace_names as names
from precision.frameworks.torch_tensors import formatted, state
from precision.tracing.tape import UNKNOWN, Call, Frame, Tape, TraceError, Weight

Float32 = NDArray[np.float32]
FRAMEWORK = "torch"


class TorchFrame(Frame):
    """torch tensors: always channels first, whatever their strides."""

    def to_array(self, tensor: Any, last: bool) -> Float32:
        return np.array(tensor.detach().cpu().numpy(), np.float32, order="C", copy=True)

    def to_tensor(self, array: Float32, like: Any, last: bool) -> Any:
        tensor = torch.from_numpy(np.array(array, np.float32, copy=True)).to(like.device)
        return formatted(tensor) if like.ndim == tensor.ndim else tensor

    def is_number(self, tensor: Any) -> bool:
        return isinstance(tensor, torch.Tensor) and tensor.dtype == torch.float32


class Recorder(TorchFunctionMode):  # type: ignore[misc]
    """Every function that is called with tensors passes here; see `precision.tracing.tape`."""

    def __init__(self, tape: Tape, model: nn.Module, path: list[tuple[str, bool]]) -> None:
        super().__init__()
        self.tape, self.path = tape, path
        self.parameters = {id(value): value for value in [*model.parameters(), *model.buffers()]}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        tensors = [each for each in _flat([*args, *given.values()]) if isinstance(each, torch.Tensor)]
        tracked = any(self.tape.known(each) is not None for each in tensors)
        if name in names.RANDOM_CALLS or (name in names.DROPOUTS and calls.drops(args, given)):
            return self._recorded(calls.random_call(name, args, given), func, args, given, name)
        if not tracked:
            return func(*args, **given)
        if name in names.MOVES or name in names.NOT_VALUES:
            return self._moved(func(*args, **given), tensors)
        builder = calls.BUILDERS.get(name)
        call = builder(args, given, self._weight) if builder is not None else None
        if call is not None and not all(map(self.tape.frame.is_number, call.operands)):
            call = None
        if call is None:
            numbers = tuple(each for each in tensors if self.tape.known(each) is not None)
            call = Call(UNKNOWN, numbers, detail=name)
            if name.endswith("_") and not name.startswith("_"):
                raise TraceError(
                    f"operations in place are known ones; {self._name(name)} calls {name}; write it as "
                    f"x = torch.{name.strip('_')}(x, …)"
                )
        return self._recorded(call, func, args, given, name)

    def _recorded(self, call: Call, func: Any, args: Any, given: dict[str, Any], name: str) -> Any:
        def compute(operands: tuple[Any, ...]) -> Any:
            swap = {id(old): new for old, new in zip(call.operands, operands, strict=True) if old is not new}
            if in_place and swap:
                # The tensor itself is changed: what it should hold is put into it first.
                for old, new in zip(call.operands, operands, strict=True):
                    if old is not new and old.shape == new.shape:
                        old.copy_(new)
                        swap.pop(id(old))
            return func(*_swapped(args, swap), **_swapped(given, swap))

        in_place = name in names.IN_PLACE or bool(given.get("inplace")) or calls.inplace_flag(name, args)
        into = _put if in_place else None
        before = {id(each): each._version for each in call.operands}
        output = self.tape.record(call, self._name(call.op, name), compute, False, False, into)
        if call.op == UNKNOWN:
            for each in call.operands:
                if each._version != before[id(each)] and each is not output:
                    self.tape.mark(each, frozenset([len(self.tape.nodes) - 1]), False)
        return output

    def _moved(self, output: Any, tensors: list[torch.Tensor]) -> Any:
        producers = self.tape.producers(tensors)
        for each in _flat([output]):
            if isinstance(each, torch.Tensor) and not any(each is tensor for tensor in tensors):
                self.tape.mark(each, producers, False)
        return output

    def _weight(self, tensor: Any, turn: Callable[[Float32], Float32] | None = None) -> Weight:
        """A parameter of a call, canonical as it is (torch's layout is the canonical one)."""

        def put(array: Float32) -> None:
            with torch.no_grad():
                tensor.copy_(torch.from_numpy(np.array(array, np.float32, copy=True)).to(tensor.device))

        known = id(tensor) in self.parameters
        return Weight(
            lambda: np.array(tensor.detach().cpu().numpy(), np.float32, order="C", copy=True),
            put if known else None,
        )

    def _name(self, op: str, function: str = "") -> str:
        path, leaf = self.path[-1] if self.path else ("", False)
        if leaf:
            return path
        word = (function.strip("_") or op) if op == UNKNOWN else op
        return f"{path}.{word}" if path else word


def _put(output: Any, tensor: Any) -> Any:
    return output.copy_(tensor) if output.shape == tensor.shape else tensor


def _flat(values: list[Any]) -> list[Any]:
    found = []
    for value in values:
        found += _flat(list(value)) if isinstance(value, list | tuple) else [value]
    return found


def _swapped(value: Any, swap: Mapping[int, Any]) -> Any:
    if isinstance(value, dict):
        return {key: _swapped(item, swap) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [_swapped(item, swap) for item in value]
        return items if isinstance(value, list) else tuple(items)
    return swap.get(id(value), value)


class Model:
    """A loaded torch model, ready for passes."""

    def __init__(self, found: Any, where: str) -> None:
        if not isinstance(found, nn.Module):
            raise TraceError(
                f"in a torch mode model() returns an nn.Module; {where} returned a {type(found).__name__}; "
                "return the module, or give the mode of its framework"
            )
        self.module = found.to(state["device"])
        if state["memory_format"] == "channels_last":
            for parameter in self.module.parameters():
                parameter.data = formatted(parameter.data)
        self.recorder: Recorder | None = None

    def default_shape(self) -> list[int] | None:
        return None

    def input_last(self, rank: int) -> bool:
        return False

    def notes(self) -> list[str]:
        """What the user should know of the state that the model is run in."""
        modes = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)
        training = [
            name for name, each in self.module.named_modules() if isinstance(each, modes) and each.training
        ]
        if not training:
            return []
        return [
            f"{len(training)} layers run in training mode ({training[0]}); return net.eval() from model() "
            "to trace inference"
        ]

    def run(self, tape: Tape, inputs: list[NDArray[Any]], seed: int) -> list[Any]:
        """One pass; the state that training changes is put back afterwards."""
        torch.manual_seed(seed)
        buffers = {name: value.clone() for name, value in self.module.named_buffers()}
        paths = {id(each): name for name, each in self.module.named_modules()}
        path: list[tuple[str, bool]] = []

        def enter(module: nn.Module, _: Any) -> None:
            own = type(module).__module__.startswith("torch.nn") and not any(module.children())
            name = paths.get(id(module), type(module).__name__)
            path.append((name, own))

        def leave(module: nn.Module, _: Any, __: Any) -> None:
            path.pop()

        hooks = [
            nn.modules.module.register_module_forward_pre_hook(enter),
            nn.modules.module.register_module_forward_hook(leave),
        ]
        tensors = [self._tensor(array) for array in inputs]
        for k, tensor in enumerate(tensors):
            tape.mark(tensor, frozenset([-1 - k]), False)
        self.recorder = Recorder(tape, self.module, path)
        try:
            with torch.no_grad(), self.recorder:
                output = self.module(*tensors)
        finally:
            for hook in hooks:
                hook.remove()
            with torch.no_grad():
                for name, value in self.module.named_buffers():
                    if name in buffers:
                        value.copy_(buffers[name])
        found = list(output.values()) if isinstance(output, dict) else _flat([output])
        return [each for each in found if isinstance(each, torch.Tensor)]

    def _tensor(self, array: NDArray[Any]) -> torch.Tensor:
        tensor = torch.from_numpy(np.array(array, copy=True)).to(state["device"])
        return formatted(tensor) if tensor.is_floating_point() else tensor


def frame() -> Frame:
    return TorchFrame()
