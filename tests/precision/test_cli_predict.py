"""The command that predicts, and how a prediction is scored against recorded outputs.

The captures here are emulated, in a temporary folder: they test the comparison, and say nothing of a GPU.
"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file

from precision.capture import Capture, write_tensors
from precision.cases import load_suite
from precision.errors import UserError
from precision.inputs import checksum
from precision.prediction.predict import predict
from reference import plain_float32

CASE = next(case for case in load_suite("smoke") if case.id == "smoke-linear")
HIDDEN = "split K in 2"
"""The emulated kernel's order where it is not the predicted one."""


def emulated_capture(folder, output, mode="emulated.h100", case=CASE, index=None):
    """A capture as a worker would write it, of an output that was emulated."""
    capture = Capture(folder, mode)
    tensors = {variant: np.asarray(output, np.float32) for variant in ("data", "probe", "width")}
    cell = {
        "status": "ok",
        "file": f"{case.id}.safetensors",
        "inputs": {"data": checksum(case.make("data"))},
        "fingerprint": case.fingerprint(),
        "seconds": 0.1,
        "repeats": 2,
        "distinct": 1,
        "kernels": [],
    }
    if index is not None:
        cell["whole"] = {"shape": [8, 16], "sha256": dict.fromkeys(tensors, "0" * 64)}
        tensors["index"] = index
    folder.mkdir(parents=True)
    cell["sha256"] = write_tensors(folder / cell["file"], tensors)
    capture.cells[case.id] = cell
    capture.save()
    return folder


def rows(found, kind="prediction"):
    return next(row for row in found.agreement if row["variant"].startswith(kind))


def test_an_emulated_capture_is_recognised(tmp_path):
    emulated = predict(CASE, "h100", rounding="rna").output
    found = predict(CASE, "h100", against=emulated_capture(tmp_path / "c", emulated), rounding="rna")
    best = found.agreement[0]
    assert best["variant"].startswith("prediction")
    assert best["share_equal"] == 1.0
    assert best["rms_ratio"] == 1.0
    assert best["bias_ratio"] is None, "normal data: no sign above its noise"
    assert best["recorded"] == "emulated.h100"
    chain = rows(found, "float32: FMA chain")
    assert chain["share_equal"] < 0.2
    assert chain["rms_ratio"] < 0.1


def test_an_output_of_plain_float32_is_no_prediction_of_tf32(tmp_path):
    plain = plain_float32(CASE.op, CASE.make("data"), CASE.declared("data"))
    found = predict(CASE, "h100", against=emulated_capture(tmp_path / "c", plain, "emulated.float32"))
    assert found.agreement[0]["variant"].startswith("float32")
    assert rows(found)["share_equal"] < 0.1
    assert rows(found)["rms_ratio"] > 10


def layer(k=512):
    rng = np.random.default_rng(4)
    x, w = (rng.random((rows, k), np.float32) for rows in (20, 24))
    return {"op": "linear", "arrays": {"input": x, "weight": w}}


def test_the_hidden_order_of_an_emulated_kernel_is_named():
    hidden = predict(layer(), "a100", order=HIDDEN).output
    found = predict({**layer(), "outputs": {"emulated": hidden}}, "a100")
    assert found.agreement[0]["variant"] == f"order: {HIDDEN}"
    assert found.agreement[0]["share_equal"] == 1.0
    assert rows(found)["share_equal"] < 0.5
    assert 0.9 < rows(found)["correlation"] < 1.0, "operand rounding is the same"
    assert rows(found)["bias_ratio"] > 1.5, "one chain is longer than two"
    assert "recorded emulated" in str(found)


def test_the_hidden_rounding_of_an_emulated_kernel_is_named():
    hidden = predict(layer(64), "a100", rounding="rz").output
    found = predict({**layer(64), "outputs": {"emulated": hidden}}, "a100", rounding="rne")
    assert found.agreement[0]["variant"] == "rounding: RZ"
    assert rows(found)["share_equal"] < 0.05


def test_one_wrong_element_is_not_all_equal():
    hidden = predict(layer(), "a100").output.copy()
    hidden[3, 4] = np.nextafter(hidden[3, 4], np.float32(0))
    found = predict({**layer(), "outputs": {"emulated": hidden}}, "a100")
    assert found.agreement[0]["share_equal"] == 1 - 1 / hidden.size
    assert found.agreement[0]["difference_ulp_max"] == pytest.approx(1.0)


def test_a_sampled_capture_and_a_sampled_prediction_are_compared_where_they_meet(tmp_path):
    emulated = predict(CASE, "h100").output
    index = np.sort(np.random.default_rng(0).choice(128, 50, replace=False))
    folder = emulated_capture(tmp_path / "c", emulated.reshape(-1)[index], index=index)
    found = predict(CASE, "h100", against=folder)
    assert found.agreement[0]["elements"] == 50
    assert found.agreement[0]["share_equal"] == 1.0
    few = predict(CASE, "h100", against=folder, limit=2048)
    assert few.agreement[0]["elements"] == np.intersect1d(few.index, index).size > 0
    assert few.agreement[0]["share_equal"] == 1.0


def test_a_mode_that_returns_16_bits_is_compared_in_16_bits(tmp_path, monkeypatch):
    from precision.prediction import agreement as module

    emulated = predict(CASE, "h100", "fp16").output.astype(np.float16).astype(np.float32)
    known = replace(module.MODES[0], name="emulated.fp16", output_format="binary16")
    monkeypatch.setattr(module, "MODES", (known,))
    folder = emulated_capture(tmp_path / "c", emulated, "emulated.fp16")
    assert predict(CASE, "h100", "fp16", against=folder).agreement[0]["share_equal"] == 1.0


def test_captures_that_do_not_fit(tmp_path):
    other = load_suite("smoke")[0]
    folder = emulated_capture(tmp_path / "run" / "captures" / "emulated.h100", np.zeros((8, 16)))
    with pytest.raises(UserError, match=f"holds none of {other.id}"):
        predict(other, "h100", against=tmp_path / "run")
    assert predict(CASE, "h100", against=tmp_path / "run").agreement
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["cells"][CASE.id]["fingerprint"] = "another"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="another declaration"):
        predict(CASE, "h100", against=folder)
    wrong = {**layer(), "outputs": {"emulated": np.zeros((3, 3), np.float32)}}
    assert "of another shape, not compared" in str(predict(wrong, "h100"))


def test_the_command(precision_command, tmp_path):
    saved = tmp_path / "out.safetensors"
    done = precision_command("predict", CASE.id, "--architecture", "a100", "--save", str(saved), "--json")
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert data["unit"]["architecture"] == "ampere"
    assert data["operand_rounding"]["mode"] == "RNA"
    np.testing.assert_array_equal(load_file(saved)["output"], predict(CASE, "a100").output)
    plain = precision_command("predict", CASE.id, "--format", "bf16", "--rounding", "rz")
    assert plain.returncode == 0, plain.stderr
    assert "operands rounded RZ: as asked" in plain.stdout
    assert "worst elements" in plain.stdout


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("nothing-of-that-name",), "a case folder or the id"),
        ((CASE.id, "--architecture", "v100"), "take fp16"),
        ((CASE.id, "--format", "int8"), "a format of operands"),
        ((CASE.id, "--against", "/nowhere"), "run folder with captures"),
        ((CASE.id, "--limit", "0"), "positive number"),
        ((CASE.id, "--nonsense"), "--nonsense"),
    ],
)
def test_bad_usage_is_one_line(precision_command, arguments, word):
    done = precision_command("predict", *arguments)
    assert done.returncode == 2
    assert word in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
