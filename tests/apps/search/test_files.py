import os
from pathlib import Path
from typing import Literal
from unicodedata import normalize

import pytest

from allinone.apps.search.files import VideoFile, by_ending, find_videos, list_files

Form = Literal["NFC", "NFD"]


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


def names(folder: Path, *paths: Path) -> list[str]:
    """Return the files found below the paths, or the folder, relative to the folder."""
    return [path.relative_to(folder).as_posix() for path in find_videos(list(paths) or folder)]


@pytest.mark.parametrize(
    "ending", ["VOB", "mxf", "Asf", "3g2", "3gpp", "dv", "insv", "h264", "mts", "m2ts", "rmvb", "y4m"]
)
def test_films_of_every_kind_are_found_in_any_case(tmp_path: Path, ending: str):
    (tmp_path / f"a.{ending}").touch()
    assert names(tmp_path) == [f"a.{ending}"]


def test_photos_are_found_and_what_is_left_alone_is_counted_by_ending(tmp_path: Path):
    for name in ("a.HEIC", "b.jpg", "c.avif", "d.tiff", "e.txt", "f.TXT", "g.wav", "README", ".h.txt", "._b.jpg"):
        (tmp_path / name).touch()
    listing = list_files(tmp_path)
    assert [path.name for path in listing.files] == ["a.HEIC", "b.jpg", "c.avif", "d.tiff"]
    assert listing.others == {".txt": 2, ".wav": 1, "": 1}
    assert by_ending(listing.others) == ".txt 2, no ending 1, .wav 1"
    assert listing.hidden == {".jpg": 1}
    assert by_ending({".\udcff": 1}) == ".\ufffd 1"
    for path in listing.files:
        path.unlink()
    with pytest.raises(ValueError, match=r"no videos in .*; other files there: \.txt 2"):
        find_videos(tmp_path)


BIN_NAMES = ("@eaDir", "#recycle", "$RECYCLE.BIN", ".Trash-1000", ".@__thumb", "lost+found", "@Recycle", "__MACOSX")


@pytest.mark.parametrize("name", BIN_NAMES)
def test_bins_and_copies_are_left_out_and_counted_unless_one_is_named(tmp_path: Path, name: str):
    (tmp_path / name / "a.mp4").mkdir(parents=True)
    for path in (f"{name}/a.mp4/copy.mp4", f"{name}/b.jpg", f"{name}/data.db", "c.mp4"):
        (tmp_path / path).touch()
    listing = list_files(tmp_path)
    assert listing.files == [tmp_path / "c.mp4"]
    assert (listing.others, listing.hidden) == ({}, {".mp4": 1, ".jpg": 1})
    assert names(tmp_path, tmp_path / name) == [f"{name}/b.jpg", f"{name}/a.mp4/copy.mp4"]
    if not name.startswith("."):  # which `*` does not give
        assert find_videos(sorted(tmp_path.iterdir())) == [tmp_path / "c.mp4"]
        assert find_videos(str(tmp_path / "**" / "*.mp4")) == [tmp_path / "c.mp4"]


def test_links_to_folders_are_followed_once(tmp_path: Path):
    inside, outside = tmp_path / "lib", tmp_path / "disk" / "2023"
    (inside / "z").mkdir(parents=True)
    outside.mkdir(parents=True)
    for path in (inside / "z" / "a.mp4", outside / "b.mp4", tmp_path / "disk" / "not_asked_for.mp4"):
        path.touch()
    (inside / ".hidden").symlink_to(tmp_path)
    (inside / "1st").symlink_to(inside / "z")  # what it leads to is found by its own path, though that comes later
    (inside / "2023").symlink_to(outside)
    (inside / "again").symlink_to(outside)
    (outside / "back").symlink_to(inside)
    (outside / "up").symlink_to(tmp_path)  # a folder above both
    (inside / "one.mp4").symlink_to(inside / "z" / "a.mp4")
    (inside / "other.mp4").symlink_to(tmp_path / "disk" / "not_asked_for.mp4")
    assert names(inside) == ["z/a.mp4", "2023/b.mp4", "other.mp4"]
    assert list_files(inside).hidden == {}
    assert find_videos([inside / "2023", inside, outside]) == [inside / name for name in names(inside)[1::-1]] + [
        inside / "other.mp4"
    ]


@pytest.mark.parametrize(("stored", "typed"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_paths_are_found_in_either_spelling_of_their_letters(tmp_path: Path, stored: Form, typed: Form):
    path = tmp_path / normalize(stored, "Größe") / normalize(stored, "서울é.mp4")
    path.parent.mkdir()
    path.touch()
    wanted = tmp_path / normalize(typed, "Größe")
    assert find_videos(wanted) == find_videos(wanted / normalize(typed, "서울é.mp4")) == [path]
    wanted.mkdir()  # both exist: the typed form is taken
    (wanted / "b.mp4").touch()
    assert find_videos(wanted) == [wanted / "b.mp4"]
    assert find_videos(wanted / normalize(typed, "서울é.mp4")) == [path]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_cannot_be_read_fails_by_name(tmp_path: Path):
    (tmp_path / "closed").mkdir(mode=0)
    (tmp_path / "a.mp4").touch()
    assert find_videos(tmp_path) == [tmp_path / "a.mp4", tmp_path / "closed"]
    with pytest.raises(PermissionError, match="closed"):
        VideoFile.of(tmp_path / "closed")
