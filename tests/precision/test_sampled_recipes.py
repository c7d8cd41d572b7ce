"""A sampled normalization is known whole where a recipe has its checksum, and only there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from precision.cases import load_suite
from precision.judging.sampled_judgement import whole_output
from precision.orders.norm_reveal import replay_norm
from precision.orders.sampled_recipes import recipe_candidates
from precision.sampling import Sampled, output_sha256, sample_index
from reference.norm_recipes import CATALOGUE

CASE = next(case for case in load_suite("default") if case.id == "layer-norm-768")
ARRAYS = {name: array[:24] if array.ndim == 2 else array for name, array in CASE.make("data").items()}


def sample(output):
    index = sample_index("c", output.shape, 0, 600)
    return Sampled(output.reshape(-1)[index], index, output.shape, output_sha256(output))


def outputs():
    for recipe in CATALOGUE:
        try:
            yield replay_norm(recipe, CASE.op, ARRAYS, CASE.params)
        except ValueError:
            continue


def found(sampled):
    return whole_output(sampled, recipe_candidates(CASE.op, ARRAYS, CASE.params, sampled))


def test_the_output_of_a_recipe_is_found_whole():
    for number, output in enumerate(outputs()):
        if number % 8 == 0:
            assert np.array_equal(found(sample(output)), output)


def test_a_planted_bit_is_not_found():
    output = next(iter(outputs()))
    kept = sample(output)
    values = kept.values.copy()
    values[100] = np.nextafter(values[100], np.float32(np.inf))
    changed = output.copy()
    changed.reshape(-1)[kept.index[100]] = values[100]
    assert found(replace(kept, values=values, sha256=output_sha256(changed))) is None
    # Where the sample does not show it, the checksum does.
    assert found(replace(kept, sha256=output_sha256(changed))) is None


def test_what_is_no_normalization_is_refused():
    with pytest.raises(ValueError, match="a recipe is of a normalization"):
        next(recipe_candidates("linear", {"input": ARRAYS["input"], "weight": ARRAYS["input"]}, {},
                               sample(ARRAYS["input"])))  # fmt: skip
