import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Literal
from unicodedata import normalize

import pytest

from allinone.data.example import Example
from allinone.datasets.captioned import Captions, Questions
from allinone.datasets.files import find
from real import DATA, needs_data

Form = Literal["NFC", "NFD"]


def folder(tmp_path: Path, content: str | bytes, name: str = "captions.csv", num_videos: int = 3) -> Path:
    """A folder with a caption file and videos v0.mp4, v1.mp4, ... (empty: readers open none)."""
    for i in range(num_videos):
        (tmp_path / f"v{i}.mp4").touch()
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return tmp_path


def message(tmp_path: Path, content: str | bytes, name: str = "captions.csv") -> str:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        Captions().examples(folder(tmp_path, content, name))
    return str(error.value)


def test_the_smallest_file_is_video_and_caption(tmp_path: Path):
    root = folder(tmp_path, "video,caption\nv0.mp4,a cat\nv1.mp4,a dog\n")
    assert Captions().examples(root) == [
        Example(video=root / "v0.mp4", video_id="v0.mp4", text="a cat"),
        Example(video=root / "v1.mp4", video_id="v1.mp4", text="a dog"),
    ]


def test_several_captions_of_a_video_share_its_id(tmp_path: Path):
    examples = Captions().examples(folder(tmp_path, "video,caption\nv0.mp4,one\n./v0.mp4,two\n"))
    assert [e.video_id for e in examples] == ["v0.mp4", "v0.mp4"]


def test_spans_of_a_video_are_clips_of_their_own(tmp_path: Path):
    rows = "v0.mp4,x,1.5,4\nv0.mp4,x,0,\nv0.mp4,x,,2\nv0.mp4,x,1234.567,1234.568\nv0.mp4,x,3,\n"
    examples = Captions().examples(folder(tmp_path, "video,caption,start,end\n" + rows))
    assert [(e.video_id, e.start_sec, e.end_sec) for e in examples] == [
        ("v0.mp4#t=1.5,4", 1.5, 4.0),
        ("v0.mp4", 0.0, None),
        ("v0.mp4#t=0,2", None, 2.0),
        ("v0.mp4#t=1234.567,1234.568", 1234.567, 1234.568),
        ("v0.mp4#t=3", 3.0, None),
    ]


def test_json_lines_say_the_same_as_csv(tmp_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    table = folder(tmp_path / "a", 'video,caption,start,end\nv0.mp4,"a ""big"" cat, asleep",,\nv1.mp4,näh,1,2.5\n')
    lines = [
        {"video": "v0.mp4", "caption": 'a "big" cat, asleep', "start": None},
        {"video": "v1.mp4", "caption": "näh", "start": 1, "end": 2.5},
    ]
    text = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    objects = folder(tmp_path / "b", text + "\n\n", "captions.jsonl")
    from_table, from_objects = Captions().examples(table), Captions().examples(objects)
    assert [(e.video_id, e.text, e.start_sec) for e in from_table] == [
        (e.video_id, e.text, e.start_sec) for e in from_objects
    ]


def test_what_spreadsheets_write_is_read(tmp_path: Path):
    content = (
        b'\xef\xbb\xbfVideo, Caption\r\n\r\nv0.mp4,"two\r\nlines, and a comma"\r\nv1.mp4,line\xe2\x80\xa8separator\r\n'
    )
    examples = Captions().examples(folder(tmp_path, content))
    assert [e.text for e in examples] == ["two lines, and a comma", "line separator"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_tables_of_excel_in_europe_are_read_with_decimal_commas(tmp_path: Path, delimiter: str, encoding: str):
    rows = [
        "Video;Caption;Start;End;Split;;", "v0.mp4;ein Bär, groß;1,5;2,75;train;;", ";;;;;;",
        'v1.mp4;"a; b";;3;val;;', "v2.mp4;he says: 1,5;0.5;;val;;",
    ]  # fmt: skip
    text = "\r\n".join(rows).replace(";", delimiter) + "\r\n"
    examples = Captions().examples(folder(tmp_path, text.encode(encoding)))
    assert [(e.text, e.start_sec, e.end_sec) for e in examples] == [
        ("ein Bär, groß", 1.5, 2.75), ("a; b" if delimiter == ";" else "a b", None, 3.0), ("he says: 1,5", 0.5, None),
    ]  # fmt: skip
    assert [e.text for e in Captions(split="train").examples(tmp_path)] == ["ein Bär, groß"]


def test_a_first_line_with_the_delimiter_for_excel_is_skipped_and_lines_are_counted(tmp_path: Path):
    assert [e.text for e in Captions().examples(folder(tmp_path, "sep=;\r\nvideo;caption\r\nv0.mp4;x\r\n"))] == ["x"]
    assert "line 3: 3 fields, but the header has 2 (a text with semicolons" in message(
        tmp_path, "sep=;\nvideo;caption\nv0.mp4;x;y\n"
    )


def test_a_decimal_comma_between_commas_and_two_commas_in_a_time_stay_errors(tmp_path: Path):
    assert "start must be a number of seconds" in message(tmp_path, 'video,caption,start\nv0.mp4,x,"1,5"\n')
    assert "start must be a number of seconds" in message(tmp_path, "video;caption;start\nv0.mp4;x;1,234,5\n")


def test_what_would_only_use_up_memory_is_a_short_error(tmp_path: Path):
    deep = '{"video": ' + "[" * 100_000
    for content, name in ((",".join(map(str, range(100_000))), "captions.csv"), (deep, "captions.jsonl")):
        (tmp_path / "captions.csv").unlink(missing_ok=True)
        assert len(message(tmp_path, content, name)) < 1000


def test_folders_and_absolute_paths_and_backslashes_are_understood(tmp_path: Path):
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "a b.mp4").touch()
    root = folder(tmp_path, f"video,caption\ncats/a b.mp4,x\ncats\\a b.mp4,x\n{tmp_path / 'v0.mp4'},x\n")
    examples = Captions().examples(root)
    assert {e.video for e in examples[:2]} == {tmp_path / "cats" / "a b.mp4"}
    assert examples[0].video_id == examples[1].video_id == "cats/a b.mp4"
    assert examples[2].video == tmp_path / "v0.mp4"


@pytest.mark.parametrize(("stored", "typed"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_names_are_found_however_their_letters_are_written(tmp_path: Path, stored: Form, typed: Form):
    names = ["Größe/Café.mp4", "한국/서울.mp4"]
    there = [tmp_path / normalize(stored, name) for name in names]
    for path in there:
        path.parent.mkdir()
        path.touch()
    first, second = (normalize(typed, name) for name in names)
    bare = normalize(typed, "서울")
    rows = f"{first},,a\n{second},,b\n{there[0].relative_to(tmp_path)},,c\n,{bare},d\n,{tmp_path}/{first},e\n"
    found = Captions().examples(folder(tmp_path, f"video,video_name,caption\n{rows}"))
    assert [example.video for example in found] == [there[0], there[1], there[0], there[1], there[0]]
    assert {example.video_id for example in found[:3]} == {str(path.relative_to(tmp_path)) for path in there}


def test_the_folder_and_its_table_are_found_in_either_spelling(tmp_path: Path):
    root = tmp_path / normalize("NFD", "Größe")
    root.mkdir()
    folder(root, "video,caption\nv0.mp4,a cat\n", normalize("NFD", "Sätze.csv"))
    [example] = Captions(file="Sätze.csv").examples(tmp_path / "Größe")
    assert example.video == root / "v0.mp4"


def test_of_two_files_that_differ_only_in_spelling_each_row_gets_its_own(tmp_path: Path):
    names = [normalize("NFC", "é.mp4"), normalize("NFD", "é.mp4")]
    for name in names:
        (tmp_path / name).touch()
    for column in ("video", "video_name"):
        found = Captions().examples(folder(tmp_path, f"{column},caption\n{names[0]},a\n{names[1]},b\n"))
        assert [Path(str(example.video)).name for example in found] == names
        assert [example.video_id for example in found] == names
    (tmp_path / "Ä").mkdir()
    (tmp_path / normalize("NFD", "Ä")).mkdir()
    (tmp_path / normalize("NFD", "Ä") / "a.mp4").touch()
    found = Captions().examples(folder(tmp_path, "video,caption\nÄ/a.mp4,a\n"))
    assert found[0].video == tmp_path / normalize("NFD", "Ä") / "a.mp4"


def test_annotations_in_bins_are_not_read(tmp_path: Path):
    for place in ("#recycle", "annotations"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "train.csv").touch()
    assert find(tmp_path, "train.csv").path == tmp_path / "annotations" / "train.csv"


def test_bins_copies_and_circles_hold_no_videos(tmp_path: Path):
    for name in ("#recycle/a.mp4", "@eaDir/a.mp4", "sub/a.mp4", "sub/._a.mp4", "._table.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    (tmp_path / "sub" / "again").symlink_to(tmp_path / "sub")
    (tmp_path / "table.csv").write_text("video_name,caption\na,a cat\n")
    assert Captions().examples(tmp_path)[0].video == tmp_path / "sub" / "a.mp4"


def test_videos_by_name_are_found_in_any_folder_and_sentences_are_captions(tmp_path: Path):
    (tmp_path / "test_clips").mkdir()
    (tmp_path / "test_clips" / "clip1.avi").touch()
    rows = "clip1,a label of Run,./data/test_clips/clip1.avi\nv0,a label of Eat,v1.mp4\n"
    by_name = Captions().examples(folder(tmp_path, "video_name,sentence,path\n" + rows))
    assert [(e.video, e.text) for e in by_name] == [
        (tmp_path / "test_clips" / "clip1.avi", "a label of Run"),
        (tmp_path / "v1.mp4", "a label of Eat"),
    ]
    alone = '{"video_name": "clip1", "sentence": "a label of Run"}'
    assert Captions(file="c.jsonl").examples(folder(tmp_path, alone, "c.jsonl"))[0].video == by_name[0].video


def test_a_path_that_is_wrong_is_not_looked_for_elsewhere(tmp_path: Path):
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "a.mp4").touch()
    assert "no such video file" in message(tmp_path, "path,sentence\ndogs/a.mp4,x\n")


def test_all_bad_rows_are_listed_with_their_lines(tmp_path: Path):
    content = (
        "video,caption,start,end\n"
        "v0.mp4,fine,,\n"
        "none.mp4,x,,\n"
        "v0.mp4,,,\n"
        'v0.mp4,"two\nlines",soon,\n'
        "v0.mp4,x,5,5\n"
        "v0.mp4,x,-1,nan\n"
        "v0.mp4,a, b, c, d\n"
        ",x,,\n"
        "v0.mp4,fine,,\n"
    )
    lines = message(tmp_path, content).split("\n")
    assert lines[0].endswith("captions.csv: 7 bad rows")
    assert lines[1].startswith("  line 3: no such video file: ")
    assert lines[2:] == [
        "  line 4: empty caption",
        "  line 5: start must be a number of seconds, at least 0; got 'soon'",
        "  line 7: end 5 does not come after start 5",
        "  line 8: start must be a number of seconds, at least 0; got '-1'; "
        "end must be a number of seconds, at least 0; got 'nan'",
        "  line 9: 5 fields, but the header has 4 (a text with commas needs quotes)",
        "  line 10: no video",
    ]


def test_bad_json_lines_are_listed_too(tmp_path: Path):
    content = "\n".join([
        '{"video": "v0.mp4", "caption": "fine"}',
        '{"video": "v0.mp4", "caption": "x"',
        '["v0.mp4", "x"]',
        '{"video": "v0.mp4", "captoin": "x"}',
        '{"video": "v0.mp4", "caption": 7}',
        '{"video": "v0.mp4", "caption": "x", "start": true}',
        '{"video": "v0.mp4", "caption": "x", "caption": "y"}',
        '{"video": "v0.mp4", "caption": "x", "end": 1e999}',
    ])  # fmt: skip
    lines = message(tmp_path, content, "captions.jsonl").split("\n")
    assert lines[0].endswith("captions.jsonl: 7 bad rows")
    assert "line 2: not JSON (" in lines[1]
    assert "line 3: not a JSON object" in lines[2]
    assert "line 4: unknown name 'captoin'; there are: video, caption" in lines[3]
    assert "line 5: caption must be a text, got 7" in lines[4]
    assert "line 6: start must be a number" in lines[5]
    assert "line 7: 'caption' twice" in lines[6]
    assert "line 8: end must be a number" in lines[7]


def test_a_thousand_bad_rows_are_counted_and_twenty_shown(tmp_path: Path):
    lines = message(tmp_path, "video,caption\n" + "v0.mp4,\n" * 1000).split("\n")
    assert lines[0].endswith("1000 bad rows")
    assert lines[-1] == "  ... and 980 more"
    assert len(lines) == 22


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("video,caption,caption\n", "column 'caption' twice"),
        ("video,caption,sentence\n", "column 'caption' twice"),
        ("file,caption\n", "unknown column 'file'; no column 'video'"),
        ("video|caption\nv0.mp4|x\n", "unknown column 'video|caption'"),
        ("video,start\n", "no column 'caption' or 'question'"),
        ("", "no column 'video'"),
        ("video,caption\n", "no rows"),
        ('video,caption\nv0.mp4,"never closed\nv1.mp4,x\n', "line 2: not CSV"),
        (b"video,caption\nv0.mp4,na\xefve\n", "line 2 is not UTF-8"),
    ],
)
def test_a_file_that_is_no_table_of_captions_says_why(tmp_path: Path, content: str | bytes, expected: str):
    assert expected in message(tmp_path, content)


def test_a_quoting_mistake_does_not_hide_later_ones(tmp_path: Path):
    lines = message(tmp_path, 'video,caption\nv0.mp4,"a" b\nv0.mp4,fine\nv0.mp4,\n').split("\n")
    assert [line.split(":")[0] for line in lines[1:]] == ["  line 2", "  line 4"]


def test_a_folder_without_captions_shows_how_to_write_them(tmp_path: Path):
    with pytest.raises(ValueError, match=r"no captions\.csv or captions\.jsonl.*\nvideo,caption\n"):
        Captions().examples(tmp_path)
    with pytest.raises(ValueError, match="there is no such folder"):
        Captions().examples(tmp_path / "none")
    with pytest.raises(ValueError, match=r"no other\.csv"):
        Captions(file="other.csv").examples(tmp_path)


def test_two_caption_files_want_a_choice(tmp_path: Path):
    folder(tmp_path, "video,caption\nv0.mp4,table\n")
    folder(tmp_path, '{"video": "v0.mp4", "caption": "objects"}', "captions.jsonl")
    with pytest.raises(ValueError, match=r"has both .* name one with file="):
        Captions().examples(tmp_path)
    assert Captions(file="captions.jsonl").examples(tmp_path)[0].text == "objects"
    folder(tmp_path, "video,caption\nv0.mp4,x\n", "captions.txt")
    with pytest.raises(ValueError, match=r"from a \.csv or \.jsonl file"):
        Captions(file="captions.txt").examples(tmp_path)


def test_a_split_is_chosen_by_its_name(tmp_path: Path):
    root = folder(tmp_path, "video,caption,split\nv0.mp4,a,train\nv1.mp4,b,test1k\nv2.mp4,c,train\n")
    assert [e.text for e in Captions(split="train").examples(root)] == ["a", "c"]
    assert [e.text for e in Captions(split="test1k").examples(root)] == ["b"]
    assert len(Captions().examples(root)) == 3
    with pytest.raises(ValueError, match=r"no split 'val'; there are: train \(2 rows\), test1k \(1 rows\)"):
        Captions(split="val").examples(root)


def test_a_row_without_split_among_others_is_bad(tmp_path: Path):
    assert "line 3: no split" in message(tmp_path, "video,caption,split\nv0.mp4,a,train\nv1.mp4,b,\n")


def test_a_split_of_a_file_without_splits_says_the_ways_out(tmp_path: Path):
    root = folder(tmp_path, "video,caption\nv0.mp4,a\n")
    with pytest.raises(ValueError, match=r"no column `split` .* hold_out=4"):
        Captions(split="train").examples(root)


def test_every_fourth_video_by_name_is_held_out_with_all_its_captions(tmp_path: Path):
    rows = [f"v{i}.mp4,caption {k}" for k in range(2) for i in reversed(range(9))]
    root = folder(tmp_path, "\n".join(["video,caption", *rows]), num_videos=9)
    train = Captions(split="train", hold_out=4).examples(root)
    val = Captions(split="val", hold_out=4).examples(root)
    assert {e.video_id for e in val} == {"v3.mp4", "v7.mp4"}
    assert len(val) == 4
    assert {e.video_id for e in train} & {e.video_id for e in val} == set()
    assert len(train) + len(val) == len(rows)


def test_holding_out_asks_for_train_or_val_and_a_file_without_splits(tmp_path: Path):
    with pytest.raises(ValueError, match="choose one, got split=None"):
        Captions(hold_out=4)
    with pytest.raises(ValueError, match="n at least 2"):
        Captions(split="val", hold_out=1)
    root = folder(tmp_path, "video,caption,split\nv0.mp4,a,train\n")
    with pytest.raises(ValueError, match="has a column `split`; leave out hold_out=4"):
        Captions(split="val", hold_out=4).examples(root)


def test_too_few_videos_to_hold_out_are_no_empty_split(tmp_path: Path):
    root = folder(tmp_path, "video,caption\nv0.mp4,a\nv1.mp4,b\nv2.mp4,c\n")
    with pytest.raises(ValueError, match="hold_out=4 leaves none of 3 videos"):
        Captions(split="val", hold_out=4).examples(root)


def test_questions_are_the_rows_that_ask(tmp_path: Path):
    root = folder(
        tmp_path,
        "video,caption,question,answer,kind\nv0.mp4,a cat,,,\nv1.mp4,,what?,a dog,animal\nv2.mp4,both,who?,me,\n",
    )
    assert [e.text for e in Captions().examples(root)] == ["a cat", "both"]
    assert [(e.text, e.answer, e.kind) for e in Questions().examples(root)] == [
        ("what?", "a dog", "animal"),
        ("who?", "me", None),
    ]


def test_half_a_question_is_a_bad_row(tmp_path: Path):
    lines = message(tmp_path, "video,question,answer\nv0.mp4,what?,\nv0.mp4,,yes\nv0.mp4,,\n").split("\n")
    assert [line.split(": ")[1] for line in lines[1:]] == [
        "a question without an answer",
        "an answer without a question",
        "empty caption",
    ]


def test_a_file_without_questions_has_none_to_ask(tmp_path: Path):
    root = folder(tmp_path, "video,caption\nv0.mp4,a\n")
    with pytest.raises(ValueError, match="no row has a question and an answer"):
        Questions().examples(root)


def test_missing_videos_can_be_allowed_on_purpose(tmp_path: Path):
    root = folder(tmp_path, f"video,caption\nnone.mp4,a\nv0.mp4,b\n{'x' * 300}.mp4,c\n")
    assert len(Captions(allow_missing=True).examples(root)) == 3
    with pytest.raises(ValueError, match="2 bad rows"):
        Captions().examples(root)


def test_reading_captions_loads_neither_torch_nor_the_decoder():
    code = "import sys, allinone.datasets.captioned; print({'torch', 'av'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"set()\n"


@needs_data
def test_real_photos_with_captions_and_gaps_are_read(tmp_path: Path):
    source = DATA / "image_caption" / "flickr8k_subset"
    rows = list(csv.reader((source / "captions.txt").read_text(encoding="utf-8").splitlines()))
    photos = next(p for p in source.rglob("*.jpg")).parent
    with (tmp_path / "captions.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["video", "caption"])
        writer.writerows([str(photos / name), caption] for name, caption in rows[1:2000])
    with pytest.raises(ValueError, match="no such video file"):
        Captions().examples(tmp_path)
    examples = Captions(allow_missing=True).examples(tmp_path)
    assert len(examples) == len(rows[1:2000])
    assert sum(e.files[0].is_file() for e in examples) > 100


@needs_data
def test_the_captions_of_msrvtt_can_be_written_as_a_folder(tmp_path: Path):
    annotations = DATA / "annotations" / "msrvtt" / "MSRVTT_data_sample.json"
    sentences = json.loads(annotations.read_text(encoding="utf-8"))["sentences"]
    clips = {p.stem: p for p in (DATA / "videos" / "msrvtt").glob("*.mp4")}
    with (tmp_path / "captions.jsonl").open("w", encoding="utf-8") as file:
        for s in sentences:
            if s["video_id"] in clips:
                file.write(json.dumps({"video": str(clips[s["video_id"]]), "caption": s["caption"]}) + "\n")
    examples = Captions().examples(tmp_path)
    assert len(examples) == 20 * len(clips)


def test_the_only_table_of_a_folder_is_its_caption_file_whatever_its_name(tmp_path: Path):
    root = folder(tmp_path, "video,caption\nv0.mp4,a cat\n", name="list.csv")
    assert [example.text for example in Captions().examples(root)] == ["a cat"]
    assert r"it has no captions.csv" in message(tmp_path, "video,caption\nv0.mp4,a dog\n", name="other.csv")
