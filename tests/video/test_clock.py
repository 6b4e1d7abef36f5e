"""One clock: where films begin, how long they last, and files with a clock that starts again, jumps or wraps around."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import torch

from allinone.apps.search.segments import Windows
from allinone.data.clip_reader import ClipReader
from allinone.video import VideoFile, file, probe, read_frames, source
from allinone.video.transcode import transcode
from allinone.video.transforms import Transform

RED, GREEN, BLUE = (220, 0, 0), (0, 200, 0), (0, 0, 220)
SOUND_RATE = 8000


def write_film(
    path: Path,
    frames: Iterable[tuple[float, tuple[int, int, int]]],
    *,
    codec: str = "libx264",
    sound: tuple[float, float] | None = None,
    clock_sec: float = 0,
    last_sec: float | None = None,
    mux: dict[str, str] | None = None,
    rate: int | Fraction = 10,
) -> Path:
    """A picture of one color at each time, and silence from one time to another, all `clock_sec` later."""
    with av.open(path, "w", options=mux or {}) as container:
        stream: Any = container.add_stream(codec, rate=rate, options={"bf": "0", "sc_threshold": "0"})
        stream.gop_size = 5
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000 if codec == "libx264" else 10)
        ticks = 1 / stream.codec_context.time_base
        packets = []
        if sound is not None:
            audio: Any = container.add_stream("mp2", rate=SOUND_RATE * 2, layout="mono")
            for start in range(round(sound[0] * SOUND_RATE * 2), round(sound[1] * SOUND_RATE * 2), 1152):
                quiet = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.int16), format="s16", layout="mono")
                quiet.sample_rate, quiet.pts = SOUND_RATE * 2, start + round(clock_sec * SOUND_RATE * 2)
                quiet.time_base = Fraction(1, SOUND_RATE * 2)
                packets += audio.encode(quiet)
        for time_sec, color in frames:
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), color, np.uint8), format="rgb24")
            picture.pts, picture.time_base = round((time_sec + clock_sec) * ticks), 1 / ticks
            packets += stream.encode(picture)
        for packet in stream.encode(None):
            packets.append(packet)
        if last_sec is not None:
            video_packets = [packet for packet in packets if packet.stream is stream]
            video_packets[-1].duration = round(last_sec / video_packets[-1].time_base)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return path


def steady(
    color: tuple[int, int, int], seconds: float = 2.0, fps: int = 10
) -> list[tuple[float, tuple[int, int, int]]]:
    return [(i / fps, color) for i in range(round(seconds * fps))]


def colors(path: Path, times_sec: Sequence[float]) -> list[str]:
    """The strongest color of each frame."""
    frames = read_frames(path, times_sec=times_sec, size=16).frames
    return ["RGB"[int(frame.float().mean((1, 2)).argmax())] for frame in frames]


def complete_sec(path: Path) -> float:
    with VideoFile(path) as video:
        return video.length_sec(complete=True)


def joined(folder: Path, parts: Sequence[Path]) -> Path:
    path = folder / f"joined{parts[0].suffix}"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def test_recordings_joined_in_one_matroska_file_follow_each_other(tmp_path):
    path = joined(tmp_path, [write_film(tmp_path / f"{i}.mkv", steady(c)) for i, c in enumerate((RED, BLUE))])
    assert probe(path).duration_sec == pytest.approx(4, abs=0.05)
    assert colors(path, [1.8, 2.2, 3.9]) == list("RBB")


def with_a_still(begin_sec: float, end_sec: float, all_sec: float) -> list[tuple[float, tuple[int, int, int]]]:
    """Red frames, the last of which stays; then blue ones."""
    film = [(i / 10, RED if i / 10 < begin_sec else BLUE) for i in range(round(all_sec * 10))]
    return [(t, color) for t, color in film if not begin_sec <= t < end_sec]


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [(".mkv", "libx264"), (".webm", "libvpx"), (".flv", "libx264"), (".avi", "libx264"), (".avi", "mpeg4")],
)
@pytest.mark.parametrize("last_red_sec", [1.0, 22.0])
def test_a_still_of_15_s_in_a_silent_screen_recording_is_neither_a_jump_nor_damage(
    tmp_path, suffix, codec, last_red_sec
):
    frames = with_a_still(last_red_sec, last_red_sec + 15, last_red_sec + 37)
    path = write_film(tmp_path / f"screen{suffix}", frames, codec=codec)
    assert probe(path).duration_sec == pytest.approx(last_red_sec + 37, abs=0.15)
    assert colors(path, [last_red_sec + t for t in (-0.5, 1, 14, 15.5, 30)]) == list("RRRBB")
    assert complete_sec(path) == pytest.approx(last_red_sec + 37, abs=0.15)


@pytest.mark.parametrize("suffix", [".mkv", ".avi"])
def test_few_frames_far_apart_are_shown_when_the_file_says(tmp_path, suffix):
    path = write_film(tmp_path / f"few{suffix}", [(0, RED), (1, RED), (2, GREEN), (20, BLUE), (40, RED), (59, GREEN)])
    assert colors(path, [1.5, 3, 19.5, 20.5, 39, 41, 58, 59.5]) == list("RGGBBRRG")
    assert complete_sec(path) == pytest.approx(60, abs=1)


def test_the_last_frame_of_matroska_lasts_no_longer_than_its_header_says(tmp_path):
    path = write_film(tmp_path / "few.mkv", [(0, RED), (1, RED), (59, GREEN)], sound=(0, 60), rate=Fraction(1, 10))
    with av.open(path) as container:
        assert probe(path).duration_sec == pytest.approx((container.duration or 0) / av.time_base, abs=0.01)


@pytest.mark.parametrize(("suffix", "codec"), [(".ts", "libx264"), (".mpg", "mpeg2video")])
@pytest.mark.parametrize("clocks", [(0, 0), (0, 3600), (3600, 10), (5, 6.5), (0, 3600, 7), (95442.7, 0)])
def test_a_clock_that_starts_again_or_jumps_runs_on(tmp_path, suffix, codec, clocks):
    """Clocks of MPEG wrap around at 95443.7 s."""
    parts = [
        write_film(tmp_path / f"{i}{suffix}", steady((RED, BLUE, GREEN)[i]), codec=codec, clock_sec=clock, sound=(0, 2))
        for i, clock in enumerate(clocks)
    ]
    path = joined(tmp_path, parts)
    length = 2 * len(parts)
    assert probe(path).duration_sec == pytest.approx(length, abs=0.11)
    assert colors(path, [0, 1.5, 2.3, 3.7, *[5.0] * (length - 4)]) == list("RRBBGG"[: len(parts) * 2])
    assert len(Windows(length_sec=2).cut(str(path), ClipReader(1, Transform(Transform.Config())).look_up(path))) <= 3
    whole = read_frames(path, indices=range(20 * len(parts)), size=16)
    assert torch.equal(read_frames(path, times_sec=whole.times_sec.tolist(), size=16).frames, whole.frames)


def test_stillness_is_no_jump_of_the_clock_where_the_sound_goes_on(tmp_path):
    path = write_film(tmp_path / "a.ts", [*steady(RED), (16.0, BLUE)], sound=(0, 17))
    assert probe(path).duration_sec == pytest.approx(16.1, abs=0.15)
    assert colors(path, [15.5, 16.05]) == ["R", "B"]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_time_0_is_where_sound_or_picture_begins_whichever_is_first(tmp_path, suffix):
    path = write_film(tmp_path / f"late{suffix}", [(3 + t, c) for t, c in [*steady(RED), (2, BLUE)]], sound=(0, 6))
    assert colors(path, [0, 3.1, 4.8, 5.05]) == ["R", "R", "R", "B"]
    assert 3.8 < read_frames(path, times_sec=[4]).times_sec.item() <= 4
    assert probe(path).duration_sec == pytest.approx(5.1, abs=0.06)
    early = write_film(tmp_path / f"early{suffix}", steady(RED), sound=(1, 2))
    assert read_frames(early, times_sec=[1]).times_sec.item() == pytest.approx(1, abs=0.02)


def test_a_film_of_one_frame_with_sound_is_read(tmp_path):
    path = write_film(tmp_path / "one.ts", [(0, RED)], sound=(0, 1))
    assert colors(path, [0, 5]) == ["R", "R"]


def test_a_clock_that_begins_at_ten_hours_is_that_of_any_film(tmp_path):
    path = write_film(tmp_path / "a.ts", steady(RED), clock_sec=36_000)
    assert read_frames(path, times_sec=[0.5]).times_sec.item() == pytest.approx(0.5)
    assert probe(path).duration_sec == pytest.approx(2)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_the_last_frame_lasts_as_long_as_its_packet_says(tmp_path, suffix):
    plan = [(0.2 * i, RED) for i in range(5)] + [(8, GREEN), (20, BLUE)]
    path = write_film(tmp_path / f"screen{suffix}", plan, sound=(0, 30), last_sec=16)
    reader = ClipReader(3, Transform(Transform.Config()))
    with VideoFile(path) as video:
        assert video.length_sec() == video.length_sec(decodable=True) == video.length_sec(complete=True) == 36
        assert reader.measure(video).duration_sec == pytest.approx(36)
    facts = reader.look_up(path)
    assert probe(path).duration_sec == facts.duration_sec == pytest.approx(36)
    assert Windows(length_sec=10).cut(str(path), facts)[-1] == (30, pytest.approx(36))
    assert complete_sec(path) == pytest.approx(36)
    assert transcode(path, tmp_path / "copy.mp4", short_side=48) is None
    assert probe(tmp_path / "copy.mp4").duration_sec == pytest.approx(36, abs=0.01)
    assert colors(tmp_path / "copy.mp4", [7.9, 8, 19.9, 35]) == ["R", "G", "G", "B"]


def test_a_film_that_begins_between_keyframes_is_shown_from_the_first_keyframe_on(tmp_path):
    whole = write_film(tmp_path / "a.ts", [(i / 10, (9 * i, 200 - 9 * i, 0)) for i in range(20)])
    data = whole.read_bytes()
    with av.open(whole) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.pos is not None]
    # Tables of programs and streams first, then from the third frame on, which is predicted from the second.
    path = tmp_path / "cut.ts"
    path.write_bytes(data[: places[0]] + data[places[2] :])
    first = read_frames(path, indices=[0]).frames
    assert torch.equal(first, read_frames(whole, indices=[5]).frames)
    assert torch.equal(read_frames(path, times_sec=[0]).frames, first)


@pytest.mark.parametrize("suffix", [".ts", ".mpg", ".flv", ".mp4"])
def test_packets_are_read_through_once_and_windows_then_found_by_seeking(tmp_path, monkeypatch, suffix):
    codec = "mpeg2video" if suffix == ".mpg" else "libx264"
    mux = {"movflags": "frag_keyframe+empty_moov"} if suffix == ".mp4" else {}
    path = write_film(tmp_path / f"a{suffix}", steady(RED, 20), codec=codec, mux=mux)
    read_frames(path, times_sec=[1])
    monkeypatch.setattr(source, "read_table", lambda *args: pytest.fail("read through again"))
    monkeypatch.setattr(file, "timed_frames", lambda source: pytest.fail("read in order"))
    read_frames(path, times_sec=[18.2, 3.5])


def test_limits_are_on_lack_of_progress(tmp_path, monkeypatch):
    path = write_film(tmp_path / "a.ts", steady(RED, 10))
    now = iter(range(1_000_000))
    monkeypatch.setattr(source, "time", SimpleNamespace(monotonic=lambda: next(now)))
    assert len(read_frames(path, indices=[99], timeout_sec=2).frames) == 1  # more than 200 "seconds" of work
