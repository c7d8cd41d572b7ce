"""The GPU suite: what is captured where a GPU is, to be judged anywhere.  It runs on CPUs as well.

`CASES` are scored like those of every suite: the convolutions, linear layer and normalizations of the
default suite (same ids, so the same arrays to the bit), the gradients of their inputs and weights, and
`accumulate-*`: uniform data at growing K, where the error of a truncating accumulator has a sign and grows
like K.  `PROBES` (see `precision.suites.gpu_probes`) are questions about a kernel: recorded, not scored.

**A scored cell.**  An output of more than `FULL_UP_TO` elements is kept as a sample of `KEPT` elements, the
same in every mode: `Capture.samples(case)` gives for each variant (data, probe, width, and repeat where a
second call gave other bits) a `precision.sampling.Sampled` with values, flat indices, whole shape, and the
SHA-256 of the whole output's bytes.  On disk: the float32 tensors are one-dimensional, a tensor `index`
(int64) holds the flat indices, and the cell has `"whole": {"shape": [...], "sha256": {variant: ...}}`.

**A probe's cell** has `"kind": "probe"`, `"notes"` (JSON) and a file of tensors: `Capture.answers(id)` gives
both.  By the probe's kind, which `notes["kind"]` repeats:

`operands`: to which format does the kernel round its operands?  Products q(v) * 1, one `operand` (V,) each.
    Tensors left, right (V,): what came out with v as the left and as the right factor.
    Notes: op; names (V), such as "tf32 1+2^-11"; left_distinct, right_distinct (V): how many answers the
    outputs that ask the same gave.  RZ, RNE and RNA part on three scalars of each format.

`accumulator`: how does it add?  Rows of two or three products, exact in every format of operands.
    Tensors terms (R, 3), places (R, 3; -1: none), answer (R,).
    Notes: op; terms (K); names (R): "fraction 12 near": +2^12, -2^12 and 1, of which the 1 is left while so
    many bits of fraction are kept (near: in adjacent places; far: the 1 at the end; apart: the -2^12 at the
    end); "round 2^24 and 3 near", which parts RNE, RZ and RD; "flush ...": numbers below 2^-126.

`order`: in which order does it add?  Read by `precision.orders.records`.
    Tensors pairs (P, 2), answer (P,): +M and -M at two of the K products, ones elsewhere; places, values
    (Q, 3), background, alpha, other_answer (Q,): all other questions; uniform, normal and, where they are
    samples, data_index: outputs of seeded data, on which a revealed order is proved.
    Notes: op, params, shapes, terms (K), stopped (why the walk ended early; empty: it did not), calls,
    questions, uneven (questions not answered alike at all positions), output_shape.

`invariance`: does the same question get the same bits?
    Notes: factor (repeats, batch, neighbours, width, threads, memory_format, offset, stream); case; op; and
    by setting: settings, sha256, groups (equal numbers: equal bits), seconds (the fastest call).  A setting
    "..., again" is a second call that gave other bits.  Over all: distinct; elements (of the compared part);
    differing; ulp_max (float32 steps between two answers to one element; null: NaN); abs_max; skipped
    {setting: why}: what the framework or device does not have.
    Tensors index (m,): the first differing elements; values (settings, m).
"""

from __future__ import annotations

from precision.cases import Case
from precision.suites import default
from precision.suites.gpu_probes import PROBES
from precision.suites.gradients import gradients
from precision.suites.layers import UNIFORM, conv, product

__all__ = ["CASES", "FULL_UP_TO", "KEPT", "PROBES"]

FULL_UP_TO = 4096
KEPT = 1024

_GROWING = (64, 256, 1024, 4096, 16384)
_CHANNELS = (8, 64, 128, 512)

_NOTE = "Positive data: a truncating accumulator's error has a sign and grows like K."

_ACCUMULATION = (
    *(
        product(f"accumulate-linear-{terms}", f"linear {terms}→64, uniform", _NOTE, 64, terms, 64, UNIFORM)
        for terms in _GROWING
    ),
    *(
        conv(
            f"accumulate-conv2d-{9 * channels}",
            f"conv2d 3×3 {channels}→64, uniform",
            _NOTE,
            (1, channels, 10, 10),
            (64, channels, 3, 3),
            "uniform [0, 1)",
            (UNIFORM, UNIFORM),
        )
        for channels in _CHANNELS
    ),
)

_LAYERS = tuple(case for case in default.CASES if not case.natural)

CASES: tuple[Case, ...] = (
    *default.CASES,
    *(gradient for case in _LAYERS for gradient in gradients(case)),
    *_ACCUMULATION,
)
