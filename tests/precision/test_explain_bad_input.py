"""A case that cannot be judged is one line: the rule, what was given, the mend; status 2."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from precision.__main__ import main
from precision.errors import UserError
from precision.explanation import explain
from precision.judging.case_folder import CaseError, make_case

X = np.arange(12, dtype=np.float32).reshape(3, 4)
W = np.arange(8, dtype=np.float32).reshape(2, 4)
Y = X @ W.T


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "case"
    path.mkdir()
    for name, array in (("x", X), ("w", W), ("y", Y)):
        np.save(path / f"{name}.npy", array)
    edit(path)
    return path


def edit(path, **changes):
    content = {
        "op": "linear",
        "arrays": {"input": "x.npy", "weight": "w.npy"},
        "outputs": {"torch": "y.npy"},
        **changes,
    }
    (path / "case.json").write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


def refusal(path, capsys):
    """The line that the command prints."""
    assert main(["explain", str(path)]) == 2
    done = capsys.readouterr()
    assert done.out == ""
    assert len(done.err.splitlines()) == 1
    assert done.err.startswith("precision: ")
    return done.err


def test_the_case_itself_is_good(folder, capsys):
    assert main(["explain", str(folder)]) == 0
    assert "= torch: exact" in capsys.readouterr().out


def cut(path):
    content = (path / "x.npy").read_bytes()
    (path / "x.npy").write_bytes(content[:-5])


def shorten(path, count, name="x"):
    content = (path / f"{name}.npy").read_bytes()
    (path / f"{name}.npy").write_bytes(content[:count])


def code(path):
    header = b"{'descr': __import__('os'), 'fortran_order': False, 'shape': (1,), }".ljust(117) + b"\n"
    (path / "x.npy").write_bytes(b"\x93NUMPY\x01\x00v\x00" + header)


def archive(path):
    with (path / "x.npy").open("wb") as file:
        np.savez(file, X)


def link_out(path):
    (path.parent / "secret.npy").write_bytes((path / "x.npy").read_bytes())
    (path / "x.npy").unlink()
    os.symlink(path.parent / "secret.npy", path / "x.npy")


def nan(path):
    x = X.copy()
    x[1, 2], x[2, 0] = np.nan, np.inf
    np.save(path / "x.npy", x)


def nan_in_both(path):
    nan(path)
    w = W.copy()
    w[0, 3], w[1, 0] = -np.inf, np.inf
    np.save(path / "w.npy", w)


def huge_header(path):
    with (path / "x.npy").open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (2**40, 2**20)}
        np.lib.format.write_array_header_1_0(file, header)


def written(name, array, **options):
    return lambda path: np.save(path / f"{name}.npy", array, **options)


def replaced(**changes):
    return lambda path: edit(path, **changes)


def text(content):
    return lambda path: (path / "case.json").write_text(content)


BAD = {
    "no case.json": (lambda p: (p / "case.json").unlink(), "holds a case.json"),
    "bad JSON": (text("{"), "must be readable JSON"),
    "deep JSON": (text("[" * 100_000), "must be readable JSON"),
    "a list": (text("[]"), "holds one object"),
    "twice": (text('{"op": "linear", "op": "conv2d"}'), "got 'op' twice"),
    "NaN in JSON": (text('{"op": "linear", "params": {"eps": NaN}}'), "got NaN"),
    "not UTF-8": (lambda p: (p / "case.json").write_bytes(b'{"op": "\xff"}'), "must be readable JSON"),
    "params no object": (replaced(params=[1]), '"params" is an object'),
    "a misspelt key": (replaced(param={"stride": 2}), "did you mean 'params'"),
    "no op": (replaced(op=None), "names its op"),
    "unknown op": (replaced(op="conv2"), "did you mean conv2d"),
    "op in torch's words": (replaced(op="torch.nn.Conv2d"), "did you mean conv2d"),
    "op a number": (replaced(op=3), "got 3"),
    "unknown array": (replaced(arrays={"input": "x.npy", "kernel": "w.npy"}), "got 'kernel'"),
    "unknown parameter": (replaced(params={"strides": 2}), "got 'strides'"),
    "array missing": (replaced(arrays={"input": "x.npy"}), "['weight'] are missing"),
    "bad value": (
        replaced(op="conv1d", params={"stride": {"a": 1}}),
        "conv1d cannot be computed as declared",
    ),
    "bad layout": (replaced(layout="HWCN"), "a layout is NCHW or NHWC; got 'HWCN'"),
    "two layouts": (replaced(op="conv1d", layout="NCHW", params={"layout": "NHWC"}), "one layout"),
    "no outputs": (replaced(outputs={}), "names the outputs to judge; got none"),
    "outputs null": (replaced(outputs=None), "names the outputs to judge; got none"),
    "one output alone": (replaced(arrays=None), "no arrays and one output"),
    "no file": (replaced(outputs={"torch": "z.npy"}), "there is no 'z.npy'"),
    "a folder": (replaced(outputs={"torch": "."}), "there is no '.'"),
    "leads up": (replaced(outputs={"torch": "../case/y.npy"}), "leads out of it"),
    "absolute": (replaced(outputs={"torch": "/etc/passwd"}), "leads out of it"),
    "a null byte": (replaced(outputs={"torch": "y\0.npy"}), "no usable name"),
    "a link out": (link_out, "leads out of it"),
    "an output null": (replaced(outputs={"torch": None}), "got None for output 'torch'"),
    "an output in place": (replaced(outputs={"torch": [1.0, 2.0]}), "names an .npy file"),
    "an array in place": (replaced(arrays={"input": 3, "weight": "w.npy"}), "got 3 for array 'input'"),
    "home": (replaced(outputs={"torch": "~/y.npy"}), "there is no '~/y.npy'"),
    "up and back": (replaced(arrays={"input": "a/../x.npy", "weight": "w.npy"}), "leads out of it"),
    "cut short": (cut, "damaged or cut short"),
    "cut in the header": (lambda p: shorten(p, 40), "damaged or cut short (EOF"),
    "cut after the magic": (lambda p: shorten(p, 9), "damaged or cut short (EOF"),
    "an output cut short": (lambda p: shorten(p, -4, "y"), "output 'torch' is a whole .npy file"),
    "code in the header": (code, "(malformed node or string on line 1: <ast.Call object>)"),
    "a version to come": (
        lambda p: (p / "x.npy").write_bytes(b"\x93NUMPY\x09\x00v\x00"),
        "cut short (we only",
    ),
    "empty file": (lambda p: (p / "x.npy").write_bytes(b""), "no .npy file"),
    "a header only": (huge_header, "damaged or cut short"),
    "two arrays": (
        lambda p: (p / "x.npy").write_bytes((p / "x.npy").read_bytes() * 2),
        "goes on after it",
    ),
    "an archive": (archive, "is an .npz archive"),
    "text": (lambda p: (p / "x.npy").write_text("1, 2, 3"), "is no .npy file"),
    "objects": (written("x", np.array([{}, None], object), allow_pickle=True), "never loaded"),
    "a pickle": (lambda p: (p / "x.npy").write_bytes(b"\x80\x04N."), "is no .npy file"),
    "complex": (written("x", X + 1j), "real numbers"),
    "strings": (written("x", np.array(["a"])), "real numbers"),
    "long doubles": (written("x", X.astype(np.longdouble)), "real numbers of at most 64 bits"),
    "records": (written("x", np.zeros((3, 4), [("a", "f4")])), "real numbers"),
    "float64": (written("x", X.astype(np.float64) / 3.0), "the first at [0, 1]"),
    "a float64 output": (written("y", Y.astype(np.float64) + 1e-12), "got float64; save it as float32"),
    "a float64 output of float32 numbers": (written("y", Y.astype(np.float64)), "got float64"),
    "integers": (
        written("x", X.astype(np.int16)),
        "array 'input' holds the floats of a float32 layer; got int16",
    ),
    "large integers": (written("x", X.astype(np.int64) + 2**24 + 1), "got int64"),
    "truth values": (written("w", W > 3), "got bool"),
    "an integer output": (written("y", Y.astype(np.int32)), "output 'torch' holds the floats"),
    "an output of objects": (written("y", np.array([None], object), allow_pickle=True), "never loaded"),
    "NaN in both": (
        nan_in_both,
        "at [1, 2], array 'weight' holds 0 NaN and 2 Inf among 8 values, the first, -inf",
    ),
    "NaN and Inf": (nan, "array 'input' holds 1 NaN and 1 Inf among 12 values, the first, nan, at [1, 2]"),
    "shapes that do not fit": (written("x", X.T.copy()), "(O, K)"),
    "another shape": (written("y", Y.T.copy()), "its axes are in another order"),
    "flat": (written("y", Y.reshape(-1)), "it has as many elements; reshape it"),
}


@pytest.mark.parametrize("name", BAD)
def test_one_line(folder, capsys, name):
    damage, words = BAD[name]
    damage(folder)
    assert words in refusal(folder, capsys)
    assert main(["explain", str(folder), "--json"]) == 2


def test_no_folder(tmp_path, capsys):
    assert "nothing of that name" in refusal(tmp_path / "none", capsys)
    (tmp_path / "file").write_text("")
    assert "is a file" in refusal(tmp_path / "file", capsys)
    assert main(["explain"]) == 2


def test_what_is_converted_is_said(folder, capsys):
    np.save(folder / "w.npy", W.astype(np.float64))
    np.save(folder / "y.npy", Y.astype(np.float16))
    edit(folder, comment="mine")
    assert main(["explain", str(folder)]) == 0
    out = capsys.readouterr().out
    for words in ("'weight' is float64", "'torch' is float16", "'comment' is not used"):
        assert words in out


def test_in_python_integers_and_float64_are_taken_and_noted():
    found = explain(
        {"op": "linear", "arrays": {"input": X.astype(np.int16), "weight": W}}, Y.astype(np.float64)
    )
    assert found.verdict == "exact"
    assert len(found.case.notes) == 2
    with pytest.raises(ValueError, match=r"the first at \[0, 0\]"):
        explain({"op": "linear", "arrays": {"input": np.full((3, 4), 2**63 - 1), "weight": W}}, Y)


def test_outputs_of_python_beside_a_folder(folder):
    found = explain(folder, {"mine": Y.tolist()})
    assert {name: each.verdict for name, each in found.outputs.items()} == {"torch": "exact", "mine": "exact"}


def test_classes_and_masks_are_integers(folder):
    scores = np.random.default_rng(1).standard_normal((3, 4)).astype(np.float32)
    classes = np.array([0, 3, 1])
    losses = np.log(np.exp(scores.astype(float)).sum(1)) - scores[np.arange(3), classes]
    np.save(folder / "x.npy", scores)
    np.save(folder / "w.npy", classes)
    np.save(folder / "y.npy", losses.astype(np.float32))
    edit(
        folder, op="cross_entropy", params={"reduction": "none"}, arrays={"input": "x.npy", "target": "w.npy"}
    )
    assert main(["explain", str(folder)]) == 0


def test_bad_input_in_python_is_a_value_error():
    assert issubclass(CaseError, UserError)
    good = {"op": "linear", "arrays": {"input": X, "weight": W}}
    assert explain(good, Y).verdict == "exact"
    for case, outputs, words in (
        (3, Y, "a mapping or the path"),
        ({**good, "arrays": {"input": [[1.0], [2.0, 3.0]], "weight": W}}, Y, "one array of numbers"),
        (good, {"torch": "y.npy"}, "got the text 'y.npy'"),
        (good, None, "got none"),
        ({**good, "params": {"stride": float("inf")}}, Y, "finite number"),
    ):
        with pytest.raises(ValueError, match=words) as caught:
            explain(case, outputs)
        assert len(str(caught.value).splitlines()) == 1
    assert make_case({**good, "params": {"dim": None}}, {"y": Y}).params == {}
