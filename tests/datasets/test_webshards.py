import logging

import numpy as np
import pytest
import torch

from allinone.apps.tools.check import check
from allinone.apps.tools.shard import Limits, shard
from allinone.data.presence import missing
from allinone.datasets import find
from allinone.datasets.webshards import Captions
from allinone.files.shards import index_of_tar
from allinone.video import read_frames
from allinone.video.encode import write_mp4
from layouts.item import Item
from layouts.shards import write_shard, write_webshards


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    index_of_tar.cache_clear()


@pytest.fixture
def clips(tmp_path):
    """Six clips in shades of grey."""
    paths = [tmp_path / f"{n}.mp4" for n in range(6)]
    for n, path in enumerate(paths):
        write_mp4(path, np.full((8, 32, 48, 3), 30 * n, np.uint8), fps=8)
    return paths


@pytest.fixture
def root(tmp_path, clips):
    items = [Item(video=clip, split="train", caption=f" clip  {n}\n") for n, clip in enumerate(clips[:5])]
    write_webshards(tmp_path / "root", [*items, Item(video=clips[5], split="val", caption="clip 5")])
    return tmp_path / "root"


def test_every_video_with_its_caption_is_read_in_place(root, clips):
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    examples = list(Captions().examples(root))
    assert [example.text for example in examples] == [f"clip {n}" for n in range(6)]
    assert [example.video_id for example in examples] == [
        "train/00000.tar/000000000.mp4", "train/00000.tar/000000001.mp4", "train/00000.tar/000000002.mp4",
        "train/00000.tar/000000003.mp4", "train/00001.tar/000010000.mp4", "val/00000.tar/000000000.mp4",
    ]  # fmt: skip
    assert not missing(examples)
    for example, clip in zip(examples, clips, strict=True):
        shown = [read_frames(path, times_sec=[0.5]).frames for path in (example.files[0], clip)]
        assert torch.equal(*shown)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_a_split_is_a_folder(root):
    assert [example.text for example in Captions(split="val").examples(root)] == ["clip 5"]
    with pytest.raises(ValueError, match=r"test: no file that ends in \.tar is there or below"):
        Captions(split="test").examples(root)


def test_samples_without_a_caption_are_counted_in_a_warning(tmp_path, caplog):
    samples = [{".mp4": b"v"}, {".mp4": b"v", ".txt": b"a cat"}, {".mp4": b"v", ".json": b"{}"}, {".m4a": b"sound"}]
    write_shard(tmp_path / "root" / "00000.tar", samples)
    with caplog.at_level(logging.WARNING):
        assert [example.text for example in Captions().examples(tmp_path / "root")] == ["a cat"]
    assert "left out 2 records without a text" in caplog.text


def test_all_broken_tars_are_one_error(root):
    for place in ("train/00001.tar", "val/00000.tar"):
        path = root / place
        path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(ValueError, match=r"^2 of 3 tars cannot be read; get them again") as error:
        Captions().examples(root)
    assert str(error.value).count("cut off or damaged; it reads up to byte 0 of 700") == 2


def test_such_a_folder_can_be_checked_but_not_packed_again(root, tmp_path):
    known = find("webshards")
    report, _ = check(known, root, workers=1)
    assert report.complete
    assert report.num_files == 6
    with pytest.raises(ValueError, match=r"000000000\.mp4 is in a tar, and is read there"):
        shard(known, root, tmp_path / "to", Limits())


def test_shards_of_ours_are_read_without_their_index(tmp_path, clips):
    own = tmp_path / "own"
    own.mkdir()
    clips[3].rename(own / "a.mp4")
    (own / "captions.csv").write_text("video,caption\na.mp4,a cat jumps")
    assert shard(find("captioned"), own, tmp_path / "to", Limits()).complete
    (tmp_path / "to" / "shards.index").unlink()
    [example] = Captions().examples(tmp_path / "to")
    assert (example.video_id, example.text) == ("shards/00000.tar/000000000.mp4", "a cat jumps")
