import os
from pathlib import Path

import pytest

from allinone.search.files import VideoFile, find_videos


def test_paths_are_absolute_and_each_file_is_taken_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "f"
    (folder / "sub").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    (folder / "sub" / "loop").symlink_to(folder)
    for name in ("A.MP4", "b.mkv", "sub/c.mp4", ".d.mp4", "e.txt", ".hidden/f.mp4"):
        (folder / name).touch()
    monkeypatch.chdir(folder)
    wanted = [folder / "A.MP4", folder / "b.mkv", folder / "sub" / "c.mp4"]
    assert find_videos(".") == wanted
    assert find_videos(["b.mkv", folder, "./sub/../b.mkv"]) == [wanted[1], wanted[0], wanted[2]]
    assert find_videos(folder / "e.txt") == [folder / "e.txt"]  # named itself


def test_globs_match_files_and_folders_and_names_that_exist_are_no_globs(tmp_path: Path):
    (tmp_path / "films").mkdir()
    for name in ("a1.mp4", "a2.mp4", "b[1].mp4", "films/a3.mp4"):
        (tmp_path / name).touch()
    assert find_videos(str(tmp_path / "a*.mp4")) == [tmp_path / "a1.mp4", tmp_path / "a2.mp4"]
    assert find_videos(tmp_path / "b[1].mp4") == [tmp_path / "b[1].mp4"]
    assert find_videos(str(tmp_path / "**" / "a?.mp4")) == [tmp_path / f"{n}.mp4" for n in ("a1", "a2", "films/a3")]
    assert find_videos(str(tmp_path / "fil*")) == [tmp_path / "films" / "a3.mp4"]
    with pytest.raises(ValueError, match=r"no such file or folder: .*x\*\.mp4"):
        find_videos([tmp_path, str(tmp_path / "x*.mp4")])


def test_content_is_that_of_the_bytes_and_of_nothing_else(tmp_path: Path):
    one, two = tmp_path / "one.mp4", tmp_path / "two.mkv"
    one.write_bytes(b"x" * 100_000)
    two.write_bytes(b"x" * 100_000)
    assert VideoFile.of(one).content() == VideoFile.of(two).content()
    with two.open("r+b") as file:
        file.seek(50_000)
        file.write(b"y")
    assert VideoFile.of(one).content() != VideoFile.of(two).content()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_cannot_be_read_fails_by_name(tmp_path: Path):
    (tmp_path / "closed").mkdir(mode=0)
    (tmp_path / "a.mp4").touch()
    assert find_videos(tmp_path) == [tmp_path / "a.mp4", tmp_path / "closed"]
    with pytest.raises(PermissionError, match="closed"):
        VideoFile.of(tmp_path / "closed")
