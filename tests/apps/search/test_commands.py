import csv
import json
import shutil
from pathlib import Path
from unicodedata import normalize

import pytest
from PIL import Image

from allinone.checkpoint import save_checkpoint
from allinone.cli import main
from allinone.video.encode import write_mp4
from full import full_disk
from tiny import tiny_frames, tiny_predictor, write_videos


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, four videos of which one has two windows, and their index."""
    folder = tmp_path_factory.mktemp("commands")
    tiny = tiny_predictor()
    save_checkpoint(folder / "model", tiny.model, tiny.tokenizer)
    write_videos(folder / "videos", 3)
    write_mp4(folder / "videos" / "[long] it's.mp4", tiny_frames(9, 16), 8)
    main(["index", f"{folder}/videos", "--model", f"{folder}/model", "--to", f"{folder}/my.index", "--window", "1"])
    return folder


def search(made: Path, *arguments: str) -> None:
    main(["search", *arguments, "--index", str(made / "my.index")])


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_hits_come_in_every_format(made: Path, capsys: pytest.CaptureFixture[str]):
    search(made, "red", "a dog", "--format", "json", "--no-merge")
    found = json.loads(capsys.readouterr().out)
    assert [(one["query"], len(one["hits"])) for one in found] == [("red", 5), ("a dog", 5)]
    first = found[0]["hits"][0]
    search(made, "red", "--format", "csv", "--top-k", "2", "--no-merge")
    assert capsys.readouterr().out.splitlines()[1].endswith(first["segment"])
    search(made, "red", "--format", "edl", "--fps", "25")
    assert "FCM: NON-DROP FRAME" in capsys.readouterr().out
    search(made, "red", "--format", "html")
    assert capsys.readouterr().out.count("data:image/jpeg;base64,") >= 4
    search(made, "red")
    lines = capsys.readouterr().out.splitlines()
    assert "[long] it's.mp4" in [line.split("│")[-2].strip() for line in lines if "│" in line]
    assert (lines[-1], "match" in lines[1] + lines[2]) == (f"in {made}/videos", False)
    assert max(map(len, lines[:-1])) <= 80
    search(made, "red", "--rerank", "2")
    assert "match" in capsys.readouterr().out


def test_a_search_is_narrowed_paged_and_led_by_examples(made: Path, capsys: pytest.CaptureFixture[str]):
    def videos(*arguments: str) -> list[str]:
        search(made, *arguments, "--format", "json", "--no-merge")
        return [Path(hit["video"]).name for hit in json.loads(capsys.readouterr().out)]

    everything = videos("red")
    assert videos("red", "--offset", "2", "--top-k", "2") == everything[2:4]
    assert videos("red", "--name", "[LONG", "--min-duration", "1.5") == ["[long] it's.mp4"] * 2
    assert videos("red", "--added-after", "2100-01-01") == videos("red", "--folder", "/nowhere") == []
    example = str(made / "videos" / "01.mp4")
    assert videos("--like", example)[0] == "01.mp4"
    search(made, "red", "--name", "01", "--format", "json")
    segment = json.loads(capsys.readouterr().out)[0]["segment"]
    assert "01.mp4" not in videos("--like", segment)


def test_words_that_the_model_does_not_know_are_told_in_every_format(made: Path, capsys: pytest.CaptureFixture[str]):
    for form in ("table", "json", "edl"):
        search(made, "赤い四角", "red", "--format", form)
        [note] = capsys.readouterr().err.splitlines()
        assert note.startswith("note: '赤い四角': no word is in the model's vocabulary")
        assert note.endswith("(赤, い, 四, 角)")
    video, model = str(made / "videos" / "01.mp4"), ["--model", str(made / "model")]
    main(["ask", video, "red xqz?", *model])
    assert "1 of 2 words are not in the model's vocabulary: xqz" in capsys.readouterr().err
    main(["classify", video, "--labels", "red,🎉🎉", *model])
    assert "'🎉🎉': no word is in the model's vocabulary" in capsys.readouterr().err


def test_a_filter_that_leaves_nothing_is_named_in_every_format(made: Path, capsys: pytest.CaptureFixture[str]):
    for form in ("table", "json", "csv", "edl", "html"):
        search(made, "red", "--folder", "gym", "--name", "01", "--format", form)
        told = capsys.readouterr()
        assert told.err == f"note: no video in the index passes: folder 'gym'; the videos are in {made}/videos\n"
    search(made, "red", "--folder", "videos", "--format", "csv")
    assert len(capsys.readouterr().out.splitlines()) > 4


def test_photos_have_no_time_and_hits_whose_files_are_gone_are_marked(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder, index = tmp_path / "mixed", str(tmp_path / "my.index")
    Image.fromarray(tiny_frames(0)[0]).save(write_videos(folder, 1)[0].with_name("photo.png"))
    (folder / "notes.txt").touch()
    (folder / "@eaDir").mkdir()
    (folder / "@eaDir" / "copy.jpg").touch()
    main(["index", str(folder), "--model", str(made / "model"), "--to", index])
    told = capsys.readouterr().out.splitlines()
    assert told[1] == "1 other files skipped (.txt 1)"
    assert told[2] == "1 skipped that are hidden, or in bins and hidden folders (.jpg 1)"
    (folder / "00.mp4").unlink()
    main(["search", "red", "--index", index])
    rows = [[cell.strip() for cell in line.split("│")[2:-1]] for line in capsys.readouterr().out.splitlines()]
    assert sorted(row for row in rows if row) == [["", "", "photo.png"], ["0:00.0", "0:01.0", "00.mp4 (gone)"]]
    main(["search", "red", "--index", index, "--format", "json"])
    hits = json.loads(capsys.readouterr().out)
    assert {Path(hit["video"]).name: hit["gone"] for hit in hits} == {"photo.png": False, "00.mp4": True}
    main(["search", "red", "--index", index, "--format", "csv"])
    assert {row["gone"] for row in csv.DictReader(capsys.readouterr().out.splitlines())} == {"", "gone"}
    main(["search", "red", "--index", index, "--format", "html"])
    page = capsys.readouterr().out
    assert (page.count("the file is no longer there"), page.count(" s, ")) == (1, 1)
    main(["index", str(folder), "--to", index])
    assert f"1 of this folder are missing; `allinone index --to {index} --remove-missing`" in capsys.readouterr().out
    main(["index", str(folder), "--to", index, "--verbose"])
    assert f"removes them\n  {folder}/00.mp4\n" in capsys.readouterr().out
    main(["index", "--to", index, "--remove-missing"])
    assert "1 videos removed" in capsys.readouterr().out


def test_files_that_were_unreadable_before_are_one_line_and_garbage_can_be_taken_out(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder, index = tmp_path / "videos", str(tmp_path / "my.index")
    video = write_videos(folder, 2)[0]
    (folder / "broken.mp4").write_bytes(b"no video")
    add = ["index", str(folder), "--model", str(made / "model"), "--to", index]
    main(add)
    assert capsys.readouterr().err.startswith(f"not indexed: {folder}/broken.mp4: ")
    main(add)
    assert capsys.readouterr().err == "1 unreadable as before; --verbose lists them\n"
    main([*add, "--verbose"])
    assert capsys.readouterr().err.startswith(f"not indexed: {folder}/broken.mp4: ")
    video.write_bytes(b"garbage")
    main(add)
    told = capsys.readouterr()
    assert f"not indexed: {video}" in told.err
    assert f"`allinone index --to {index} --remove-missing` removes them\n  {video}\n" in told.out
    with pytest.raises(SystemExit):
        main(["index", "--to", index, "--verify"])
    told = capsys.readouterr()
    assert told.out == f"no longer readable: {video}\n"
    assert told.err == (
        f"`allinone index --to {index} --remove-missing` removes those that are missing or no longer readable\n"
    )
    main(["index", "--to", index, "--remove-missing", "--verify"])
    assert "1 videos removed" in capsys.readouterr().out


def test_files_are_named_as_people_type_them(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / normalize("NFD", "Größe")
    write_videos(folder, 1)[0].rename(folder / normalize("NFD", "é.mp4"))
    typed, model = f"{tmp_path}/Größe/é.mp4", ["--model", str(made / "model")]
    main(["ask", typed, "red", *model])
    main(["index", typed, *model, "--to", str(tmp_path / "my.index")])
    assert "1 videos added" in capsys.readouterr().out
    search(made, "--like", typed, "--format", "csv")
    assert len(capsys.readouterr().out.splitlines()) > 4


def test_hits_are_cut_out(made: Path, capsys: pytest.CaptureFixture[str]):
    search(made, "red", "--top-k", "2", "--rerank", "2", "--save-clips", str(made / "clips"), "--exact")
    names = sorted(path.name for path in (made / "clips").iterdir())
    assert [name[:4] for name in names] == ["001_", "002_"]
    told = capsys.readouterr().err
    assert all(name in told for name in names)


def test_an_index_is_kept_in_order(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (video,) = write_videos(tmp_path / "more", 1)
    here = ["index", "--to", str(made / "my.index")]
    main([*here, str(tmp_path / "mo*")])  # the model that made it is known
    assert "1 recognized by their content, 0 already there" in capsys.readouterr().out
    main([*here, "--stats", "--compact", "--check-recall", "--verify"])
    shown = capsys.readouterr().out
    assert all(part in shown for part in ("windows of 1 s", "exact", "recall@10 1.0000", "agrees with the files"))
    video.unlink()
    with pytest.raises(SystemExit) as stop:
        main([*here, "--verify"])
    assert stop.value.code == 1
    assert capsys.readouterr().out == f"missing: {video}\n"
    main([*here, "--remove-missing"])
    assert "1 videos removed" in capsys.readouterr().out
    assert "not in the index" in fails(capsys, *here, "--remove", str(video))


def test_what_a_user_can_mend_is_one_line(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    here = str(made / "my.index")
    assert "nothing to do: give VIDEOS" in fails(capsys, "index", "--to", here)
    assert "no index there; make one with" in fails(capsys, "index", str(made), "--to", str(tmp_path / "absent"))
    assert "cut into windows of 1 s, not" in fails(capsys, "index", str(made), "--to", here, "--overlap", "2")
    assert "are for --cut windows" in fails(capsys, "index", str(made), "--to", here, "--cut", "shots", "--window", "2")
    assert "--address is for" in fails(capsys, "index", str(made), "--to", here, "--address", "auto")
    assert "give words to search for, or --like" in fails(capsys, "search", "--index", here)
    assert "expected a date such as" in fails(capsys, "search", "red", "--index", here, "--added-after", "yesterday")
    assert "no segment 'absent.mp4'" in fails(capsys, "search", "--like", "absent.mp4", "--index", here)


@pytest.mark.parametrize("content", [None, b"", b"half", b"garbage"], ids=["missing", "empty", "half", "garbage"])
@pytest.mark.parametrize("files", ["_versions/*.manifest", "data/*.lance"], ids=["manifests", "data"])
def test_a_damaged_index_is_one_sentence_in_every_command(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], files: str, content: bytes | None
):
    index = str(shutil.copytree(made / "my.index", tmp_path / "my.index"))
    for file in Path(index, "segments.lance").glob(files):
        before = file.read_bytes()
        file.unlink()
        if content is not None:
            file.write_bytes(before[: len(before) // 2] if content == b"half" else content * len(before))
    video, model = str(made / "videos" / "00.mp4"), str(made / "model")
    commands = [
        ["search", "red"], ["search", "--like", video], ["search", "red", "--format", "html"],
        *(["index", f"--{name}"] for name in ("verify", "stats", "compact", "check-recall", "remove-missing")),
        ["index", "--remove", video], ["index", str(made / "videos")],
    ]  # fmt: skip
    for command in commands:
        to = ["--index" if command[0] == "search" else "--to", index, "--model", model]
        [told] = fails(capsys, *command, *to).splitlines()
        assert told.startswith(f"allinone {command[0]}: {index}: damaged (")
        assert "The videos are not touched by this: remove that folder" in told


def test_a_damaged_list_of_unreadable_files_is_told_from_a_damaged_index(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    index = shutil.copytree(made / "my.index", tmp_path / "my.index")
    (index / "unreadable.lance").write_bytes(b"no folder")
    told = fails(capsys, "index", str(made / "videos"), "--to", str(index))
    assert f"{index}/unreadable.lance: damaged (" in told
    assert "It only names unreadable files: remove that folder" in told
    main(["search", "red", "--index", str(index)])


def test_a_full_disk_is_one_sentence_and_what_was_added_stays(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    index = str(shutil.copytree(made / "my.index", tmp_path / "my.index"))
    write_videos(tmp_path / "more", 1)
    command = ["index", str(tmp_path / "more"), "--to", index]
    with full_disk(64):
        told = fails(capsys, *command)
    assert told.splitlines()[-1].startswith(f"allinone index: {index}: no room left on the disk (File too large).")
    assert "make room, and give the same command again" in told
    main(["search", "red", "--index", index])
    main(command)
    assert f"{index}: 0 videos added, 1 recognized by their content" in capsys.readouterr().out
