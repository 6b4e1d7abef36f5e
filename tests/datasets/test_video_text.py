"""Readers of videos with captions: real files, and synthetic ones in the layouts of real ones."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from allinone.data.example import Dataset, Example, HasPublishedSize
from allinone.datasets import (
    activitynet,
    captioned,
    didemo,
    egoclip,
    howto100m,
    lsmdc,
    msrvtt,
    msvd,
    webvid,
    youcook2,
    yt_temporal,
)
from allinone.datasets.base import SplitSize
from layouts import video_text as layouts
from layouts.item import Item
from real import DATA, needs_data

ANNOTATIONS = DATA / "annotations"

# Real files


@needs_data
@pytest.mark.parametrize(
    ("dataset", "folder"),
    [
        *((msvd.Captions(split), "msvd_captions") for split in ("val", "test")),
        (didemo.Captions("val"), "didemo"),
        (activitynet.Captions("val_1"), "activitynet_captions"),
        (youcook2.Captions("val"), "youcook2"),
        (msrvtt.Captions("1kA"), "msrvtt"),
        (msrvtt.Captions("full-val"), "msrvtt"),
    ],
    ids=str,
)
def test_the_published_numbers_of_captions_and_videos_are_found(dataset: Dataset, folder: str):
    examples = list(dataset.examples(ANNOTATIONS / folder))
    size = SplitSize(records=len(examples), videos=len({example.video for example in examples}))
    assert isinstance(dataset, HasPublishedSize)
    assert size == dataset.published
    assert len({example.id for example in examples}) == len(examples)
    assert all(example.text for example in examples)


@needs_data
def test_lists_of_webvid_and_for_video2dataset_are_read():
    root = ANNOTATIONS / "webvid"
    examples = list(webvid.Captions("val2M").examples(root))
    assert len(examples) == 9
    assert examples[0].video == root / "videos" / "027701_027750" / "1053841541.mp4"
    youtube = list(webvid.Captions("youtube").examples(root))
    assert [example.files[0].name for example in youtube] == ["jLX0D8qQUBM.mp4", "9Zn4pID_BJ0.mp4", "aBfjTAQ8qpM.mp4"]


@needs_data
@pytest.mark.parametrize(
    ("dataset", "annotations", "clips"),
    [(webvid.Captions("val2M"), "webvid", "webvid"), (msvd.Captions("test"), "msvd_captions", "msvd")],
)
def test_real_clips_are_found_by_their_names(dataset: Dataset, annotations: str, clips: str, tmp_path: Path):
    for path in (ANNOTATIONS / annotations).iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "videos").symlink_to(DATA / "videos" / clips)
    found = {path.name for example in dataset.examples(tmp_path) for path in example.files if path.is_file()}
    assert found
    assert found <= {path.name for path in (DATA / "videos" / clips).iterdir()}


@needs_data
def test_the_cleaned_words_of_a_real_video_are_all_there_in_order_of_time():
    root = ANNOTATIONS / "yt_temporal"
    record = json.loads((root / "WAaKRUoY6Io.grover.json").read_text())
    examples = list(yt_temporal.Captions(num_words=20).examples(root))
    assert " ".join(e.text for e in examples).split() == " ".join(p["cleanasr"] for p in record["denoised"]).split()
    times = [time for e in examples for time in (e.start_sec or 0.0, e.end_sec or 0.0)]
    assert times == sorted(times)
    assert times[-1] <= record["info"]["duration"]
    assert examples[0].text.startswith("Guys, this is a delicious sweet onion")


@needs_data
def test_captions_of_youtube_hold_the_words_that_the_cleaner_heard(tmp_path: Path):
    root = ANNOTATIONS / "yt_temporal"
    (tmp_path / "WAaKRUoY6Io.en.vtt").symlink_to(root / "WAaKRUoY6Io.en.vtt")
    heard = json.loads((root / "WAaKRUoY6Io.grover.json").read_text())["subtitles"]
    [(video, words)] = yt_temporal.spoken(tmp_path)
    assert video == "WAaKRUoY6Io"
    assert len(words) == 642
    others = [
        (word, time) for word, time in words if word != "sweetness"
    ]  # the only word of its line, which is not in the recognized text
    assert [word for word, _ in others] == [said["word"] for said in heard]
    assert [time for _, time in others] == pytest.approx([said["time"] for said in heard])


@needs_data
def test_the_table_of_hollywood2_is_one_of_captions():
    dataset = captioned.Captions(file="train_original.csv", allow_missing=True)
    examples = dataset.examples(ANNOTATIONS / "hollywood2")
    assert len(examples) == 624
    assert examples[0].text == "a label of Eat"
    assert examples[0].files[0].name == "actioncliptrain00429.mp4"


# Synthetic sets in the layouts of real ones


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    """Return six videos in each split, with two sentences each, the later one first. A file contains its name."""
    found = []
    for split in ("train", "val", "test"):
        for n in range(6):
            video = tmp_path / "made" / f"{split}{n}.mp4"
            video.parent.mkdir(exist_ok=True)
            video.write_text(video.stem)
            options = tuple(f"{split} option {n} {letter}" for letter in "abcde")
            for start in (5.0, 0.0):
                caption = f'{split} {n}: at {start:g} s, "the cat"\u00a0sits, and waits'
                kind = ("inter", "intra")[n % 2]
                item = Item(video=video, split=split, caption=caption, start_sec=start, end_sec=start + 4)
                found.append(replace(item, options=options, right=n % 5, kind=kind))
    return found


def shown(example: Example) -> str:
    """Return the content of the file of an example."""
    assert isinstance(example.video, Path)
    return example.video.read_text()


def plain(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize(
    ("write", "dataset", "splits"),
    [
        (layouts.write_msrvtt, msrvtt.Captions("train9k"), ("train", "val")),
        (layouts.write_msrvtt, msrvtt.Captions("train7k"), ("train", "val")),
        (layouts.write_msrvtt, msrvtt.Captions("full-val"), ("val",)),
        (layouts.write_msrvtt, msrvtt.Captions("full-test"), ("test",)),
        (layouts.write_msvd, msvd.Captions("train"), ("train",)),
        (layouts.write_msvd, msvd.Captions("test"), ("test",)),
        (layouts.write_lsmdc, lsmdc.Captions("train"), ("train",)),
        (layouts.write_lsmdc, lsmdc.Captions("val"), ("val",)),
        (layouts.write_lsmdc, lsmdc.Captions("test"), ("test",)),
        (layouts.write_youcook2, youcook2.Captions("train"), ("train",)),
        (layouts.write_youcook2, youcook2.Captions("val"), ("val", "test")),
        (layouts.write_egoclip, egoclip.Captions(), ("train",)),
        (layouts.write_howto100m, howto100m.Captions(), ("train",)),
        (layouts.write_yt_temporal, yt_temporal.Captions(num_words=10), ("train",)),
        (layouts.write_hollywood2, captioned.Captions(file="val_original.csv"), ("val",)),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_captions_come_back_with_their_videos(write, dataset: Dataset, splits: tuple[str, ...], items, tmp_path: Path):
    write(tmp_path / "root", items)
    examples = list(dataset.examples(tmp_path / "root"))
    wanted = sorted((item.video.stem, plain(item.caption)) for item in items if item.split in splits)
    assert sorted((shown(example), example.text) for example in examples) == wanted
    assert len({example.id or example.text for example in examples}) == len(examples)


@pytest.mark.parametrize(
    ("write", "dataset"),
    [
        (layouts.write_youcook2, youcook2.Captions("train")),
        (layouts.write_egoclip, egoclip.Captions()),
        (layouts.write_howto100m, howto100m.Captions()),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_parts_of_videos_come_back_with_their_times(write, dataset: Dataset, items, tmp_path: Path):
    write(tmp_path / "root", items)
    spans = {(shown(e), e.start_sec, e.end_sec) for e in dataset.examples(tmp_path / "root")}
    assert spans == {(i.video.stem, i.start_sec, i.end_sec) for i in items if i.split == "train"}


@pytest.mark.parametrize(
    ("write", "dataset", "split"),
    [
        (layouts.write_didemo, didemo.Captions("train"), "train"),
        (layouts.write_didemo, didemo.Captions("test"), "test"),
        (layouts.write_activitynet, activitynet.Captions("train"), "train"),
        (layouts.write_activitynet, activitynet.Captions("val_1"), "test"),
        (layouts.write_activitynet, activitynet.Captions("val_2"), "val"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_sentences_become_one_paragraph_in_order_of_time(write, dataset: Dataset, split: str, items, tmp_path: Path):
    write(tmp_path / "root", items)
    chosen = [item for item in items if item.split == split]
    wanted = {
        late.video.stem: plain(f"{early.caption} {late.caption}")
        for late, early in zip(chosen[::2], chosen[1::2], strict=True)
    }
    assert {shown(example): example.text for example in dataset.examples(tmp_path / "root")} == wanted


@pytest.mark.parametrize(
    ("write", "dataset", "split"),
    [
        (layouts.write_msrvtt, msrvtt.Captions("1kA"), "test"),
        (layouts.write_webvid, webvid.Captions("train2M"), "train"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_one_caption_a_video_is_the_first(write, dataset: Dataset, split: str, items, tmp_path: Path):
    write(tmp_path / "root", items)
    wanted = [(i.video.stem, plain(i.caption)) for i in items if i.split == split and i.start_sec == 5]
    assert [(shown(example), example.text) for example in dataset.examples(tmp_path / "root")] == wanted


def test_choices_come_back_with_the_right_one(items, tmp_path: Path):
    layouts.write_lsmdc(tmp_path / "lsmdc", items)
    layouts.write_msrvtt(tmp_path / "msrvtt", items)
    chosen = [item for item in items if item.split == "test"]
    once = [(item.video.stem, item.options, item.right) for item in chosen[::2]]
    twice = [asked for asked in once for _ in range(2)]
    of_msrvtt = list(msrvtt.Choices().examples(tmp_path / "msrvtt"))
    assert [(shown(e), e.options, e.right) for e in of_msrvtt] == twice
    assert len({e.id for e in of_msrvtt}) == len(of_msrvtt)
    of_lsmdc = list(lsmdc.Choices("test").examples(tmp_path / "lsmdc"))  # where lines that are alike count once
    assert [(shown(e), e.options, e.right) for e in of_lsmdc] == once


def test_the_right_choice_of_lsmdc_comes_first_in_training(items, tmp_path: Path):
    layouts.write_lsmdc(tmp_path, items)
    for split in ("train", "val"):
        chosen = [item for item in items if item.split == split][::2]
        examples = list(lsmdc.Choices(split).examples(tmp_path))
        assert [(e.options[0], e.right) for e in examples] == [(i.options[i.right], 0) for i in chosen]
        assert [set(e.options) for e in examples] == [set(i.options) for i in chosen]


def test_clips_to_choose_from_come_back_with_the_right_one_and_the_kind(items, tmp_path: Path):
    layouts.write_egoclip(tmp_path, items)
    examples = list(egoclip.Choices().examples(tmp_path))
    asked = [item for item in items if item.split != "train"]
    assert [example.text for example in examples] == [plain(item.caption) for item in asked]
    for example, item in zip(examples, asked, strict=True):
        assert example.task == "choice"
        assert len(example.clips) == len({clip.video_id for clip in example.clips}) == 5
        assert example.right == item.right
        right = example.clips[item.right]
        assert (shown(right), right.start_sec, example.kind) == (item.video.stem, item.start_sec, item.kind)
        assert not any(clip.text for clip in example.clips)
    assert len({example.id for example in examples}) == len({example.video_id for example in examples}) == len(asked)
