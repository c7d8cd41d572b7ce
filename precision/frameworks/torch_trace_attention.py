"""PyTorch's attention and embeddings as declarations, and the inside of `nn.MultiheadAttention`.

That module's function projects the input by one packed matrix, and its attention is one fused call or, where
the weights of the attention are asked for, five. Here it is always five layers, as other frameworks have
them: the projections of query, key and value, the attention, the projection of its output. What they compute
is PyTorch's own: a projection is a part of the packed product.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from precision.tracing.attention import ATTENTION
from precision.tracing.tape import UNKNOWN, Call, Weight

if TYPE_CHECKING:
    from precision.frameworks.torch_trace import Recorder

Given = Mapping[str, Any]
Weigh = Callable[[Any], Weight]
HEADS = "multi_head_attention_forward"
_PACKED, _ASKED = "_in_projection_packed", "has_torch_function"
_MOVES = frozenset({"transpose", "permute", "view", "reshape", "unsqueeze", "squeeze", "mean"})
_PARTS = ("query", "key", "value")


def embedding_call(args: Any, given: Given, weigh: Weigh) -> Call | None:
    """F.embedding: rows of a table; one that rescales its rows as it is read is not known."""
    names = ("input", "weight", "padding_idx", "max_norm")
    found = {**dict(zip(names, args, strict=False)), **given}
    if found.get("max_norm") is not None or not isinstance(found.get("input"), torch.Tensor):
        return None
    indices = found["input"]
    held = {"weight": weigh(found["weight"]), "indices": Weight(lambda: _array(indices))}
    return Call("embedding", (indices,), {}, held, "embedding")


def attention_call(args: Any, given: Given, weigh: Weigh) -> Call | None:
    """F.scaled_dot_product_attention, without dropout and without groups of heads."""
    names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")
    found = {**dict(zip(names, args, strict=False)), **given}
    q, k, v = (found[name] for name in _PARTS)
    if found.get("dropout_p") or found.get("enable_gqa") or not (q.ndim == k.ndim == v.ndim):
        return None
    scale = found.get("scale")
    mask = None if found.get("attn_mask") is None else _added(found["attn_mask"])
    if found.get("is_causal"):
        mask = _added(torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril())
    return _call((q, k, v), q.shape[-1] ** -0.5 if scale is None else float(scale), mask)


BUILDERS = {"embedding": embedding_call, "scaled_dot_product_attention": attention_call}


def _call(operands: tuple[Any, ...], scale: float, mask: NDArray[np.float32] | None) -> Call:
    held = {} if mask is None else {"mask": Weight(lambda: mask)}
    params = {"scale": float(scale)}
    if operands[0].ndim == 4:
        params["heads"] = int(operands[0].shape[1])
    return Call(ATTENTION, operands, params, held, "scaled_dot_product_attention")


def _rows(weight: Weight, packed: Any, rows: slice) -> Weight:
    """A part of a packed matrix; what is differentiated is the whole of it."""
    return Weight(weight.get, weight.put, packed, lambda array: array[rows], rows=f"{rows.start}:{rows.stop}")


def _array(tensor: Any) -> NDArray[np.float32]:
    return np.array(tensor.detach().float().cpu().numpy(), np.float32, order="C", copy=True)


def _added(mask: Any) -> NDArray[np.float32]:
    """A mask as numbers that are added to the scores: a boolean one is true where there is attention."""
    if mask.dtype == torch.bool:
        seen = mask.detach().cpu().numpy()
        return np.where(seen, np.float32(0), np.float32(-np.inf))
    return _array(mask)


@contextmanager
def entered(heads: Heads) -> Iterator[None]:
    """The function's body runs, rather than a call of it: overrides of its first question are passed by."""
    asked, packed = getattr(F, _ASKED), getattr(F, _PACKED)

    def passed_by(tensors: Any) -> bool:
        setattr(F, _ASKED, asked)
        return False

    setattr(F, _ASKED, passed_by)
    setattr(F, _PACKED, heads.packed)
    try:
        yield
    finally:
        setattr(F, _ASKED, asked)
        setattr(F, _PACKED, packed)


class Heads:
    """One call of the function; `handle` takes what is called within it."""

    def __init__(self, recorder: Recorder, func: Any, args: Any, given: Given, batch_first: bool) -> None:
        found = inspect.signature(func).bind(*args, **given).arguments
        query = found["query"]
        self.recorder, self.count = recorder, int(found["num_heads"])
        self.batch = int(query.shape[1]) if query.ndim == 3 else 1
        self.turned = batch_first and query.ndim == 3
        self.out = found.get("out_proj_weight")
        self._original = getattr(F, _PACKED)
        self._named = 0
        self._core: dict[str, Any] = {}

    def packed(self, q: Any, k: Any, v: Any, w: Any, b: Any = None) -> list[Any]:
        """The three projections by one matrix, recorded as three layers."""
        recorder = self.recorder
        with recorder.silence():
            computed = self._original(q, k, v, w, b)
            results = []
            for at, (part, x) in enumerate(zip(_PARTS, (q, k, v), strict=True)):
                width = q.shape[-1]
                rows = slice(at * width, (at + 1) * width)
                operand = self._own(x)

                def compute(new: tuple[Any, ...], at: int = at, x: Any = x, operand: Any = operand) -> Any:
                    if new[0] is operand:
                        return self._turn(computed[at])
                    fed = self._back(new[0], x)
                    given = [fed if each is x else each for each in (q, k, v)]
                    return self._turn(self._original(*given, w, b)[at])

                held = {"weight": _rows(recorder.weight(w[rows]), w, rows)}
                if b is not None:
                    held["bias"] = _rows(recorder.weight(b[rows]), b, rows)
                call = Call("linear", (operand,), {}, held, "linear")
                named = recorder.named(part)
                found = recorder.tape.record(call, named, compute, False, False, fixed=[operand])
                results.append(recorder.moved(self._back(found, computed[at]).contiguous(), [found]))
        return results

    def handle(self, func: Any, name: str, args: Any, given: Mapping[str, Any]) -> Any:
        """The result of a call within, NotImplemented where it is one like any other."""
        if name in _MOVES:
            return self._moved(func, args, given)
        if name == "linear":
            return self._linear(func, args, given)
        core = self._core
        if name in ("mul", "__mul__") and not core and len(args) > 1 and isinstance(args[1], float):
            self._core = {"query": args[0], "scale": args[1], "steps": []}
            step = True
        elif core and name in ("bmm", "baddbmm") and "key" not in core:
            core |= {"key": args[-1], "mask": args[0] if name == "baddbmm" else None}
            step = True
        else:
            step = bool(core) and name == "softmax"
        if step:
            return self._step(func, args, given)
        if core and name == "bmm":
            return self._attended(func, args, given)
        self._core = {}
        return NotImplemented

    def _moved(self, func: Any, args: Any, given: Any) -> Any:
        return self.recorder.moved(
            func(*args, **given), [each for each in args if isinstance(each, torch.Tensor)]
        )

    def _step(self, func: Any, args: Any, given: Any) -> Any:
        """A step of an attention whose layer is recorded at its end."""
        result = self._moved(func, args, given)
        self._core["steps"].append((func, args, given, result))
        return result

    def _linear(self, func: Any, args: Any, given: Mapping[str, Any]) -> Any:
        x, weight, bias = (*args, given.get("bias"))[:3]
        operand = self._own(x)
        last = weight is self.out
        name = "out_proj" if last else _PARTS[self._named % 3]
        self._named += not last

        def compute(new: tuple[Any, ...]) -> Any:
            fed = x if new[0] is operand else self._back(new[0], x)
            return self._turn(func(fed, weight, bias))

        held = {"weight": self.recorder.weight(weight)}
        if bias is not None:
            held["bias"] = self.recorder.weight(bias)
        call = Call("linear", (operand,), {}, held, "linear")
        named = self.recorder.named(name)
        found = self.recorder.tape.record(call, named, compute, False, False, fixed=[operand])
        return self.recorder.moved(self._back(found, x).contiguous(), [found])

    def _attended(self, func: Any, args: Any, given: Any) -> Any:
        """The end of the attention: its layer is recorded, from query, key and value."""
        core, steps, value = self._core, self._core["steps"], args[1]
        self._core = {}
        keys = self.recorder.moved(core["key"].transpose(-2, -1), [core["key"]])
        parts = [self.recorder.moved(self._split(each), [each]) for each in (core["query"], keys, value)]

        def compute(new: tuple[Any, ...]) -> Any:
            swap = {}
            for old, own, fed in zip((core["query"], keys, value), parts, new, strict=True):
                if own is not fed:
                    swap[id(old)] = fed.reshape(old.shape)
            if id(keys) in swap:
                swap[id(core["key"])] = swap.pop(id(keys)).transpose(-2, -1)
            for step, taken, named, result in steps if swap else ():
                again = step(*(swap.get(id(each), each) for each in taken), **named)
                swap[id(result)] = again
            return self._split(func(*(swap.get(id(each), each) for each in args), **given))

        mask = core["mask"]
        added = None if mask is None else _added(mask)
        if added is not None:
            added = added.reshape(-1, self.count, *added.shape[1:]) if len(added) > 1 else added[None]
        call = _call(tuple(parts), core["scale"], added)
        if not all(map(self.recorder.tape.frame.is_number, parts)):
            call = Call(UNKNOWN, tuple(parts), detail="attention")
        named = self.recorder.named(ATTENTION)
        found = self.recorder.tape.record(call, named, compute, False, False, fixed=parts)
        return self.recorder.moved(found.reshape(-1, *found.shape[2:]), [found])

    def _split(self, tensor: Any) -> Any:
        """(N heads, T, width) as (N, heads, T, width)."""
        return tensor.reshape(-1, self.count, *tensor.shape[1:])

    def _own(self, x: Any) -> Any:
        """The operand of a projection as the module takes its input: (N, T, width) if batches come first."""
        return self.recorder.moved(self._turn(x), [x])

    def _turn(self, x: Any) -> Any:
        shaped = x.reshape(-1, self.batch, x.shape[-1])
        return shaped.transpose(0, 1) if self.turned else shaped

    def _back(self, found: Any, like: Any) -> Any:
        """The way back: (T, N, width), or (T N, width) where the original is."""
        shaped = found.transpose(0, 1) if self.turned else found
        return shaped.reshape(*like.shape[:-1], shaped.shape[-1])
