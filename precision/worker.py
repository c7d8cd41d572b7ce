"""The worker: one fresh process that runs cases in one mode (`python -m precision.worker JOB`).

It answers through files, never through its output: before each case it writes `current.json`; after each, the
outputs and then `CASE.json` with their checksum, all in the folder that the job names.  Whatever
a library prints goes to the log, where the names of oneDNN's kernels are found.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from precision.capture import read_tensors, write_atomically, write_tensors
from precision.cases import VARIANTS, Case, kept_elements, load_probes, load_suite
from precision.errors import CannotRun, UserError
from precision.inputs import Float32, check_arrays, checksum
from precision.recording import RecordedProbe
from precision.sampling import output_sha256, sample_index

GO = "go"
"""The file that a held worker waits for before its first case, its framework loaded and set up."""
_AFFINITY = hasattr(os, "sched_getaffinity")


def main(job_path: str) -> int:
    """Run the job; return 0 when every case was answered, also where the answer is an error."""
    die_with_parent()
    job = json.loads(Path(job_path).read_text(encoding="utf-8"))
    folder = Path(job["folder"])
    try:
        backend = importlib.import_module(job["backend"])
        read_back = backend.configure(job["device"], job["switches"])
    except CannotRun as reason:
        _write(folder / "start.json", {"status": "not run", "reason": str(reason)})
        return 0
    wrong = [
        f"{name}: asked {value!r}, read back {read_back.get(name)!r}"
        for name, value in job["switches"].items()
        if read_back.get(name) != value
    ]
    if wrong:
        _write(
            folder / "start.json", {"status": "error", "reason": "a switch did not take; " + "; ".join(wrong)}
        )
        return 0
    versions = {**_versions(job["distributions"]), **backend.versions()}
    _write(folder / "start.json", {"status": "run", "read_back": read_back, "versions": versions})
    cases = {case.id: case for case in load_suite(job["suite"])}
    probes = {probe.id: probe for probe in load_probes(job["suite"])}
    while job.get("held") and not (folder / GO).exists():
        time.sleep(0.02)
    for asked in job["cases"]:
        _write(folder / "current.json", {"case": asked})
        if asked in probes:
            answer = _run_probe(backend, probes[asked], job)
        else:
            answer = _run_case(backend, cases[asked], job)
        _write(folder / f"{asked}.json", answer)
    return 0


def die_with_parent() -> None:
    # Linux only: a worker whose parent was killed outright must not go on writing into its folder.
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def _run_case(backend: Any, case: Case, job: Mapping[str, Any]) -> dict[str, Any]:
    log = Path(job["log"])
    start = _log_size(log)
    try:
        outputs: dict[str, Float32] = {}
        inputs: dict[str, str] = {}
        seconds = 0.0
        for variant in VARIANTS:
            arrays = _arrays(case, variant, job.get("inputs"))
            inputs[variant] = checksum(arrays)
            params = case.call(job["framework"], variant)
            outputs[variant] = _checked(backend.run(case.op, params, arrays))
            if variant == "data":
                # Once more: a call that does not repeat itself must not pass by its better result.
                began = time.perf_counter()
                again = _checked(backend.run(case.op, params, arrays))
                seconds = time.perf_counter() - began
                if again.tobytes() != outputs["data"].tobytes():
                    outputs["repeat"] = again
        name = f"{case.id}.safetensors"
        kept, whole = _kept(case.id, outputs, kept_elements(job["suite"]))
        sha256 = write_tensors(Path(job["folder"]) / name, kept)
        kernels = _kernels(backend, case, job, log, start)
    except Exception as error:
        # Any failure of a framework is that cell's answer; a lost worker is the parent's to see.
        return {"status": "error", "reason": one_line(error)}
    return {
        "status": "ok",
        "file": name,
        "sha256": sha256,
        "inputs": inputs,
        "fingerprint": case.fingerprint(),
        # A time that other processes had a part in is none.
        "seconds": seconds if job.get("alone", True) else None,
        "repeats": 2,
        "distinct": 2 if "repeat" in outputs else 1,
        **whole,
        **kernels,
    }


def _run_probe(backend: Any, probe: RecordedProbe, job: Mapping[str, Any]) -> dict[str, Any]:
    log = Path(job["log"])
    start = _log_size(log)
    began = time.perf_counter()
    try:
        tensors, notes = probe.record(backend)
        name = f"{probe.id}.safetensors"
        sha256 = write_tensors(Path(job["folder"]) / name, tensors)
    except Exception as error:
        return {"status": "error", "reason": one_line(error)}
    return {
        "status": "ok",
        "kind": "probe",
        "file": name,
        "sha256": sha256,
        "fingerprint": probe.fingerprint(),
        "seconds": time.perf_counter() - began if job.get("alone", True) else None,
        "notes": notes,
        **_onednn(log, start),
    }


def _kept(
    case_id: str, outputs: Mapping[str, Float32], limits: tuple[int, int] | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the tensors to keep, and what is told of whole outputs where only samples are kept."""
    shape = outputs["data"].shape
    index = None if limits is None else sample_index(case_id, shape, *limits)
    if index is None or any(output.shape != shape for output in outputs.values()):
        return dict(outputs), {}
    samples: dict[str, Any] = {name: output.reshape(-1)[index] for name, output in outputs.items()}
    checksums = {name: output_sha256(output) for name, output in outputs.items()}
    return {**samples, "index": index}, {"whole": {"shape": list(shape), "sha256": checksums}}


def _kernels(backend: Any, case: Case, job: Mapping[str, Any], log: Path, start: int) -> dict[str, Any]:
    """Return the kernels that ran: from oneDNN's log, or, on a GPU, from the framework's profiler."""
    found = _onednn(log, start)
    if job["device"] == "cpu":
        return found
    try:
        arrays = _arrays(case, "data", job.get("inputs"))
        names = backend.kernels(case.op, case.call(job["framework"], "data"), arrays)
    except Exception as error:
        # A profiler that is not allowed or not there takes nothing from the outputs.
        return {**found, "kernels_reason": one_line(error)}
    return {**found, "kernels": names}


def _arrays(case: Case, variant: str, inputs: Mapping[str, Any] | None) -> dict[str, Float32]:
    """Return the arrays as handed over, or else made from the seed: both give the same bits."""
    if inputs is None:
        return case.make(variant)
    name = f"{case.id}.{variant}.safetensors"
    arrays = read_tensors(Path(inputs["folder"]), name, inputs["sha256"][name])
    check_arrays(case.id, case.declared_arrays(variant), arrays)
    return arrays


def _checked(output: Any) -> Float32:
    if not isinstance(output, np.ndarray) or output.dtype != np.float32:
        raise TypeError(f"a driver returns a float32 array; got {getattr(output, 'dtype', type(output))}")
    return np.asarray(output, order="C")  # ascontiguousarray would give a number one axis


def one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:400]}"


def _versions(distributions: list[str]) -> dict[str, str]:
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in ["numpy", *distributions]:
        found[f"distribution {name}"] = installed(name)
    return found | {"logical processors": str(len(os.sched_getaffinity(0)) if _AFFINITY else os.cpu_count())}


def installed(distribution: str) -> str:
    """Return the version of an installed distribution, or a word where it has another name."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not known"


def _log_size(log: Path) -> int:
    ctypes.CDLL(None).fflush(None)  # C libraries print through a buffer that Python does not flush
    return log.stat().st_size if log.exists() else 0


def _onednn(log: Path, start: int) -> dict[str, Any]:
    """Return oneDNN's ISA and the kernels that ran since `start`, as its verbose lines name them."""
    _log_size(log)
    if not log.exists():
        return {"kernels": []}
    with log.open("rb") as stream:
        isa = _find_isa(stream.read(1 << 16))
        stream.seek(start)
        lines = stream.read(1 << 22).decode("utf-8", "replace").splitlines()
    kernels: dict[str, None] = {}
    for line in lines:
        fields = line.split(",")
        if (
            fields[0] == "onednn_verbose"
            and len(fields) > 8
            and fields[3] == "exec"
            and fields[5] != "reorder"
        ):
            precision = " fpmath:bf16" if "fpmath:bf16" in line else ""
            kernels[f"{fields[5]} {fields[6]}".strip() + precision] = None
    return {"kernels": list(kernels), **({"onednn isa": isa} if isa else {})}


def _find_isa(head: bytes) -> str:
    for line in head.decode("utf-8", "replace").splitlines():
        if line.startswith("onednn_verbose") and ",isa:" in line:
            return line.partition(",isa:")[2]
    return ""


def _write(path: Path, content: Mapping[str, Any]) -> None:
    write_atomically(path, json.dumps(content).encode())


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1]))
    except UserError as error:
        sys.exit(f"precision worker: {error}")
