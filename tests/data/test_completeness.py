from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest

from allinone.data.completeness import require_complete
from allinone.data.example import Example
from allinone.data.table import ExampleTable
from allinone.datasets.base import SplitDataset, SplitSize
from fixed import Fixed, example


@dataclass(frozen=True)
class Published(SplitDataset, Fixed):
    """As a reader whose split is published to hold so much."""

    splits: ClassVar[Mapping[str, SplitSize]] = {"test": SplitSize(records=4, videos=3)}
    split: str = "test"


ITEMS = tuple(example(video, text) for video, text in ((0, "a"), (0, "b"), (1, "c"), (2, "d")))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in range(3):
        (tmp_path / f"{number:02}.mp4").write_bytes(b"")
    return tmp_path


def check(dataset: Fixed, root: Path, allow_missing: bool = False) -> int:
    return require_complete(dataset, ExampleTable.of(dataset.examples(root)), root, allow_missing)


def test_a_whole_data_set_passes(root: Path, caplog: pytest.LogCaptureFixture):
    assert check(Published(ITEMS), root) == 0
    assert check(Fixed(ITEMS[:1]), root) == 0  # of which no size is known
    assert not caplog.text


def test_fewer_records_or_videos_than_published_are_an_error_with_the_way_out(root: Path):
    with pytest.raises(ValueError, match=r"incomplete: 3 records of 4 published; 2 videos of 3 published\n") as error:
        check(Published(ITEMS[:3]), root)
    assert f"--root {root}" in str(error.value)
    assert "data.allow_missing=true" in str(error.value)


def test_missing_files_are_counted_and_the_first_named(root: Path):
    (root / "01.mp4").unlink()
    with pytest.raises(ValueError, match=r"files of 1 of 3 videos are missing: .*01\.mp4"):
        check(Fixed(ITEMS), root)
    many = Fixed((ITEMS[0], *(example(f"absent{n}") for n in range(1200))))
    with pytest.raises(ValueError, match=r"1,200 of 1,201 videos .*absent4\.mp4 and 1,195 more\n  allow it with"):
        check(many, root)


@pytest.mark.parametrize("allow_missing", [False, True])
def test_a_folder_without_any_of_the_videos_is_always_an_error(tmp_path: Path, allow_missing: bool):
    with pytest.raises(ValueError, match=r"files of 3 of 3 videos are missing(.|\n)*set data\.root to the folder"):
        check(Published(ITEMS), tmp_path, allow_missing)


def test_clips_to_choose_from_must_be_there_too(root: Path):
    choice = replace(ITEMS[0], clips=(ITEMS[0], example("absent")), right=0)
    with pytest.raises(ValueError, match=r"1 of 2 videos are missing: .*absent\.mp4"):
        check(Fixed((choice,)), root)


def test_what_is_missing_may_be_allowed_and_is_counted(root: Path, caplog: pytest.LogCaptureFixture):
    (root / "01.mp4").unlink()
    assert check(Published(ITEMS[:3]), root, allow_missing=True) == 1
    assert "3 records of 4 published" in caplog.text
    assert "01.mp4" in caplog.text


def test_more_than_was_published_is_told(root: Path, caplog: pytest.LogCaptureFixture):
    more: tuple[Example, ...] = (*ITEMS, example(2, "e"))
    assert check(Published(more), root) == 0
    assert "5 records, but 4 were published" in caplog.text
