"""What TensorFlow tells of itself in this shell: libraries, devices, and how its switches stand by default.

oneDNN's version is in what the library prints when it runs first: see `precision.doctor.facts`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import config as framework_config
from tensorflow.python.util import _pywrap_util_port as build_info

from precision.frameworks.nvidia import nvidia_versions


def facts() -> dict[str, Any]:
    """Return versions, devices and switches, after one convolution that makes oneDNN name itself."""
    build = tf.sysconfig.get_build_info()
    built = str(build.get("cuda_version")) if build.get("is_cuda_build") else "none: a build for the CPU"
    versions = {
        "tensorflow": tf.__version__,
        "keras": tf.keras.__version__,
        "Eigen": _eigen(Path(tf.sysconfig.get_include())),
        "CUDA of the build": built,
    }
    if build.get("is_cuda_build"):
        versions["cuDNN of the build"] = str(build.get("cudnn_version"))
    gpus = tf.config.list_physical_devices("GPU")
    ones = np.ones((1, 8, 8, 16), np.float32)
    with tf.device("/CPU:0"):
        tf.nn.conv2d(ones, np.ones((3, 3, 16, 8), np.float32), 1, "SAME")
    return {
        "versions": {**versions, **nvidia_versions()},
        "devices": ["cpu", *(_gpu(gpu) for gpu in gpus)],
        "switches": {
            "tensor_float_32": bool(tf.config.experimental.tensor_float_32_execution_enabled()),
            "onednn": bool(build_info.IsMklEnabled()),
            "deterministic_ops": bool(framework_config.is_op_determinism_enabled()),
            "threads": tf.config.threading.get_intra_op_parallelism_threads() or "one a core",
        },
    }


def _gpu(gpu: Any) -> str:
    details = tf.config.experimental.get_device_details(gpu)
    capability = ".".join(map(str, details.get("compute_capability", ())))
    return f"{gpu.name.split(':', 1)[-1]} {details.get('device_name')}, compute capability {capability}"


def _eigen(include: Path) -> str:
    """Return the version of the Eigen that TensorFlow was built with, from its headers."""
    for path in (include / "Eigen/Version", include / "Eigen/src/Core/util/Macros.h"):
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        numbers = [
            re.search(rf"#define EIGEN_{name}_VERSION (\d+)", text) for name in ("WORLD", "MAJOR", "MINOR")
        ]
        if all(numbers):
            return ".".join(number.group(1) for number in numbers if number)
    return "not known"
