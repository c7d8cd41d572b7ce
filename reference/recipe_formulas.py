"""Formulas written as text and evaluated operation by operation, each rounded once to the format of its
operands.

    "a = r * w; c = fma(-m, a, b); fma(x, a, c)"

Steps are separated by semicolons; the last one is the value.  `+ - * /` are IEEE 754's operations on float32,
or on float64 where an operand is; -, sqrt and maximum likewise; fma(a, b, c) rounds once; wide(a) converts to
float64 and single(a) rounds to float32.  estimate(a) is the processor's own estimate of 1/sqrt(a), and
newton(a) that root as Eigen's vector code has it: y + (y / 2)(1 - (a y) y) with y = estimate(a), and the
rounded quotient in elements that fill no vector.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from reference.jit import compiled
from reference.replay_kernels import fma
from reference.root_estimate import HAS_ESTIMATE, rsqrt_estimate

Array = npt.NDArray[Any]
Names = Mapping[str, Any]

_OPERATIONS: Mapping[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
}


@compiled
def _fill_fma(a: Any, b: Any, c: Any, out: Any) -> None:
    for i in range(out.size):
        out[i] = fma(a[i], b[i], c[i])


@compiled
def _fill_newton(a: Any, packed: Any, out: Any) -> None:
    half, one = np.float32(0.5), np.float32(1.0)
    for i in range(a.size):
        if packed[i]:
            y = rsqrt_estimate(a[i])
            out[i] = y + (y * half) * (one - (a[i] * y) * y)
        else:
            out[i] = one / np.sqrt(a[i])


def fused(a: Any, b: Any, c: Any) -> Array:
    """round(a b + c) for float32 arrays that broadcast."""
    shape = np.broadcast_shapes(np.shape(a), np.shape(b), np.shape(c))
    factors = [np.ascontiguousarray(np.broadcast_to(np.asarray(z, np.float32), shape)) for z in (a, b, c)]
    out = np.empty(shape, np.float32)
    flat = [factor.reshape(-1) for factor in factors]
    _fill_fma(flat[0], flat[1], flat[2], out.reshape(-1))
    return out


@compiled
def _fill_estimate(a: Any, out: Any) -> None:
    for i in range(a.size):
        out[i] = rsqrt_estimate(a[i])


def estimated_root(a: Any) -> Array:
    """The processor's estimate of 1/sqrt of a float32 array.  Raises ValueError where there is none."""
    _check_estimate()
    flat = np.ascontiguousarray(a, np.float32)
    out = np.empty(flat.shape, np.float32)
    _fill_estimate(flat.reshape(-1), out.reshape(-1))
    return out


def _check_estimate() -> None:
    if not HAS_ESTIMATE:
        raise ValueError(
            "a root from rsqrtps can be replayed only on an x86 processor, got another: "
            "replay it on the machine that computed it"
        )


def newton_root(a: Array, packed: Array) -> Array:
    """1/sqrt of a float32 array, one Newton step from the processor's estimate where `packed` says so.

    Raises ValueError on a processor without the estimate.
    """
    _check_estimate()
    out = np.empty(a.shape, np.float32)
    flat = np.ascontiguousarray(np.broadcast_to(packed, a.shape)).reshape(-1)
    _fill_newton(np.ascontiguousarray(a, np.float32).reshape(-1), flat, out.reshape(-1))
    return out


_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "fma": fused,
    "sqrt": np.sqrt,
    "maximum": np.maximum,
    "estimate": estimated_root,
    "wide": lambda a: np.asarray(a, np.float64),
    "single": lambda a: np.asarray(a, np.float32),
}


@lru_cache(maxsize=1024)
def _parsed(text: str) -> tuple[tuple[str, ast.expr], ...]:
    steps: list[tuple[str, ast.expr]] = []
    try:
        for step in text.split(";"):
            statement = ast.parse(step.strip(), mode="exec").body[0]
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                steps.append((statement.targets[0].id, statement.value))
            elif isinstance(statement, ast.Expr):
                steps.append(("", statement.value))
            else:
                raise SyntaxError
    except (SyntaxError, IndexError):
        raise ValueError(
            f"a formula is steps such as 'a = r * w; x * a + b', got {text!r}: write it so"
        ) from None
    return tuple(steps)


def names_in(text: str) -> set[str]:
    """The names that a formula reads and does not set, functions left out."""
    found: set[str] = set()
    known: set[str] = set()
    for target, expression in _parsed(text):
        names = {node.id for node in ast.walk(expression) if isinstance(node, ast.Name)}
        found |= names - known - set(_FUNCTIONS) - {"newton"}
        known.add(target)
    return found


def assigned(name: str, text: str) -> str:
    """The steps of a formula with its value under a name: "k = 1 / n; v = q * k"."""
    *steps, last = text.split("; ")
    return "; ".join([*steps, f"{name} = {last}"])


class _Unfused(ast.NodeTransformer):
    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id == "fma":
            a, b, c = node.args
            return ast.BinOp(ast.BinOp(a, ast.Mult(), b), ast.Add(), c)
        return node


def unfused(text: str) -> str:
    """The formula with every fma(a, b, c) as a * b + c, as a compiler without contraction makes it."""
    steps = [
        (f"{target} = " if target else "") + ast.unparse(_Unfused().visit(deepcopy(expression)))
        for target, expression in _parsed(text)
    ]
    return "; ".join(steps)


def evaluate(text: str, names: Names, packed: Array | None = None) -> Array:
    """The value of a formula.  Raises ValueError for an unknown name or a construct that is no formula."""
    functions = {
        **_FUNCTIONS,
        "newton": lambda a: newton_root(a, np.array(True) if packed is None else packed),
    }
    known = dict(names)
    value: Any = None
    with np.errstate(all="ignore"):  # a formula that does not fit may divide by zero: that is its value
        for target, expression in _parsed(text):
            value = _value(expression, known, functions, text)
            known[target] = value
    return np.asarray(value)


def _value(node: ast.expr, names: Names, functions: Mapping[str, Callable[..., Any]], text: str) -> Any:
    if isinstance(node, ast.Name) and node.id in names:
        return names[node.id]
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return np.negative(_value(node.operand, names, functions, text))
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        left, right = (_value(side, names, functions, text) for side in (node.left, node.right))
        return _OPERATIONS[type(node.op)](left, right)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in functions:
        return functions[node.func.id](*(_value(a, names, functions, text) for a in node.args))
    raise ValueError(
        f"a formula has the names {', '.join(sorted(names))}, + - * / and {', '.join(functions)}; "
        f"got {ast.unparse(node)!r} in {text!r}: correct it"
    )
