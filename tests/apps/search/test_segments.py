import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allinone.apps.search import segments
from allinone.apps.search.segments import Shots, Windows
from allinone.data.clip_reader import VideoMeta
from allinone.video.encode import write_mp4


def windows(duration_sec: float, length_sec: float = 10.0, overlap_sec: float = 0.0) -> list[tuple[float, float]]:
    return Windows(length_sec=length_sec, overlap_sec=overlap_sec).cut("any", VideoMeta(duration_sec, None))


def test_windows_cover_a_video_and_a_short_rest_joins_the_last():
    assert windows(24.0) == [(0.0, 10.0), (10.0, 24.0)]
    assert windows(26.0) == [(0.0, 10.0), (10.0, 20.0), (20.0, 26.0)]
    assert windows(3.0) == [(0.0, 3.0)]
    assert windows(0.0) == [(0.0, 0.0)]
    assert windows(20.0, 10.0, 5.0) == [(0.0, 10.0), (5.0, 15.0), (10.0, 20.0)]


@given(st.floats(0, 1000), st.floats(1, 30), st.floats(0, 0.9))
def test_windows_leave_no_moment_out(duration: float, length: float, part: float):
    found = windows(duration, length, part * length)
    assert found[0][0] == 0
    assert found[-1][1] == duration
    for (start, end), (next_start, _) in pairwise(found):
        assert start < next_start <= end + 1e-6
    assert all(end - start <= 1.5 * length + 1e-6 for start, end in found)


def test_cuts_that_make_no_sense_are_errors():
    with pytest.raises(ValueError, match="positive number of seconds, got 0"):
        Windows(length_sec=0)
    with pytest.raises(ValueError, match="less than their length, got 10"):
        Windows(overlap_sec=10)
    with pytest.raises(ValueError, match="min_sec <= max_sec"):
        Shots(min_sec=5, max_sec=2)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Three shots of noise that moves a little: 2, 3 and 1.5 s."""
    rng, fps, frames = np.random.default_rng(0), 20, []
    for seconds in (2, 3, 1.5):
        picture = np.kron(rng.integers(0, 255, (8, 12, 3)), np.ones((8, 8, 1))).astype(np.uint8)
        frames += [np.roll(picture, i // 4, axis=1) for i in range(round(seconds * fps))]
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    write_mp4(path, np.stack(frames), fps)
    return str(path)


def test_shots_go_from_cut_to_cut(film: str):
    pytest.importorskip("scenedetect")
    found = Shots().cut(film, VideoMeta(6.5, None))
    assert found == [(0.0, pytest.approx(2, abs=0.11)), (found[0][1], pytest.approx(5, abs=0.11)), (found[1][1], 6.5)]


def test_long_shots_are_parted_and_short_ones_not_found(film: str):
    pytest.importorskip("scenedetect")
    parts = Shots(max_sec=1.2).cut(film, VideoMeta(6.5, None))
    assert all(end - start <= 1.2 + 1e-6 for start, end in parts)
    assert any(abs(start - 2) < 0.11 for start, _ in parts)
    whole = Shots(min_sec=4).cut(film, VideoMeta(6.5, None))
    assert whole == [(0.0, 6.5)]


def test_without_scenedetect_the_extra_is_named(film: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "scenedetect", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'allinone\[shots\]'"):
        Shots().cut(film, VideoMeta(6.5, None))


def test_parts_of_long_videos_follow_each_other_without_a_seam(film: str, monkeypatch: pytest.MonkeyPatch):
    whole = list(segments.small_frames(film, 6.5))
    monkeypatch.setattr(segments, "SHOT_PART_SEC", 1)
    parts = list(segments.small_frames(film, 6.5))
    assert len(parts) == len(whole) == 65
    assert all(np.array_equal(a, b) for a, b in zip(whole, parts, strict=True))
