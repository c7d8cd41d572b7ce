"""What TensorFlow tells of the device under it: settings to vary, versions, kernels by its profiler."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tensorflow as tf

from precision.errors import CannotRun
from precision.frameworks.nvidia import nvidia_versions


@contextmanager
def varied(factor: str, value: Any) -> Iterator[None]:
    """Run the calls inside under another setting.  Raises `CannotRun`: a process has one of each.

    Threads are fixed when the first op runs, channels are last in all layers, and memory and streams are
    TensorFlow's own; the first setting of a factor is what it has.
    """
    own = {"memory_format": "channels_last", "offset": 0, "stream": "idle"}
    if own.get(factor) != value:
        raise CannotRun(f"TensorFlow has no {factor} {value!r} to choose within a process")
    yield


def device_versions() -> dict[str, str]:
    """Return the GPU, its compute capability, and the libraries of TensorFlow's build and of its run."""
    details = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])
    build = tf.sysconfig.get_build_info()
    return {
        "gpu": str(details.get("device_name")),
        "compute capability": ".".join(map(str, details.get("compute_capability", ()))),
        "cuda": str(build.get("cuda_version")),
        "cudnn": str(build.get("cudnn_version")),
        **nvidia_versions(),
    }


def kernel_names(call: Callable[[], object], plane: str) -> list[str]:
    """Return the names of what ran in planes of a profile whose name contains `plane`; empty without any."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder):
            call()
        spaces = []
        for path in sorted(Path(folder).rglob("*.xplane.pb")):
            space = xplane_pb2.XSpace()
            space.ParseFromString(path.read_bytes())
            spaces.append(space)
    names: dict[str, None] = {}
    for space in spaces:
        for found in space.planes:
            if plane not in found.name:
                continue
            for line in found.lines:
                for event in line.events:
                    names[found.event_metadata[event.metadata_id].name] = None
    return [name for name in names if not name.startswith(("Memcpy", "Memset", "$"))]
