import csv
import gzip
import io
import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allinone.data.example import Example, HasServer
from allinone.datasets import activitynet_qa, msrvtt_qa, msvd_qa, nextqa, tgif_qa, tvqa, vcr
from allinone.datasets.base import SplitSize
from allinone.datasets.fields import Record
from allinone.datasets.files import Annotation, MissingFile
from allinone.datasets.records import right_option
from allinone.video.tint import COLORS
from layouts import questions as layouts
from layouts.item import Item
from real import DATA, needs_data

COUNTED = {
    "msrvtt_qa.Questions('val')": (msrvtt_qa.Questions("val"), "msrvtt_qa"),
    "msvd_qa.Questions('train')": (msvd_qa.Questions("train"), "msvd_qa"),
    "msvd_qa.Questions('val')": (msvd_qa.Questions("val"), "msvd_qa"),
    "tgif_qa.Actions('test')": (tgif_qa.Actions("test"), "tgif_qa"),
    "tgif_qa.Frames('test')": (tgif_qa.Frames("test"), "tgif_qa"),
    "tgif_qa.Counts('test')": (tgif_qa.Counts("test"), "tgif_qa"),
    "tvqa.Choices('test_public')": (tvqa.Choices("test_public"), "tvqa"),
}
COUNT = """
import json, sys
from allinone.datasets import msrvtt_qa, msvd_qa, tgif_qa, tvqa

counts = {}
for name, folder in zip(sys.argv[1::2], sys.argv[2::2]):
    examples = list(eval(name).examples(folder))
    counts[name] = len(examples), len({e.video for e in examples}), len({e.id for e in examples})
print(json.dumps(counts))
"""


@pytest.fixture(scope="module")
def counts() -> dict[str, list[int]]:
    """Count examples, videos and ids in a process without shape checks, which would take long for a million calls."""
    words = [word for name, (_, folder) in COUNTED.items() for word in (name, str(DATA / "annotations" / folder))]
    counts = subprocess.run([sys.executable, "-c", COUNT, *words], check=True, capture_output=True, text=True)
    return json.loads(counts.stdout)


@needs_data
@pytest.mark.parametrize("name", COUNTED)
def test_the_published_numbers_of_questions_and_videos_are_found(counts, name):
    num_records, num_videos, num_ids = counts[name]
    assert SplitSize(records=num_records, videos=num_videos) == COUNTED[name][0].published
    assert num_ids == num_records


@needs_data
def test_the_clips_of_msvd_are_found_by_their_numbers(tmp_path):
    clips = sorted((DATA / "videos" / "msvd").glob("*.avi"))
    (tmp_path / "YouTubeClips").symlink_to(DATA / "videos" / "msvd")
    mapping = DATA / "annotations" / "msvd_qa" / "youtube_mapping.txt"
    (tmp_path / mapping.name).symlink_to(mapping)
    numbers = dict(line.split(" vid") for line in mapping.read_text().splitlines())
    rows = [
        {"video_id": int(numbers[clip.stem]), "question": "who?", "answer": "cat", "id": clip.stem} for clip in clips
    ]
    (tmp_path / "val_qa.json").write_text(json.dumps(rows))
    found = [example.files[0] for example in msvd_qa.Questions("val").examples(tmp_path)]
    assert [path.resolve() for path in found] == [clip.resolve() for clip in clips]


@needs_data
def test_a_record_of_vcr_is_read_with_names_colours_and_boxes():
    root = DATA / "annotations" / "vcr"
    [answers] = vcr.Answers("val").examples(root)
    [rationales] = vcr.Rationales("val").examples(root)
    assert answers.text == "Does Casey live in this house ?"
    assert answers.options[answers.right or 0] == "No , Casey is a visitor ."
    assert rationales.text == "Does Casey live in this house ? No , Casey is a visitor ."
    assert rationales.options[rationales.right or 0].startswith("Casey is wearing outerwear , holding an umbrella")
    assert (answers.id, rationales.id) == ("val-1", "val-1#2")
    assert [region.color for region in answers.regions] == [0, 1]
    assert [region.color for region in rationales.regions] == [0, 1, 2]
    assert answers.video_id != rationales.video_id  # other regions are tinted
    assert answers.regions[0].polygons[0][0] == pytest.approx((955.742 / 1920, 52.33 / 797), abs=1e-5)
    [outlined] = vcr.Answers("val", outlines=True).examples(root)
    corners = [point for region in outlined.regions for polygon in region.polygons for point in polygon]
    assert len(corners) > 100
    assert all(0 <= x <= 1 and 0 <= y <= 1 for x, y in corners)


# ---- layouts of the same questions

QUESTIONS = [
    {"video_id": "video7", "question": "what is  a cat eating?", "answer": "fish "},
    {"video_id": "video7", "question": "who is \u201ceating\u201d?", "answer": "cat"},
    {"video_id": "video9", "question": "is, it red?", "answer": "yes"},
]


def as_csv(rows, delimiter=","):
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


def as_lines(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def numbered(rows):
    return [row | {"id": n, "video_id": int(row["video_id"][5:]), "category_id": 3} for n, row in enumerate(rows)]


LAYOUTS = {
    "official": ("test_qa.json", json.dumps(numbered(QUESTIONS)).encode()),
    "lines": ("test.jsonl", as_lines(QUESTIONS).encode()),
    "lines in a folder": ("annotations/msrvtt_qa/TEST.jsonl", as_lines(QUESTIONS).encode()),
    "byte order mark and Windows": ("test.jsonl", as_lines(QUESTIONS).replace("\n", "\r\n").encode("utf-8-sig")),
    "UTF-16": ("test.csv", as_csv(QUESTIONS).encode("utf-16")),
    "table": ("test.csv", as_csv(QUESTIONS).encode()),
    "tabs": ("test.csv", as_csv(QUESTIONS, "\t").encode()),
    "encoded": ("msrvtt_test_qa_encode.json", json.dumps(numbered(QUESTIONS)).encode()),
    "Singularity": (
        "qa_test.json",
        json.dumps([row | {"video": row["video_id"] + ".mp4"} for row in QUESTIONS]).encode(),
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_the_same_questions_reads_the_same(tmp_path, layout):
    name, content = LAYOUTS[layout]
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(content)
    examples = list(msrvtt_qa.Questions("test").examples(tmp_path))
    assert [e.video_id for e in examples] == ["video7", "video7", "video9"]
    assert [e.text for e in examples] == ["what is a cat eating?", "who is \u201ceating\u201d?", "is, it red?"]
    assert [e.answer for e in examples] == ["fish", "cat", "yes"]
    assert [e.kind for e in examples] == ["what", "who", None]
    assert examples[2].video == tmp_path / "videos" / "video9.mp4"


def test_videos_of_msvd_are_one_whether_called_by_number_or_by_clip(tmp_path):
    (tmp_path / "youtube_mapping.txt").write_text("abc_1_2 vid7\nxyz_3_4 vid8\n")
    names = [7, "7", "vid7", "abc_1_2", "abc_1_2.avi", "xyz_3_4"]
    rows = [{"video_id": name, "question": "who is it?", "answer": "cat"} for name in names]
    (tmp_path / "val.jsonl").write_text(as_lines(rows))
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "abc_1_2.avi").touch()
    (tmp_path / "videos" / "8.mp4").touch()
    examples = list(msvd_qa.Questions("val").examples(tmp_path))
    assert [e.video_id for e in examples] == ["vid7"] * 5 + ["vid8"]
    assert {e.files[0].name for e in examples} == {"abc_1_2.avi", "8.mp4"}


def test_questions_and_answers_in_two_files_are_joined_by_their_ids(tmp_path):
    asked = [{"video_name": f"v{n}", "question": f"is it {n}?", "question_id": f"q{n}"} for n in range(3)]
    answers = [{"answer": f"a{n}", "type": n, "question_id": f"q{n}"} for n in (2, 0, 1)]
    (tmp_path / "test_q.json").write_text(json.dumps(asked))
    (tmp_path / "test_a.json").write_text(json.dumps(answers))
    examples = list(activitynet_qa.Questions("test").examples(tmp_path))
    assert [(e.id, e.answer, e.kind) for e in examples] == [
        ("q0", "a0", "motion"), ("q1", "a1", "spatial"), ("q2", "a2", "temporal"),
    ]  # fmt: skip
    (tmp_path / "test_q.json.gz").write_bytes(gzip.compress((tmp_path / "test_q.json").read_bytes()))
    (tmp_path / "test_q.json").unlink()
    assert list(activitynet_qa.Questions("test").examples(tmp_path)) == examples
    (tmp_path / "answers").mkdir()
    (tmp_path / "test_a.json").rename(tmp_path / "answers" / "test_a.json")
    (tmp_path / "questions").mkdir()
    (tmp_path / "test_q.json.gz").rename(tmp_path / "questions" / "test_q.json.gz")
    assert list(activitynet_qa.Questions("test").examples(tmp_path)) == examples
    (tmp_path / "answers" / "test_a.json").write_text(json.dumps(answers[:2]))
    with pytest.raises(ValueError, match=r"test_a\.json: no answer to question 'q1', which is in .*test_q\.json"):
        list(activitynet_qa.Questions("test").examples(tmp_path))


def test_an_exact_repeat_is_left_out_and_another_question_of_the_same_id_is_an_error(tmp_path, caplog):
    rows = numbered(QUESTIONS)
    (tmp_path / "val_qa.json").write_text(json.dumps([*rows, rows[1]]))
    assert len(list(msrvtt_qa.Questions("val").examples(tmp_path))) == 3
    assert "left out 1 exact repeats" in caplog.text
    (tmp_path / "val_qa.json").write_text(json.dumps([*rows, rows[1] | {"answer": "dog"}]))
    with pytest.raises(ValueError, match="the id '1' occurs twice with different content"):
        list(msrvtt_qa.Questions("val").examples(tmp_path))


@pytest.mark.parametrize(("written", "right"), [("2", 2), (2.0, 2), ("2.0", 2), ("", None), (None, None)])
def test_the_number_of_the_right_option_is_read_as_it_is_written(written, right):
    assert right_option(written, 5, "here", may_be_secret=True) == right


@pytest.mark.parametrize("written", ["5", -1, 2.5, "2.5", "x", [2], "nan", "", None])
def test_what_numbers_no_option_is_an_error(written):
    with pytest.raises(ValueError, match="here: wanted the number of the right option, 0 to 4"):
        right_option(written, 5, "here")


TGIF = "gif_name\tquestion\ta1\ta2\ta3\ta4\ta5\tanswer\tvid_id\tkey\n"
NEXT = "video,question,answer,qid,type,a0,a1,a2,a3,a4\n"
TV = {"q": "why?", "qid": 1, "ts": "1-2", "vid_name": "s1", "answer_idx": 0} | {f"a{n}": "x" for n in range(5)}
STILL = {
    "annot_id": "val-0", "img_fn": "m/a.jpg", "metadata_fn": "m/a.json", "objects": ["person"],
    "question": ["why", [0]], "answer_choices": [["x"]] * 4, "rationale_choices": [["y"]] * 4,
    "answer_label": 0, "rationale_label": 1,
}  # fmt: skip
BROKEN = {
    "no answer": (
        msrvtt_qa.Questions("val"), "val.jsonl", as_lines([QUESTIONS[0] | {"answer": " "}]),
        "record 1: answer must not be empty",
    ),
    "no video": (msrvtt_qa.Questions("val"), "val.csv", "question,answer\nwho?,cat\n", "line 2 has no video_id"),
    "cut short": (msrvtt_qa.Questions("val"), "val.jsonl", '{"video_id": "vid', "line 1: not JSON"),
    "mapping": (msvd_qa.Questions("val"), "youtube_mapping.txt", "abc_1_2\n", "line 1: wanted the name of a clip"),
    "four options": (
        tgif_qa.Actions("test"), "Test_action_question.csv", TGIF + "g\twhy ?\ta\tb\tc\td\t\t1\tACTION1\t1\n",
        "line 2: a5 must not be empty",
    ),
    "sixth option": (
        tgif_qa.Actions("test"), "Test_action_question.csv", TGIF + "g\twhy ?\ta\tb\tc\td\te\t5\tACTION1\t1\n",
        "line 2: wanted the number of the right option, 0 to 4, got '5'",
    ),
    "no count": (
        tgif_qa.Counts("test"), "Test_count_question.csv", "gif_name\tquestion\tanswer\ng\thow many ?\ttwo\n",
        "line 2: wanted a number of times as the answer, got 'two'",
    ),
    "unknown type": (
        tgif_qa.Frames("test"), "Test_frameqa_question.csv", "gif_name\tquestion\tanswer\ttype\ng\twho ?\tcat\t4\n",
        "line 2: wanted a type from 0 to 3, got '4'",
    ),
    "open-ended NExT": (nextqa.Choices("val"), "val.csv", "video,question,answer,qid,type\n", "no column a0, a1"),
    "NExT type": (nextqa.Choices("val"), "val.csv", NEXT + "1,why,0,2,X,a,b,c,d,e\n", "wanted a type that begins"),
    "span": (tvqa.Choices("val"), "tvqa_val.jsonl", as_lines([TV | {"ts": "one"}]), "record 1: ts must be a span like"),
    "no option": (tvqa.Choices("val"), "tvqa_val.jsonl", as_lines([TV | {"a3": ""}]), "record 1: a3 must not be empty"),
    "no subtitles": (tvqa.Choices("val", subtitles=True), "tvqa_val.jsonl", as_lines([TV]), "no subtitles of s1"),
    "VCR object": (
        vcr.Answers("val"), "val.jsonl", as_lines([STILL | {"question": [[1]]}]),
        "record 1: a text points at object 1, but there are 1",
    ),
    "VCR label": (vcr.Answers("val"), "val.jsonl", as_lines([STILL | {"rationale_label": 4}]), "right option, 0 to 3"),
    "VCR options": (vcr.Answers("val"), "val.jsonl", as_lines([STILL | {"answer_choices": []}]), "_choices must not"),
    "VCR secret": (vcr.Answers("val"), "val.jsonl", as_lines([STILL | {"answer_label": None}]), "has no answer_label"),
    "VCR field": (vcr.Answers("val"), "val.jsonl", as_lines([{"annot_id": "val-0"}]), "record 1 has no img_fn"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_record_is_one_error_that_names_its_place(tmp_path, case):
    dataset, name, content, message = BROKEN[case]
    (tmp_path / "val_qa.json").write_text(json.dumps(numbered(QUESTIONS)))
    (tmp_path / name).write_text(content)
    if isinstance(dataset, msrvtt_qa.Questions):
        (tmp_path / "val_qa.json").unlink()
    with pytest.raises(ValueError, match=message):
        list(dataset.examples(tmp_path))


@pytest.mark.parametrize("reader", [msrvtt_qa.Questions, tgif_qa.Counts, nextqa.Choices, tvqa.Choices, vcr.Rationales])
def test_the_error_of_missing_annotations_has_their_name(tmp_path, reader):
    with pytest.raises(MissingFile, match=r"no annotation file .*train"):
        list(reader("train").examples(tmp_path))


# ---- TVQA


@given(st.floats(0, 90), st.floats(0, 90))
def test_a_span_holds_the_given_one_and_lasts_a_second_or_more(start, end):
    found = tvqa.seconds(Record({"ts": f"{start:.2f}-{end:.2f}"}, "here"))
    assert found is not None
    low, high = sorted((round(start, 2), round(end, 2)))
    assert 0 <= found[0] <= low + 1e-9
    assert found[1] >= high - 1e-9
    assert found[1] - found[0] >= 1 - 1e-9


def test_a_span_without_numbers_is_the_whole_clip(tmp_path):
    (tmp_path / "tvqa_val.jsonl").write_text(as_lines([TV | {"ts": "nan-nan"}]))
    [example] = tvqa.Choices("val").examples(tmp_path)
    assert (example.start_sec, example.end_sec, example.video_id) == (None, None, "s1")


def test_the_frames_of_a_span_are_those_of_its_seconds(tmp_path):
    name = "friends_s01e01_seg01_clip_00"
    folder = tmp_path / "frames_hq" / "friends_frames" / name
    folder.mkdir(parents=True)
    for number in range(1, 181):
        (folder / f"{number:05}.jpg").touch()
    row = TV | {"vid_name": name}
    rows = [row | {"qid": n, "ts": ts} for n, ts in enumerate(("1.00-3.0", "59.5-59.9", "100-110", "0-60"))]
    (tmp_path / "tvqa_val.jsonl").write_text(as_lines(rows))
    within, last, beyond, whole = (e.files for e in tvqa.Choices("val").examples(tmp_path))
    assert [path.name for path in within] == [f"{number:05}.jpg" for number in range(4, 10)]
    assert [path.name for path in last] == ["00178.jpg", "00179.jpg", "00180.jpg"]
    assert [path.name for path in beyond] == ["00180.jpg"]
    assert len(whole) == tvqa.MAX_FRAMES
    assert [path.name for path in whole] == sorted({path.name for path in whole})


@pytest.mark.parametrize("kind", ["srt", "jsonl"])
def test_subtitles_come_before_the_question(tmp_path, kind):
    (tmp_path / "tvqa_val.jsonl").write_text(as_lines([TV | {"ts": "2.0-4.0"}]))
    said = [
        (0.0, 1.5, "(Ann:)Good day."),
        (1.6, 2.5, "Where is it?"),
        (3.0, 3.9, "Here,\nin the box."),
        (4.2, 5.0, "Ah."),
    ]
    if kind == "srt":
        (tmp_path / "tvqa_subtitles").mkdir()
        blocks = [
            f"{n}\r\n00:00:0{start:.3f}".replace(".", ",") + f" --> 00:00:0{end:.3f}\r\n".replace(".", ",") + text
            for n, (start, end, text) in enumerate(said, start=1)
        ]
        (tmp_path / "tvqa_subtitles" / "s1.srt").write_bytes("\r\n\r\n".join(blocks).encode("utf-8-sig"))
    else:
        lines = [{"start": start, "end": end, "text": text} for start, end, text in said]
        (tmp_path / "tvqa_preprocessed_subtitles.jsonl").write_text(as_lines([{"vid_name": "s1", "sub": lines}]))
    [example] = tvqa.Choices("val", subtitles=True).examples(tmp_path)
    assert example.text == "Where is it? Here, in the box. why?"
    [example] = tvqa.Choices("val", span=False, subtitles=True).examples(tmp_path)
    assert example.text == "(Ann:)Good day. Where is it? Here, in the box. Ah. why?"


def test_a_fraction_of_a_second_in_subtitles_may_have_any_number_of_digits(tmp_path):
    (tmp_path / "s.srt").write_text("1\n00:00:01,5 --> 00:01:02.25\nHere.\n")
    assert list(tvqa.read_srt(Annotation(tmp_path / "s.srt"))) == [(1.5, 62.25, "Here.")]


def test_the_file_for_the_server_of_tvqa_numbers_the_chosen_option_by_question():
    dataset = tvqa.Choices("test_public")
    assert isinstance(dataset, HasServer)
    name, text = dataset.submission([{"id": "137292", "prediction": 3}, {"id": "7", "prediction": 0}])
    assert (name, json.loads(text)) == ("qid2preds_test.json", {"137292": 3, "7": 0})


# ---- VCR


def still(root: Path, split: str = "val", **changes) -> None:
    row = STILL | changes
    (root / "vcr1images" / "m").mkdir(parents=True, exist_ok=True)
    (root / "vcr1images" / "m" / "a.jpg").touch()
    boxes = [[10 * n, 0, 10 * n + 10, 50, 0.9] for n in range(len(row["objects"]))]
    metadata = {"boxes": boxes, "segms": [[] for _ in boxes], "width": 200, "height": 100}
    (root / "vcr1images" / "m" / "a.json").write_text(json.dumps(metadata))
    (root / f"{split}.jsonl").write_text(as_lines([row]))


def test_objects_get_the_numbers_of_their_order_in_the_record(tmp_path):
    objects = ["car", "person", "cat", "person"]
    answers = [["no", [1]], ["with", [3, 0]], ["no"], ["no"]]
    rationales = [["the", [2]], ["y"], ["y"], ["y"]]
    still(tmp_path, objects=objects, question=[[3], "?"], answer_choices=answers, rationale_choices=rationales)
    [example] = vcr.Answers("val").examples(tmp_path)
    assert example.text == "Casey ?"
    assert example.options[:2] == ("no Riley", "with Casey and car")
    left = {region.color: region.polygons[0][0][0] for region in example.regions}
    assert left == {0: 30 / 200, 1: 10 / 200, 2: 0}  # the cat is mentioned only by a rationale
    [example] = vcr.Rationales("val").examples(tmp_path)
    assert example.text == "Casey ? no Riley"
    assert example.options[0] == "the cat"
    assert [region.color for region in example.regions] == [0, 1, 3]


def test_each_name_has_a_colour_of_its_own():
    assert len(set(vcr.NAMES)) == len(COLORS)


def test_an_image_without_the_file_of_its_objects_is_an_error_and_an_absent_image_is_not(tmp_path):
    still(tmp_path)
    (tmp_path / "vcr1images" / "m" / "a.json").unlink()
    with pytest.raises(MissingFile, match=r"a\.json: there is an image beside it"):
        list(vcr.Answers("val").examples(tmp_path))
    (tmp_path / "vcr1images" / "m" / "a.jpg").unlink()
    [example] = vcr.Answers("val").examples(tmp_path)
    assert example.regions == ()
    assert example.video == tmp_path / "vcr1images" / "m" / "a.jpg"


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"boxes": [], "segms": [], "width": 1, "height": 1}, "1 objects, but 0 in m/a.json"),
        ({"boxes": [[0, 0, 1, 1, 1]], "segms": [[]], "width": 0, "height": 1}, "wanted boxes, segms, width and height"),
        ({"boxes": [[0, 0]], "segms": [[]], "width": 1, "height": 1}, "wanted boxes, segms, width and height"),
    ],
)
def test_a_broken_file_of_objects_is_an_error(tmp_path, metadata, message):
    still(tmp_path)
    (tmp_path / "vcr1images" / "m" / "a.json").write_text(json.dumps(metadata))
    with pytest.raises(ValueError, match=message):
        list(vcr.Answers("val").examples(tmp_path))


def test_the_file_for_the_server_of_vcr_has_the_rationales_after_each_answer(tmp_path):
    secret = {"answer_label": None, "rationale_label": None, "annot_id": "test-0"}
    still(tmp_path, split="test", **secret)
    examples = [*vcr.Rationales("test").examples(tmp_path), *vcr.Answers("test").examples(tmp_path)]
    assert [e.id for e in examples] == ["test-0#0", "test-0#1", "test-0#2", "test-0#3", "test-0"]
    assert {e.right for e in examples} == {None}
    predictions = [
        {"id": e.id, "kind": e.kind, "probabilities": [n + option / 10 for option in range(4)]}
        for n, e in enumerate(examples)
    ]
    _, text = vcr.Answers("test").submission(predictions)
    [row] = csv.DictReader(io.StringIO(text))
    assert row["annot_id"] == "test-0"
    assert [float(row[f"answer_{option}"]) for option in range(4)] == [4.0, 4.1, 4.2, 4.3]
    for given_answer in range(4):
        columns = [f"rationale_conditioned_on_a{given_answer}_{option}" for option in range(4)]
        assert [float(row[column]) for column in columns] == predictions[given_answer]["probabilities"]
    assert len(row) == 21
    with pytest.raises(
        ValueError, match=r"once for its answer \(1\) and 4 times .* \(3\): evaluate Answers and Rationales"
    ):
        vcr.Rationales("test").submission(predictions[1:])


# ---- round trips through the layouts

OPTIONS = ("a red cat", "a dog", "two stars", "the blue circle", "nothing, really")


def items(folder: Path, **changes) -> list[Item]:
    found = []
    for n, split in enumerate(["train"] * 5 + ["val"] * 2 + ["test"] * 2):
        video = folder / f"clip{n // 2}.mp4"
        video.write_bytes(bytes([n // 2]))
        found.append(
            Item(
                video=video, split=split, question=f"what is it, {n}?", answer=f"word{n}", options=OPTIONS, right=n % 4,
                number=n, caption=f"here is {n}", start_sec=n, end_sec=n + 2.5,
            )
        )  # fmt: skip
    return [replace(item, **changes) for item in found]


ROUND_TRIPS = {
    "msrvtt_qa": (layouts.write_msrvtt_qa, msrvtt_qa.Questions, {"options": ()}),
    "msvd_qa": (layouts.write_msvd_qa, msvd_qa.Questions, {"options": ()}),
    "activitynet_qa": (layouts.write_activitynet_qa, activitynet_qa.Questions, {"options": (), "kind": "color"}),
    "tgif action": (layouts.write_tgif_qa, tgif_qa.Actions, {}),
    "tgif transition": (layouts.write_tgif_qa, tgif_qa.Transitions, {"kind": "transition"}),
    "tgif frame": (layouts.write_tgif_qa, tgif_qa.Frames, {"options": (), "kind": "number"}),
    "tgif count": (layouts.write_tgif_qa, tgif_qa.Counts, {"options": (), "answer": ""}),
    "nextqa": (layouts.write_nextqa, nextqa.Choices, {"kind": "causal"}),
    "tvqa": (layouts.write_tvqa, tvqa.Choices, {"kind": "Made"}),
    "vcr": (layouts.write_vcr, vcr.Answers, {"options": OPTIONS[:4]}),
}


@pytest.mark.parametrize("case", ROUND_TRIPS)
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_items_come_back_from_the_layout(tmp_path, case, split):
    write, reader, changes = ROUND_TRIPS[case]
    (tmp_path / "made").mkdir()
    written = items(tmp_path / "made", **changes)
    write(tmp_path / "root", written)
    wanted = [item for item in written if item.split == split]
    if case.startswith("tgif"):
        if split == "val":
            return
        wanted = [item for item in written if (item.split == "train") == (split == "train")]
    examples = list(reader("test_public" if (case, split) == ("tvqa", "test") else split).examples(tmp_path / "root"))
    is_secret = split == "test" and case in ("tvqa", "vcr")
    for example, item in zip(examples, wanted, strict=True):
        check(example, item, is_secret)
        assert example.files[0].read_bytes() == item.video.read_bytes()
        if case == "tvqa":
            assert (example.start_sec, example.end_sec) == (item.start_sec, item.end_sec)
    assert (
        len({example.video_id for example in examples}) == len({example.video for example in examples})
        or case == "tvqa"
    )


def check(example: Example, item: Item, is_secret: bool) -> None:
    assert example.text == item.question
    assert example.options == item.options
    if example.task == "choice":
        assert example.right == (None if is_secret else item.right)
    elif example.task == "number":
        assert example.number == item.number
    else:
        assert example.answer == item.answer
    if item.kind and item.kind != "transition":
        assert example.kind == item.kind


def test_right_rationales_of_the_synthetic_layout_are_the_captions_and_their_objects_are_tinted(tmp_path):
    written = items(tmp_path, options=OPTIONS[:4])
    layouts.write_vcr(tmp_path / "root", written)
    examples = list(vcr.Rationales("train").examples(tmp_path / "root"))
    assert [example.options[example.right or 0] for example in examples] == [f"here is {n}" for n in range(5)]
    assert all(len(set(example.options)) == 4 for example in examples)
    assert all(len(example.regions) == 1 for example in examples)


def test_subtitles_of_the_synthetic_layout_are_the_captions(tmp_path):
    layouts.write_tvqa(tmp_path / "root", items(tmp_path))
    first, *_ = tvqa.Choices("train", subtitles=True).examples(tmp_path / "root")
    assert first.text == "here is 0 here is 1 what is it, 0?"
    assert not math.isnan(first.end_sec or math.nan)
