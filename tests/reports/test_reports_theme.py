"""Colours in light and in dark can be read, and drawings have no others."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from reports import assets, budget_plot, plots, switch_plot, theme
from reports.inline import inlined

SIDES = pytest.mark.parametrize("side", [0, 1], ids=["light", "dark"])
LETTERS = ("pen", "torch", "tensorflow", "both", "other", "quiet", "green", "red", "plum", "mark")
LINES = ("axis", "ochre", "gold", "edge")


def test_contrast_is_that_of_the_guideline() -> None:
    assert theme.contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert theme.contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)  # known as just too little
    assert theme.contrast("#ffffff", "#767676") == pytest.approx(4.54, abs=0.01)


@SIDES
def test_letters_and_lines_can_be_told_from_what_they_stand_on(side: int) -> None:
    page = {name: pair[side] for name, pair in theme.PAGE.items()}
    plot = {name: pair[side] for name, pair in theme.PLOT.items()}
    for name in ("ink", "soft", "link", "good", "bad", "warn"):
        for ground in ("paper", "panel", "row", "found"):
            assert theme.contrast(page[name], page[ground]) >= 4.5, (name, ground)
    for name in LETTERS:
        assert theme.contrast(plot[name], plot["plot"]) >= 4.5, name
    for name in LINES:
        assert theme.contrast(plot[name], plot["plot"]) >= 3.0, name
    for name in theme.WASHED:
        assert theme.contrast(plot["pen"], theme.wash(plot[name], side)) >= 4.2, name
    assert set(plot) == {*LETTERS, *LINES, "plot", "grid", "hollow", "box"}


@SIDES
def test_every_step_of_the_heat_map_is_farther_from_the_page(side: int) -> None:
    grounds = [step[side][0] for step in theme.HEAT]
    distances = [theme.contrast(ground, theme.PAGE["paper"][side]) for ground in grounds]
    assert distances == sorted(distances)
    for ground, letters in (step[side] for step in (*theme.HEAT, *theme.GROUPS)):
        assert theme.contrast(ground, letters) >= 4.5


def test_a_property_belongs_to_one_colour_and_every_property_is_declared() -> None:
    light = [theme.PLOT[name][0] for name in theme.PLOT] + [
        theme.wash(theme.PLOT[n][0]) for n in theme.WASHED
    ]
    assert len(set(light)) == len(light)
    style = str(assets.style())
    used = set(re.findall(r"var\(--([\w-]+)", style)) | set(theme.PLOT)
    for rule in (":root { color-scheme", ":root:not([data-theme='light'])", ":root[data-theme='dark']"):
        block = style[style.index(rule) :].split("}", maxsplit=1)[0]
        assert used <= set(re.findall(r"--([\w-]+):", block)), rule
    assert "@media screen and (prefers-color-scheme: dark)" in style  # paper is light


def test_causes_and_kinds_of_change_have_colours_of_the_theme() -> None:
    known = {pair[0] for pair in theme.PLOT.values()} | {"white"}
    assert set(budget_plot.CAUSES.values()) <= known
    assert {theme.wash(colour) for colour in budget_plot.CAUSES.values()} <= {
        theme.wash(theme.PLOT[name][0]) for name in theme.WASHED
    }
    for look in switch_plot.KINDS.values():
        assert look["color"] in known
    assert {*plots.COLOURS.values(), plots.OTHER, plots.INK, plots.FAINT, plots.PAPER} <= known


def test_another_colour_is_refused() -> None:
    frame = pd.DataFrame({"case": ["a"], "framework": ["torch"], "error_scaled_ulp_rms": [1.0]})
    figure = plots.spread(frame)
    assert "var(--torch)" in inlined(plots.svg(figure)).body
    figure.axes[0].axvline(2.0, color="#123456")
    with pytest.raises(ValueError, match="it has #123456; add it there"):
        inlined(plots.svg(figure))
