"""The kernel cache: a change of any file gives another folder."""

from __future__ import annotations

import numba

from reference.jit import compiled, source_digest


def test_any_change_of_any_file_changes_the_folder(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\n")
    (tmp_path / "b.py").write_text("y = 1\n")
    digests = [source_digest(tmp_path)]
    (tmp_path / "b.py").write_text("y = 2\n")
    digests.append(source_digest(tmp_path))
    (tmp_path / "b.py").rename(tmp_path / "c.py")
    digests.append(source_digest(tmp_path))
    assert len(set(digests)) == 3
    assert digests[-1] == source_digest(tmp_path)


def test_nothing_global_is_left_changed():
    before = numba.config.CACHE_DIR
    double = compiled(lambda x: x + x)
    assert double(1.5) == 3.0
    assert before == numba.config.CACHE_DIR
