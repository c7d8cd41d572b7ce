"""One step of an optimizer in double-word arithmetic, with absolute bounds.

Every quantity is a pair of words with a bound on its error. A product with an exact factor of one word adds
STEP of itself, a sum adds STEP of itself and the bounds of its terms, a quotient or a root the relative
errors of its parts: the bounds are added up as they arise, in float64, and enlarged by 1.001 at the end.
Parameters are within 2**-100..2**100 or 0, so nothing overflows, and underflow loses less than LOST.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference.compensated import two_sum
from reference.doubleword import STEP, over, plus, plus_float, root, times, times_float
from reference.jit import compiled

LOST = 2.0**-800
_MORE = 1.001
RATE, MOMENTUM, DAMPENING, DECAY, NESTEROV, FIRST, KERAS = range(7)
PARAM, BUFFER = 0, 1
"""Rows of the results of `sgd`."""


@compiled
def _put(out: Any, row: int, i: int, high: float, low: float, error: float, size: float) -> None:
    out[row, 0, i], out[row, 1, i] = high, low
    out[row, 2, i] = error * _MORE + (LOST if error > 0.0 else 0.0)
    out[row, 3, i] = size * (1.0 + 2.0**-40)


@compiled
def sgd(param: Any, grad: Any, buffer: Any, settings: Any, out: Any) -> None:
    """out[row] = (value, residual, bound, magnitude) of the new parameter and the new momentum buffer."""
    rate, momentum, decay = settings[RATE], settings[MOMENTUM], settings[DECAY]
    kh, kl = two_sum(1.0, -settings[DAMPENING])
    for i in range(param.size):
        p, b = np.float64(param[i]), np.float64(buffer[i])
        dh, dl = times_float(p, 0.0, decay)
        gh, gl = plus_float(dh, dl, np.float64(grad[i]))
        ge = (abs(dh) + abs(gh)) * STEP if decay != 0.0 else 0.0
        size = abs(dh) + abs(np.float64(grad[i]))
        uh, ul, ue, us = gh, gl, ge, size
        if settings[KERAS]:  # the buffer holds momentum * buffer - rate * gradient
            sh, sl = times_float(gh, gl, -rate)
            mh, ml = times_float(b, 0.0, momentum)
            vh, vl = plus(mh, ml, sh, sl)
            se = ge * rate + abs(sh) * STEP
            ve = se + (abs(mh) + abs(vh)) * STEP
            vs = abs(mh) + size * rate
            uh, ul, ue, us = vh, vl, ve, vs
            if settings[NESTEROV]:
                mh, ml = times_float(vh, vl, momentum)
                uh, ul = plus(mh, ml, sh, sl)
                ue, us = (
                    ve * abs(momentum) + se + (abs(mh) + abs(uh)) * STEP,
                    vs * abs(momentum) + size * rate,
                )
            _put(out, BUFFER, i, vh, vl, ve, vs)
            rh, rl = plus_float(uh, ul, p)
            _put(out, PARAM, i, rh, rl, ue + abs(rh) * STEP, abs(p) + us)
            continue
        if momentum != 0.0:
            vh, vl, ve, vs = gh, gl, ge, size
            if not settings[FIRST]:
                mh, ml = times_float(b, 0.0, momentum)
                sh, sl = times(gh, gl, kh, kl)
                vh, vl = plus(mh, ml, sh, sl)
                ve = ge * abs(kh) + (abs(mh) + abs(sh) + abs(vh)) * STEP
                vs = abs(mh) + size * abs(kh)
            uh, ul, ue, us = vh, vl, ve, vs
            if settings[NESTEROV]:
                mh, ml = times_float(vh, vl, momentum)
                uh, ul = plus(gh, gl, mh, ml)
                ue, us = ge + ve * abs(momentum) + (abs(mh) + abs(uh)) * STEP, size + vs * abs(momentum)
            _put(out, BUFFER, i, vh, vl, ve, vs)
        else:
            _put(out, BUFFER, i, b, 0.0, 0.0, abs(b))
        sh, sl = times_float(uh, ul, -rate)
        rh, rl = plus_float(sh, sl, p)
        _put(out, PARAM, i, rh, rl, ue * rate + (abs(sh) + abs(rh)) * STEP, abs(p) + us * rate)


BETA1, BETA2, EPS, DECOUPLED = 1, 2, 4, 5
SECOND = 2
"""Settings of `adam` besides RATE, DECAY and KERAS; rows PARAM, BUFFER (first moment), SECOND."""


@compiled
def adam(  # noqa: PLR0915
    param: Any, grad: Any, first: Any, second: Any, settings: Any, corrections: Any, out: Any
) -> None:
    """p - rate (m / c1) / (sqrt(v / c2) + eps), or Keras's p - rate sqrt(c2)/c1 m / (sqrt(v) + eps).

    corrections: 1 - beta1**t and 1 - beta2**t as double words, within 2**-105.
    """
    rate, decay, eps = settings[RATE], settings[DECAY], settings[EPS]
    beta1, beta2 = settings[BETA1], settings[BETA2]
    ah, al = two_sum(1.0, -beta1)
    bh, bl = two_sum(1.0, -beta2)
    keras = settings[KERAS] != 0.0
    lh, ll = corrections[0], corrections[1]
    qh, ql = corrections[2], corrections[3]
    rh, rl = root(qh, ql)
    for i in range(param.size):
        p, pe, ge = np.float64(param[i]), 0.0, 0.0
        ph, pl = times_float(1.0, 0.0, p)
        gh, gl = times_float(1.0, 0.0, np.float64(grad[i]))
        gs = abs(gh)
        if decay != 0.0:
            dh, dl = times_float(p, 0.0, decay)
            if settings[DECOUPLED]:
                dh, dl = times_float(dh, dl, -rate)
                ph, pl = plus_float(dh, dl, p)
                pe = (2.0 * abs(dh) + abs(ph)) * STEP
            else:
                gh, gl = plus_float(dh, dl, gh)
                ge, gs = (abs(dh) + abs(gh)) * STEP, gs + abs(dh)
        mh, ml = times_float(np.float64(first[i]), 0.0, beta1)
        sh, sl = times(gh, gl, ah, al)
        ms = abs(mh) + gs * ah
        me = ge * ah + (abs(mh) + abs(sh)) * STEP
        mh, ml = plus(mh, ml, sh, sl)
        me += abs(mh) * STEP
        _put(out, BUFFER, i, mh, ml, me if ms > 0.0 else 0.0, ms)
        vh, vl = times_float(np.float64(second[i]), 0.0, beta2)
        sh, sl = times(gh, gl, gh, gl)
        se = (2.0 * abs(gh) * ge + ge * ge) * bh + 3.0 * abs(sh) * bh * STEP
        sh, sl = times(sh, sl, bh, bl)
        vs = abs(vh) + abs(sh) + se
        ve = abs(vh) * STEP + se
        vh, vl = plus(vh, vl, sh, sl)
        ve += abs(vh) * STEP
        _put(out, SECOND, i, vh, vl, ve if vs > 0.0 else 0.0, vs)
        nh, nl = mh, ml
        th, tl, te = 0.0, 0.0, 0.0
        relative = ve / vh if vh > 0.0 else 0.0
        if vh > 0.0:
            wh, wl = vh, vl
            if not keras:
                wh, wl = over(vh, vl, qh, ql)
            th, tl = root(wh, wl)
            te = th * (0.6 * relative + 3.0 * STEP)
        th, tl = plus_float(th, tl, eps)
        te += abs(th) * STEP
        if keras:
            nh, nl = times(nh, nl, rh, rl)
        nh, nl = over(nh, nl, lh, ll)
        nh, nl = times_float(nh, nl, -rate)
        scale = abs(rate / lh) * (rh if keras else 1.0)
        nh, nl = over(nh, nl, th, tl)
        step = abs(nh)
        bound = (me * scale + step * te) / th + step * 6.0 * STEP
        if relative > 2.0**-20 or te > 2.0**-20 * th:
            bound = np.inf
        high, low = plus(ph, pl, nh, nl)
        still = ms == 0.0 and pe == 0.0
        error = 0.0 if still else bound + pe + abs(high) * STEP
        _put(out, PARAM, i, high, low, error, abs(ph) + step)
