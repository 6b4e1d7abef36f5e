import json
import shutil
from unicodedata import normalize

import numpy as np
import pytest

from allinone.cli import main
from allinone.datasets import all_known
from allinone.video.encode import write_mp4


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def run(capsys, *arguments, code=0):
    """Run `allinone data` and return its output: `out` and `err`."""
    try:
        main(["data", *map(str, arguments)])
        ended = 0
    except SystemExit as stop:
        ended = stop.code
    assert ended == code
    return capsys.readouterr()


def own_folder(folder, num_clips):
    folder.mkdir()
    write_mp4(folder / "0.mp4", np.full((8, 32, 48, 3), 90, np.uint8), fps=8)
    for n in range(1, num_clips):
        shutil.copy(folder / "0.mp4", folder / f"{n}.mp4")
    (folder / "captions.csv").write_text("video,caption\n" + "".join(f"{n}.mp4,clip {n}\n" for n in range(num_clips)))
    return folder


def test_every_data_set_is_listed_and_has_its_page(capsys):
    listed = run(capsys, "list").out
    for known in all_known():
        assert f" {known.name} " in listed
        page = run(capsys, "info", known.name).out
        assert known.card.license in page
        assert all(f"{task}, {split}: " in page for task, r in known.card.tasks.items() for split in r.splits)


def test_names_are_found_as_people_write_them_and_near_ones_suggested(capsys):
    assert "MSR-VTT" in run(capsys, "info", "MSR-VTT").out
    assert "did you mean msrvtt? there are: " in run(capsys, "info", "msrvt", code=2).err
    assert "there are: " in run(capsys, "info", "base", code=2).err


def test_info_counts_as_json_and_says_what_is_absent(tmp_path, capsys):
    (tmp_path / "MSRVTT_JSFUSION_test.csv").write_text("key,video_id,sentence\nret0,video7010,a man\n")
    shown = json.loads(run(capsys, "info", "msrvtt", "--root", tmp_path, "--json").out)
    splits = shown["tasks"]["captions"]
    assert (shown["name"], shown["root"]) == ("msrvtt", str(tmp_path))
    assert splits["1kA"] == {
        "records": 1, "videos": 1, "options": None, "answers": None,
        "published": {"records": 1000, "videos": 1000}, "equal": False,
    }  # fmt: skip
    assert list(splits["full-test"]) == ["error"]
    shown = run(capsys, "info", "msrvtt", "--root", tmp_path).out
    assert "captions, 1kA: 1 records, not 1,000 and 1 videos, not 1,000 as published" in shown
    assert "--root" in run(capsys, "info", "msrvtt", "--json", code=2).err


def test_check_prepare_and_shard_end_with_1_where_something_is_missing(tmp_path, capsys):
    own = own_folder(tmp_path / "own", num_clips=3)
    assert "3 files: 3 readable" in run(capsys, "check", "captioned", "--root", own, "--workers", 1).out
    (own / "1.mp4").unlink()
    shown = run(capsys, "check", "captioned", "--root", own, "--workers", 1, code=1)
    assert f"missing: {own}/1.mp4" in shown.out
    assert "not complete" in shown.err
    shown = run(capsys, "prepare", "captioned", "--root", own, "--to", tmp_path / "to", "--workers", 1, code=1)
    assert "3 files: 2 prepared (0 of them before), 1 missing" in shown.out
    assert "clips of 3 frames" in shown.out
    shown = run(capsys, "shard", "captioned", "--root", own, "--to", tmp_path / "packed", "--max-samples", 1, code=1)
    assert f"missing: {own}/1.mp4" in shown.out
    assert "3 files: 2 packed (0 of them before), 1 missing, 0 unreadable; 2 new shards" in shown.out
    assert (
        "max_mb must be 1 or more"
        in run(capsys, "shard", "captioned", "--root", own, "--to", tmp_path / "packed", "--max-mb", 0, code=2).err
    )


def test_of_many_missing_files_the_first_are_shown_and_the_rest_counted(tmp_path, capsys):
    own = own_folder(tmp_path / "own", num_clips=30)
    for path in own.glob("*.mp4"):
        path.unlink()
    shown = run(capsys, "check", "captioned", "--root", own, "--workers", 1, code=1).out
    assert shown.count("missing: ") == 21
    assert "missing: ... and 10 more" in shown


def test_the_folder_of_a_data_set_is_found_in_either_spelling(tmp_path, capsys):
    own = own_folder(tmp_path / normalize("NFD", "Größe"), num_clips=1)
    shown = run(capsys, "check", "captioned", "--root", tmp_path / "Größe", "--workers", 1).out
    assert "1 files: 1 readable" in shown
    assert own.name != "Größe"
