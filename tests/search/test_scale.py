import sys
from pathlib import Path

import pytest

from allinone.search import AddReport, Ray, VideoIndex, Windows
from tiny import tiny_predictor, write_videos

CUT = Windows(length_sec=1.0)


def test_workers_on_a_cluster_make_the_same_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    ray = pytest.importorskip("ray", reason="the extra [scale] is not installed")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    folder = tmp_path / "videos"
    write_videos(folder, 5, num_frames=16)
    (folder / "broken.mp4").write_bytes(b"no video")
    here = VideoIndex.open(tmp_path / "here", tiny_predictor(), CUT)
    there = VideoIndex.open(tmp_path / "there", tiny_predictor(), CUT)
    engine = Ray(num_workers=1, cpus_per_worker=1, videos_per_task=2)
    told = []
    assert there.add(folder, lambda *seen: told.append(seen), engine=engine) == here.add(folder)
    assert not ray.is_initialized()
    assert ("segments", 10, 10) in told
    assert there.verify(contents=True).ok
    ours, theirs = (index.search("red", 20, merge=False) for index in (here, there))
    assert [hit.segment for hit in theirs] == [hit.segment for hit in ours]
    assert [hit.score for hit in theirs] == pytest.approx([hit.score for hit in ours], abs=1e-5)


def test_without_ray_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_videos(tmp_path / "videos", 1)
    index = VideoIndex.open(tmp_path / "index", tiny_predictor(), CUT)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'allinone\[scale\]'"):
        index.add(tmp_path / "videos", engine=Ray())
    assert index.add(tmp_path / "videos") == AddReport(1, 0, ())
