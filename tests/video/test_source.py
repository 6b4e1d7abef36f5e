"""Files that are refused, headers that are wrong or damaged, and what a file claims."""

import io
import time
import tracemalloc
import zlib
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from av.stream import Disposition
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from allinone.video import VideoError, probe, read_frames
from allinone.video.encode import write_mp4
from allinone.video.source import MAX_PIXELS
from video.films import NUM_FRAMES, X264, encode, in_order, moving_frames


def test_a_header_with_another_size_than_the_frames_is_not_believed(tmp_path):
    path = encode(tmp_path / "a.mp4", "libx264", X264)
    data = path.read_bytes()
    width = data.index(b"avc1", data.index(b"stsd")) + 28  # behind the four letters and 24 bytes of the sample entry
    assert data[width : width + 4] == bytes([0, 72, 0, 48])
    path.write_bytes(data[:width] + bytes([0, 36, 0, 48]) + data[width + 4 :])
    frames = read_frames(path, indices=range(21)).frames
    assert frames.shape[2:] == (48, 144)  # pixels twice as wide, as the header of the track says
    assert torch.equal(read_frames(path, times_sec=[20 / 25]).frames[0], frames[20])


def test_a_sound_file_with_a_cover_picture_is_no_video(tmp_path):
    path = tmp_path / "song.mp4"
    with av.open(path, "w") as container:
        sound = container.add_stream("aac", rate=16000)
        cover = container.add_stream("png", rate=1)
        cover.width = cover.height = 32
        cover.pix_fmt = "rgb24"
        cover.disposition = Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        for i in range(20):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.rate, frame.pts = 16000, 1024 * i
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    with pytest.raises(VideoError, match=r"song.mp4: no video stream \(found: audio"):
        probe(path)


def test_what_is_no_video_is_one_clear_error(tmp_path):
    (tmp_path / "text.mp4").write_text("not a video\n" * 100)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "sub.mp4").write_text("1\n00:00:01,000 --> 00:00:02,000\nhi\n\n")
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://localhost:9/x.ts\n")
    causes = {
        "text.mp4": "not a readable video or image: Invalid data",
        "empty.mp4": "the file is empty",
        "sub.mp4": "no video stream (found: subtitle)",
        "list.m3u8": "a playlist",
        "missing.mp4": "no such file",
        "": "is no file",
    }
    for name, cause in causes.items():
        for read in (probe, lambda path: read_frames(path, times_sec=[0])):
            with pytest.raises(VideoError) as error:
                read(tmp_path / name)
            assert str(error.value).startswith(f"{tmp_path / name}: {cause}"), name
            assert "\n" not in str(error.value)


def png(width: int, height: int) -> bytes:
    """A PNG that claims any size: its header is patched."""
    data = io.BytesIO()
    Image.new("RGB", (4, 4)).save(data, "PNG")
    header = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + data.getvalue()[24:29]
    return data.getvalue()[:12] + header + zlib.crc32(header).to_bytes(4, "big") + data.getvalue()[33:]


def test_a_header_that_claims_a_huge_frame_allocates_nothing():
    claims = [png(12336, 12336), png(60000, 60000)]
    gif = b"GIF89a" + (20000).to_bytes(2, "little") * 2 + b"\x00\x00\x00;"
    for data in [*claims, gif]:
        tracemalloc.start()
        begin = time.monotonic()
        with pytest.raises(VideoError, match=f"{MAX_PIXELS} pixels"):
            read_frames(data, indices=[0])
        assert tracemalloc.get_traced_memory()[1] < 1 << 22
        tracemalloc.stop()
        assert time.monotonic() - begin < 1


def test_a_header_that_claims_two_million_frames_is_not_believed(tmp_path):
    path = encode(tmp_path / "a.mp4", "libx264", X264, frames=moving_frames(8))
    data = path.read_bytes()
    sizes = data.index(b"stsz")  # version and flags, common size, number of frames
    lying = data[: sizes + 12] + (2_000_000).to_bytes(4, "big") + data[sizes + 16 :]
    begin = time.monotonic()
    try:
        clip = read_frames(lying, times_sec=[0, 0.1, 1e6])
    except VideoError:
        pass
    else:
        assert torch.equal(clip.frames[0], in_order(path)[0][0])
    assert time.monotonic() - begin < 2


def test_reading_stops_when_the_time_is_up(tmp_path):
    path = encode(tmp_path / "a.avi", "mpeg4")
    with pytest.raises(VideoError, match=r"a.avi: still reading after 0 s; given up \(timeout_sec\)"):
        read_frames(path, indices=[40], timeout_sec=0)


@pytest.fixture(scope="module")
def small_files(tmp_path_factory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("small")
    frames = moving_frames(8, 32, 32)
    kinds = [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.avi", "mpeg4"), ("a.ts", "mpeg2video")]
    return [encode(folder / name, codec, frames=frames, gop=4).read_bytes() for name, codec in kinds]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_bytes_give_frames_or_one_clear_error(small_files, data):
    video = bytearray(data.draw(st.sampled_from(small_files)))
    for place in data.draw(st.lists(st.integers(0, len(video) - 1), max_size=30)):
        video[place] = data.draw(st.integers(0, 255))
    damaged = bytes(video[: data.draw(st.integers(0, len(video)))])
    try:
        assert len(read_frames(damaged, times_sec=[0, 0.2], timeout_sec=5).frames) == 2
        assert len(read_frames(damaged, indices=[0], size=16, timeout_sec=5).frames) == 1
    except VideoError as error:
        message = str(error)
    else:
        message = "<bytes>: none"
    assert message.startswith("<bytes>: ")
    assert "\n" not in message


def test_probe_reports_what_the_header_says(tmp_path):
    path = tmp_path / "a.mp4"
    write_mp4(path, moving_frames(), fps=25)
    info = probe(path)
    assert (info.name, info.width, info.height, info.num_frames) == (str(path), 72, 48, NUM_FRAMES)
    assert (info.duration_sec, info.fps, info.rotation, info.is_image) == (2.0, 25.0, 0, False)
    assert info.codec in ("h264", "mpeg4")


@pytest.mark.parametrize("ending", ["mjpeg", "MJPG"])
def test_jpegs_one_after_another_are_a_film(tmp_path: Path, ending: str):
    path, levels = tmp_path / f"a.{ending}", [10 * i for i in range(25)]
    with path.open("wb") as file:
        for level in levels:
            Image.new("RGB", (32, 32), (level, level, level)).save(file, "jpeg")
    info = probe(path)
    assert (info.is_image, info.duration_sec) == (False, pytest.approx(1))
    clip = read_frames(path, times_sec=[0, 0.5, 0.97])
    assert clip.frames.float().mean(dim=(1, 2, 3)).tolist() == pytest.approx([0, 120, 240], abs=2)
