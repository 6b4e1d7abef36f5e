"""Layouts in which others publish data sets."""

import json
from pathlib import Path
from typing import Any

import pytest

from allinone.apps.tools.info import count_records
from allinone.datasets import find, hmdb51, msvd, tgif_qa, tvqa_plus, youcook2
from allinone.datasets.files import MissingFile

from .test_fields import OPTIONS, write

HQGA = "video,width,height,question,a0,a1,a2,a3,a4,answer,qid\n"
ACTION = HQGA + "5,196,566,what does the woman do 4 times,flick,chew,shake,pat,nod,2,ACTION1\n"
TRANSITION = HQGA + "23,160,400,what does the man do before point,a,b,c,d,e,4,TRANS23\n"
FRAME = "video,width,height,question,answer,qid\n27138,245,185,what is in the cone,cookie,FRAMEQA1159\n"
COUNT = "video,width,height,question,answer,qid\n9,245,185,how many times does he nod,3,COUNT7\n"
READERS = {
    "action": tgif_qa.Actions("train"), "transition": tgif_qa.Transitions("train"),
    "frameqa": tgif_qa.Frames("train"), "count": tgif_qa.Counts("train"),
}  # fmt: skip
TABLES = {"action": ACTION, "transition": TRANSITION, "frameqa": FRAME, "count": COUNT}


def as_read(example: Any) -> tuple[Any, ...]:
    return example.id, example.video_id, example.options, example.right, example.answer, example.number


WANTED = {
    "action": ("ACTION1", "5", ("flick", "chew", "shake", "pat", "nod"), 2, None, None),
    "transition": ("TRANS23", "23", ("a", "b", "c", "d", "e"), 4, None, None),
    "frameqa": ("FRAMEQA1159", "27138", (), None, "cookie", None),
    "count": ("COUNT7", "9", (), None, None, 3),
}


@pytest.mark.parametrize("place", ["{}/train.csv", "{}_train.csv", "tgifqa/{}/train.csv"])
def test_the_four_tasks_of_tgif_qa_are_read_in_the_layout_of_hqga(tmp_path: Path, place: str):
    for task, table in TABLES.items():
        path = tmp_path / place.format(task)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(table)
    for task, reader in READERS.items():
        [example] = reader.examples(tmp_path)
        assert as_read(example) == WANTED[task]
        assert example.video == tmp_path / "gifs" / f"{example.video_id}.gif"


@pytest.mark.parametrize("held", TABLES)
def test_a_file_of_tgif_qa_is_read_for_the_task_that_its_questions_are_of(tmp_path: Path, held: str):
    (tmp_path / "train.csv").write_text(TABLES[held])
    for task, reader in READERS.items():
        if task == held:
            assert [as_read(example) for example in reader.examples(tmp_path)] == [WANTED[task]]
        else:
            with pytest.raises(MissingFile, match=r"train\.csv holds questions of another task"):
                list(reader.examples(tmp_path))


@pytest.mark.parametrize("task", TABLES)
@pytest.mark.parametrize("held", TABLES)
def test_a_question_of_another_task_is_an_error_that_names_its_line(tmp_path: Path, task: str, held: str):
    if task == held:
        return
    (tmp_path / f"{task}_train.csv").write_text(TABLES[held])
    with pytest.raises(ValueError, match=rf"{task}_train\.csv: line 2: .*(task|options)"):
        list(READERS[task].examples(tmp_path))


def test_questions_of_tgif_qa_without_ids_are_of_the_task_of_their_words(tmp_path: Path):
    for name, table in TABLES.items():
        header, row = table.splitlines()
        lines = (",".join(line.split(",")[:-1]) for line in (header, row))
        (tmp_path / f"{name}.csv").write_text("\n".join(lines))
    for name in TABLES:
        (tmp_path / f"{name}.csv").rename(tmp_path / "train.csv")
        assert [task for task, reader in READERS.items() if is_read(reader, tmp_path)] == [name]


def is_read(reader: Any, root: Path) -> bool:
    try:
        return bool(list(reader.examples(root)))
    except MissingFile:
        return False


def test_questions_of_tvqa_plus_have_their_spans_as_lists(tmp_path: Path):
    record = {"answer_idx": "1", "qid": 134094, "ts": [5.99, 11.98], "vid_name": "s05e02_seg02_clip_00", "q": "Who ?"}
    boxes = {"bbox": {"14": [{"img_id": 14, "top": 153, "label": "Howard"}]}}
    secret = {name: value for name, value in record.items() if name not in ("answer_idx", "ts")}
    write(
        tmp_path,
        {
            "tvqa_plus_val.json": [record | OPTIONS | boxes],
            "tvqa_plus_test_preprocessed_no_anno.json": [secret | OPTIONS],
        },
    )
    [example] = tvqa_plus.Choices("val").examples(tmp_path)
    assert (example.id, example.right, example.start_sec, example.end_sec) == ("134094", 1, 5.99, 11.98)
    assert example.options == tuple(OPTIONS.values())
    assert example.video == tmp_path / "videos" / "s05e02_seg02_clip_00.mp4"
    [example] = tvqa_plus.Choices("test").examples(tmp_path)
    assert (example.right, example.start_sec) == (None, None)


@pytest.mark.parametrize("test", ["test", "val"])
@pytest.mark.parametrize("line", ["wave/a{} 50", "wave/a{}.avi 50", "wave/a{}.avi 34 50"])
def test_lists_of_videos_of_hmdb51_are_read(tmp_path: Path, test: str, line: str):
    write(
        tmp_path,
        {
            "hmdb51_vid_train_split_1.txt": f"{line.format(1)}\n{line.format(2)}\n",
            f"hmdb51_vid_{test}_split_1.txt": f"{line.format(3)}\n",
        },
    )
    train, held_out = (list(hmdb51.Labels(split).examples(tmp_path)) for split in ("train1", "test1"))
    assert [(example.id, example.label) for example in train] == [("a1", "wave"), ("a2", "wave")]
    assert [(example.id, example.video) for example in held_out] == [("a3", tmp_path / "videos" / "wave" / "a3.avi")]


def test_label_files_of_msvd_are_splits_of_their_own(tmp_path: Path):
    labels = [
        {"caption": ["A man plays.", "He plays."], "id": "TZ860P4iTaM_15_28.avi"},
        {"caption": ["x"], "id": "b.avi"},
    ]
    write(tmp_path, {"training_label.json": labels, "testing_label.json": labels[1:]})
    examples = list(msvd.Captions("label-train").examples(tmp_path))
    assert [(example.id, example.text) for example in examples] == [
        ("TZ860P4iTaM_15_28#0", "A man plays."), ("TZ860P4iTaM_15_28#1", "He plays."), ("b#0", "x"),
    ]  # fmt: skip
    found = count_records(find("msvd"), tmp_path)["captions"]
    assert getattr(found["label-test"], "records", None) == 1
    assert "no annotation file train_list.txt" in str(found["train"])


@pytest.mark.parametrize("name", ["val_yc2.json", "yc2_val.json"])
def test_dense_captions_of_youcook2_are_steps(tmp_path: Path, name: str):
    dense = {
        "duration": 241.6,
        "timestamps": [[90, 102], [114.5, 127]],
        "sentences": ["spread margarine", "place cheese"],
    }
    (tmp_path / name).write_text(json.dumps({"GLd3aX16zBg": dense}))
    examples = list(youcook2.Captions("val").examples(tmp_path))
    assert [(e.id, e.text, e.start_sec, e.end_sec) for e in examples] == [
        ("GLd3aX16zBg#0", "spread margarine", 90.0, 102.0), ("GLd3aX16zBg#1", "place cheese", 114.5, 127.0),
    ]  # fmt: skip
    with pytest.raises(MissingFile, match=r"train_yc2\.json"):
        list(youcook2.Captions("train").examples(tmp_path))
