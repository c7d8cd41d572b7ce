"""Two outputs and nothing else: what one is of the other is found, and nothing is found where nothing is."""

from __future__ import annotations

import json

import numpy as np
import pytest

from precision.__main__ import main
from precision.judging.output_pairs import compare, likeness
from precision.judging.output_relations import relation

RNG = np.random.default_rng(1)
B = RNG.standard_normal((2, 6, 5, 5)).astype(np.float32)
NOISE = (1 + 2.0**-23 * RNG.standard_normal(B.shape)).astype(np.float32)
MIXED = np.array([3, 0, 5, 1, 2, 4])

FUNCTIONS = {
    "with its axes in the order [0, 2, 3, 1]": lambda b: b.transpose(0, 2, 3, 1),
    "with its axes in the order [0, 1, 3, 2]": lambda b: b.swapaxes(2, 3),
    "flipped along axis 3": lambda b: b[..., ::-1],
    "at index 0 of axis 0": lambda b: b[0],
    "cropped, from index [0, 0, 1, 0] on": lambda b: b[:, :, 1:, :4],
    "reshaped to [12, 25]": lambda b: b.reshape(12, 25),
    "cut off at zero (ReLU)": lambda b: np.maximum(b, 0),
    "with the signs turned": lambda b: -b,
    "times 0.25": lambda b: b * np.float32(0.25),
    "plus ": lambda b: b + np.float32(0.7),
    "times 3": lambda b: b * np.float32(3) + np.float32(2),
    "with the slices along axis 1 in another order": lambda b: b[:, MIXED],
    "shifted by 1 along axis 2, borders aside": lambda b: np.concatenate([b[:, :, :1] * 7, b[:, :, :-1]], 2),
    "shifted by -1 along axis 3, borders aside": lambda b: np.concatenate([b[..., 1:], b[..., :1] * 7], 3),
}


@pytest.mark.parametrize("words", FUNCTIONS)
def test_the_function_is_found_exactly_and_but_for_rounding(words):
    found = relation(np.ascontiguousarray(FUNCTIONS[words](B)), B)
    assert found is not None
    assert found.words.startswith(words)
    rounded = relation(np.ascontiguousarray(FUNCTIONS[words](B * NOISE)), B)
    assert rounded is not None
    assert rounded.words.startswith(words[:6])
    assert not rounded.exact
    assert "but for rounding" in rounded.sentence("a", "b")


@pytest.mark.parametrize("words", FUNCTIONS)
def test_one_wrong_element_and_it_is_no_such_function(words):
    a = np.array(FUNCTIONS[words](B))
    a[(1,) * a.ndim] += np.float32(0.01)
    assert relation(a, B) is None


def test_nothing_is_found_where_nothing_is():
    for shape in (B.shape, (2, 5, 5, 6), (2, 6, 4, 4), (7, 3), (), (0, 3)):
        assert relation(RNG.standard_normal(shape).astype(np.float32), B) is None
    # Numbers that differ in the last places only are near to anything, and a function of nothing.
    flat = (1000 + 1e-3 * RNG.standard_normal((2, 3, 4, 5))).astype(np.float32)
    other = (1000 + 1e-3 * RNG.standard_normal((2, 4, 5, 3))).astype(np.float32)
    assert relation(flat, other) is None
    assert relation(np.full((3, 4), np.nan, np.float32), B) is None


def sentence(a, b):
    return likeness(compare("torch", a, "tensorflow", b), a, b)


def test_the_sentences():
    unknown = "which of the two is right cannot be said without the arrays they were made from"
    turned = sentence(np.ascontiguousarray(B.transpose(0, 2, 3, 1)), B)
    assert (
        turned == f"torch is tensorflow with its axes in the order [0, 2, 3, 1], in every element; {unknown}"
    )
    # Found from the other side, too.
    assert "; tensorflow is torch cut off at zero (ReLU), in every element; " in sentence(B, np.maximum(B, 0))
    wild = B.copy()
    wild[0, 0, 0, 0] = np.nan
    assert "NaN and Inf are no rounding" in sentence(B, wild)
    channel = B.copy()
    channel[:, 2] = RNG.standard_normal((2, 5, 5))
    assert "all differences are at index 2 of axis 1" in sentence(B, channel)
    border = B.copy()
    border[:, :, 0] = RNG.standard_normal((2, 6, 5))
    assert "all differences are at index 0 of axis 2" in sentence(B, border)
    border[:, :, :, 4] = RNG.standard_normal((2, 6, 5))
    assert "all differences are at the border of the last axes" in sentence(B, border)
    assert "float32 sums in another order" in sentence(B, B * NOISE)
    assert "more than rounding" in sentence(B, RNG.standard_normal(B.shape).astype(np.float32))


def test_the_command_on_two_outputs(tmp_path, capsys):
    np.save(tmp_path / "a.npy", B)
    np.save(tmp_path / "b.npy", np.ascontiguousarray(B[..., ::-1]))
    content = {"outputs": {"torch": "a.npy", "tensorflow": "b.npy"}}
    (tmp_path / "case.json").write_text(json.dumps(content))
    assert main(["explain", str(tmp_path)]) == 1
    text = capsys.readouterr().out
    assert text.count("torch is tensorflow flipped along axis 3, in every element") == 1
    assert main(["explain", str(tmp_path), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)["outputs"]
    for each in found.values():
        assert each["verdict"] == "unexplained"
        assert "flipped along axis 3" in each["causes"][0]["detail"]
