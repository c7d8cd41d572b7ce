"""Probes recorded from kernels that are known to the last bit: what they show must be what was put in.

The kernels are emulated here; nothing in this file is a recorded answer of a device.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from precision.capture import Capture, write_tensors
from precision.errors import CannotRun, UserError
from precision.orders.probe import NoTree
from precision.orders.records import MissingProbe, asker, recorded_orders, reveal_recorded
from precision.recording import RecordedProbe
from precision.recording.accumulator import questions
from precision.recording.invariance import compared
from precision.recording.operands import SCALARS
from precision.recording.order import sparse
from precision.suites.gpu_probes import PROBES
from reference import plain_float32
from reference.formats import BFLOAT16, BINARY16, TF32, round_to
from reference.orders import blocked, pairwise, sequential
from reference.replay import replay
from reference.tree import Fused, Run, SummationTree


class Emulated:
    """Sums in the order of a tree, after operands were rounded."""

    def __init__(self, order, fmt=None, rounding="RNE"):
        self.order, self.fmt, self.rounding = order, fmt, rounding
        self.calls = 0

    def rounded(self, array):
        if self.fmt is None:
            return array
        return round_to(array, self.fmt, self.rounding).astype(np.float32)

    def run(self, op, params, arrays):
        self.calls += 1
        arrays = {name: self.rounded(array) for name, array in arrays.items()}
        if op != "linear":
            return plain_float32(op, arrays, params)
        x, w = arrays["input"], arrays["weight"]
        return replay(self.order(x.shape[1]), x, np.ascontiguousarray(w.T))

    @contextmanager
    def varied(self, factor, value):
        if factor == "stream" and value != "idle":
            raise CannotRun("no streams here")
        yield


def tensor_core(bits, width=4):
    """A chain of additions of `width` products and the accumulator, truncated to some bits."""

    def order(count):
        item = Fused((Run(tuple(range(min(width, count)))),), bits, "RZ")
        for first in range(width, count, width):
            item = Fused((item, Run(tuple(range(first, min(first + width, count))))), bits, "RZ")
        return SummationTree(item, count)

    return order


def probe(kind, **arguments):
    return RecordedProbe(f"{kind}-test", "a test", kind, arguments)


@pytest.mark.parametrize("rounding", ["RNE", "RNA", "RZ"])
@pytest.mark.parametrize(("name", "fmt"), [("tf32", TF32), ("bf16", BFLOAT16), ("fp16", BINARY16)])
def test_operands_come_out_as_they_were_rounded(name, fmt, rounding):
    kernel = Emulated(sequential, fmt, rounding)
    with np.errstate(invalid="ignore"):
        tensors, notes = probe("operands", op="linear").record(kernel)
    finite = np.isfinite(kernel.rounded(tensors["operand"]))
    for side in ("left", "right"):
        assert np.array_equal(tensors[side][finite], kernel.rounded(tensors["operand"])[finite])
        assert set(np.array(notes[f"{side}_distinct"])[finite]) == {1}
    assert notes["names"] == list(SCALARS)


def test_the_scalars_part_every_rounding_of_every_format():
    values = np.array(list(SCALARS.values()), np.float32)
    seen = {values.tobytes()}
    for fmt in (TF32, BFLOAT16, BINARY16):
        for rounding in ("RNE", "RNA", "RZ"):
            seen.add(round_to(values, fmt, rounding).astype(np.float32).tobytes())
    assert len(seen) == 1 + 3 * 3


@pytest.mark.parametrize("op", ["conv2d", "conv2d_input_grad", "conv2d_weight_grad", "linear_input_grad",
                                "linear_weight_grad"])  # fmt: skip
def test_every_op_multiplies_its_scalars_by_one(op):
    tensors, notes = probe("operands", op=op, **({"pixels": 5} if "conv" in op else {})).record(
        Emulated(sequential)
    )
    for side in ("left", "right"):
        assert np.array_equal(tensors[side], tensors["operand"])
        assert set(notes[f"{side}_distinct"]) == {1}


def fraction_bits(tensors, notes, where):
    return sum(
        name.startswith("fraction") and name.endswith(where) and answer == 1.0
        for name, answer in zip(notes["names"], tensors["answer"], strict=True)
    )


def test_the_accumulator_shows_its_fraction_bits():
    for bits in (23, 24, 25):
        tensors, notes = probe("accumulator", op="linear", terms=32).record(Emulated(tensor_core(bits)))
        # In one step the 1 survives while it is within the bits kept; in a later one nothing swamps it.
        assert fraction_bits(tensors, notes, "near") == bits
        assert fraction_bits(tensors, notes, "far") == 27
    tensors, notes = probe("accumulator", op="linear", terms=32).record(Emulated(sequential))
    assert fraction_bits(tensors, notes, "near") == 27
    assert fraction_bits(tensors, notes, "apart") == 23


def test_the_accumulator_shows_its_rounding():
    def rounded(order):
        tensors, notes = probe("accumulator", op="linear", terms=16).record(Emulated(order))
        answers = dict(zip(notes["names"], tensors["answer"].tolist(), strict=True))
        return answers["round 2^24 and 3 near"], answers["round -2^24 and 3 near"]

    assert rounded(sequential) == (2.0**24 + 4, -(2.0**24) - 4)
    assert rounded(tensor_core(24)) == (2.0**24 + 2, -(2.0**24) - 2)


def test_the_rows_of_the_accumulator_are_sums_of_powers_of_two():
    for _, values, places in questions(64):
        assert len(set(places)) == len(values)
        assert max(places) < 64
        assert all(round_to(np.float32(v), BFLOAT16) == v for v in values)


ORDERS = {
    "chain": sequential,
    "unfused": lambda n: sequential(n, fused=False),
    "blocks": lambda n: blocked(n, 16, bias=None),
    "pairwise": pairwise,
    "tensor core": tensor_core(24),
    "wider tensor core": tensor_core(25, 8),
}


@pytest.fixture
def captured(tmp_path, monkeypatch):
    """Record the order probe of one kernel into a capture; return it with the probe."""
    asked = RecordedProbe("order-test", "a test", "order", {"op": "linear", "terms": 64})
    operands = RecordedProbe("operands-linear", "a test", "operands", {"op": "linear"})
    monkeypatch.setattr("precision.suites.gpu.PROBES", (asked, operands))

    def make(kernel, change=None):
        capture = Capture(tmp_path, "torch.cuda.tf32")
        for each in (asked, operands):
            with np.errstate(invalid="ignore"):
                tensors, notes = each.record(kernel)
            if change is not None:
                change(each.kind, tensors, notes)
            sha256 = write_tensors(tmp_path / f"{each.id}.safetensors", tensors)
            capture.cells[each.id] = {
                "status": "ok", "kind": "probe", "file": f"{each.id}.safetensors", "sha256": sha256,
                "fingerprint": each.fingerprint(), "seconds": 0.0, "notes": notes, "kernels": [],
            }  # fmt: skip
        return capture, asked

    return make


@pytest.mark.parametrize("order", ORDERS)
def test_an_order_is_revealed_from_records_alone(captured, order):
    kernel = Emulated(ORDERS[order])
    capture, asked = captured(kernel)
    calls = kernel.calls
    found = reveal_recorded(capture, asked)
    assert kernel.calls == calls
    assert found.revealed.proved
    (only,) = found.revealed.classes
    assert replace(only.tree, axes=()).canonical() == ORDERS[order](64).canonical()


@pytest.mark.parametrize("rounding", ["RNE", "RNA", "RZ"])
@pytest.mark.parametrize("fmt", [TF32, BFLOAT16, BINARY16])
def test_operands_of_a_recorded_order_are_rounded_before_it(captured, fmt, rounding):
    kernel = Emulated(tensor_core(24), fmt, rounding)
    capture, asked = captured(kernel)
    (found,) = recorded_orders(capture, "gpu")
    assert found.probe == asked.id
    assert (found.revealed.left_format, found.rounding) == (fmt.name, rounding)
    assert found.revealed.proved
    rng = np.random.default_rng(1)
    arrays = {name: rng.standard_normal(shape, np.float32) for name, shape in found.revealed.shapes.items()}
    assert np.array_equal(found.replay(arrays), kernel.run("linear", {}, arrays))


def one_answer_off(kind, tensors, notes):
    if kind == "order":
        tensors["answer"][5] += 1


def one_element_off(kind, tensors, notes):
    if kind == "order":
        tensors["normal"][7] = np.nextafter(tensors["normal"][7], np.float32(np.inf))


def other_operands(kind, tensors, notes):
    if kind == "operands":
        tensors["left"][:] = round_to(tensors["operand"], TF32, "RZ")
        tensors["right"][:] = tensors["left"]


def no_known_operands(kind, tensors, notes):
    if kind == "operands":
        tensors["left"][0] += np.float32(0.25)


@pytest.mark.parametrize("fault", [one_answer_off, one_element_off, other_operands, no_known_operands])
def test_a_planted_fault_is_never_proved(captured, fault):
    capture, asked = captured(Emulated(sequential), fault)
    found = reveal_recorded(capture, asked).revealed
    assert not found.proved
    assert found.reason


def test_a_question_that_was_not_recorded_is_named(captured):
    def forget(kind, tensors, notes):
        if kind == "order":
            tensors["pairs"], tensors["answer"] = tensors["pairs"][:-1], tensors["answer"][:-1]

    capture, asked = captured(Emulated(sequential), forget)
    found = reveal_recorded(capture, asked).revealed
    assert not found.proved
    assert "was not recorded" in found.reason
    _, tensors = capture.answers(asked.id)
    with pytest.raises(MissingProbe, match=r"terms 3 = 2 \(others 0, first factors 1\) was not recorded"):
        asker(tensors, 64)(np.eye(1, 64, 3, dtype=np.float32) * 2, 1.0)
    with pytest.raises(MissingProbe, match="sums of 64 terms; 65 were asked"):
        asker(tensors, 64)(np.zeros((1, 65), np.float32), 1.0)


def test_a_question_of_many_numbers_cannot_be_kept():
    with pytest.raises(NoTree, match="at most 3 numbers of its own; got 4"):
        sparse(np.array([2, 3, 4, 5, 0, 0, 0, 0], np.float32))


def test_a_kernel_without_an_order_says_why(captured):
    class Transform(Emulated):
        def run(self, op, params, arrays):
            return super().run(op, params, arrays) * np.float32(1.0000001)

    capture, asked = captured(Transform(sequential))
    found = reveal_recorded(capture, asked).revealed
    assert not found.proved
    assert "count" in found.reason or "rounding" in found.reason


def test_an_order_of_another_suite_or_a_failed_probe_is_refused(captured):
    capture, asked = captured(Emulated(sequential))
    other = RecordedProbe(asked.id, "a test", "order", {"op": "linear", "terms": 65})
    with pytest.raises(UserError, match="another declaration of order-test"):
        reveal_recorded(capture, other)
    capture.cells[asked.id] = {"status": "error", "reason": "out of memory"}
    with pytest.raises(UserError, match=r"has none of order-test \(out of memory\)"):
        reveal_recorded(capture, asked)


LINEAR = {"op": "linear", "params": {}, "case": "linear", "shapes": {"input": [1, 64], "weight": [8, 64]}}


def test_a_kernel_that_repeats_itself_is_one_group():
    tensors, notes = probe("invariance", factor="repeats", settings=list(range(20)), **LINEAR).record(
        Emulated(sequential)
    )
    assert notes["distinct"] == 1
    assert notes["groups"] == [1] * 20
    assert notes["differing"] == notes["ulp_max"] == 0
    assert tensors["index"].size == 0
    assert all(seconds >= 0 for seconds in notes["seconds"])


def test_a_planted_difference_of_repeats_is_located():
    class Restless(Emulated):
        def run(self, op, params, arrays):
            output = super().run(op, params, arrays)
            if self.calls % 4 == 0:
                output[0, 3] = np.nextafter(output[0, 3], np.float32(np.inf))
            return output

    settings = list(range(1, 21))
    tensors, notes = probe("invariance", factor="repeats", settings=settings, **LINEAR).record(
        Restless(sequential)
    )
    assert notes["distinct"] == 2
    assert [i for i, group in enumerate(notes["groups"], 1) if group == 2] == [4, 8, 12, 16, 20]
    assert notes["differing"] == 1
    assert notes["ulp_max"] == 1
    assert tensors["index"].tolist() == [3]
    assert tensors["values"].shape == (20, 1)


def test_an_order_that_depends_on_the_batch_is_seen():
    class ByBatch(Emulated):
        def run(self, op, params, arrays):
            rows = arrays["input"].shape[0]
            self.order = sequential if rows < 8 else pairwise
            return super().run(op, params, arrays)

    arguments = {"factor": "batch", "settings": [1, 2, 8, 32], **LINEAR}
    assert probe("invariance", **arguments).record(Emulated(pairwise))[1]["distinct"] == 1
    _, notes = probe("invariance", **arguments).record(ByBatch(pairwise))
    assert notes["groups"] == [1, 1, 2, 2]
    assert notes["differing"] > 0
    assert notes["abs_max"] > 0


def test_an_output_that_reads_its_neighbours_is_seen():
    class Leaky(Emulated):
        def run(self, op, params, arrays):
            output = super().run(op, params, arrays)
            return output + np.float32(1e-3) * arrays["input"].max()

    settings = ["first of 8", "last of 8", "first of 8, others zero", "first of 8, others larger"]
    arguments = {"factor": "neighbours", "settings": settings, **LINEAR}
    assert probe("invariance", **arguments).record(Emulated(sequential))[1]["distinct"] == 1
    assert probe("invariance", **arguments).record(Leaky(sequential))[1]["distinct"] > 1


def test_what_a_device_does_not_have_is_skipped_with_a_reason():
    _, notes = probe("invariance", factor="stream", settings=["idle", "busy", "own"], **LINEAR).record(
        Emulated(sequential)
    )
    assert notes["settings"] == ["idle"]
    assert notes["skipped"] == {"busy": "no streams here", "own": "no streams here"}


def test_a_wider_image_is_compared_where_it_is_the_same_question():
    shapes = {"input": [1, 4, 6, 6], "weight": [4, 4, 3, 3]}
    params = {"stride": 1, "padding": 1, "dilation": 1, "groups": 1}
    _, notes = probe(
        "invariance", factor="width", settings=[0, 1, 4], case="c", op="conv2d", params=params, shapes=shapes
    ).record(Emulated(sequential))
    assert notes["elements"] == 4 * 6 * 3
    assert notes["distinct"] == 1


def test_nan_and_signed_zeros_are_differences():
    one = np.array([0.0, 1.0, np.nan], np.float32)
    _, notes = compared({"a": one, "b": np.array([-0.0, 1.0, np.nan], np.float32)})
    assert (notes["distinct"], notes["differing"], notes["ulp_max"]) == (2, 1, 0)
    _, notes = compared({"a": one, "b": np.array([0.0, np.nan, np.nan], np.float32)})
    assert (notes["distinct"], notes["ulp_max"], notes["abs_max"]) == (2, None, None)
    _, notes = compared({"a": one[:1], "b": np.array([-1e-45], np.float32)})
    assert notes["ulp_max"] == 1


def test_every_probe_of_the_suite_is_declared_once_and_can_be_fingerprinted():
    prints = {each.fingerprint() for each in PROBES}
    assert len(prints) == len(PROBES) == len({each.id for each in PROBES})
    factors = {each.arguments["factor"] for each in PROBES if each.kind == "invariance"}
    assert {"repeats", "batch", "neighbours", "width", "threads", "memory_format", "stream"} <= factors
    repeats = [each for each in PROBES if each.arguments.get("factor") == "repeats"]
    assert all(len(each.arguments["settings"]) == 20 for each in repeats)
