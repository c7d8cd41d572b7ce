"""Modes: a framework, a device and its switches, as data.

`environment` is set before the worker starts, because libraries read it at start-up; every variable
that steers numerics and that a mode does not set is removed, so that the user's shell cannot
change a mode.  `switches` are set in the worker through the framework's own API and read back.
`requires` lists what the machine must have (see `precision.requirements`).
`operand_format` names the format to which the mode lets a kernel round its operands.
`output_format` names the format of the sums that it returns, where that is not float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from precision.cases import match_names


@dataclass(frozen=True)
class Framework:
    """A framework: the module that drives it in a worker, and what to install for it."""

    name: str
    backend: str
    distributions: tuple[str, ...]


FRAMEWORKS: Mapping[str, Framework] = {
    "torch": Framework("torch", "precision.frameworks.torch_backend", ("torch",)),
    "tensorflow": Framework("tensorflow", "precision.frameworks.tensorflow_backend", ("tensorflow", "keras")),
}


@dataclass(frozen=True)
class Mode:
    """A named way to run a framework; see the module's text for the fields."""

    name: str
    title: str
    framework: str
    device: str
    environment: Mapping[str, str] = field(default_factory=dict)
    switches: Mapping[str, Any] = field(default_factory=dict)
    requires: tuple[str, ...] = ()
    operand_format: str = "binary32"
    output_format: str = "binary32"


_NONE: Mapping[str, str] = {}
_CPU = {"CUDA_VISIBLE_DEVICES": ""}

_TORCH_CPU = (
    Mode("torch.cpu", "default", "torch", "cpu", _CPU),
    Mode("torch.cpu.threads1", "one thread", "torch", "cpu", _CPU, {"threads": 1}),
    Mode(
        "torch.cpu.channels_last", "channels_last", "torch", "cpu", _CPU, {"memory_format": "channels_last"}
    ),
    Mode("torch.cpu.no_mkldnn", "oneDNN off", "torch", "cpu", _CPU, {"mkldnn.enabled": False}),
    Mode(
        "torch.cpu.deterministic", "deterministic", "torch", "cpu", _CPU, {"deterministic_algorithms": True}
    ),
    Mode(
        "torch.cpu.bf16",
        "implicit bfloat16",
        "torch",
        "cpu",
        _CPU,
        {"mkldnn.conv.fp32_precision": "bf16", "mkldnn.matmul.fp32_precision": "bf16"},
        ("cpu:bf16",),
        "bfloat16",
    ),
    Mode(
        "torch.cpu.avx2",
        "ISA limited to AVX2",
        "torch",
        "cpu",
        {
            **_CPU,
            "ONEDNN_MAX_CPU_ISA": "AVX2",
            "ATEN_CPU_CAPABILITY": "avx2",
            "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        },
        {},
        ("cpu:avx2",),
    ),
)

_TENSORFLOW_CPU = (
    Mode("tensorflow.cpu", "default", "tensorflow", "cpu", _CPU),
    Mode("tensorflow.cpu.threads1", "one thread", "tensorflow", "cpu", _CPU, {"threads": 1}),
    Mode(
        "tensorflow.cpu.no_onednn",
        "oneDNN off",
        "tensorflow",
        "cpu",
        {**_CPU, "TF_ENABLE_ONEDNN_OPTS": "0"},
        {"onednn": False},
    ),
    Mode("tensorflow.cpu.xla", "XLA (jit_compile)", "tensorflow", "cpu", _CPU, {"jit_compile": True}),
    Mode(
        "tensorflow.cpu.deterministic",
        "op determinism",
        "tensorflow",
        "cpu",
        _CPU,
        {"deterministic_ops": True},
    ),
    Mode(
        "tensorflow.cpu.bf16",
        "implicit bfloat16",
        "tensorflow",
        "cpu",
        {**_CPU, "ONEDNN_DEFAULT_FPMATH_MODE": "BF16"},
        {},
        ("cpu:bf16",),
        "bfloat16",
    ),
    Mode(
        "tensorflow.cpu.avx2",
        "ISA limited to AVX2",
        "tensorflow",
        "cpu",
        {**_CPU, "ONEDNN_MAX_CPU_ISA": "AVX2"},
        {},
        ("cpu:avx2",),
    ),
)


def _torch_cuda(
    suffix: str,
    title: str,
    conv: str = "ieee",
    matmul: str = "",
    environment: Mapping[str, str] = _NONE,
    requires: tuple[str, ...] = (),
    operand_format: str = "",
    output_format: str = "binary32",
    **switches: Any,
) -> Mode:
    """A torch mode on CUDA; conv and matmul (as conv without it): "tf32" or "ieee"."""
    matmul = matmul or conv
    return Mode(
        f"torch.cuda.{suffix}",
        title,
        "torch",
        "cuda",
        # The workspace setting is what deterministic cuBLAS needs; it is harmless elsewhere.
        {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", **environment},
        {
            "cudnn.conv.fp32_precision": conv,
            "cuda.matmul.fp32_precision": matmul,
            "cudnn.benchmark": False,
            "cudnn.deterministic": False,
            **{name.replace("__", "."): value for name, value in switches.items()},
        },
        ("cuda", *requires),
        operand_format or ("tf32" if "tf32" in (conv, matmul) else "binary32"),
        output_format,
    )


def _tensorflow_cuda(
    suffix: str,
    title: str,
    tf32: bool,
    environment: Mapping[str, str] = _NONE,
    operand_format: str = "",
    output_format: str = "binary32",
    **switches: Any,
) -> Mode:
    return Mode(
        f"tensorflow.cuda.{suffix}",
        title,
        "tensorflow",
        "cuda",
        environment,
        {"tensor_float_32": tf32, **switches},
        ("cuda",),
        operand_format or ("tf32" if tf32 else "binary32"),
        output_format,
    )


_DETERMINISTIC: Mapping[str, Any] = {"cudnn__deterministic": True, "deterministic_algorithms": True}
_OVERRIDE = {"NVIDIA_TF32_OVERRIDE": "0"}
# Half of the operands' bits, sums in float32: cuBLAS may not add in half precision.
_HALVES: Mapping[str, Any] = {
    "cuda__matmul__allow_fp16_reduced_precision_reduction": False,
    "cuda__matmul__allow_bf16_reduced_precision_reduction": False,
}

_TORCH_CUDA = (
    _torch_cuda("tf32", "TF32", "tf32"),
    _torch_cuda("tf32.deterministic", "TF32, deterministic", "tf32", **_DETERMINISTIC),
    _torch_cuda("ieee", "TF32 off"),
    _torch_cuda("ieee.deterministic", "TF32 off, deterministic", **_DETERMINISTIC),
    _torch_cuda("conv_tf32", "TF32 in convolutions alone (the default)", "tf32", "ieee"),
    _torch_cuda("matmul_tf32", "TF32 in matrix products alone", "ieee", "tf32"),
    _torch_cuda("tf32_override", "TF32 on, NVIDIA_TF32_OVERRIDE=0", "tf32", "", _OVERRIDE, (), "binary32"),
    _torch_cuda("no_cudnn", "cuDNN off, TF32 off", cudnn__enabled=False),
    _torch_cuda("benchmark", "cuDNN benchmark, TF32", "tf32", cudnn__benchmark=True),
    _torch_cuda("ieee.benchmark", "cuDNN benchmark, TF32 off", cudnn__benchmark=True),
    _torch_cuda("channels_last", "channels_last, TF32", "tf32", memory_format="channels_last"),
    _torch_cuda("ieee.channels_last", "channels_last, TF32 off", memory_format="channels_last"),
    _torch_cuda("ieee.compile", "torch.compile, TF32 off", requires=("compiler",), compile=True),
)

_TENSORFLOW_CUDA = (
    _tensorflow_cuda("tf32", "TF32", True),
    _tensorflow_cuda("tf32.deterministic", "TF32, op determinism", True, deterministic_ops=True),
    _tensorflow_cuda("ieee", "TF32 off", False),
    _tensorflow_cuda("ieee.deterministic", "TF32 off, op determinism", False, deterministic_ops=True),
    _tensorflow_cuda("tf32_override", "TF32 on, NVIDIA_TF32_OVERRIDE=0", True, _OVERRIDE, "binary32"),
    _tensorflow_cuda("no_autotune", "cuDNN autotuning off, TF32", True, {"TF_CUDNN_USE_AUTOTUNE": "0"}),
    _tensorflow_cuda("xla", "XLA (jit_compile), TF32", True, jit_compile=True),
    _tensorflow_cuda("ieee.xla", "XLA (jit_compile), TF32 off", False, jit_compile=True),
)

HALF_MODES: tuple[Mode, ...] = (
    *(
        _torch_cuda(
            suffix,
            f"{words} operands and outputs, float32 sums",
            "ieee",
            "",
            _NONE,
            (),
            name,
            name,
            operands=words,
            **_HALVES,
        )
        for suffix, words, name in (
            ("fp16", "float16", "binary16"),
            ("bf16_operands", "bfloat16", "bfloat16"),
        )
    ),
    *(
        _tensorflow_cuda(suffix, f"{words} operands and outputs", False, _NONE, name, name, operands=words)
        for suffix, words, name in (
            ("fp16", "float16", "binary16"),
            ("bf16_operands", "bfloat16", "bfloat16"),
        )
    ),
    *(
        Mode(
            f"{framework}.cpu.{suffix}",
            f"{words} operands and outputs",
            framework,
            "cpu",
            _CPU,
            {"operands": words},
            (),
            name,
            name,
        )
        for framework in FRAMEWORKS
        for suffix, words, name in (
            ("fp16", "float16", "binary16"),
            ("bf16_operands", "bfloat16", "bfloat16"),
        )
    ),
)
"""Operands and outputs of sums in 16 bits, accumulated in float32: recorded by the probes of the GPU suite.

Their outputs are no float32 results, so the cases of a suite are not scored in them."""

MODES: tuple[Mode, ...] = (*_TORCH_CPU, *_TENSORFLOW_CPU, *_TORCH_CUDA, *_TENSORFLOW_CUDA)

CAPTURE_MODES: tuple[Mode, ...] = (*MODES, *HALF_MODES)
"""Modes that can be captured; those of `MODES` are scored as well."""

ORDER_MODES: tuple[Mode, ...] = (
    *MODES,
    Mode("torch.cpu.compile", "torch.compile", "torch", "cpu", _CPU, {"compile": True}, ("compiler",)),
)
"""Modes whose orders can be revealed: also torch.compile, whose compilations take longer than the calls."""

# Variables that change numerics.  A worker starts without them unless its mode sets them.
STEERING_VARIABLES = frozenset(
    {name for mode in CAPTURE_MODES for name in mode.environment}
    | {
        "DNNL_DEFAULT_FPMATH_MODE",
        "DNNL_MAX_CPU_ISA",
        "KMP_AFFINITY",
        "MKL_CBWR",
        "MKL_DYNAMIC",
        "MKL_NUM_THREADS",
        "NVIDIA_TF32_OVERRIDE",
        "OMP_NUM_THREADS",
        "TF_CUDNN_DETERMINISTIC",
        "TF_CUDNN_USE_FRONTEND",
        "TF_DETERMINISTIC_OPS",
        "TF_NUM_INTEROP_THREADS",
        "TF_NUM_INTRAOP_THREADS",
        "TF_XLA_FLAGS",
        "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
        "XLA_FLAGS",
    }
)


def select_modes(patterns: str | None, known: tuple[Mode, ...] = MODES) -> tuple[Mode, ...]:
    """Return the modes whose name matches one of the comma-separated globs (all for None)."""
    return tuple(match_names(known, patterns, "mode", lambda mode: mode.name))
