"""Rows of "the same outputs in TensorFlow and PyTorch"; what needs more room has a module of its own."""

from __future__ import annotations

from precision.errors import CannotRun
from precision.studies.material import Material
from precision.studies.row import Entry, Row, figure, made
from precision.studies.same_columns import column_gradient, column_gradient_norm
from precision.studies.same_dropout import dropout
from precision.studies.same_momentum import nesterov, nesterov_schedule
from precision.studies.same_norm import batch_norm, batch_norm_statistics
from precision.studies.telling import listed

_SWITCHES = {"torch": "deterministic_algorithms", "tensorflow": "deterministic_ops"}


def rows(material: Material) -> list[Row]:
    """The study's rows; see `precision.studies.row`."""
    return made("same-outputs", _MAKERS, material)


def _deterministic(material: Material, entry: Entry) -> Row:
    """Both frameworks have a switch; what it changes is read off the captures, on a GPU too where one ran."""
    told, changed, asked, on = [], 0, 0, {}
    repeats = []
    for mode in material.modes.values():
        plain = mode.name.removesuffix(".deterministic")
        if plain == mode.name or plain not in material.modes:
            continue
        found = {}
        for case in material.references:
            try:
                rows = [material.score(case, name) for name in (plain, mode.name)]
            except CannotRun:
                continue
            found[case] = rows[0]["bits_sha256"] == rows[1]["bits_sha256"]
            repeats += [row["repeat_distinct"] for row in rows[1:]]
        if found:
            other = [case for case, same in found.items() if not same]
            asked, changed = asked + len(found), changed + len(other)
            on[mode.framework] = material.captures[mode.name].read_back.get(_SWITCHES[mode.framework])
            told.append(
                f"{mode.name}: {len(found) - len(other)} of {len(found)} cases have the bits of {plain}"
                + (f" (not {listed(other)})" if other else "")
            )
    missing = sorted(set(_SWITCHES) - set(on))
    if missing:
        raise CannotRun(f"no deterministic mode of {missing[0]}, or not the one beside it, gave an output")
    steady = all(count == 1 for count in repeats)
    works = all(on.values()) and steady
    return entry.row_of(
        now="both are there and read back as set "
        f"({', '.join(f'{_SWITCHES[f]}={on[f]}' for f in sorted(on))}); {'; '.join(told)}; two calls of "
        f"each deterministic cell gave the same bits: {steady}",
        truth="a deterministic mode repeats its own bits; it need not have those of another mode, and "
        "neither framework promises the other's",
        cause="none" if works else "unexplained",
        evidence="consistent" if works else "none",
        detail="the switches forbid kernels whose order is free (atomic additions on a GPU); they change "
        f"the bits of {changed} of {asked} cells here. Two equal calls are no proof of a third",
        mend="torch.use_deterministic_algorithms(True) (which also sets what cudnn.deterministic does) "
        "with CUBLAS_WORKSPACE_CONFIG=:4096:8 on a GPU; tf.config.experimental.enable_op_determinism() "
        "with a seed",
        recurs="no" if on["tensorflow"] else "yes",
        why="TensorFlow has had enable_op_determinism since 2.8; in 2019 there was only an environment "
        "variable",
        figures=[
            figure(f"{framework}: {_SWITCHES[framework]} read back", str(value), None, "True")
            for framework, value in sorted(on.items())
        ],
    )


_MAKERS = {
    "column-gradient": column_gradient,
    "column-gradient-norm": column_gradient_norm,
    "nesterov": nesterov,
    "nesterov-schedule": nesterov_schedule,
    "batch-norm": batch_norm,
    "batch-norm-statistics": batch_norm_statistics,
    "dropout": dropout,
    "deterministic": _deterministic,
}
