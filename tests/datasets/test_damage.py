"""Errors of readers for files that are damaged, have repeats or gaps, or would exhaust memory."""

import gzip
import json
import logging
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import pytest

from allinone.apps.tools.info import count_records
from allinone.data.example import Dataset
from allinone.datasets import (
    activitynet,
    activitynet_qa,
    coco,
    didemo,
    egoclip,
    files,
    find,
    flickr8k,
    flickr30k,
    hmdb51,
    howto100m,
    kinetics400,
    lsmdc,
    msrvtt,
    msrvtt_qa,
    msvd,
    msvd_qa,
    nextqa,
    tgif_qa,
    tvqa,
    ucf101,
    vcr,
    visual_genome,
    vqav2,
    webvid,
    youcook2,
    yt_temporal,
)
from allinone.datasets.files import Annotation

from .test_fields import CASES, DENSE, HEARD, OPTIONS, STILL, write

STEP = {"id": 0, "segment": [1, 2], "sentence": "stir"}
ASKED = {"question_id": "q1", "video_name": "a", "question": "is it red"}
TV = {"q": "why?", "qid": 7, "ts": "1-2", "vid_name": "c", "answer_idx": 0} | OPTIONS
QUESTIONS_OF_VQA, ANNOTATIONS_OF_VQA = (
    "v2_OpenEnded_mscoco_val2014_questions.json",
    "v2_mscoco_val2014_annotations.json",
)
VQA = CASES["vqav2"][1]
KINETICS = "label,youtube_id,time_start,time_end,split\n"
CLASSES = "1 Archery\n2 Biking\n"


def error_of(dataset: Dataset, root: Path, contents: dict[str, Any]) -> str:
    with pytest.raises(ValueError, match=r".") as error:
        list(dataset.examples(write(root, contents)))
    return str(error.value)


REPEATS: dict[str, tuple[Dataset, dict[str, Any], str]] = {
    "answers of ActivityNet-QA": (
        activitynet_qa.Questions("val"),
        {"val_q.json": [ASKED], "val_a.json": [{"question_id": "q1", "answer": a} for a in ("no", "yes")]},
        r"val_a.json: the id 'q1' occurs twice",
    ),
    "annotations of VQAv2": (
        vqav2.Questions("val"),
        VQA
        | {
            ANNOTATIONS_OF_VQA: {
                "annotations": [
                    VQA[ANNOTATIONS_OF_VQA]["annotations"][0] | {"multiple_choice_answer": answer} for answer in "ab"
                ]
            }
        },
        f"{ANNOTATIONS_OF_VQA}: the id '9' occurs twice",
    ),
    "videos of YouCook2": (
        youcook2.Captions("train"),
        {
            "yc2_annotations_trainval.json": b'{"database": {"a": {"subset": "training", "annotations": []}, '
            b'"a": {"subset": "validation"}}}'.decode()
        },
        "yc2_annotations_trainval.json: the name 'a' occurs twice",
    ),
    "videos of ActivityNet": (
        activitynet.Captions("val_1"),
        {"val_1.json": f'{{"v": {json.dumps(DENSE)}, "v": {json.dumps(DENSE | {"duration": 1})}}}'},
        "val_1.json: the name 'v' occurs twice",
    ),
    "paragraphs of ActivityNet": (
        activitynet.Captions("val_1"),
        {"val1.jsonl": [{"clip_name": "v", "caption": text} for text in "ab"]},
        "val1.jsonl: the id 'v' occurs twice",
    ),
    "clips of MSVD": (
        msvd.Captions("val"),
        {"captions_msvd.json": {"a": ["x"], "a.avi": ["y"]}, "val_list.txt": "a"},
        "captions_msvd.json: the id 'a' occurs twice",
    ),
    "lists of captions": (
        msvd.Captions("test"),
        {"msvd_ret_test.json": [{"video": "a.avi", "caption": [text]} for text in "xy"]},
        "msvd_ret_test.json: the id 'a.avi' occurs twice",
    ),
    "numbers of MSVD": (
        msvd_qa.Questions("val"),
        {"youtube_mapping.txt": "a_1_2 vid1\nb_1_2 vid1\n", "val_qa.json": []},
        "youtube_mapping.txt: line 2: 'vid1' has another clip",
    ),
    "a clip of HMDB51 in training and test": (
        hmdb51.Labels("train1"),
        {"hmdb51_vid_train_split_1.txt": "wave/a 0\n", "hmdb51_vid_test_split_1.txt": "wave/a 0\n"},
        "the id 'a' occurs twice",
    ),
    "a clip of HMDB51 in two classes": (
        hmdb51.Labels("train1"),
        {"hmdb51.csv": "video_id,label,split1\na.avi,wave_test,0\na.avi,run_test,1\n"},
        "hmdb51.csv: the id 'a' occurs twice",
    ),
    "classes of UCF101": (
        ucf101.Labels("test1"),
        {"classInd.txt": "1 Archery\n2 archery\n", "testlist01.txt": "Archery/a.avi\n"},
        "classInd.txt: the class 'archery' is there twice",
    ),
    "captions of a token file": (
        flickr8k.Captions("all"),
        {"captions.txt": "7.jpg#0\ta\n7.jpg#0\tb\n"},
        "captions.txt: the id \\('7.jpg', '0'\\) occurs twice",
    ),
    "subtitles of TVQA": (
        tvqa.Choices("val", subtitles=True),
        {
            "tvqa_val.jsonl": [TV],
            "tv_subtitles.jsonl": [
                {"vid_name": "c", "sub": [{"start": 1, "end": 2, "text": text}]} for text in ("hi", "no")
            ],
        },
        "tv_subtitles.jsonl: the id 'c' occurs twice",
    ),
    "photos of Visual Genome": (
        visual_genome.Captions(),
        {"region_descriptions.json": [{"id": 1, "regions": [{"region_id": n, "phrase": "a clock"}]} for n in range(2)]},
        "region_descriptions.json: the id '1' occurs twice",
    ),
    "clips of EgoClip": (
        egoclip.Captions(),
        {"egoclip.csv": "clip_idx\tvideo_uid\tclip_start\tclip_end\tclip_text\n0\tu\t1\t2\ta\n0\tu\t1\t2\tb\n"},
        "egoclip.csv: the id '0' occurs twice",
    ),
    "columns of a table": (
        webvid.Captions("val2M"),
        {"results_2M_val.csv": "videoid,name,contenturl,Name\n1,a,u,b\n"},
        "results_2M_val.csv: column name is there twice",
    ),
    "folders of NExT-QA": (
        nextqa.Choices("val"),
        CASES["nextqa map"][1] | {"map_vid_vidorID.json": '{"v": "0101/v", "v": "0202/v"}'},
        "map_vid_vidorID.json: the name 'v' occurs twice",
    ),
}


@pytest.mark.parametrize("case", REPEATS)
def test_the_same_name_with_other_content_is_an_error(case: str, tmp_path: Path):
    dataset, contents, message = REPEATS[case]
    with pytest.raises(ValueError, match=message):
        list(dataset.examples(write(tmp_path, contents)))


EMPTY: dict[str, tuple[Dataset, dict[str, Any], str]] = {
    "no questions": (vqav2.Questions("val"), VQA | {QUESTIONS_OF_VQA: {"questions": []}}, QUESTIONS_OF_VQA),
    "a clip without captions": (
        msvd.Captions("val"),
        {"captions_msvd.json": {"a": ["x"], "b": []}, "val_list.txt": "a\nb"},
        "captions_msvd.json: clip 'b': captions must not be empty",
    ),
    "an unknown subset": (
        youcook2.Captions("val"),
        {"yc2_annotations_trainval.json": {"database": {"a": {"subset": "train", "annotations": [STEP]}}}},
        "yc2_annotations_trainval.json: 'a': no subset 'train'; there are: training, validation, testing",
    ),
    "no steps": (
        youcook2.Captions("train"),
        {"yc2_annotations_trainval.json": {"database": {"a": {"subset": "training", "annotations": []}}}},
        "'a': annotations must not be empty",
    ),
    "no video of the subset": (
        youcook2.Captions("val"),
        {"yc2_annotations_trainval.json": {"database": {"a": {"subset": "training", "annotations": [STEP]}}}},
        "yc2_annotations_trainval.json: no video of the subset validation",
    ),
    "no label of Kinetics": (
        kinetics400.Labels("val"),
        {"val.csv": KINETICS + ",a,1,2,val\nx,b,1,2,val\n"},
        "line 2: no",
    ),
    "labels of a part of a test table": (
        kinetics400.Labels("test"),
        {"test.csv": KINETICS + "x,a,1,2,test\n,b,1,2,test\n"},
        "test.csv: line 3: no label",
    ),
    "a class without a name": (
        ucf101.Labels("train1"),
        {"classInd.txt": "1 Archery\n2 \n", "trainlist01.txt": "Archery/a.avi 1\n"},
        "classInd.txt: class 2 has no name",
    ),
    "a blank line in a label map": (
        kinetics400.Labels("val"),
        {"label_map_k400.txt": "x\n\ny\n", "val.txt": "y/a.mp4 1\n"},
        "label_map_k400.txt: class 2 has no name",
    ),
    "no answer label of VCR": (
        vcr.Answers("val"),
        {"val.jsonl": [STILL | {"answer_label": ""}]},
        "val.jsonl: record 1: wanted the number of the right option",
    ),
    "a photo without sentences": (
        coco.Captions("val"),
        {"dataset_coco.json": {"images": [{"split": "val", "filename": "a.jpg", "sentences": []}]}},
        "images, record 1: sentences must not be empty",
    ),
    "an unknown split": (
        coco.Captions("val"),
        {"dataset_coco.json": {"images": [{"split": "vla", "filename": "a.jpg", "sentences": []}]}},
        "images, record 1: no split 'vla'",
    ),
    "no photo of the split": (
        flickr30k.Captions("test"),
        {"dataset_flickr30k.json": CASES["coco"][1]["dataset_coco.json"]},
        "dataset_flickr30k.json: no image of the split test",
    ),
    "an empty paragraph": (
        activitynet.Captions("val_1"),
        {"val_1.json": {"v": DENSE | {"sentences": ["", " "]}}},
        "v: sentences must not be empty",
    ),
    "an empty sentence of a movie": (
        lsmdc.Captions("val"),
        {"LSMDC16_annos_val.csv": "\t".join(["clip", *"abcd", "x"]) + "\n" + "\t".join(["clip", *"abcd", " ", ""])},
        "line 2",
    ),
}


@pytest.mark.parametrize("case", EMPTY)
def test_what_is_empty_where_something_is_required_is_an_error(case: str, tmp_path: Path):
    dataset, contents, message = EMPTY[case]
    assert message in error_of(dataset, tmp_path, contents)


def test_empty_records_of_a_web_collection_are_counted_in_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    silent = HEARD | {"info": {"id": "w"}, "subtitles": []}
    with caplog.at_level(logging.WARNING):
        root = write(tmp_path, {"a.grover.json": HEARD | {"denoised": []}, "b.grover.json": silent})
        [example] = yt_temporal.Captions().examples(root)
        assert example.text == "hello"  # as it was heard, where nothing was cleaned
        assert "no word with a time in 1 videos" in caplog.text
        write(
            tmp_path,
            {
                "caption.json": {
                    "a": {"start": [0], "end": [2], "text": ["x"]},
                    "b": {"start": [], "end": [], "text": []},
                }
            },
        )
        assert len(list(howto100m.Captions().examples(tmp_path))) == 1
        assert "no caption in 1 videos" in caplog.text


def test_answers_without_a_question_are_counted_in_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    answers = [{"question_id": f"q{n}", "answer": "no", "type": 3} for n in range(1, 4)]
    with caplog.at_level(logging.WARNING):
        assert (
            len(
                list(
                    activitynet_qa.Questions("val").examples(
                        write(tmp_path, {"val_q.json": [ASKED], "val_a.json": answers})
                    )
                )
            )
            == 1
        )
    assert "val_a.json: left out 2 answers without a question in" in caplog.text


def test_a_warning_names_the_missing_files_of_msrvtt(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    said = [{"sen_id": n, "video_id": f"video{n}", "caption": "a cat"} for n in range(2)]
    contents = {
        "train_val_videodatainfo.json": {"sentences": said},
        "MSRVTT_train.9k.csv": "video_id\nvideo0\nvideo1\nvideo7010\n",
    }
    with caplog.at_level(logging.WARNING):
        assert len(list(msrvtt.Captions("train9k").examples(write(tmp_path, contents)))) == 2
    assert "train_val_videodatainfo.json: no caption of 1 of the 3 videos of train9k (video7010" in caplog.text
    assert "add test_videodatainfo.json, or MSRVTT_data.json" in caplog.text


BLAMED: dict[str, tuple[Dataset, dict[str, Any], str]] = {
    "a cut file of answers": (
        activitynet_qa.Questions("val"),
        {"val_q.json": [ASKED], "val_a.json": [{"question_id": "q2", "answer": "no"}]},
        "val_a.json: no answer to question 'q1'",
    ),
    "an empty table": (kinetics400.Labels("val"), {"val.csv": ""}, "val.csv: there are no records in it"),
    "an empty table beside others": (
        kinetics400.Labels("val"),
        {"val.csv": "\n", "train.csv": KINETICS + "x,a,1,2,train\n"},
        "val.csv: there are no records in it",
    ),
    "a cut list of classes": (
        ucf101.Labels("test1"),
        {"classInd.txt": "1 Archery\n", "testlist01.txt": "Archery/a.avi\nBiking/b.avi\n"},
        "classInd.txt: 1 classes, without that of 'Biking/b.avi'",
    ),
    "a cut label map": (
        kinetics400.Labels("val"),
        {"label_map_k400.txt": "x\n", "val.csv": KINETICS + "y,a,1,2,val\n"},
        "label_map_k400.txt: 'y' is none of its 1 classes",
    ),
    "a list that is cut within a line": (
        ucf101.Labels("train1"),
        {"classInd.txt": CLASSES, "trainlist01.txt": "Archery/a.avi 1\nBiking/b.avi"},
        "trainlist01.txt: line 2: got 'Biking/b.avi' and no number, where other lines have a number",
    ),
    "a cut file of captions": (
        didemo.Captions("val"),
        CASES["didemo"][1] | {"val_list.txt": "a.mov\nb.mov\n"},
        "val_data.json: no description of 1 videos",
    ),
    "an open quote": (
        webvid.Captions("val2M"),
        {"results_2M_val.csv": 'videoid,name,contenturl\n1,a,u\n2,"b,u\n'},
        "results_2M_val.csv: ends within a text in quotes",
    ),
    "a row that is cut": (
        nextqa.Choices("val"),
        {"val.csv": CASES["nextqa map"][1]["val.csv"] + "v,why,2,CW"},
        "val.csv: line 3: 4 fields, but 10 columns",
    ),
    "two lists in a file": (
        msrvtt_qa.Questions("val"),
        {"val_qa.json": '[{"video_id": 1, "question": "who?", "answer": "a"}]\n[{"x": 1}]'},
        "val_qa.json: not JSON, or cut short, after 1 values (wanted its end, got '[')",
    ),
}


@pytest.mark.parametrize("case", BLAMED)
def test_the_damaged_file_is_the_one_that_is_named(case: str, tmp_path: Path):
    dataset, contents, message = BLAMED[case]
    assert error_of(dataset, tmp_path, contents).startswith(f"{tmp_path}/{message}")


def test_a_split_that_is_broken_leaves_the_others_to_be_counted(tmp_path: Path):
    said = [{"id": 1, "video_id": 1, "question": "who?", "answer": "a"}]
    write(tmp_path, {"train_qa.json": [said[0] | {"question": 12345}], "val_qa.json": said})
    found = count_records(find("msrvtt_qa"), tmp_path)["questions"]
    assert "train_qa.json: record 1: question must be a text, got 12345" in str(found["train"])
    assert getattr(found["val"], "records", None) == 1


# ---- files that would exhaust memory

DEEP = "[" * 100_000


@pytest.mark.parametrize(
    ("dataset", "contents"),
    [
        (msrvtt.Captions("full-train"), {"MSRVTT_data.json": f'{{"sentences": {DEEP}'}),
        (msrvtt.Captions("full-train"), {"MSRVTT_data.json": f'{{"x": {DEEP}'}),
        (msrvtt_qa.Questions("val"), {"val_qa.json": DEEP}),
        (msrvtt_qa.Questions("val"), {"val.jsonl": f'{{"a": {DEEP}'}),
        (youcook2.Captions("val"), {"yc2_annotations_trainval.json": DEEP}),
        (activitynet.Captions("val_1"), {"val_1.json": f'{{"v": {DEEP}'}),
        (msrvtt_qa.Questions("val"), {"val.csv": ",".join(f"column{n}" for n in range(100_000)) + "\n1\n"}),
        (msrvtt_qa.Questions("val"), {"val.csv": ",".join(f"column{n}" for n in range(900)) + "\n"}),
        (kinetics400.Labels("val"), {"val.csv": "youtube_id," + "x" * 100_000 + "\n"}),
        (ucf101.Labels("test1"), {"classInd.txt": CLASSES, "testlist01.txt": "x" * 100_000}),
        (ucf101.Labels("test1"), {"classInd.txt": CLASSES, "testlist01.txt": "x" + " " * 100_000 + "y"}),
        (flickr8k.Captions("all"), {"captions.txt": "x" + " " * 100_000 + "y"}),
        (webvid.Captions("val2M"), {"results_2M_val.csv": 'videoid,name,contenturl\n"' + "x" * 100_000}),
        (
            tgif_qa.Counts("test"),
            {"count_test.jsonl": [{"gif_name": "g", "question": "how many times", "answer": "9" * 9000}]},
        ),
        (
            coco.Captions("val"),
            {"dataset_coco.json": {"images": [{"split": "x" * 100_000, "filename": "a", "sentences": [1]}]}},
        ),
        (msrvtt_qa.Questions("val"), {"val_qa.json": "[" + "9" * 100_000 + "]"}),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_would_exhaust_is_one_short_error(dataset: Dataset, contents: dict[str, Any], tmp_path: Path):
    error = error_of(dataset, tmp_path, contents)
    assert any(name in error for name in contents)
    assert len(error) < 1000


def test_a_file_that_unpacks_to_far_more_than_it_is_is_refused_before_it_fills_memory(tmp_path: Path):
    bomb = b'{"sentences": [{"caption": "' + b" " * 64_000_000
    (tmp_path / "MSRVTT_data.json.gz").write_bytes(gzip.compress(bomb, 1))
    (tmp_path / "zip").mkdir()
    with zipfile.ZipFile(tmp_path / "zip" / "all.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("MSRVTT_data.json", bomb)
    del bomb
    for root in (tmp_path, tmp_path / "zip"):
        tracemalloc.start()
        error = error_of(msrvtt.Captions("full-train"), root, {})
        assert "packed bytes unpack to more than" in error
        assert tracemalloc.get_traced_memory()[1] < 48_000_000
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["val.jsonl", "val.csv", "val_qa.json"])
def test_a_line_or_a_value_that_never_ends_is_refused_before_it_fills_memory(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(files, "MAX_LINE", 100_000)
    monkeypatch.setattr("allinone.datasets.streamed.MAX_VALUE", 100_000)
    error = error_of(
        msrvtt_qa.Questions("val"), tmp_path, {name: '[{"x": "' * (name == "val_qa.json") + "y" * 9_000_000}
    )
    assert f"{name}: " in error
    assert "more than 100,000 characters" in error


def test_a_file_that_is_read_as_a_whole_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(files, "MAX_WHOLE", 1000)
    (tmp_path / "a.json").write_text(json.dumps("x" * 2000))
    with pytest.raises(ValueError, match=r"a\.json: more than 1,000 characters"):
        Annotation(tmp_path / "a.json").json()
