import shutil
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from allinone.apps.tools.check import check
from allinone.apps.tools.info import count_records, counts_as_json
from allinone.apps.tools.prepare import Format, prepare
from allinone.data.example import Example
from allinone.data.presence import missing
from allinone.datasets import find
from allinone.video import probe
from allinone.video.encode import write_image, write_mp4
from apps.tools.world import SMALL, state_of, write_official, write_tvqa_frames
from layouts.images import write_nlvr2
from layouts.recognition import write_ucf101
from layouts.video_text import write_msrvtt

FORM = Format(short_side=24, gop=4)


def test_the_copy_stands_for_itself_and_the_source_stays(tmp_path, root):
    before = state_of(root)
    report = prepare(SMALL, root, tmp_path / "to", FORM, workers=2)
    assert state_of(root) == before
    assert report.complete
    assert report.gain is not None
    shutil.move(root, tmp_path / "away")
    assert counts_as_json(count_records(SMALL, tmp_path / "to")) == counts_as_json(
        count_records(SMALL, tmp_path / "away")
    )
    assert check(SMALL, tmp_path / "to", splits=["test"], workers=1)[0].complete
    for name in ("a.mp4", "photo.jpg"):
        info = probe(tmp_path / "to" / "videos" / name)
        assert (info.width, info.height) == (36, 24)


def test_what_is_done_is_not_done_again_unless_source_or_copy_changed(tmp_path, root):
    to = tmp_path / "to"
    prepare(SMALL, root, to, FORM, workers=1)
    made = state_of(to / "videos")
    assert prepare(SMALL, root, to, FORM, workers=1).num_done_before == 3
    assert state_of(to / "videos") == made
    (to / "videos" / "a.mp4").write_bytes(b"cut off")
    write_mp4(root / "videos" / "b.mp4", np.full((20, 32, 48, 3), 10, np.uint8), fps=8)
    assert prepare(SMALL, root, to, FORM, workers=1).num_done_before == 1
    assert [probe(to / "videos" / f"{name}.mp4").num_frames for name in "ab"] == [12, 20]


def test_what_a_killed_run_left_goes_away_and_is_done(tmp_path, root):
    to = tmp_path / "to"
    prepare(SMALL, root, to, FORM, workers=1)
    journal = to / ".prepared" / "done.jsonl"
    journal.write_text(journal.read_text()[:-20])
    (to / ".prepared" / "unfinished").mkdir()
    (to / ".prepared" / "unfinished" / "half.mp4").write_bytes(b"half")
    assert prepare(SMALL, root, to, FORM, workers=1).num_done_before == 2
    assert not (to / ".prepared" / "unfinished").exists()


def test_unreadable_and_missing_videos_are_named_and_the_rest_is_done(tmp_path, root):
    (root / "videos" / "a.mp4").write_bytes(b"no video")
    (root / "videos" / "photo.jpg").unlink()
    report = prepare(SMALL, root, tmp_path / "to", FORM, workers=2)
    assert list(report.failed) == [str(root / "videos" / "a.mp4")]
    assert len(report.missing) == 1
    assert not report.complete
    assert [path.name for path in (tmp_path / "to" / "videos").iterdir()] == ["b.mp4"]


@pytest.mark.parametrize("to", [".", "inside", ".."])
def test_the_source_may_not_hold_the_copy_nor_lie_in_it(root, to):
    with pytest.raises(ValueError, match="never touched"):
        prepare(SMALL, root, root / to, FORM)


def test_a_link_does_not_hide_that_source_and_copy_are_one(tmp_path, root):
    (tmp_path / "link").symlink_to(root)
    with pytest.raises(ValueError, match="never touched"):
        prepare(SMALL, root, tmp_path / "link" / "inside", FORM)


def test_other_folders_and_other_formats_are_not_overwritten(tmp_path, root):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.mp4").touch()
    with pytest.raises(ValueError, match="not empty and was not made by this command"):
        prepare(SMALL, root, tmp_path / "full", FORM)
    prepare(SMALL, root, tmp_path / "to", FORM, workers=1)
    with pytest.raises(ValueError, match="was begun with"):
        prepare(SMALL, root, tmp_path / "to", replace(FORM, crf=30), workers=1)


def test_a_users_own_folder_keeps_its_names_in_captions(tmp_path):
    own = tmp_path / "own"
    (own / "cats").mkdir(parents=True)
    write_mp4(tmp_path / "a.mp4", np.full((8, 32, 48, 3), 90, np.uint8), fps=8)
    shutil.move(tmp_path / "a.mp4", own / "cats" / "first.mov")
    write_image(own / "photo.png", np.full((16, 16, 3), 90, np.uint8))
    (own / "captions.csv").write_text("video,caption\ncats/first.mov,a cat\nphoto.png,a dog\n")
    assert prepare(find("captioned"), own, tmp_path / "to", FORM, workers=1).complete
    examples = list(find("captioned").card.tasks["captions"].reader(split=None).examples(tmp_path / "to"))
    assert [example.video_id for example in examples] == ["cats/first.mov", "photo.png"]
    assert [example.files[0].name for example in examples] == ["first.mp4", "photo.png"]
    assert (tmp_path / "to" / "photo.png").read_bytes() == (own / "photo.png").read_bytes()
    assert check(find("captioned"), tmp_path / "to", workers=1)[0].complete


@pytest.mark.parametrize(
    ("name", "write", "ending"),
    [("msrvtt", write_msrvtt, ".avi"), ("ucf101", write_ucf101, ".avi"), ("nlvr2", write_nlvr2, ".jpg")],
)
def test_readers_find_in_the_copy_what_they_found_in_an_official_layout(tmp_path, name, write, ending):
    clips = [tmp_path / f"{n}{ending}" for n in range(4)]
    for path in clips:
        pixels = np.full((8, 32, 48, 3), 90, np.uint8)
        write_image(path, pixels[0]) if ending == ".jpg" else write_mp4(path, pixels, fps=8)
    write_official(tmp_path / "root", write, clips)
    known = find(name)
    before: list[Example] = []
    after: list[Example] = []
    count_records(known, tmp_path / "root", each=before.append)
    assert prepare(known, tmp_path / "root", tmp_path / "to", FORM, workers=2).complete
    count_records(known, tmp_path / "to", each=after.append)
    assert [replace(example, video=()) for example in after] == [replace(example, video=()) for example in before]
    assert before
    assert not missing(after)
    assert all(probe(path).height == 24 for example in after for path in example.files)


def test_annotations_of_any_name_are_copied_and_bulk_is_not(tmp_path, root):
    (root / "lists").mkdir()
    for name in ("captions.token", "lists/split", "features.h5", "videos.tar.gz", ".hidden"):
        (root / name).write_text(name)
    with zipfile.ZipFile(root / "videos.zip", "w") as archive:
        archive.writestr("a.mp4", b"")
    with zipfile.ZipFile(root / "lists.zip", "w") as archive:
        archive.writestr("a.json", b"")
    (root / "lists" / "ring").symlink_to(root)
    prepare(SMALL, root, tmp_path / "to", FORM, workers=1)
    copied = {str(path.relative_to(tmp_path / "to")) for path in (tmp_path / "to").rglob("*") if path.is_file()}
    expected = {"captions.token", "lists/split", "lists.zip", "train.jsonl", "test.jsonl"}
    assert {name for name in copied if not name.startswith((".prepared", "videos/"))} == expected


def test_two_videos_that_would_become_one_are_refused(tmp_path):
    write_mp4(tmp_path / "a.mp4", np.full((8, 32, 48, 3), 90, np.uint8), fps=8)
    shutil.copy(tmp_path / "a.mp4", tmp_path / "a.mkv")
    (tmp_path / "captions.csv").write_text("video,caption\na.mp4,a cat\na.mkv,a dog\n")
    with pytest.raises(ValueError, match=r"a\.mp4 and a\.mkv would both become a\.mp4; rename one"):
        prepare(find("captioned"), tmp_path, tmp_path.with_name("to"), FORM)


def test_a_reader_that_chooses_among_files_that_no_record_names_is_reported(tmp_path):
    write_tvqa_frames(tmp_path / "root")
    report = prepare(find("tvqa"), tmp_path / "root", tmp_path / "to", FORM, workers=1)
    assert report.num_files == 6
    assert not report.failed
    assert not report.alike
    assert not report.complete
