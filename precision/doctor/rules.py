"""Switches that contradict each other, or do not what their names say: rules as data, each with its mend.

A rule looks at the facts as they are in this shell and says what is wrong, or nothing. `device` says where
it has an effect: rules of CUDA are told without a GPU too, for programs are carried to machines with one.
Sources: PyTorch, docs "Numerical accuracy" and "CUDA semantics", issue 179445 (generic "ieee"); cuBLAS
documentation, "Results reproducibility"; TensorFlow, docs of tf.config.experimental; oneDNN, developer guide,
"Floating-point Math Mode" and "CPU Dispatcher Control".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from precision.doctor.facts import Facts


@dataclass(frozen=True)
class Rule:
    """finds: what is wrong by the facts, in one line, or an empty string. device: "cuda", "cpu" or "any"."""

    name: str
    device: str
    finds: Callable[[Facts], str]
    mend: str


@dataclass(frozen=True)
class Contradiction:
    """A rule that found something. here: whether it has an effect on this machine."""

    rule: str
    finding: str
    mend: str
    here: bool


def contradictions(facts: Facts) -> tuple[Contradiction, ...]:
    """What the rules find, those that have an effect on this machine first."""
    found = []
    for rule in RULES:
        finding = rule.finds(facts)
        if finding:
            here = rule.device != "cuda" or facts.driver
            found.append(Contradiction(rule.name, finding, rule.mend, here))
    return tuple(sorted(found, key=lambda each: not each.here))


def _tf32_within_torch(facts: Facts) -> str:
    torch = facts.known("torch")
    if torch is None:
        return ""
    conv, matmul = torch.switch("cudnn.conv.fp32_precision"), torch.switch("cuda.matmul.fp32_precision")
    conv_on = conv == "tf32" or (conv in (None, "none") and bool(torch.switch("cudnn.allow_tf32")))
    matmul_on = matmul == "tf32" or bool(torch.switch("cuda.matmul.allow_tf32"))
    if conv_on == matmul_on:
        return ""
    on, off = ("convolutions (cuDNN)", "matrix products") if conv_on else ("matrix products", "convolutions")
    return (
        f"PyTorch's default: TF32 is on for {on} and off for {off}, so layers of one model round differently"
    )


def _tf32_between(facts: Facts) -> str:
    torch, tensorflow = facts.known("torch"), facts.known("tensorflow")
    if torch is None or tensorflow is None:
        return ""
    theirs = bool(tensorflow.switch("tensor_float_32"))
    ours = torch.switch("cuda.matmul.fp32_precision") == "tf32" or bool(
        torch.switch("cuda.matmul.allow_tf32")
    )
    if theirs == ours:
        return ""
    words = ("on", "off") if theirs else ("off", "on")
    return f"TF32 for matrix products is {words[0]} in TensorFlow and {words[1]} in PyTorch"


def _deterministic_workspace(facts: Facts) -> str:
    torch = facts.known("torch")
    value = facts.environment.get("CUBLAS_WORKSPACE_CONFIG", "")
    if torch is None or value in (":4096:8", ":16:8"):
        return ""
    said = f"is {value!r}" if value else "is not set"
    return (
        f"torch.use_deterministic_algorithms(True) needs CUBLAS_WORKSPACE_CONFIG=:4096:8 or :16:8, which "
        f"{said}: matrix products then raise, or differ between streams"
    )


def _generic_ieee(facts: Facts) -> str:
    torch = facts.known("torch")
    missed = torch.facts.get("generic_ieee_misses") if torch else None
    if not missed:
        return ""
    return f'torch.backends.fp32_precision = "ieee" was read back as "tf32" in {", ".join(missed)}'


def _mixed_names(facts: Facts) -> str:
    torch = facts.known("torch")
    if torch is None or not torch.facts.get("mixing_raises"):
        return ""
    return "after a new name (fp32_precision) is set, reading an old one (allow_tf32) raises a RuntimeError"


def _variable(name: str, says: Callable[[str], str]) -> Callable[[Facts], str]:
    def finds(facts: Facts) -> str:
        value = facts.environment.get(name)
        return "" if value is None else f"{name}={value} in this shell: {says(value)}"

    return finds


def _two_names(facts: Facts) -> str:
    found = []
    for rest in ("DEFAULT_FPMATH_MODE", "MAX_CPU_ISA"):
        new, old = (facts.environment.get(f"{prefix}_{rest}") for prefix in ("ONEDNN", "DNNL"))
        if old is not None and new is not None and old != new:
            found.append(f"ONEDNN_{rest}={new} and DNNL_{rest}={old}")
    return f"two names of one switch with two values: {'; '.join(found)}" if found else ""


def _threads(facts: Facts) -> str:
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")
    given = {name: facts.environment[name] for name in names if name in facts.environment}
    if len(set(given.values())) > 1:
        return f"{', '.join(f'{k}={v}' for k, v in given.items())}: sums are split in two ways"
    if given:
        listed = ", ".join(f"{k}={v}" for k, v in given.items())
        return f"{listed} in this shell: where a sum is split over threads, its bits depend on it"
    return ""


def _isa(facts: Facts) -> str:
    oned = facts.environment.get("ONEDNN_MAX_CPU_ISA") or facts.environment.get("DNNL_MAX_CPU_ISA")
    aten = facts.environment.get("ATEN_CPU_CAPABILITY")
    if bool(oned) == bool(aten):
        return ""
    name, value = ("ONEDNN_MAX_CPU_ISA", oned) if oned else ("ATEN_CPU_CAPABILITY", aten)
    other = "PyTorch's own kernels" if oned else "oneDNN's kernels"
    return f"{name}={value} in this shell limits one library: {other} still use all that the processor has"


def _no_bf16(facts: Facts) -> str:
    mode = facts.environment.get("ONEDNN_DEFAULT_FPMATH_MODE", "").upper()
    if mode not in ("BF16", "TF32", "ANY", "F16"):
        return ""
    if facts.isa.get("amx_bf16") or facts.isa.get("avx512_bf16"):
        return f"ONEDNN_DEFAULT_FPMATH_MODE={mode} in this shell: oneDNN may round operands of float32 layers"
    return (
        f"ONEDNN_DEFAULT_FPMATH_MODE={mode} on a processor without such a unit: it changes "
        "nothing here and much elsewhere"
    )


_UNSET = "unset it; a mode sets what it needs by itself"

RULES: tuple[Rule, ...] = (
    Rule(
        "TF32 within PyTorch", "cuda", _tf32_within_torch,
        "set both: torch.backends.cudnn.conv.fp32_precision and torch.backends.cuda.matmul.fp32_precision = "
        '"ieee" (or "tf32"), and read them back',
    ),
    Rule(
        "TF32 between frameworks", "cuda", _tf32_between,
        "tf.config.experimental.enable_tensor_float_32_execution(False), or allow it in PyTorch too",
    ),
    Rule(
        "deterministic without workspace", "cuda", _deterministic_workspace,
        "export CUBLAS_WORKSPACE_CONFIG=:4096:8 before the program starts",
    ),
    Rule(
        "generic ieee", "cuda", _generic_ieee,
        "set cudnn.conv, cudnn.rnn and cuda.matmul .fp32_precision one by one, and read each back",
    ),
    Rule("old and new names", "any", _mixed_names, "use either allow_tf32 or fp32_precision in one program"),
    Rule(
        "TF32 override", "cuda",
        _variable(
            "NVIDIA_TF32_OVERRIDE",
            lambda v: "TF32 is off in cuBLAS and cuDNN whatever the switches say, and they read back as on"
            if v == "0"
            else "only 0 is documented, and it turns TF32 off",
        ),
        _UNSET,
    ),
    Rule(
        "cuBLAS override", "cuda",
        _variable(
            "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
            lambda v: "PyTorch starts with TF32 allowed for matrix products" if v != "0" else "no effect",
        ),
        _UNSET,
    ),
    Rule(
        "oneDNN in TensorFlow", "cpu",
        _variable(
            "TF_ENABLE_ONEDNN_OPTS",
            lambda v: "TensorFlow runs Eigen's kernels" if v == "0" else "TensorFlow runs oneDNN's kernels",
        ),
        _UNSET,
    ),
    Rule("oneDNN's floating-point mode", "cpu", _no_bf16, _UNSET),
    Rule("two names of oneDNN", "cpu", _two_names, "unset the old name, DNNL_…"),
    Rule("threads", "cpu", _threads, "set all of them to one number, or none"),
    Rule("instruction sets", "cpu", _isa, "set ONEDNN_MAX_CPU_ISA, ATEN_CPU_CAPABILITY and "
         "MKL_ENABLE_INSTRUCTIONS together"),
    Rule(
        "MKL's reproducibility mode", "cpu",
        _variable("MKL_CBWR", lambda v: "MKL runs other kernels than by default"), _UNSET,
    ),
    Rule(
        "old determinism of TensorFlow", "any",
        _variable(
            "TF_DETERMINISTIC_OPS", lambda v: "op determinism is on before any program asks for it"
            if v not in ("0", "false") else "no effect",
        ),
        "call tf.config.experimental.enable_op_determinism() in the program instead",
    ),
    Rule(
        "XLA's flags", "any",
        _variable(
            "XLA_FLAGS",
            lambda v: "fast math changes values" if "fast_math" in v else "compiled functions may differ",
        ),
        _UNSET,
    ),
    Rule(
        "automatic XLA", "any",
        _variable("TF_XLA_FLAGS", lambda v: "functions may be compiled that did not ask for it"), _UNSET,
    ),
    Rule(
        "hidden GPUs", "cuda",
        _variable(
            "CUDA_VISIBLE_DEVICES",
            lambda v: "no GPU is seen by a program" if v in ("", "-1") else f"programs see the GPUs {v}",
        ),
        "unset it to use all GPUs",
    ),
)  # fmt: skip
