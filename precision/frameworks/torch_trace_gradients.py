"""PyTorch's autograd in a trace: what is a leaf, what is held, and what one walk back gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.autograd.graph import get_gradient_edge
from torch.utils import checkpoint

from precision.tracing.autograd import Graphs
from precision.tracing.tape import Call, Tape


class TorchGraphs(Graphs):
    """Graphs hang on the tensors themselves. A tensor that may be changed in place later is remembered by its
    place in the graph, which stays."""

    def __init__(self, whole: bool) -> None:
        super().__init__(whole)
        self._touched: list[torch.Tensor] = []
        self._uses: Counter[Any] = Counter()
        self._sole: set[int] = set()
        """Handles of operands: the gradient there is a unit's part only where nothing else leads there."""

    @contextmanager
    def running(self, model: nn.Module) -> Iterator[None]:
        """Every float32 parameter is differentiated, a frozen one too."""
        for parameter in model.parameters():
            self._ask(parameter)
        try:
            with torch.enable_grad(), _kept():
                yield
        finally:
            for tensor in self._touched:
                if tensor.is_leaf:
                    tensor.requires_grad_(False)
            for buffer in model.buffers():
                # State that takes numbers of the model in holds their graph.
                if not buffer.is_leaf:
                    buffer.detach_()

    def entering(self, tensor: Any) -> tuple[Any, Any]:
        if tensor.dtype != torch.float32:
            return tensor, None
        leaf = tensor.requires_grad_()
        # The model may change its input in place, which a leaf does not allow.
        return leaf.clone(), leaf

    def taken(self, unit: int, tensor: Any) -> tuple[Any, Any]:
        if not self.whole:
            leaf = tensor.detach().clone().requires_grad_()
            return leaf, leaf
        if not self.flows(tensor):
            return tensor, None
        alias = tensor.view_as(tensor)
        return alias, get_gradient_edge(alias)

    def flows(self, tensor: Any) -> bool:
        return bool(tensor.requires_grad) and torch.is_grad_enabled()

    def itself(self, unit: int, tensor: Any) -> Any:
        if not tensor.requires_grad:
            return None
        edge = get_gradient_edge(tensor)
        self._sole.add(id(edge))
        return edge

    def watch(self, unit: int, weight: Any) -> None:
        self._ask(weight)

    def _ask(self, tensor: torch.Tensor) -> None:
        plain = tensor.dtype == torch.float32 and not tensor.is_inference()
        if plain and not tensor.requires_grad:
            tensor.requires_grad_()
            self._touched.append(tensor)

    def handle(self, unit: int, output: Any) -> Any:
        if not self.whole:
            return output
        return get_gradient_edge(output) if output.requires_grad else None

    def uses(self, weight: Any) -> int:
        if not weight.requires_grad:
            return 0
        edge = get_gradient_edge(weight)
        return self._uses[edge.node, edge.output_nr]

    def cut(self, tensor: Any) -> Any:
        return tensor.detach().clone()

    def gradients(
        self, unit: int, outputs: Sequence[Any], cotangents: Sequence[Any], sources: Sequence[Any]
    ) -> list[Any]:
        pairs = [(y, c) for y, c in zip(outputs, cotangents, strict=True) if y.requires_grad]
        asked = [
            each
            for each in sources
            if each is not None and (not isinstance(each, torch.Tensor) or each.requires_grad)
        ]
        found: dict[int, Any] = {}
        if self.whole:
            self._uses = _edges([y for y, _ in pairs])
        if pairs and asked:
            results = torch.autograd.grad(
                [y for y, _ in pairs], asked, [c for _, c in pairs], allow_unused=True
            )
            found = {id(each): result for each, result in zip(asked, results, strict=True)}
        got = [None if self._is_sum(each) else found.get(id(each)) for each in sources]
        return [None if each is None else each.detach().to_dense().float() for each in got]

    def _is_sum(self, source: Any) -> bool:
        """Whether the gradient at an operand is not one unit's part alone."""
        return id(source) in self._sole and self._uses[source.node, source.output_nr] != 1


class _Kept:
    """Stands in for the function of `torch.utils.checkpoint` that runs a block without its graph."""

    @staticmethod
    def apply(function: Callable[..., Any], _: bool, *args: Any) -> Any:
        return function(*args)


def _once(*_: Any, **__: Any) -> Iterator[None]:
    yield


@contextmanager
def _kept() -> Iterator[None]:
    """Blocks that would be computed again on the way back keep their graph: the same calls, made once.

    Another run of a block, in the middle of the way back, would not be cut into its units.
    """
    new = {"CheckpointFunction": _Kept, "_checkpoint_without_reentrant_generator": _once}
    old = {name: getattr(checkpoint, name) for name in new if hasattr(checkpoint, name)}
    for name in old:
        setattr(checkpoint, name, new[name])
    try:
        yield
    finally:
        for name, value in old.items():
            setattr(checkpoint, name, value)


def _edges(outputs: Sequence[torch.Tensor]) -> Counter[Any]:
    """How many edges of a graph lead to each place in it, (node, number of its output); cotangents count."""
    ends = [get_gradient_edge(each) for each in outputs]
    found: Counter[Any] = Counter((edge.node, edge.output_nr) for edge in ends)
    nodes = {edge.node for edge in ends}
    waiting = list(nodes)
    while waiting:
        for edge in waiting.pop().next_functions:
            if edge[0] is None:
                continue
            found[edge] += 1
            if edge[0] not in nodes:
                nodes.add(edge[0])
                waiting.append(edge[0])
    return found


def entered(tape: Tape, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    """The inputs as the model is given them."""
    if tape.graphs is None:
        return tensors
    return [tape.graphs.enter(f"in{k}", each, False) for k, each in enumerate(tensors)]


def changing(call: Call, changed: Any) -> Call:
    """A call in place; a buffer that it changes is not differentiated, which its change does not allow."""
    if any(each is changed for each in call.operands):
        return call
    return replace(call, weights={name: replace(w, native=None) for name, w in call.weights.items()})


def put_in(tensor: Any) -> Callable[[Any, Any], Any]:
    """What puts the result of an operation in place where it belongs, once it was computed elsewhere."""

    def put(output: Any, new: Any) -> Any:
        with torch.no_grad():
            return tensor.copy_(new)

    return put
