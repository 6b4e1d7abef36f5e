"""Frames that are gone from the middle of a file, most often without any error, are reported with their times."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from allinone.video import VideoError, VideoFile
from allinone.video.transcode import transcode

SECONDS, FPS, RATE = 6, 20, 16_000
FORMATS = {
    ".mpg": "mpeg2video",
    ".ts": "libx264",
    ".mkv": "libx264",
    ".webm": "libvpx",
    ".mp4": "libx264",
    ".avi": "mpeg4",
    ".flv": "libx264",
}
DAMAGE = {
    "zeros": lambda size: bytes(size),
    "noise": lambda size: np.random.default_rng(0).bytes(size),
    "cut": lambda size: b"",
}


@pytest.fixture(scope="module", params=[(suffix, sound) for suffix in FORMATS for sound in (False, True)], ids=str)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    suffix, has_sound = request.param
    path = tmp_path_factory.mktemp("whole") / f"film{suffix}"
    rng = np.random.default_rng(0)
    with av.open(path, "w") as container:
        fast = {"preset": "ultrafast", "deadline": "good", "cpu-used": "5"}  # realtime depends on the load
        stream: Any = container.add_stream(FORMATS[suffix], rate=FPS, options={"bf": "0"} | fast)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 96, 64, "yuv420p", 12
        sound: Any = None
        if has_sound:
            codec = {".webm": "libopus", ".mpg": "mp2", ".ts": "mp2", ".avi": "mp2"}.get(suffix, "aac")
            sound = container.add_stream(codec, rate=RATE if codec != "aac" else 16_000, layout="mono")
        scene = rng.integers(0, 255, (64, 96, 3), np.uint8)
        heard = 0
        for number in range(SECONDS * FPS):
            frame = av.VideoFrame.from_ndarray(np.roll(scene, number, axis=1), format="rgb24")
            container.mux(stream.encode(frame))
            while sound is not None and heard < (number + 1) * RATE // FPS:
                samples = av.AudioFrame.from_ndarray(
                    rng.integers(-900, 900, (1, 320), np.int16), format="s16", layout="mono"
                )
                samples.sample_rate, samples.pts = RATE, heard
                heard += 320
                container.mux(sound.encode(samples))
        container.mux(stream.encode(None))
        if sound is not None:
            container.mux(sound.encode(None))
    return path


def shown_at(path: Path, position: int) -> float:
    """When the first frame after a position in the file is shown."""
    with av.open(path) as container:
        packets = [p for p in container.demux(video=0) if p.pts is not None and p.time_base is not None]
    times = [float((packet.pts or 0) * packet.time_base) for packet in packets]
    return times[[(p.pos or -1) >= position for p in packets].index(True)] - min(times)


def complete_sec(path: Path) -> float:
    with VideoFile(path) as video:
        return video.length_sec(complete=True)


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_third_that_is_gone_from_the_middle_is_reported_with_its_times(whole: Path, tmp_path: Path, kind: str):
    data = whole.read_bytes()
    begin, end = len(data) // 3, len(data) * 2 // 3
    damaged = tmp_path / whole.name
    damaged.write_bytes(data[:begin] + DAMAGE[kind](end - begin) + data[end:])
    assert complete_sec(whole) == pytest.approx(SECONDS, abs=0.2)
    with pytest.raises(VideoError) as error:
        complete_sec(damaged)
    if (kind, whole.suffix) == ("cut", ".mp4"):
        assert "not a readable video" in str(error.value)  # its index is at its end, and names other places
        return
    message = str(error.value)
    assert "damaged: no frame decodes from" in message
    first, last = (float(word) for word in message.split("from ")[1].split(" s")[0].split(" to "))
    lost = shown_at(whole, begin), shown_at(whole, end)
    if (kind, whole.suffix) == ("cut", ".avi"):  # it counts its frames: the part cut out is missing at the end
        lost = SECONDS - (lost[1] - lost[0]), SECONDS
    assert (first, last) == pytest.approx(lost, abs=0.9)  # groups of pictures last 0.5 s
    written = transcode(damaged, tmp_path / "copy.mp4", short_side=64)
    assert written is not None
    assert "no frame decodes from" in written


def test_a_whole_film_of_each_format_is_not_damaged(whole: Path, tmp_path: Path):
    assert transcode(whole, tmp_path / "copy.mp4", short_side=64) is None


@pytest.mark.parametrize("kind", ["zeros", "noise"])
def test_an_end_that_is_gone_is_reported(whole: Path, tmp_path: Path, kind: str):
    data = whole.read_bytes()
    begin = round(len(data) * 0.92)
    damaged = tmp_path / whole.name
    damaged.write_bytes(data[:begin] + DAMAGE[kind](len(data) - begin))
    with pytest.raises(VideoError, match=r"damaged|not a readable video"):
        complete_sec(damaged)
    if whole.suffix == ".flv":  # its header says how long it lasts
        damaged.write_bytes(data[: round(len(data) * 0.7)])
        with pytest.raises(VideoError, match="damaged: no frame decodes from 4"):
            complete_sec(damaged)
