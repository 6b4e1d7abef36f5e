import os
import signal
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from allinone.apps.search import AddReport, Ray, VideoIndex, Windows
from allinone.apps.search.embedding import Embedded
from allinone.apps.search.files import VideoFile
from tiny import tiny_predictor, write_videos

CUT = Windows(length_sec=1.0)


def own_workers() -> list[int]:
    """Workers of Ray that this process has started."""

    def parent(pid: int) -> int:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])

    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.joinpath("cmdline").read_bytes().startswith(b"ray::Worker"):
                pid = above = int(process.name)
                while above not in (1, os.getpid()):
                    above = parent(above)
                found += [pid] if above != 1 else []
        except OSError:  # it has ended
            continue
    return found


@pytest.mark.skipif(find_spec("ray") is None, reason="the extra [scale] is not installed")
def test_workers_on_a_cluster_make_the_same_rows_though_one_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.chdir(tmp_path)
    Path("av.py").write_text("raise SystemExit('a file of the current folder was imported')")
    folder = tmp_path / "videos"
    write_videos(folder, 5, num_frames=16)
    (folder / "broken.mp4").write_bytes(b"no video")
    here = VideoIndex.open(tmp_path / "here", tiny_predictor(), CUT)
    there = VideoIndex.open(tmp_path / "there", tiny_predictor(), CUT)
    engine = Ray(num_workers=1, cpus_per_worker=1, videos_per_task=2)
    told, killed = [], []

    def kill_the_first(*seen: object) -> None:
        told.append(seen)
        if seen[0] == "segments" and not killed:
            killed.extend(own_workers())
            for worker in killed:
                os.kill(worker, signal.SIGKILL)

    wanted = here.add(folder)
    capfd.readouterr()
    assert there.add(folder, kill_the_first, engine=engine) == wanted
    assert killed
    assert capfd.readouterr() == ("", "")
    assert not sys.modules["ray"].is_initialized()
    assert ("segments", 10, 10) in told
    assert there.verify(contents=True).ok
    ours, theirs = (index.search("red", 20, merge=False) for index in (here, there))
    assert [hit.segment for hit in theirs] == [hit.segment for hit in ours]
    assert [hit.score for hit in theirs] == pytest.approx([hit.score for hit in ours], abs=1e-5)


class Deadly:
    """A fake cluster in which workers die with one of the videos; a reference to a result is the result."""

    exceptions = SimpleNamespace(RayActorError=RuntimeError)
    is_initialized = staticmethod(lambda: True)
    cluster_resources = staticmethod(dict)
    put = staticmethod(lambda value: value)
    remote = staticmethod(lambda **options: lambda worker: SimpleNamespace(remote=Deadly.Actor))
    wait = staticmethod(lambda running, num_returns: (running[:1], running[1:]))

    class Actor:
        def __init__(self) -> None:
            self.embed = SimpleNamespace(remote=lambda setup, videos: tuple(videos))

    @staticmethod
    def get(videos: tuple[VideoFile, ...]) -> list[Embedded]:
        if any(video.path == "deadly.mp4" for video in videos):
            raise RuntimeError("the actor died")
        return [Embedded(video) for video in videos]


def test_a_video_with_which_workers_die_is_a_failure_and_costs_no_other(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("allinone.apps.search.scale.ray_module", lambda: Deadly)
    videos = [VideoFile(f"{name}.mp4", 1, 1) for name in ("a", "b", "deadly", "c", "d")]
    found = {
        result.video.path: result.failure
        for result in Ray(videos_per_task=2).embed_videos(videos, tiny_predictor(), CUT, frozenset(), lambda *_: None)
    }
    assert found == dict.fromkeys(("a.mp4", "b.mp4", "c.mp4", "d.mp4")) | {
        "deadly.mp4": "3 workers died while they read it"
    }


def test_without_ray_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_videos(tmp_path / "videos", 1)
    index = VideoIndex.open(tmp_path / "index", tiny_predictor(), CUT)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'allinone\[scale\]'"):
        index.add(tmp_path / "videos", engine=Ray())
    assert index.add(tmp_path / "videos") == AddReport(1, 0, ())
