"""Readers of videos with captions: layouts of copies are read, and errors name the broken record."""

import gzip
import json
import logging
import zipfile
from pathlib import Path

import pytest

from allinone.data.example import Dataset
from allinone.datasets import (
    activitynet,
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


def written(root: Path, files: dict[str, object]) -> Path:
    """Write files with a text, bytes or values as JSON; their names decide on JSON Lines and on packing."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(content, str | bytes):
            lines = name.endswith((".jsonl", ".jsonl.gz"))
            content = "\n".join(map(json.dumps, content)) if lines else json.dumps(content)  # type: ignore[arg-type]
        content = content.encode() if isinstance(content, str) else content
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return root


MOMENT = {"annotation_id": 1, "video": "a.mov", "description": "first", "times": [[0, 0], [2, 2], [2, 2]]}
DENSE = {"duration": 9, "timestamps": [[4, 9], [0, 5]], "sentences": ["Then  b.", " First a. "]}
CLIP = "0001_Made_00.00.01.000-00.00.02.000"
ROW = f"{CLIP}\t00.00.01.000\t00.00.02.000\t00.00.01.000\t00.00.02.000"
STEP = {"id": 0, "segment": ["1", "4.5"], "sentence": "cut"}
ASKED = {"qid": 3, "clip_name": "video7010", "options": ["a", "b", "c", "d", "e"], "answer": "4"}
EGO = "clip_idx\tvideo_uid\tclip_start\tclip_end\tclip_text\n"
CUT = {"video_uid": "u", "clip_start": 1.0, "clip_end": 2.0, "clip_text": "#C C cuts"}
MCQ = {"answer": 1, "types": 2, "query": CUT, "choices": {str(n): CUT | {"clip_start": n * 0.1} for n in range(5)}}
WEB = "videoid,name,page_idx,page_dir,duration,contentUrl\n"
SAID = {"start": [0, 2.5, 9], "end": [2, 4, 10], "text": ["turn it", "", "on"]}
WORDS = [{"word": word, "time": n / 2} for n, word in enumerate(("so", "we", "cut", "the", "bred", "now"))]
HEARD = {"info": {"id": "v1"}, "subtitles": WORDS, "denoised": [{"noisyasr": "so we", "cleanasr": "So, we!"}]}
HEARD["denoised"] += [{"noisyasr": "cut the bred now", "cleanasr": "Cut the white bread, now."}]


@pytest.mark.parametrize(
    ("files", "dataset", "expected"),
    [
        (  # an id with its extension, Windows line ends, other languages, a BOM
            {
                "val_list.txt": b"\xef\xbb\xbfa_1_2.avi\r\n\r\n",
                "video_corpus.csv": "VideoID,Start,End,WorkerID,Source,AnnotationTime,Language,Description\r\n"
                "a,1,2,7,clean,5,English,A cat sits.\r\na,1,2,7,clean,5,German,Katze\r\na,1,2,7,clean,5,English,\r\n"
                "b,1,2,7,clean,5,English,A dog.\r\n",
            },
            msvd.Captions("val"),
            [("a_1_2", "A cat sits.")],
        ),
        (
            {
                "val_list.txt": "-a_1_2",
                "AllVideoDescriptions.txt": "# remark\n\n-a_1_2 one cat\n-a_1_2 two\nb_1_2 no\n",
            },
            msvd.Captions("val"),
            [("-a_1_2", "one cat"), ("-a_1_2", "two")],
        ),
        (
            {"msvd_ret_test.json": [{"video": "a_1_2.avi", "caption": ["one", "two"]}]},
            msvd.Captions("test"),
            [("a_1_2", "one"), ("a_1_2", "two")],
        ),
        (  # a repeated record counts once, most annotators decide, others than listed are skipped
            {
                "val_data.json": [
                    MOMENT,
                    MOMENT | {"annotation_id": 2, "description": "second ", "times": [[1, 1], [1, 1], [3, 3], [3, 3]]},
                    MOMENT | {"annotation_id": 3, "video": "b.mov"},
                    MOMENT,
                ],
                "val_list.txt": "a.mov\n",
            },
            didemo.Captions("val"),
            [("a", "second first")],
        ),
        (  # as of 27 real videos: the same name with another ending is another one
            {"val_data.json": [MOMENT, MOMENT | {"annotation_id": 2, "video": "a.mp4"}], "val_list.txt": "a.mov\n"},
            didemo.Captions("val"),
            [("a", "first")],
        ),
        ({"DiDeMo_test.tsv": "caption\tname\na b\tx@1.\n"}, didemo.Captions("test"), [("x@1.", "a b")]),
        ({"didemo_ret_val.json": [{"video": "x.mp4", "caption": ["a", "b"]}]}, didemo.Captions("val"), [("x", "a b")]),
        ({"val_2.json": {"v_x": DENSE}}, activitynet.Captions("val_2"), [("v_x", "First a. Then b.")]),
        ({"val1.jsonl": [{"clip_name": "v_x", "caption": "a"}]}, activitynet.Captions("val_1"), [("v_x", "a")]),
        (
            {"MSR_VTT.json": {"annotations": [{"id": 4, "image_id": "video9", "caption": "a"}]}},
            msrvtt.Captions("full-train"),
            [("video9", "a")],
        ),
        (
            {"msrvtt_ret_test1k.json": [{"video": "video7020.mp4", "caption": "a"}]},
            msrvtt.Captions("1kA"),
            [("video7020", "a")],
        ),
        (  # as MIL-NCE calls it, ids with their extension, blank lines between
            {"msrvtt_test.csv": "key,vid_key,video_id,sentence\r\n\r\nret0,msr7020,video7020.mp4,a\r\n , ,,\r\n"},
            msrvtt.Captions("1kA"),
            [("video7020", "a")],
        ),
        (  # the files of MSRVTT.zip
            {
                "high-quality/structured-symlinks/train_list_jsfusion.txt": "video9\n",
                "annotation/MSR_VTT.json": {
                    "annotations": [{"id": n, "image_id": f"video{n}", "caption": "a"} for n in (8, 9)]
                },
            },
            msrvtt.Captions("train9k"),
            [("video9", "a")],
        ),
        (  # quotes are text, a repeated line counts once
            {"LSMDC16_annos_val.csv": f'{ROW}\t"Hey. \r\n{ROW}\tHe nods.\r\n{ROW}\tHe nods.\r\n\r\n'},
            lsmdc.Captions("val"),
            [(CLIP, '"Hey.'), (CLIP, "He nods.")],
        ),
        (
            {"lsmdc_ret_test_1000.json": [{"video": f"0001_Made/{CLIP}.avi", "caption": "He nods."}]},
            lsmdc.Captions("test"),
            [(CLIP, "He nods.")],
        ),
        (
            {"validation_youcook.csv": "end,start,task,text,video_id\n5,1,101,cut,x\n"},
            youcook2.Captions("val"),
            [("x#t=1,5", "cut")],
        ),
        (  # the real table has one span with two texts; a repeated row counts once
            {
                "validation_youcook.csv": "end,start,task,text,video_id\n5,1,9,cut,x.mp4\n5,1,9,stir,x.mp4\n"
                "5,1,9,cut,x.mp4\n"
            },
            youcook2.Captions("val"),
            [("x#t=1,5", "cut"), ("x#t=1,5", "stir")],
        ),
        (  # a second caption in quotes over two lines, one without a text, a repeated row
            {"results_2M_val.csv": WEB + '7,"a, \nb",1,d,,u\n8,,1,d,,u\n7,"a, \nb",1,d,,u\n'},
            webvid.Captions("val2M"),
            [("7", "a, b")],
        ),
        ({"webvid_training_success_full.tsv": "caption\tname\na\td/7\n"}, webvid.Captions("train2M"), [("7", "a")]),
        (
            {"caption.json": {"x": SAID, "y": SAID}, "HowTo100M_v1.csv": "video_id,task_id\ny,1\n"},
            howto100m.Captions(),
            [("y#t=0,2", "turn it"), ("y#t=9,10", "on")],
        ),
        (
            {"raw_caption.json": {"x": SAID}},
            howto100m.Captions(text="raw", min_sec=3),
            [("x#t=0,4", "turn it"), ("x#t=9,10", "on")],
        ),
        (
            {"sentencified_htm_370k.json": {"x": SAID}},
            howto100m.Captions(text="sentences", min_sec=8),
            [("x#t=0,10", "turn it on")],
        ),
        (  # of two words the first is known by ear; the others are between
            {"yttemporal180m_000of100.jsonl.gz": [HEARD]},
            yt_temporal.Captions(num_words=4),
            [("v1#t=0,1.5", "So, we! Cut the"), ("v1#t=1.5,3.5", "white bread, now.")],
        ),
        (  # times from YouTube's captions; a text that was not cleaned
            {
                "v1.grover.json": {"info": {"id": "v1"}, "subtitles": [], "denoised": [{"noisyasr": "cut the bred"}]},
                "v1.en.vtt": "WEBVTT\n\n00:00:02.000 --> 00:00:04.000\n \n"
                "cut<00:00:02.500><c> the</c><00:00:03.000><c> bred</c>\n",
            },
            yt_temporal.Captions(num_words=2),
            [("v1#t=2,3", "cut the"), ("v1#t=3,4", "bred")],
        ),
        (
            {"v2.en.vtt": "WEBVTT\r\n\r\n00:01.000 --> 00:03.000\r\n<i>Cut</i> the\r\nbread. [Music]\r\n"},
            yt_temporal.Captions(),
            [("v2#t=1,2", "Cut the bread.")],
        ),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else str(value)[:40],
)
def test_layouts_of_copies_are_read(files: dict, dataset: Dataset, expected: list[tuple[str, str]], tmp_path: Path):
    examples = list(dataset.examples(written(tmp_path, files)))
    assert [(example.video_id, example.text) for example in examples] == expected
    assert len({example.id for example in examples}) == len(examples)


@pytest.mark.parametrize(
    ("files", "dataset", "message"),
    [
        ({}, msvd.Captions("val"), "no annotation file val_list.txt"),
        (
            {"val_list.txt": "a\nb", "captions_msvd.json": {"a": ["x"]}},
            msvd.Captions("val"),
            "no caption of 1 clips .*: b",
        ),
        (
            {"val_list.txt": "a", "captions_msvd.json": {"a": "x"}},
            msvd.Captions("val"),
            "clip 'a': captions must be a list, got 'x'",
        ),
        ({"val_data.json": [MOMENT]}, didemo.Captions("val"), "no annotation file val_list.txt"),
        (
            {"val_data.json": [MOMENT], "val_list.txt": "a.mov\nb.mov"},
            didemo.Captions("val"),
            "no description of 1 .*: b.mov",
        ),
        (
            {"val_data.json": [MOMENT, MOMENT | {"description": "x"}], "val_list.txt": "a.mov"},
            didemo.Captions("val"),
            "the id '1' occurs twice with different content",
        ),
        (
            {"val_data.json": [MOMENT | {"description": None}], "val_list.txt": "a.mov"},
            didemo.Captions("val"),
            "record 1 has no description",
        ),
        (
            {"val_data.json": [MOMENT | {"times": [[1]]}], "val_list.txt": "a.mov"},
            didemo.Captions("val"),
            "record 1: wanted times",
        ),
        (
            {"val_1.json": {"v": DENSE | {"sentences": ["a"]}}},
            activitynet.Captions("val_1"),
            "v: wanted as many sentences",
        ),
        ({"val_1.json": {"v": [1]}}, activitynet.Captions("val_1"), r"v: wanted an object, got \[1\]"),
        ({"val_1.json": b'{"v": {"timest'}, activitynet.Captions("val_1"), "val_1.json: not JSON, or cut short"),
        (
            {"val1.jsonl": [{"clip_name": 3, "caption": "a"}]},
            activitynet.Captions("val_1"),
            "record 1: video or clip_name .* must be a text, got 3",
        ),
        ({"LSMDC16_annos_val.csv": f"{ROW}\tx\n{ROW}"}, lsmdc.Captions("val"), "line 2: wanted a clip and 5 .* got 5"),
        (
            {"LSMDC16_multiple_choice_test_randomized.csv": ROW + "\ta" * 5 + "\t6"},
            lsmdc.Choices("test"),
            "line 1: wanted an answer from 1 to 5, got '6'",
        ),
        (
            {"LSMDC16_multiple_choice_test_randomized.csv": ROW + "\ta" * 5 + "\t1\n" + ROW + "\ta" * 5},
            lsmdc.Choices("test"),
            "line 2: wanted a clip and 10 more columns between tabs, got 10",
        ),
        (
            {"LSMDC16_annos_val.csv": f"{ROW[len(CLIP) :]}\tx"},
            lsmdc.Captions("val"),
            "line 1: wanted a clip .* the first ''",
        ),
        (
            {"yc2_annotations_trainval.json": {"database": {"x": {"subset": "training"}}}},
            youcook2.Captions("train"),
            "'x' has no annotations; it has: subset",
        ),
        ({"yc2_annotations_trainval.json": b'{"database": {"x'}, youcook2.Captions("train"), "line 1: not JSON"),
        (
            {"yc2_annotations_trainval.json": []},
            youcook2.Captions("train"),
            r"trainval.json: wanted an object, got \[\]",
        ),
        (
            {"val_data.json": [{"video": "a.mov"}], "val_list.txt": "a.mov"},
            didemo.Captions("val"),
            "record 1 has no annotation_id",
        ),
        (
            {
                "yc2_annotations_trainval.json": {
                    "database": {"x": {"subset": "training", "annotations": [STEP | {"segment": [4, 4]}]}}
                }
            },
            youcook2.Captions("train"),
            "step 'x#0': wanted a start and a later end",
        ),
        (
            {"msrvtt_mc_test.jsonl": [ASKED | {"answer": 5}]},
            msrvtt.Choices(),
            "record 1: wanted the number of the right",
        ),
        ({"msrvtt_mc_test.jsonl": [ASKED | {"options": ["a"]}]}, msrvtt.Choices(), "record 1: wanted 5 options, got 1"),
        ({"msrvtt_mc_test.jsonl": [ASKED, ASKED | {"answer": 0}]}, msrvtt.Choices(), "the id '3' occurs twice"),
        ({"MSRVTT_data.json": {"videos": []}}, msrvtt.Captions("full-val"), "an object with a list 'sentences'"),
        ({"MSRVTT_data.json": {"sentences": []}}, msrvtt.Captions("full-val"), "there are no records in it"),
        ({"egoclip.csv": "video_uid\tclip_text\nu\ta\n"}, egoclip.Captions(), "no column clip_start, clip_end"),
        ({"egoclip.csv": EGO + "0\tu\tsoon\t2\ta\n"}, egoclip.Captions(), "line 2: clip_start must be a number"),
        ({"egoclip.csv": EGO + "0\tu\tnan\t2\ta\n"}, egoclip.Captions(), "line 2: clip_start must be a number"),
        ({"egomcq.json": {"0": MCQ | {"types": 3}}}, egoclip.Choices(), "0: wanted types 1 or 2, got '3'"),
        (
            {"egomcq.json": {"0": MCQ | {"answer": 5}}},
            egoclip.Choices(),
            "0: wanted the number of the right option",
        ),
        ({"results_2M_val.csv": "videoid,contentUrl\n1,u\n"}, webvid.Captions("val2M"), "no column name"),
        ({"results_2M_val.csv": WEB + ",a,1,d,,u\n"}, webvid.Captions("val2M"), "line 2: nothing in column videoid"),
        ({"results_2M_val.csv": WEB + "7,a\n"}, webvid.Captions("val2M"), "line 2: 2 fields, but 6 columns"),
        ({"results_2M_val.csv": WEB + "7,a,1,d,,u\n7,b,1,d,,u\n"}, webvid.Captions("val2M"), "the id '7' occurs twice"),
        (
            {"caption.json": {"x": SAID | {"end": [1]}}},
            howto100m.Captions(),
            "x: wanted as many of start, end and text",
        ),
        ({"raw_caption.json": {"x": SAID}}, howto100m.Captions(), "no annotation file caption.json"),
        (
            {"caption.json": {}, "HowTo100M_v1.csv": "id\nx\n"},
            howto100m.Captions(),
            "no column video_id; there are: id",
        ),
        *(
            ({name: content}, dataset, f"{name}: there are no records in it")
            for name, content, dataset in (
                ("results_2M_val.csv", "", webvid.Captions("val2M")),
                ("results_2M_val.csv", WEB, webvid.Captions("val2M")),
                ("LSMDC16_annos_val.csv", "\n \n", lsmdc.Captions("val")),
                ("msrvtt_mc_test.jsonl", "", msrvtt.Choices()),
                ("msrvtt_mc_test.json", [], msrvtt.Choices()),
                ("val_1.json", {}, activitynet.Captions("val_1")),
                ("DiDeMo_test.tsv", "caption\tname\n", didemo.Captions("test")),
                ("train_list_jsfusion.txt", "\ufeff\n", msrvtt.Captions("train9k")),
            )
        ),
        ({"a.grover.json": HEARD | {"info": {}}}, yt_temporal.Captions(), "a.grover.json, info has no id"),
        ({"a.grover.json": HEARD | {"info": {"id": None}}}, yt_temporal.Captions(), "a.grover.json, info has no id"),
        (
            {"a.grover.json": HEARD | {"subtitles": [{"word": None, "time": 1}]}},
            yt_temporal.Captions(),
            "subtitles 1 has no word; it has: time",
        ),
        ({}, yt_temporal.Captions(), "no annotation files"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_broken_is_named(files: dict, dataset: Dataset, message: str, tmp_path: Path):
    with pytest.raises(ValueError, match=message):
        list(dataset.examples(written(tmp_path, files)))


@pytest.mark.parametrize(
    "make",
    [
        *(
            lambda reader=module.Captions: reader("none")
            for module in (msvd, didemo, activitynet, lsmdc, youcook2, webvid)
        ),
        *(
            lambda reader=reader: reader("none")
            for reader in (lsmdc.Choices, msrvtt.Choices, egoclip.Captions, egoclip.Choices)
        ),
        lambda: howto100m.Captions(split="none"),
        lambda: howto100m.Captions(text="none"),
        lambda: howto100m.Captions(min_sec=-1),
        lambda: yt_temporal.Captions(split="none"),
        lambda: yt_temporal.Captions(num_words=0),
    ],
)
def test_a_choice_that_does_not_exist_is_refused_at_once(make):
    with pytest.raises(ValueError, match=r"none|at least"):
        make()


@pytest.mark.parametrize(
    ("files", "dataset"),
    [
        ({"results_10M_train.csv": WEB + "7,a,1,d,,u\nbroken\n"}, webvid.Captions("train10M")),
        ({"egoclip.csv": EGO + "0\tu\t1\t2\ta\nbroken\n"}, egoclip.Captions()),
        ({"egomcq.json": json.dumps({"0": MCQ})[:-1] + ", broken"}, egoclip.Choices()),
        ({"caption.json": json.dumps({"x": SAID})[:-1] + ", broken"}, howto100m.Captions()),
        ({"a000of100.jsonl": json.dumps(HEARD) + "\nbroken\n"}, yt_temporal.Captions()),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else "",
)
def test_large_files_are_read_record_by_record(files: dict, dataset: Dataset, tmp_path: Path):
    examples = iter(dataset.examples(written(tmp_path, files)))
    assert next(examples).id
    with pytest.raises(ValueError, match=r"fields|not JSON"):
        list(examples)


@pytest.mark.parametrize(
    "files",
    [
        {"msrvtt_mc_test.jsonl": [ASKED]},
        {"msrvtt_retrieval_mc_test.jsonl": [ASKED]},
        {"msrvtt_mc_test.json": [{"video": "video7010.mp4", "caption": ASKED["options"], "answer": 4}]},
        {"MSR_MC_test.csv": "key\tvid_key\ta1\ta2\ta3\ta4\ta5\tanswer\r\n1\tmsr7010\ta\tb\tc\td\te\t4\r\n"},
    ],
    ids=", ".join,
)
def test_choices_of_msrvtt_are_read_in_every_layout(files: dict, tmp_path: Path):
    [example] = msrvtt.Choices().examples(written(tmp_path, files))
    assert (example.video_id, example.options, example.right) == ("video7010", tuple("abcde"), 4)
    assert example.video == tmp_path / "videos" / "video7010.mp4"


def test_captions_of_activitynet_are_read_from_their_archive(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "captions.zip", "w") as archive:
        archive.writestr("captions/train.json", json.dumps({"v_x": DENSE}))
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "x.webm").touch()
    [example] = activitynet.Captions("train").examples(tmp_path)
    assert example.video == tmp_path / "videos" / "x.webm"


def test_a_clip_of_a_movie_is_found_with_and_without_its_folder(tmp_path: Path):
    root = written(tmp_path, {"LSMDC16_annos_training.csv": f"{ROW}\ta\n"})
    assert [e.video for e in lsmdc.Captions("train").examples(root)] == [root / "videos" / "0001_Made" / f"{CLIP}.avi"]
    (root / f"{CLIP}.mp4").touch()
    assert [e.video for e in lsmdc.Captions("train").examples(root)] == [root / f"{CLIP}.mp4"]


def test_a_flickr_name_without_an_ending_is_found_with_one(tmp_path: Path):
    root = written(tmp_path, {"val_data.json": [MOMENT | {"video": "a@N0_1_b."}], "val_list.txt": "a@N0_1_b.\n"})
    (root / "videos").mkdir()
    (root / "videos" / "a@N0_1_b.mp4").touch()
    assert [e.files[0].name for e in didemo.Captions("val").examples(root)] == ["a@N0_1_b.mp4"]


@pytest.mark.parametrize(
    ("start", "end", "piece", "span"),
    [
        ("-1", "2", "0", (0, 2)),
        ("599", "602", "1", (0, 2)),
        ("598", "601", "0", (598, 600)),
        ("1250", "1250", "2", (50, 50.1)),
    ],
)
def test_a_narration_is_found_in_its_piece_of_ten_minutes(start: str, end: str, piece: str, span, tmp_path: Path):
    root = written(tmp_path, {"egoclip.csv": f"{EGO}0\tu\t{start}\t{end}\t#C C cuts\n"})
    [whole] = egoclip.Captions().examples(root)
    assert whole.video == root / "videos" / "u.mp4"
    assert whole.start_sec == max(0, float(start))
    (root / "videos" / "u").mkdir(parents=True)
    [cut] = egoclip.Captions().examples(root)
    assert cut.video == root / "videos" / "u" / f"{piece}.mp4"
    assert (cut.start_sec, cut.end_sec) == pytest.approx(span)


def test_videos_of_howto100m_may_be_webm_and_missing_captions_are_counted(tmp_path: Path, caplog):
    root = written(tmp_path, {"caption.json": {"x": SAID}, "howto100m_videos.csv": "video_path\nx.webm\ny.webm\n"})
    (root / "videos").mkdir()
    (root / "videos" / "x.webm").touch()
    with caplog.at_level(logging.WARNING):
        assert {e.files[0].name for e in howto100m.Captions().examples(root)} == {"x.webm"}
    assert "no captions of 1 listed videos (y, ...)" in caplog.text
    assert "left out 1 records without a text" in caplog.text


def test_of_several_files_of_a_name_a_warning_names_the_one_that_is_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    written(tmp_path, {"a/val_1.json": {"v": DENSE}, "b/val_1.json.gz": {"w": DENSE}})
    assert [example.id for example in activitynet.Captions("val_1").examples(tmp_path)] == ["v"]
    assert f"{tmp_path / 'a' / 'val_1.json'}: read, of 2 files val_1.json below {tmp_path}" in caplog.text
