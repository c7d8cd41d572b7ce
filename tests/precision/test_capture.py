"""Captures on disk: what was written comes back, and everything that was tampered with is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from precision.capture import Capture, check_capture, load_capture, read_json, write_tensors
from precision.errors import UserError


@pytest.fixture
def capture(tmp_path):
    folder = tmp_path / "torch.cpu"
    folder.mkdir()
    data = np.array([[1.5, -0.0], [np.nan, np.inf]], dtype=np.float32)
    tensors = {"data": data, "probe": data[:1], "width": data}
    sha256 = write_tensors(folder / "c.safetensors", tensors)
    made = Capture(folder, "torch.cpu", read_back={"threads": 2})
    made.cells["c"] = {
        "status": "ok", "file": "c.safetensors", "sha256": sha256, "inputs": {}, "fingerprint": "f",
        "seconds": 0.5, "repeats": 2, "distinct": 1, "kernels": [],
    }  # fmt: skip
    made.cells["d"] = {"status": "error", "reason": "none"}
    made.save()
    return made


def edit(capture, change):
    path = capture.folder / "manifest.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_round_trip_to_the_bit(capture):
    again = load_capture(capture.folder)
    assert again == capture
    outputs = again.outputs("c")
    expected = np.array([[1.5, -0.0], [np.nan, np.inf]], dtype=np.float32)
    assert outputs["data"].tobytes() == expected.tobytes()
    assert not [path for path in capture.folder.iterdir() if path.suffix == ".tmp"]


def test_a_changed_byte_is_seen(capture):
    path = capture.folder / "c.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="its bytes have changed"):
        load_capture(capture.folder).outputs("c")


def test_a_truncated_file_is_seen_even_with_its_own_checksum(capture):
    import hashlib

    path = capture.folder / "c.safetensors"
    path.write_bytes(path.read_bytes()[:20])
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    edit(capture, lambda content: content["cells"]["c"].update(sha256=digest))
    with pytest.raises(UserError, match="must be a safetensors file"):
        load_capture(capture.folder).outputs("c")


def test_a_missing_file_is_seen(capture):
    (capture.folder / "c.safetensors").unlink()
    with pytest.raises(UserError, match=r"lacks c\.safetensors of case c"):
        load_capture(capture.folder)


@pytest.mark.parametrize("name", ["../c.safetensors", "/etc/passwd", "sub/c.safetensors", ".."])
def test_a_name_that_leads_out_is_refused(capture, name):
    edit(capture, lambda content: content["cells"]["c"].update(file=name))
    with pytest.raises(UserError, match="leads out of it"):
        load_capture(capture.folder)


def test_a_link_that_leads_out_is_refused(capture, tmp_path):
    outside = tmp_path / "outside.safetensors"
    (capture.folder / "c.safetensors").rename(outside)
    (capture.folder / "c.safetensors").symlink_to(outside)
    with pytest.raises(UserError, match="leads out of it"):
        load_capture(capture.folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda content: content.update(schema=3), "newer than this version's 2"),
        (lambda content: content.update(schema=0), "older than this version's 2"),
        (lambda content: content.pop("schema"), "names its schema"),
        (lambda content: content.pop("cells"), "lacks 'cells'"),
        (lambda content: content["cells"]["c"].pop("status"), "lacks 'status'"),
        (lambda content: content.update(cells=[]), "lacks"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(capture, change, words):
    edit(capture, change)
    with pytest.raises(UserError, match=words):
        load_capture(capture.folder)


@pytest.mark.parametrize("field", ["sha256", "inputs", "fingerprint", "seconds", "distinct", "kernels"])
def test_a_cell_without_one_of_its_fields_is_refused(capture, field):
    edit(capture, lambda content: content["cells"]["c"].pop(field))
    with pytest.raises(UserError, match=f"lacks '{field}'"):
        load_capture(capture.folder)


@pytest.mark.parametrize("tensors", [["data"], ["data", "probe"]])
def test_a_file_without_one_of_its_tensors_is_refused(capture, tensors):
    data = np.zeros(2, dtype=np.float32)
    digest = write_tensors(capture.folder / "c.safetensors", dict.fromkeys(tensors, data))
    edit(capture, lambda content: content["cells"]["c"].update(sha256=digest))
    with pytest.raises(UserError, match="float32 tensors data, probe and width"):
        load_capture(capture.folder).outputs("c")


def test_a_capture_under_another_modes_name_is_refused(capture, tmp_path):
    (tmp_path / "captures").mkdir()
    capture.folder.rename(tmp_path / "captures" / "tensorflow.cpu")
    with pytest.raises(UserError, match=r"holds 'torch\.cpu'; move it back"):
        check_capture(tmp_path, "tensorflow.cpu")


def test_unreadable_json_is_refused(capture):
    (capture.folder / "manifest.json").write_text("{")
    with pytest.raises(UserError, match="must be readable JSON"):
        load_capture(capture.folder)
    with pytest.raises(UserError, match="has none; check the path"):
        read_json(capture.folder / "absent.json", "a thing", 1)


def test_a_capture_of_the_schema_before_is_read(capture):
    edit(capture, lambda content: content.update(schema=1))
    assert load_capture(capture.folder).outputs("c").keys() == {"data", "probe", "width"}
