import itertools
import json
import multiprocessing
import os
import shutil
import signal
import tarfile
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from allinone.apps.tools import shard as tool
from allinone.apps.tools.check import check
from allinone.apps.tools.info import count_records, counts_as_json
from allinone.apps.tools.prepare import Format, prepare
from allinone.apps.tools.shard import Limits, shard
from allinone.data import loader as loaders
from allinone.data.example import Example
from allinone.data.loader import DataConfig
from allinone.data.presence import missing
from allinone.datasets import find
from allinone.files.lock import only_process
from allinone.files.shards import INDEX, open_file
from allinone.text.tokenizer import Tokenizer
from allinone.video import VideoError, probe, read_frames
from allinone.video.encode import write_image, write_mp4
from allinone.video.transforms import Transform
from apps.tools.world import RECORDS, SMALL, state_of, write_official, write_rows, write_tvqa_frames
from layouts.images import write_nlvr2
from layouts.recognition import write_ucf101
from layouts.video_text import write_msrvtt

LIMITS = Limits(max_samples=2)


@pytest.fixture
def any_bytes(monkeypatch):
    """Files are packed whatever is in them."""
    monkeypatch.setattr(tool, "unreadable", lambda *_: {})


def content(path):
    with open_file(path) as file:
        return file.read()


def shards(folder):
    return {path.name: path.read_bytes() for path in sorted((folder / "shards").iterdir())}


def test_the_packed_folder_stands_for_itself_and_the_source_stays(tmp_path, root):
    before = state_of(root)
    report = shard(SMALL, root, tmp_path / "to", LIMITS)
    assert report.complete
    assert (report.num_files, report.num_shards) == (3, 2)
    assert state_of(root) == before
    for name in ("a.mp4", "b.mp4", "photo.jpg"):
        assert content(tmp_path / "to" / "videos" / name) == (root / "videos" / name).read_bytes()
        assert not (tmp_path / "to" / "videos" / name).exists()
    shutil.move(root, tmp_path / "away")
    assert counts_as_json(count_records(SMALL, tmp_path / "to")) == counts_as_json(
        count_records(SMALL, tmp_path / "away")
    )
    found, _ = check(SMALL, tmp_path / "to", splits=["test", "train"], tasks=["questions"], workers=1)
    assert found.complete
    again, _ = check(SMALL, tmp_path / "to", splits=["test", "train"], tasks=["questions"], workers=1)
    assert again.complete


def test_frames_and_facts_are_those_of_the_files(tmp_path, root):
    shard(SMALL, root, tmp_path / "to", LIMITS)
    for name in ("a.mp4", "photo.jpg"):
        plain, packed = root / "videos" / name, tmp_path / "to" / "videos" / name
        assert replace(probe(packed), name="") == replace(probe(plain), name="")
        assert torch.equal(read_frames(packed, indices=[0]).frames, read_frames(plain, indices=[0]).frames)
        shown = [read_frames(path, times_sec=[0.9, 0.1]).frames for path in (packed, plain)]
        assert torch.equal(*shown)


@pytest.fixture
def both(tmp_path):
    """Examples of moving clips with captions, from files and from shards, and a tokenizer."""
    own = tmp_path / "own"
    own.mkdir()
    rows = []
    for v in range(6):
        frames = np.zeros((12, 32, 32, 3), np.uint8)
        frames[..., 0], frames[..., 1] = (np.arange(12) * 20)[:, None, None], 40 * v
        write_mp4(own / f"{v}.mp4", frames, fps=8)
        rows += [f"{v}.mp4,clip {v} shown {n} times" for n in range(3)]
    (own / "captions.csv").write_text("\n".join(["video,caption", *rows]))
    shard(find("captioned"), own, tmp_path / "to", LIMITS)
    reader = find("captioned").card.tasks["captions"].reader(split=None)
    examples = [list(reader.examples(folder)) for folder in (own, tmp_path / "to")]
    return examples, Tokenizer.train([example.text for example in examples[0]] * 2, vocab_size=80)


def assert_same(left, right):
    for a, b in zip(left, right, strict=True):
        assert a.video_ids == b.video_ids
        assert torch.equal(a.frames, b.frames)
        assert torch.equal(a.text_ids, b.text_ids)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_are_those_of_the_files_in_training_evaluation_and_after_a_stop(both, num_workers):
    (plain, packed), tokenizer = both
    transform = Transform.Config(resize=32, crop=28, random_crop=True)
    config = DataConfig(batch_size=4, transform=transform)
    loader_of = partial(loaders.example_loader, num_frames=2, max_text_len=40)
    expected = list(itertools.islice(loader_of(plain, tokenizer, config, training=True).forever(), 10))
    config = replace(config, num_workers=num_workers)
    loader = loader_of(packed, tokenizer, config, training=True)
    got = list(itertools.islice(loader.forever(), 6))
    resumed = loader_of(packed, tokenizer, config, training=True)
    resumed.load_state_dict(json.loads(json.dumps(loader.state_dict())))
    assert_same([*got, *itertools.islice(resumed.forever(), 4)], expected)
    files, shards = (loader_of(examples, tokenizer, config, training=False) for examples in (plain, packed))
    assert_same(list(files), list(shards))


@pytest.mark.usefixtures("any_bytes")
def test_shards_are_ordinary_tars_with_text_files(tmp_path):
    write_image(tmp_path / "photo.png", np.full((16, 16, 3), 90, np.uint8))
    (tmp_path / "captions.csv").write_text("video,caption,start\nphoto.png,two dogs,\nphoto.png,a dog,\nb.mp4,late,3\n")
    (tmp_path / "b.mp4").write_bytes(b"bytes")
    shard(find("captioned"), tmp_path, tmp_path.with_name("to"), LIMITS)
    with tarfile.open(tmp_path.with_name("to") / "shards" / "00000.tar") as tar:
        members = {member.name: (file := tar.extractfile(member)) and file.read() for member in tar}
        assert {(member.mtime, member.uid, member.gid) for member in tar} == {(0, 0, 0)}
    assert list(members) == [
        "000000000.png", "000000000.txt", "000000000.json", "000000001.mp4", "000000001.json",
    ]  # fmt: skip
    assert members["000000000.png"] == (tmp_path / "photo.png").read_bytes()
    assert members["000000000.txt"] == b"two dogs"
    record = {"place": "photo.png", "texts": ["two dogs", "a dog"], "caption": "two dogs"}
    assert json.loads(members["000000000.json"] or "") == record
    assert json.loads(members["000000001.json"] or "") == {"place": "b.mp4", "texts": ["late"]}


def test_two_runs_write_the_same_bytes(tmp_path, root):
    for name in ("to", "too"):
        shard(SMALL, root, tmp_path / name, LIMITS)
    assert shards(tmp_path / "to") == shards(tmp_path / "too")


@pytest.mark.usefixtures("any_bytes")
def test_a_shard_is_full_by_bytes_or_by_samples_and_takes_one_file_of_any_size(tmp_path):
    for n in range(5):
        (tmp_path / f"{n}.mp4").write_bytes(bytes(400_000))
    (tmp_path / "captions.csv").write_text("video,caption\n" + "".join(f"{n}.mp4,clip\n" for n in range(5)))
    for limits, numbers in ((Limits(max_mb=1), (2, 2, 1)), (Limits(max_samples=4), (4, 1)), (Limits(), (5,))):
        to = tmp_path.with_name(f"to{len(numbers)}")
        assert shard(find("captioned"), tmp_path, to, limits).num_shards == len(numbers)
        for path, number in zip(sorted((to / "shards").iterdir()), numbers, strict=True):
            with tarfile.open(path) as tar:
                assert sum(name.endswith(".mp4") for name in tar.getnames()) == number
    (tmp_path / "0.mp4").write_bytes(bytes(1_500_000))
    assert shard(find("captioned"), tmp_path, tmp_path.with_name("large"), Limits(max_mb=1)).num_shards == 3


def shard_until_killed(root, to):
    """As a process that dies in the middle of the second shard."""
    write_member = tool.write_member

    def deadly(tar, name, *rest):
        if name == "000010000.json":
            os.kill(os.getpid(), signal.SIGKILL)
        return write_member(tar, name, *rest)

    tool.write_member = deadly
    tool.unreadable = lambda *_: {}
    shard(SMALL, root, to, LIMITS)


def test_a_killed_run_goes_on_behind_its_last_whole_shard(tmp_path, root):
    to = tmp_path / "to"
    process = multiprocessing.get_context("fork").Process(target=shard_until_killed, args=(root, to))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (to / INDEX).exists()
    first = state_of(to / "shards")
    assert [path.name for path in (to / "shards").iterdir()] == ["00000.tar"]
    report = shard(SMALL, root, to, LIMITS)
    assert (report.num_done_before, report.num_shards) == (2, 1)
    assert first.items() <= state_of(to / "shards").items()
    assert not (to / ".sharded" / "unfinished").exists()
    shard(SMALL, root, tmp_path / "unbroken", LIMITS)
    assert shards(to) == shards(tmp_path / "unbroken")
    assert (to / INDEX).read_bytes() == (tmp_path / "unbroken" / INDEX).read_bytes()


def test_new_and_changed_videos_and_those_of_a_lost_shard_are_packed_again(tmp_path, root):
    to = tmp_path / "to"
    shard(SMALL, root, to, LIMITS)
    assert shard(SMALL, root, to, LIMITS).num_done_before == 3
    shutil.copy(root / "videos" / "a.mp4", root / "videos" / "c.mp4")
    write_mp4(root / "videos" / "b.mp4", np.full((12, 32, 48, 3), 9, np.uint8), fps=8)
    write_rows(root, {"train": [*RECORDS["train"], {"video": "c", "text": "new", "answer": ""}]})
    report = shard(SMALL, root, to, LIMITS)
    assert (report.num_done_before, report.num_shards) == (2, 1)
    assert content(to / "videos" / "b.mp4") == content(root / "videos" / "b.mp4")
    assert content(to / "videos" / "c.mp4") == content(root / "videos" / "c.mp4")
    (to / "shards" / "00000.tar").unlink()
    assert shard(SMALL, root, to, LIMITS).num_done_before == 3
    assert content(to / "videos" / "a.mp4") == content(root / "videos" / "a.mp4")
    assert sorted(shards(to)) == ["00001.tar", "00002.tar", "00003.tar"]
    assert shard(SMALL, root, to, LIMITS).num_done_before == 4


def test_splits_and_tasks_can_be_chosen_and_added(tmp_path, root):
    report = shard(SMALL, root, tmp_path / "to", LIMITS, splits=["test"], tasks=["questions"])
    assert report.num_files == 1
    assert shard(SMALL, root, tmp_path / "to", LIMITS, splits=["train"]).num_done_before == 1
    assert content(tmp_path / "to" / "videos" / "a.mp4") == content(root / "videos" / "a.mp4")


def test_missing_and_unreadable_videos_are_named_and_the_rest_is_packed(tmp_path, root, monkeypatch):
    (root / "videos" / "photo.jpg").unlink()
    # a.mp4 has lost its last byte since its size was asked for
    monkeypatch.setattr(tool, "signature", lambda path: [os.path.getsize(path) + path.endswith("a.mp4"), 0])
    report = shard(SMALL, root, tmp_path / "to", LIMITS)
    assert [path.rpartition("/")[2] for path in report.missing] == ["photo.mp4"]
    assert list(report.failed) == [str(root / "videos" / "a.mp4")]
    assert not report.complete
    assert content(tmp_path / "to" / "videos" / "b.mp4") == (root / "videos" / "b.mp4").read_bytes()
    with pytest.raises(VideoError, match="no such file"):
        probe(tmp_path / "to" / "videos" / "a.mp4")
    with tarfile.open(tmp_path / "to" / "shards" / "00000.tar") as tar:
        assert tar.getnames() == ["000000000.mp4", "000000000.json"]


def test_videos_that_do_not_decode_are_named_and_not_packed(tmp_path, root):
    whole = (root / "videos" / "a.mp4").read_bytes()
    (root / "videos" / "a.mp4").write_bytes(whole[: len(whole) // 2])
    (root / "videos" / "photo.jpg").write_bytes(b"no picture")
    report = shard(SMALL, root, tmp_path / "to", LIMITS, workers=1)
    assert sorted(path.rpartition("/")[2] for path in report.failed) == ["a.mp4", "photo.jpg"]
    assert not report.complete
    assert report.num_shards == 1
    with tarfile.open(tmp_path / "to" / "shards" / "00000.tar") as tar:
        assert tar.getnames() == ["000000000.mp4", "000000000.json"]
    (root / "videos" / "a.mp4").write_bytes(whole)
    assert list(shard(SMALL, root, tmp_path / "to", LIMITS, workers=1).failed) == [str(root / "videos" / "photo.jpg")]


def test_one_process_at_a_time_and_no_foreign_folder(tmp_path, root):
    with (
        only_process(tmp_path / "to", tmp_path / "to" / ".sharded" / "lock"),
        pytest.raises(ValueError, match="is writing there"),
    ):
        shard(SMALL, root, tmp_path / "to", LIMITS)
    with pytest.raises(ValueError, match="never touched"):
        shard(SMALL, root, root / "inside", LIMITS)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.mp4").touch()
    with pytest.raises(ValueError, match="not empty and was not made by this command"):
        shard(SMALL, root, tmp_path / "full", LIMITS)


def test_a_shard_that_is_gone_or_cut_off_is_named(tmp_path, root):
    shard(SMALL, root, tmp_path / "to", LIMITS)
    first = tmp_path / "to" / "shards" / "00000.tar"
    with first.open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(VideoError, match=r"a\.mp4: packed in .*00000\.tar up to byte .*, but that ends at 1,000"):
        probe(tmp_path / "to" / "videos" / "a.mp4")
    first.unlink()
    with pytest.raises(VideoError, match=r"a\.mp4: packed in .*00000\.tar: No such file"):
        probe(tmp_path / "to" / "videos" / "a.mp4")


def test_prepared_videos_can_be_packed_and_packed_ones_prepared_and_packed_again(tmp_path, root):
    form = Format(short_side=24, gop=4)
    prepare(SMALL, root, tmp_path / "d", form, workers=1)
    assert shard(SMALL, tmp_path / "d", tmp_path / "s", LIMITS).complete
    for name in ("a.mp4", "photo.jpg"):
        assert content(tmp_path / "s" / "videos" / name) == content(tmp_path / "d" / "videos" / name)
    assert shard(SMALL, tmp_path / "s", tmp_path / "again", LIMITS).complete
    assert shards(tmp_path / "again") == shards(tmp_path / "s")
    assert prepare(SMALL, tmp_path / "again", tmp_path / "d2", form, workers=1).complete
    assert sorted(p.name for p in (tmp_path / "d2").iterdir()) == [".prepared", "test.jsonl", "train.jsonl", "videos"]


@pytest.mark.usefixtures("any_bytes")
@pytest.mark.parametrize(
    ("name", "write", "ending"),
    [("msrvtt", write_msrvtt, ".avi"), ("ucf101", write_ucf101, ".avi"), ("nlvr2", write_nlvr2, ".jpg")],
)
def test_readers_find_packed_what_they_found_in_an_official_layout(tmp_path, name, write, ending):
    clips = [tmp_path / f"{n}{ending}" for n in range(4)]
    for path in clips:
        path.write_bytes(path.name.encode())
    write_official(tmp_path / "root", write, clips)
    known = find(name)
    before: list[Example] = []
    after: list[Example] = []
    count_records(known, tmp_path / "root", each=before.append)
    assert shard(known, tmp_path / "root", tmp_path / "to", LIMITS).complete
    count_records(known, tmp_path / "to", each=after.append)
    moved = [tuple(str(path).replace(str(tmp_path / "root"), str(tmp_path / "to")) for path in e.files) for e in before]
    assert [tuple(map(str, example.files)) for example in after] == moved
    assert [replace(example, video=()) for example in after] == [replace(example, video=()) for example in before]
    assert before
    assert not missing(after)


def test_a_reader_that_chooses_among_files_that_no_record_names_is_reported(tmp_path):
    write_tvqa_frames(tmp_path / "root")
    report = shard(find("tvqa"), tmp_path / "root", tmp_path / "to", Limits(), splits=["val"])
    assert report.num_files == 6
    assert not report.missing
    assert not report.alike
    assert not report.complete
