"""Records the functional calls that a PyTorch model makes, under the names of its modules."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.overrides import TorchFunctionMode

from precision.frameworks import torch_trace_attention as attention
from precision.frameworks import torch_trace_calls as calls
from precision.frameworks import torch_trace_names as names
from precision.frameworks.torch_tensors import formatted, state
from precision.frameworks.torch_trace_attention import Heads
from precision.frameworks.torch_trace_gradients import TorchGraphs, changing, entered, put_in
from precision.tracing.autograd import CUT, Swap
from precision.tracing.tape import UNKNOWN, Call, Frame, Tape, TraceError, Weight

Float32 = NDArray[np.float32]
Path = list[tuple[str, bool, nn.Module]]
"""The modules that run now, outermost first: name, whether it is one layer, itself."""
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

    def kind(self, tensor: Any) -> str:
        return str(tensor.dtype).removeprefix("torch.")


class Recorder(TorchFunctionMode):  # type: ignore[misc]
    """Every function that is called with tensors passes here; see `precision.tracing.tape`."""

    def __init__(self, tape: Tape, model: nn.Module, path: Path) -> None:
        super().__init__()
        self.tape, self.path = tape, path
        self.heads: Heads | None = None
        self._quiet = False
        self.parameters = {id(value): value for value in [*model.parameters(), *model.buffers()]}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if self._quiet:
            return func(*args, **given)
        name = getattr(func, "__name__", "")
        tensors = [each for each in _flat([*args, *given.values()]) if isinstance(each, torch.Tensor)]
        tracked = any(self.tape.known(each) is not None for each in tensors)
        if name in names.RANDOM_CALLS or (name in names.DROPOUTS and calls.drops(args, given)):
            return self._recorded(calls.random_call(name, args, given), func, args, given, name)
        if not tracked and not (
            name == "embedding" and any(self._parameter(each) is not None for each in args)
        ):
            return func(*args, **given)
        if name in names.MOVES or name in names.NOT_VALUES:
            return self.moved(func(*args, **given), tensors)
        return self._within(func, name, args, given, tensors)

    def _within(self, func: Any, name: str, args: Any, given: dict[str, Any], tensors: list[Any]) -> Any:
        """A call on numbers of the model, where it may stand within an attention."""
        if name == attention.HEADS and self.heads is None and all(map(self.tape.frame.is_number, args[:3])):
            return self._attending(func, args, given)
        inside = self.path[-1][2] if self.path else None
        if self.heads is not None:
            found = self.heads.handle(func, name, args, given)
            if found is not NotImplemented:
                return found
        elif isinstance(inside, nn.MultiheadAttention) and name == "transpose":
            return self.moved(func(*args, **given), tensors)
        return self._layer(func, name, args, given, tensors)

    def _layer(self, func: Any, name: str, args: Any, given: dict[str, Any], tensors: list[Any]) -> Any:
        builder = calls.BUILDERS.get(name) or attention.BUILDERS.get(name)
        call = builder(args, given, self.weight) if builder is not None else None
        looked_up = call is not None and call.op == "embedding"
        # Of numbers of another type the layer is known by name alone: it gives no float32, and is not judged.
        if call is not None and not looked_up and not all(map(_is_float, call.operands)):
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
            if cut and in_place:
                # A leaf cannot be changed in place, and what is held should not change later.
                at = next((k for k, each in enumerate(call.operands) if each is changed), 0)
                operands = tuple(each.clone() if k == at else each for k, each in enumerate(operands))
            swap = Swap(call.operands, operands)
            if in_place and swap and self.tape.graphs is None:
                # The tensor itself is changed: what it should hold is put into it first.
                kept = []
                for old, new in zip(call.operands, operands, strict=True):
                    if old is not new and old.shape == new.shape:
                        old.copy_(new)
                        kept.append(old)
                    else:
                        kept.append(new)
                swap = Swap(call.operands, kept)
            return func(*_swapped(args, swap), **_swapped(given, swap))

        in_place = name in names.IN_PLACE or bool(given.get("inplace")) or calls.inplace_flag(name, args)
        changed = args[0] if args else given.get("input")
        call = changing(call, changed) if in_place else call
        unit = self.tape.starts.get(len(self.tape.nodes))
        cut = self.tape.kind == CUT and unit is not None
        into = None if not in_place else put_in(changed) if cut else _put
        before = {id(each): _version(each) for each in call.operands}
        name_of = self._name(call.op, name)
        output = self.tape.record(call, name_of, compute, False, False, into, [changed] if in_place else [])
        if call.op == UNKNOWN:
            for each in call.operands:
                if _version(each) != before[id(each)] and each is not output:
                    self.tape.mark(each, frozenset([len(self.tape.nodes) - 1]), False)
        return output

    def _attending(self, func: Any, args: Any, given: dict[str, Any]) -> Any:
        inside = self.path[-1][2] if self.path else None
        self.heads = Heads(self, func, args, given, bool(getattr(inside, "batch_first", False)))
        try:
            with attention.entered(self.heads), self:
                return func(*args, **given)
        finally:
            self.heads = None

    @contextmanager
    def silence(self) -> Iterator[None]:
        """Calls within are not recorded."""
        before, self._quiet = self._quiet, True
        try:
            yield
        finally:
            self._quiet = before

    def moved(self, output: Any, tensors: list[torch.Tensor]) -> Any:
        producers = self.tape.producers(tensors)
        for each in _flat([output]):
            if isinstance(each, torch.Tensor) and not any(each is tensor for tensor in tensors):
                self.tape.mark(each, producers, False)
        return output

    def _parameter(self, tensor: Any) -> Any:
        """The parameter or buffer of the model that a tensor is, or shows a part of; None for another."""
        for each in (tensor, getattr(tensor, "_base", None)):
            if each is not None and self.parameters.get(id(each)) is each:
                return each
        return None

    def weight(self, tensor: Any) -> Weight:
        """A parameter of a call, canonical as it is (torch's layout is the canonical one)."""

        def put(array: Float32) -> None:
            new = torch.from_numpy(np.array(array, np.float32, copy=True)).to(tensor.device)
            # An expanded tensor has its numbers once.
            once = tuple(slice(0, 1) if step == 0 else slice(None) for step in tensor.stride())
            with torch.no_grad():
                tensor[once].copy_(new[once])

        return Weight(
            lambda: np.array(tensor.detach().float().cpu().numpy(), np.float32, order="C", copy=True),
            put if self._parameter(tensor) is not None else None,
            native=tensor,
        )

    def named(self, part: str) -> str:
        """The name of a part of the module that runs."""
        return f"{self.path[-1][0]}.{part}" if self.path and self.path[-1][0] else part

    def _name(self, op: str, function: str = "") -> str:
        path, leaf = self.path[-1][:2] if self.path else ("", False)
        if leaf and path:
            return path
        word = (function.strip("_") or op) if op == UNKNOWN else op
        return f"{path}.{word}" if path else word


def _is_float(tensor: Any) -> bool:
    return isinstance(tensor, torch.Tensor) and tensor.is_floating_point()


def _version(tensor: torch.Tensor) -> int:
    """How often it was changed in place; tensors of inference mode do not count that."""
    return 0 if tensor.is_inference() else int(tensor._version)


def _put(output: Any, tensor: Any) -> Any:
    return output.copy_(tensor) if output.shape == tensor.shape else tensor


def _flat(values: list[Any]) -> list[Any]:
    found = []
    for value in values:
        found += _flat(list(value)) if isinstance(value, list | tuple) else [value]
    return found


def _swapped(value: Any, swap: Swap) -> Any:
    if isinstance(value, dict):
        return {key: _swapped(item, swap) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [_swapped(item, swap) for item in value]
        return items if isinstance(value, list) else tuple(items)
    return swap(value)


class Model:
    """A loaded torch model, ready for passes."""

    def __init__(self, found: Any, where: str) -> None:
        if not isinstance(found, nn.Module):
            raise TraceError(
                f"in a torch mode model() returns an nn.Module; {where} returned a {type(found).__name__}; "
                "return the module, or give the mode of its framework"
            )
        if hasattr(found, "_orig_mod") or isinstance(found, torch.jit.ScriptModule):
            raise TraceError(
                f"a model is traced call by call; {where} returned a compiled one, which runs as a whole; "
                "return the module from before torch.compile or torch.jit"
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

    def run(
        self, tape: Tape, inputs: list[NDArray[Any]], seed: int, names_of: Sequence[str] = ()
    ) -> list[Any]:
        """One pass; the state that training changes is put back afterwards.  names_of: keywords of inputs."""
        tensors = [self._tensor(array) for array in inputs]
        if any(map(nn.parameter.is_lazy, self.module.parameters())):
            # Weights that the first input shapes would be made in the middle of the pass.
            with torch.no_grad():
                self._called(tensors, names_of)
        torch.manual_seed(seed)
        buffers = {name: value.clone() for name, value in self.module.named_buffers()}
        paths = {id(each): name for name, each in self.module.named_modules()}
        path: Path = []

        def enter(module: nn.Module, _: Any) -> None:
            own = type(module).__module__.startswith("torch.nn") and not any(module.children())
            name = paths.get(id(module), type(module).__name__)
            path.append((name, own, module))

        def leave(module: nn.Module, _: Any, __: Any) -> None:
            path.pop()

        hooks = [
            nn.modules.module.register_module_forward_pre_hook(enter),
            nn.modules.module.register_module_forward_hook(leave),
        ]
        self.recorder = Recorder(tape, self.module, path)
        try:
            with torch.no_grad() if tape.graphs is None else tape.graphs.running(self.module):
                tensors = entered(tape, tensors)
                for k, tensor in enumerate(tensors):
                    tape.mark(tensor, frozenset([-1 - k]), False)
                try:
                    with self.recorder:
                        output = self._called(tensors, names_of)
                finally:
                    for hook in hooks:
                        hook.remove()
                found = list(output.values()) if isinstance(output, dict) else _flat([output])
                found = [each for each in found if isinstance(each, torch.Tensor)]
                if tape.finish is not None:
                    tape.finish(found)
        finally:
            with torch.no_grad():
                for name, value in self.module.named_buffers():
                    if name in buffers:
                        value.copy_(buffers[name])
        return found

    def _called(self, tensors: list[torch.Tensor], names_of: Sequence[str]) -> Any:
        if names_of:
            return self.module(**dict(zip(names_of, tensors, strict=True)))
        return self.module(*tensors)

    def _tensor(self, array: NDArray[Any]) -> torch.Tensor:
        tensor = torch.from_numpy(np.array(array, copy=True)).to(state["device"])
        return formatted(tensor) if tensor.is_floating_point() else tensor


def seeded(seed: int) -> None:
    """Set every generator that a model file may draw weights from."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def frame() -> Frame:
    return TorchFrame()


def graphs(whole: bool) -> TorchGraphs:
    return TorchGraphs(whole)
