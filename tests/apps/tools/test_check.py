import json
import os
import shutil
from pathlib import Path

import pytest

from allinone.apps.tools.check import check
from allinone.datasets import find
from apps.tools.world import RECORDS, SMALL, state_of, write_rows
from real import DATA, needs_data


def readable(tmp_path):
    lines = next((tmp_path / "cache" / "allinone" / "check").glob("*.jsonl")).read_text().splitlines()
    return [Path(json.loads(line)[0]).name for line in lines]


def test_a_whole_split_is_complete_and_nothing_is_written_below_it(tmp_path, root):
    before = state_of(root)
    report, path = check(SMALL, root, splits=["test"], workers=1)
    assert report.complete
    assert report.num_files == 1
    assert json.loads(path.read_text())["complete"] is True
    assert state_of(root) == before


def test_what_is_missing_broken_or_short_is_reported_with_its_path(tmp_path, root):
    (root / "videos" / "a.mp4").unlink()
    whole = (root / "videos" / "b.mp4").read_bytes()
    (root / "videos" / "c.mp4").write_bytes(whole[: len(whole) // 4])
    rows = [*RECORDS["train"], {"video": "c", "text": "cut off", "answer": "x"}]
    late = [{"video": "b", "text": "late", "answer": "", "start": 1.5}, {"video": "photo", "text": "", "answer": "x"}]
    write_rows(root, {"train": rows, "test": [*late, {"video": "b", "text": "", "answer": "", "end": 2.7}]})
    report, path = check(SMALL, root, workers=2, report=tmp_path / "report.json")
    written = json.loads(path.read_text())
    assert written["missing"] == [str(root / "videos" / "a.mp4")]
    assert [broken["path"] for broken in written["broken"]] == [str(root / "videos" / "c.mp4")]
    assert [(span["example"], span["duration_sec"], span["readable"]) for span in written["spans"]] == [
        ("0", 1.5, False)
    ]
    assert written["files"] == 4
    assert not report.complete


def test_a_span_that_ends_late_is_reported_and_no_fault(root):
    write_rows(root, {"test": [{"video": "b", "text": "", "answer": "", "end": 2.7}]})
    report, _ = check(SMALL, root, splits=["test"], workers=1)
    assert [(span.end_sec, span.duration_sec) for span in report.spans] == [(2.7, 1.5)]
    assert report.complete


@pytest.mark.parametrize("share", [0.3, 0.6, 0.99])
def test_a_photo_that_is_cut_off_is_broken(root, share):
    photo = root / "videos" / "photo.jpg"
    photo.write_bytes(photo.read_bytes()[: int(share * photo.stat().st_size)])
    report, _ = check(SMALL, root, tasks=["questions"], splits=["train"], workers=1)
    assert list(report.failed) == [str(photo)]


def test_each_file_is_read_once_and_again_only_when_it_changed(tmp_path, root):
    check(SMALL, root, workers=2)
    assert sorted(readable(tmp_path)) == ["a.mp4", "b.mp4", "photo.jpg"]
    check(SMALL, root, workers=2)
    assert len(readable(tmp_path)) == 3
    shutil.copy(root / "videos" / "b.mp4", root / "videos" / "a.mp4")
    os.utime(root / "videos" / "a.mp4", ns=(1, 1))
    check(SMALL, root, workers=2)
    assert readable(tmp_path)[3:] == ["a.mp4"]


def test_a_report_below_the_data_set_is_refused(root):
    with pytest.raises(ValueError, match="writes nothing below"):
        check(SMALL, root, report=root / "report.json")


@needs_data
def test_a_stopped_check_goes_on_where_it_was(tmp_path):
    clips = tmp_path / "clips"
    shutil.copytree(DATA / "videos" / "odd", clips)
    names = sorted(path.name for path in clips.iterdir())
    (clips / "captions.csv").write_text("video,caption\n" + "".join(f"{name},a clip\n" for name in names))

    def stop(what: str, done: int, total: int) -> None:
        if len(readable(tmp_path)) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check(find("captioned"), clips, workers=2, on_progress=stop)
    first = readable(tmp_path)
    report, _ = check(find("captioned"), clips, workers=2)
    assert readable(tmp_path)[:4] == first
    assert len(readable(tmp_path)) == len(set(readable(tmp_path))) == len(names) - len(report.failed)
    damaged = {"decord_corrupted.mp4", "libwebm_block_ends_beyond_cluster.mkv", "libwebm_tracks.webm"}
    assert damaged < {Path(path).name for path in report.failed}
    assert len(report.failed) == 14
