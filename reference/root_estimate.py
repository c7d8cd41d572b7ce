"""x86's own estimate of 1/sqrt, which neither Python nor NumPy has.

`rsqrtps` is a table in the processor: its relative error is at most 1.5 * 2**-12 (Intel 2024, "Intel 64 and
IA-32 Architectures Software Developer's Manual", vol. 2B, RSQRTPS), but its bits differ between makers.  So a
result that was computed with it can be replayed only on the kind of processor that computed it.
"""

from __future__ import annotations

import platform
from typing import Any

from numba.core import types
from numba.core.cgutils import ir
from numba.extending import intrinsic

HAS_ESTIMATE = platform.machine().lower() in ("x86_64", "amd64", "i386", "i686")
"""Whether this processor has `rsqrtps`."""


def _rsqrt_estimate(typing_context: Any, a: Any) -> Any:
    """The processor's own estimate of 1/sqrt(a), float32, inside a compiled kernel; x86 only."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = ir.VectorType(ir.FloatType(), 4)
        name = "llvm.x86.sse.rsqrt.ss"
        function = builder.module.globals.get(name)
        if function is None:
            function = ir.Function(builder.module, ir.FunctionType(vector, [vector]), name)
        first = ir.Constant(ir.IntType(32), 0)
        packed = builder.insert_element(ir.Constant(vector, ir.Undefined), arguments[0], first)
        return builder.extract_element(builder.call(function, [packed]), first)

    return types.float32(types.float32), generate


rsqrt_estimate: Any = intrinsic(_rsqrt_estimate)
