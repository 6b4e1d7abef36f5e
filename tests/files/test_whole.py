import errno
import os

import pytest

from allinone.files.cache import cache_folder
from allinone.files.whole import old_name, recover, whole_file, whole_folder, write_json


def test_a_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with whole_file(path) as unfinished:
        unfinished.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), whole_file(path) as unfinished:
        unfinished.write_text(f"half {1 / 0}")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


class LibraryError(Exception):
    errno = errno.ENOSPC


def test_a_full_disk_is_an_os_error_of_that_file_whichever_library_wrote(tmp_path):
    with pytest.raises(OSError, match=r"a\.mp4") as raised, whole_file(tmp_path / "a.mp4"):
        raise LibraryError
    assert raised.value.errno == errno.ENOSPC


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path):
    write_json(tmp_path / "a.json", {"a": "ä"})
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": object()})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "a": "ä"\n}\n'
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_folder_takes_the_place_of_an_older_one_whole(tmp_path):
    for content in ("one", "two"):
        with whole_folder(tmp_path / "a") as new:
            (new / content).write_text(content)
    assert os.listdir(tmp_path / "a") == ["two"]
    assert os.listdir(tmp_path) == ["a"]


def test_an_error_leaves_the_old_folder_and_nothing_else(tmp_path):
    with whole_folder(tmp_path / "a") as new:
        (new / "one").touch()
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "a") as new:
        raise RuntimeError
    assert os.listdir(tmp_path / "a") == ["one"]
    assert os.listdir(tmp_path) == ["a"]


def test_a_replacement_cut_short_between_its_renames_is_undone(tmp_path):
    old_name(tmp_path / "a").mkdir()
    recover(tmp_path / "a")
    assert os.listdir(tmp_path) == ["a"]
    old_name(tmp_path / "a").mkdir()
    recover(tmp_path / "a")
    assert os.listdir(tmp_path) == ["a"]


def test_the_cache_folder_is_where_the_user_says(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder("shards") == tmp_path / "allinone" / "shards"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder("shards") == tmp_path / ".cache" / "allinone" / "shards"
