"""Files are written whole or not at all."""

import os
import time

import pytest

from llc.files import remove_remains, written_whole


def test_what_stood_there_stands_until_the_new_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), written_whole(path) as made:
        made.write_text(f"half and {1 / 0}")
    assert path.read_text() == "old"
    with written_whole(path) as made:
        made.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_replaced_by_a_folder_only(tmp_path):
    path = tmp_path / "a"
    path.mkdir()
    (path / "precious").touch()
    with pytest.raises(OSError), written_whole(path) as made:  # noqa: PT011 -- its words are the system's
        made.write_text("a file")
    assert (path / "precious").exists()
    with written_whole(path) as made:
        made.mkdir()
    assert list(path.iterdir()) == []


def test_only_old_remains_are_removed(tmp_path):
    for name in (".tmp-old", ".tmp-young", "old"):
        (tmp_path / name).mkdir()
    for name in (".tmp-old", "old"):
        os.utime(tmp_path / name, (time.time() - 2 * 86_400,) * 2)
    remove_remains(tmp_path, ".tmp-*")
    assert {path.name for path in tmp_path.iterdir()} == {".tmp-young", "old"}
