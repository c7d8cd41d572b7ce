"""Samples of outputs on disk: the same in every mode, with the whole checksum; tampering is refused."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from precision.capture import Capture, load_capture, write_tensors
from precision.errors import UserError
from precision.sampling import Sampled, output_sha256, sample_index

SHAPE = (2, 5, 7)
OUTPUT = np.arange(70, dtype=np.float32).reshape(SHAPE)


def test_a_small_output_is_kept_whole():
    assert sample_index("c", SHAPE, 70, 8) is None
    index = sample_index("c", SHAPE, 69, 8)
    assert index is not None
    assert index.shape == (8,)


def test_a_sample_is_named_by_its_case_and_holds_no_element_twice():
    first, again, other = (sample_index(name, (40, 50), 100, 64) for name in ("a", "a", "b"))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.unique(first).size == 64
    assert first.min() >= 0
    assert first.max() < 2000
    assert np.array_equal(first, np.sort(first))


def test_samples_reach_every_part_of_an_output():
    seen = np.concatenate([sample_index(f"case-{i}", (10, 10), 0, 20) for i in range(200)])
    assert np.unique(seen).size == 100


def test_the_kept_elements_of_a_truth_stand_against_the_values():
    index = sample_index("c", SHAPE, 0, 9)
    kept = Sampled(OUTPUT.reshape(-1)[index], index, SHAPE, output_sha256(OUTPUT))
    assert np.array_equal(kept.of(OUTPUT), kept.values)
    assert not kept.whole
    with pytest.raises(ValueError, match=r"those of shape \(2, 5, 7\); got \(2, 5\)"):
        kept.of(OUTPUT[..., 0])
    assert Sampled(OUTPUT, None, SHAPE, "").of(OUTPUT) is OUTPUT


def test_the_checksum_is_of_every_bit():
    other = OUTPUT.copy()
    other[0, 0, 0] = -0.0
    assert output_sha256(other) != output_sha256(OUTPUT)
    assert output_sha256(OUTPUT) == hashlib.sha256(OUTPUT.tobytes()).hexdigest()


def capture_of(folder, tensors, whole):
    sha256 = write_tensors(folder / "c.safetensors", tensors)
    made = Capture(folder, "torch.cpu")
    made.cells["c"] = {
        "status": "ok", "file": "c.safetensors", "sha256": sha256, "inputs": {}, "fingerprint": "f",
        "seconds": 0.5, "repeats": 2, "distinct": 1, "kernels": [], "whole": whole,
    }  # fmt: skip
    made.save()
    return load_capture(folder)


def sampled_tensors():
    index = sample_index("c", SHAPE, 0, 9)
    values = OUTPUT.reshape(-1)[index]
    tensors = {"data": values, "probe": values + 1, "width": values + 2, "index": index}
    sums = {name: output_sha256(OUTPUT + i) for i, name in enumerate(("data", "probe", "width"))}
    return tensors, {"shape": list(SHAPE), "sha256": sums}


def test_a_sampled_cell_comes_back(tmp_path):
    tensors, whole = sampled_tensors()
    capture = capture_of(tmp_path, tensors, whole)
    capture.verify("c")
    found = capture.samples("c")
    assert set(found) == {"data", "probe", "width"}
    assert found["probe"].shape == SHAPE
    assert found["probe"].sha256 == output_sha256(OUTPUT + 1)
    assert np.array_equal(found["width"].values, found["width"].of(OUTPUT + 2))
    with pytest.raises(UserError, match="keeps a sample of case c"):
        capture.outputs("c")
    with pytest.raises(UserError, match="'c' is a case"):
        capture.answers("c")


FAULTS = {
    "no index": lambda t, w: t.pop("index"),
    "an index beyond the output": lambda t, w: t.update(index=t["index"] + 70),
    "an index twice": lambda t, w: t.update(index=np.repeat(t["index"][:1], 9)),
    "an index of floats": lambda t, w: t.update(index=t["index"].astype(np.float32)),
    "values of another count": lambda t, w: t.update(probe=t["probe"][:-1]),
    "values of another type": lambda t, w: t.update(data=t["data"].astype(np.float64)),
    "a variant without a checksum": lambda t, w: w["sha256"].pop("width"),
    "no width": lambda t, w: t.pop("width"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_sample_that_does_not_fit_is_refused(tmp_path, fault):
    tensors, whole = sampled_tensors()
    FAULTS[fault](tensors, whole)
    with pytest.raises(UserError, match="does not; capture again"):
        capture_of(tmp_path, tensors, whole).verify("c")


def test_a_manifest_without_the_whole_shape_is_refused(tmp_path):
    tensors, whole = sampled_tensors()
    capture_of(tmp_path, tensors, whole)
    path = tmp_path / "manifest.json"
    content = json.loads(path.read_text())
    del content["cells"]["c"]["whole"]["shape"]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="lacks 'shape'"):
        load_capture(tmp_path)


def test_a_whole_cell_has_samples_too(tmp_path):
    sha256 = write_tensors(tmp_path / "c.safetensors", dict.fromkeys(("data", "probe", "width"), OUTPUT))
    made = Capture(tmp_path, "torch.cpu")
    made.cells["c"] = {
        "status": "ok", "file": "c.safetensors", "sha256": sha256, "inputs": {}, "fingerprint": "f",
        "seconds": 0.5, "repeats": 2, "distinct": 1, "kernels": [],
    }  # fmt: skip
    made.save()
    found = load_capture(tmp_path).samples("c")["data"]
    assert found.whole
    assert found.sha256 == output_sha256(OUTPUT)
    assert np.array_equal(found.values, OUTPUT)
