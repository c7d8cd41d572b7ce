"""Who agrees to the bit: letters and table say what the groups of the scores say."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from reports.agreement import ALONE, MOST_CASES, agreement, in_modes, strips
from reports.cells import grid, lines
from reports.store import Results


def drawn(results: Results):
    rows = grid(results)
    titles = {case: case for case in results.cases["case"]}
    return strips(lines(rows), in_modes(rows), titles), titles


def test_two_modes_have_the_same_letter_where_and_only_where_their_bits_are_equal(results: Results) -> None:
    found, _ = drawn(results)
    assert found is not None
    frame = results.scores.set_index(["case", "mode", "output"])["bits_group"]
    compared = 0
    for title, link, marks in found.rows:
        output, case = (
            ("running_mean", title[15:]) if title.startswith("[running_mean] ") else ("output", title)
        )
        assert link == f"case-{case}"
        at = dict(zip(found.modes, marks, strict=True))
        for one, other in itertools.combinations(found.modes, 2):
            groups = [frame.get((case, mode, output)) for mode in (one, other)]
            letters = [at[mode].text for mode in (one, other)]
            if all(letter[0].isalpha() or letter == ALONE for letter in letters):
                compared += 1
                same = letters[0] == letters[1] != ALONE
                assert same == bool(groups[0] == groups[1]), (case, one, other)
        letters = [mark.text for mark in marks if mark.text.isalpha()]
        assert list(dict.fromkeys(letters)) == sorted(set(letters))  # A first, none left out
        assert all(letters.count(letter) > 1 for letter in letters)
    assert compared > 100
    assert not any(mode.startswith("torch.cuda") for mode in found.modes)  # they ran nothing


def test_a_failed_cell_has_the_sign_of_a_failure(results: Results) -> None:
    found, _ = drawn(results)
    row = next(marks for title, _, marks in found.rows if title == "linear-1024")
    assert dict(zip(found.modes, row, strict=True))["tensorflow.cpu.eigen"].text == "✗"


def test_equal_bits_with_other_evidence_are_still_equal(results: Results) -> None:
    scores = results.scores.copy()
    scores.loc[(scores["mode"] == "torch.cpu.threads1"), "evidence"] = "consistent"
    odd = dataclasses.replace(results, scores=scores)
    assert drawn(odd)[0] == drawn(results)[0]
    tables = [agreement(lines(grid(each)), drawn(each)[1]) for each in (odd, results)]
    assert tables[0] == tables[1]
    assert "A: torch.cpu = torch.cpu.threads1; B: torch.cpu.channels_last = tensorflow.cpu" in " ".join(
        cell.text for row in tables[0].rows for cell in row
    )


def test_one_mode_and_no_groups_give_no_picture(results: Results) -> None:
    assert drawn(dataclasses.replace(results, scores=results.scores.assign(bits_group=None)))[0] is None
    one = results.scores[results.scores["mode"] == "torch.cpu"]
    assert drawn(dataclasses.replace(results, scores=one))[0] is None


def test_a_large_suite_is_cut_and_says_so(results: Results) -> None:
    row = next(row for row in grid(results) if row["verdict"] == "rounding")
    rows = [
        row | {"case": f"case-{i}", "mode": mode, "bits_group": int(mode == "b" and i > 3)}
        for i in range(MOST_CASES + 5)
        for mode in "ab"
    ]
    found = strips(lines(rows), in_modes(rows), {each["case"]: each["case"] for each in rows})
    assert found is not None
    assert len(found.rows) == MOST_CASES
    assert found.note == f"The first {MOST_CASES} of {MOST_CASES + 5} results; the table has all."
    assert "in 4 all modes agree" in found.words


@pytest.mark.parametrize(("number", "letter"), [(0, "A"), (25, "Z"), (26, "A2"), (53, "B3")])
def test_letters_never_end(number: int, letter: str) -> None:
    from reports.agreement import _letter

    assert _letter(number) == letter
