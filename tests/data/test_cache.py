import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from allinone.data.cache import FrameCache
from allinone.video import VideoError, read_frames
from allinone.video.encode import write_mp4
from real import DATA, needs_data


def fill(cache: FrameCache, video: Path) -> None:
    cache.get(video)


def test_a_cached_video_gives_the_frames_that_the_file_gives(videos: list[Path]):
    cache = FrameCache(videos, megabytes=4, size=32)
    rng = np.random.default_rng(0)
    for path in [*videos, *videos]:
        times = [*rng.uniform(-0.1, 2.2, size=5).tolist(), 0.125, 0.1246, 1.0]
        whole = cache.get(path)
        assert whole
        assert torch.equal(whole.at(times), read_frames(path, times_sec=times).frames)


@needs_data
@pytest.mark.parametrize("name", ["msrvtt/video7010.mp4", "wlasl/00338.mp4", "test_assets/mmaction2_part_0.mp4"])
def test_real_videos_are_cached_as_they_are_read(name: str):
    path = DATA / "videos" / name
    cache = FrameCache([path], megabytes=400, size=64)
    whole = cache.get(path)
    if whole is None:  # a header that claims more frames than there are
        assert name.startswith("wlasl")
        return
    times = np.random.default_rng(0).uniform(0, whole.duration_sec, size=8).tolist()
    assert torch.equal(whole.at(times), read_frames(path, times_sec=times, size=64).frames)


def test_a_full_cache_keeps_what_it_has_and_refuses_the_rest(tmp_path: Path):
    paths = [tmp_path / f"{i}.mp4" for i in range(3)]
    for path in paths:
        write_mp4(path, np.zeros((20, 96, 96, 3), np.uint8), fps=10)  # 0.55 MB each
    cache = FrameCache(paths, megabytes=1, size=96)
    assert [cache.get(path) is not None for path in paths] == [True, False, False]
    assert [cache.get(path) is not None for path in paths] == [True, False, False]


def test_a_video_that_is_kept_is_not_read_again(videos: list[Path], monkeypatch: pytest.MonkeyPatch):
    cache = FrameCache(videos[:1], megabytes=1, size=32)
    fill(cache, videos[0])
    monkeypatch.setattr("allinone.data.cache.read_frames", lambda *a, **k: pytest.fail("read again"))
    monkeypatch.setattr("allinone.data.cache.probe", lambda *a, **k: pytest.fail("opened again"))
    assert cache.get(videos[0]) is not None


def test_large_videos_are_kept_small(tmp_path: Path):
    path = tmp_path / "large.mp4"
    write_mp4(path, np.zeros((4, 96, 160, 3), np.uint8), fps=10)
    whole = FrameCache([path], megabytes=1, size=48).get(path)
    assert whole
    assert whole.frames.shape == (4, 3, 48, 80)
    assert whole.duration_sec == pytest.approx(0.4)


def test_what_one_process_decodes_all_have(videos: list[Path], monkeypatch: pytest.MonkeyPatch):
    cache = FrameCache(videos, megabytes=1, size=32)
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=fill, args=(cache, path)) for path in [*videos[:3], *videos[:3]]]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    monkeypatch.setattr("allinone.data.cache.probe", lambda *a, **k: pytest.fail("opened again"))
    for path in videos[:3]:
        whole = cache.get(path)
        assert whole
        assert torch.equal(whole.at([0.5]), read_frames(path, times_sec=[0.5]).frames)


def test_a_cache_sent_to_another_process_begins_anew(videos: list[Path]):
    cache = FrameCache(videos, megabytes=1, size=32)
    fill(cache, videos[0])
    copy = pickle.loads(pickle.dumps(cache))
    assert copy.used[0] == 0
    assert copy.get(videos[1])


def test_an_unknown_video_is_not_kept_and_an_unreadable_one_is_an_error(videos: list[Path], tmp_path: Path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    cache = FrameCache([broken], megabytes=1, size=32)
    assert cache.get(videos[0]) is None
    for _ in range(2):
        with pytest.raises(VideoError, match=r"broken\.mp4"):
            cache.get(broken)
