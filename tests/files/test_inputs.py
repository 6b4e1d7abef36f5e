import os
from pathlib import Path

import pytest

from allinone.files.inputs import are_unchanged, note_input, recorded_inputs

OLD_NS = 1_600_000_000_000_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "inner").mkdir()
    for name in ("read.txt", "other.txt", "inner/a.txt"):
        (tmp_path / name).write_text("text")
    for path in [*tmp_path.rglob("*"), tmp_path]:
        os.utime(path, ns=(OLD_NS, OLD_NS))
    return tmp_path


def test_what_is_read_or_listed_is_recorded_and_what_is_written_is_not(folder: Path):
    (folder / "read.txt").read_text()
    with recorded_inputs() as inputs:
        (folder / "read.txt").read_text()
        list((folder / "inner").iterdir())
        (folder / "new.txt").write_text("more")
        assert not (folder / "absent").exists()
        note_input(folder / "absent")
    (folder / "other.txt").read_text()
    assert {Path(path).name: stamp and stamp[:2] for path, stamp in inputs.items()} == {
        "read.txt": (4, OLD_NS),
        "inner": (0, OLD_NS),
        "absent": None,
    }


@pytest.mark.parametrize("change", ["write", "set time back", "touch", "remove", "add"])
def test_a_change_of_what_was_read_is_noticed(folder: Path, change: str):
    with recorded_inputs() as inputs:
        (folder / "read.txt").read_text()
        os.listdir(folder / "inner")
    assert are_unchanged(inputs)
    match change:
        case "write":
            (folder / "read.txt").write_text("longer")
        case "set time back":
            (folder / "read.txt").write_text("TEXT")
            os.utime(folder / "read.txt", ns=(OLD_NS, OLD_NS))
        case "touch":
            os.utime(folder / "read.txt", ns=(OLD_NS + 1000, OLD_NS + 1000))
        case "remove":
            (folder / "read.txt").unlink()
        case _:
            (folder / "inner" / "b.txt").touch()
    assert not are_unchanged(inputs)


def test_what_changed_a_moment_ago_is_never_taken_for_unchanged(folder: Path):
    (folder / "read.txt").write_text("now")
    with recorded_inputs() as inputs:
        (folder / "read.txt").read_text()
    assert not are_unchanged(inputs)
    os.utime(folder / "read.txt", ns=(OLD_NS, OLD_NS))
    assert not are_unchanged(inputs)


def test_recordings_inside_each_other_record_the_same(folder: Path):
    with recorded_inputs() as outer:
        with recorded_inputs() as inner:
            (folder / "read.txt").read_text()
        (folder / "other.txt").read_text()
    assert len(inner) == 1
    assert len(outer) == 2
