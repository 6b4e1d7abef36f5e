from collections import Counter
from pathlib import Path

import pytest

from allinone.data.example import Dataset, HasClasses, HasPublishedSize
from allinone.datasets import hmdb51, kinetics400, ucf101
from allinone.datasets.actions import words
from allinone.datasets.base import SplitSize
from allinone.datasets.files import MissingFile
from layouts import recognition as layouts
from layouts.item import Item
from real import DATA, needs_data

ANNOTATIONS = DATA / "annotations"
TINY = DATA / "videos" / "kinetics_tiny_2class"
HMDB = [(hmdb51.Labels(split), ANNOTATIONS / "hmdb51") for split in hmdb51.Labels.splits]
UCF = [(ucf101.Labels(split), ANNOTATIONS / "ucf101") for split in ("train1", "test1")]


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@needs_data
@pytest.mark.parametrize(("dataset", "root"), HMDB + UCF)
def test_the_published_numbers_of_clips_are_read(dataset: Dataset, root: Path):
    examples = list(dataset.examples(root))
    videos = {example.video_id for example in examples}
    assert isinstance(dataset, HasPublishedSize)
    assert SplitSize(records=len(examples), videos=len(videos)) == dataset.published
    assert isinstance(dataset, HasClasses)
    assert {example.label for example in examples} == set(dataset.classes(root))


@needs_data
def test_each_class_of_hmdb51_has_70_clips_to_train_and_30_to_test_and_none_in_both():
    for fold in "123":
        train, test = (list(hmdb51.Labels(part + fold).examples(ANNOTATIONS / "hmdb51")) for part in ("train", "test"))
        assert set(Counter(example.label for example in train).values()) == {70}
        assert set(Counter(example.label for example in test).values()) == {30}
        assert not {example.video_id for example in train} & {example.video_id for example in test}


@needs_data
def test_classes_come_in_their_official_order_and_in_words():
    assert ucf101.Labels("test1").classes(ANNOTATIONS / "ucf101")[:3] == [
        "apply eye makeup", "apply lipstick", "archery",
    ]  # fmt: skip
    assert ucf101.Labels("test1").classes(ANNOTATIONS / "ucf101")[36] == "handstand pushups"
    assert hmdb51.Labels("test1").classes(ANNOTATIONS / "hmdb51")[:2] == ["brush hair", "cartwheel"]
    kinetics = kinetics400.Labels("val").classes(ANNOTATIONS / "kinetics400")
    assert len(kinetics) == 400
    assert "passing American football (in game)" in kinetics


@needs_data
@pytest.mark.parametrize("split", ["train", "val"])
def test_a_table_of_kinetics_with_one_clip_for_each_class_is_read(split: str, tmp_path: Path):
    root = ANNOTATIONS / "kinetics400"
    examples = list(kinetics400.Labels(split).examples(root))
    assert [example.label for example in examples] == kinetics400.Labels(split).classes(root)
    (tmp_path / f"{split}.csv").write_bytes((root / f"tiny_{split}.csv").read_bytes())
    assert kinetics400.Labels(split).classes(tmp_path) == kinetics400.Labels(split).classes(root)


@needs_data
def test_lists_with_numbers_of_classes_are_read_and_missing_clips_stay_in():
    train, val = (list(kinetics400.Labels(split).examples(TINY)) for split in ("train", "val"))
    assert (len(train), len(val)) == (74, 20)
    assert {example.label for example in train} == {"typing", "doing exercises"}
    assert all(example.video_id.startswith(str(example.label).replace(" ", "_")) for example in train + val)
    assert TINY / "train" / "typing32.mp4" in {example.video for example in train}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ApplyEyeMakeup", "apply eye makeup"),
        ("YoYo", "yo yo"),
        ("brush_hair", "brush hair"),
        ("passing American football (in game)", "passing American football (in game)"),
    ],
)
def test_classes_are_named_as_one_says_them(name: str, said: str):
    assert words(name) == said


TABLE = "label,youtube_id,time_start,time_end,split,is_cc\nair drumming,-3B32lodo2M,59,69,{split},0\n"


@pytest.mark.parametrize(
    "name",
    [
        "val/-3B32lodo2M_000059_000069.mp4",
        "val/air drumming/-3B32lodo2M_000059_000069.mp4",
        "videos_val/air_drumming/-3B32lodo2M_000059_000069.webm",
        "videos/-3B32lodo2M.mkv",
    ],
)
def test_a_clip_of_kinetics_is_found_in_the_layouts_in_use(name: str, tmp_path: Path):
    root = write(tmp_path, {"validate.csv": TABLE.format(split="validate"), name: "a video"})
    [example] = kinetics400.Labels("val").examples(root)
    assert example.video == root / name
    assert example.label == "air drumming"


def test_rows_of_another_split_and_repeated_rows_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    text = "\ufeff" + TABLE.format(split="val") + "air drumming,-3B32lodo2M,59,69,val,0\r\narchery,x,1,11,train,0\r\n"
    examples = list(kinetics400.Labels("val").examples(write(tmp_path, {"val.csv": text})))
    assert [example.id for example in examples] == ["-3B32lodo2M_000059_000069"]
    assert "1 exact repeats" in caplog.text


def test_a_test_table_without_labels_keeps_them_secret(tmp_path: Path):
    files = {"kinetics_label_map.txt": "abseiling\n", "test.csv": "youtube_id,time_start,time_end,split\nx,1,11,test\n"}
    [example] = kinetics400.Labels("test").examples(write(tmp_path, files))
    assert (example.task, example.label) == ("label", "")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"val.csv": "label,youtube_id,time_start\nx,y,1\n"}, "no column time_end"),
        ({"val.csv": TABLE.format(split="val").replace("59,", "soon,")}, "line 2: time_start must be a number"),
        (
            {"val.csv": TABLE.format(split="val"), "label_map_k400.txt": "archery\n"},
            "label_map_k400.txt: 'air drumming' is none of its 1 classes .*val.csv: line 2",
        ),
        ({"val.csv": TABLE.format(split="val") * 2}, "no split 'split'"),  # the header again
        (
            {"val.txt": "a.mp4 2\n", "label_map.txt": "x\ny\n"},
            "label_map.txt: 2 classes, without that of 'a.mp4' and class 2 in .*val.txt: line 1",
        ),
        (
            {"val.txt": "x/a.mp4 0\nx/b.mp4 1\n", "label_map.txt": "x\ny\n"},
            "line 2: .* which agree; got 'x/b.mp4' and class 1",
        ),
        ({"val.txt": "a.mp4\n", "label_map.txt": "x\ny\n"}, "got 'a.mp4' and no number"),
    ],
)
def test_a_broken_list_of_kinetics_is_an_error_that_names_the_place(
    files: dict[str, str], message: str, tmp_path: Path
):
    with pytest.raises(ValueError, match=message):
        list(kinetics400.Labels("val").examples(write(tmp_path, files)))


@pytest.mark.parametrize("dataset", [kinetics400.Labels("val"), hmdb51.Labels("test1"), ucf101.Labels("test1")])
def test_missing_lists_are_named(dataset: kinetics400.Labels, tmp_path: Path):
    with pytest.raises(MissingFile, match=r"val\.csv|hmdb51\.csv|testlist01\.txt"):
        list(dataset.examples(tmp_path))
    with pytest.raises(MissingFile, match=r"label_map|hmdb51\.csv|classInd"):
        dataset.classes(tmp_path)


def test_a_split_is_never_substituted_for_another():
    for reader in (kinetics400.Labels, hmdb51.Labels, ucf101.Labels):
        with pytest.raises(ValueError, match="no split 'train4'"):
            reader("train4")


def test_the_two_spellings_of_handstand_pushups_are_one_class(tmp_path: Path):
    files = {
        "classInd.txt": "1 Archery\r\n2 HandstandPushups\r\n",
        "trainlist01.txt": "Archery/v_Archery_g01_c01.avi 1\r\nHandStandPushups/v_HandstandPushups_g01_c01.avi 2\r\n",
        "UCF-101/HandstandPushups/v_HandStandPushups_g01_c01.avi": "a video",
    }
    archery, pushups = ucf101.Labels("train1").examples(write(tmp_path, files))
    assert (archery.label, pushups.label) == ("archery", "handstand pushups")
    assert pushups.video == tmp_path / "UCF-101/HandstandPushups/v_HandStandPushups_g01_c01.avi"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("Archery/a.avi 1\nBiking/b.avi 1\n", "line 2: .* got 'Biking/b.avi' and class 1"),
        (
            "Boxing/a.avi\n",
            r"classInd.txt: 2 classes, without that of 'Boxing/a.avi' and no number in .*list01.txt: line 1",
        ),
        ("Archery/a.avi 1\nBiking/a.avi 2\n", "'a' occurs twice"),
    ],
)
def test_a_list_of_ucf101_that_contradicts_itself_is_an_error(lines: str, message: str, tmp_path: Path):
    root = write(tmp_path, {"classInd.txt": "1 Archery\n2 Biking\n", "trainlist01.txt": lines})
    with pytest.raises(ValueError, match=message):
        list(ucf101.Labels("train1").examples(root))


def test_classes_of_ucf101_that_are_not_counted_from_1_are_an_error(tmp_path: Path):
    with pytest.raises(ValueError, match="numbered from 1"):
        ucf101.Labels("train1").classes(write(tmp_path, {"classInd.txt": "0 Archery\n1 Biking\n"}))


def test_the_pairs_of_lists_of_hmdb51_are_read(tmp_path: Path):
    lists = {"train": "wave/a.avi 50\nbrush_hair/b.avi 0\n", "val": "wave/c.avi 50\n"}
    root = write(tmp_path, {f"hmdb51_{part}_split_2_videos.txt": lines for part, lines in lists.items()})
    train, test = (list(hmdb51.Labels(split).examples(root)) for split in ("train2", "test2"))
    assert [(e.video_id, e.label) for e in train] == [("a", "wave"), ("b", "brush hair")]
    assert [(e.video_id, e.label, e.video) for e in test] == [("c", "wave", root / "videos/wave/c.avi")]
    write(root, {"hmdb51_val_split_2_videos.txt": "c.avi 50\n"})
    with pytest.raises(ValueError, match=r"got 'c\.avi' without a folder"):
        list(hmdb51.Labels("test2").examples(root))


@pytest.mark.parametrize("line", ["a.avi 3", "a.avi"])
def test_a_use_that_hmdb51_does_not_know_is_an_error(line: str, tmp_path: Path):
    root = write(tmp_path, {"testTrainMulti_7030_splits/wave_test_split1.txt": f"b.avi 1 \n{line}\n"})
    with pytest.raises(ValueError, match="wanted 0"):
        list(hmdb51.Labels("train1").examples(root))


@pytest.mark.parametrize(
    ("write_layout", "reader", "splits"),
    [
        (layouts.write_kinetics400, kinetics400.Labels, {"train": "train", "val": "val", "test": "test"}),
        (layouts.write_hmdb51, hmdb51.Labels, {"train": "train3", "test": "test3"}),
        (layouts.write_ucf101, ucf101.Labels, {"train": "train2", "test": "test2"}),
    ],
)
def test_what_is_written_in_a_layout_is_read_back(write_layout, reader, splits: dict[str, str], tmp_path: Path):
    names, labels = "abcdef", ["wave hand", "run", "wave hand", "climb stairs", "run", "climb stairs"]
    write(tmp_path, {f"made/{name}.mp4": name for name in names})
    items = [
        Item(video=tmp_path / "made" / f"{name}.mp4", split=split, label=label)
        for name, label, split in zip(names, labels, ["train", "train", "val", "val", "test", "test"], strict=True)
    ]
    write_layout(tmp_path / "data", items)
    for split, official in splits.items():
        dataset = reader(official)
        read = [(e.video.read_text(), e.label) for e in dataset.examples(tmp_path / "data")]
        assert sorted(read) == sorted((i.video.read_text(), i.label) for i in items if i.split == split)
        assert dataset.classes(tmp_path / "data") == ["climb stairs", "run", "wave hand"]
