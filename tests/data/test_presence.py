import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allinone.data.example import Example
from allinone.data.presence import missing


def caption(path):
    return Example(video=path, video_id=path.stem, text="a cat")


@given(here=st.lists(st.booleans(), min_size=1, max_size=12))
def test_exactly_the_absent_files_are_missing_in_the_order_of_the_examples(tmp_path_factory, here):
    root = tmp_path_factory.mktemp("presence")
    paths = [root / f"{n % 3}" / f"{n}.mp4" for n in range(len(here))]
    for path, is_here in zip(paths, here, strict=True):
        if is_here:
            path.parent.mkdir(exist_ok=True)
            path.touch()
    found = missing(caption(path) for path in [*paths, *paths])
    wanted = {path.stem: [path] for path, is_here in zip(paths, here, strict=True) if not is_here}
    assert found == wanted
    assert list(found) == list(wanted)


def test_of_several_images_those_that_are_absent_are_named(tmp_path):
    (tmp_path / "left.jpg").touch()
    pair = Example(video=(tmp_path / "left.jpg", tmp_path / "right.jpg"), video_id="pair", text="both are cats")
    assert missing([pair]) == {"pair": [tmp_path / "right.jpg"]}


def test_clips_to_choose_from_count_under_their_own_ids(tmp_path):
    (tmp_path / "a.mp4").touch()
    clips = tuple(caption(tmp_path / name) for name in ("a.mp4", "b.mp4"))
    question = Example(video=tmp_path / "a.mp4", video_id="which", text="who?", clips=clips, right=0)
    assert missing([question]) == {"b": [tmp_path / "b.mp4"]}


def test_a_link_to_a_file_is_there_and_a_folder_or_a_dead_link_is_not(tmp_path):
    (tmp_path / "real.mp4").touch()
    (tmp_path / "link.mp4").symlink_to(tmp_path / "real.mp4")
    (tmp_path / "dead.mp4").symlink_to(tmp_path / "gone.mp4")
    (tmp_path / "folder.mp4").mkdir()
    examples = [caption(tmp_path / f"{name}.mp4") for name in ("link", "dead", "folder")]
    assert list(missing(examples)) == ["dead", "folder"]


def test_a_folder_is_listed_once(tmp_path, monkeypatch):
    listed = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda folder: listed.append(folder) or scandir(folder))
    missing(caption(tmp_path / f"{n}.mp4") for n in range(50))
    assert listed == [str(tmp_path)]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may enter every folder")
def test_a_folder_that_may_not_be_entered_is_an_error_and_not_missing_files(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    with pytest.raises(PermissionError):
        missing([caption(closed / "a.mp4")])
