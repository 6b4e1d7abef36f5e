"""Files with several video streams; the color of the picture shows which one was read."""

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from av.video.stream import VideoStream

from allinone.apps.search.clips import save_clips
from allinone.apps.search.hits import Hit
from allinone.video import probe, read_frames
from allinone.video.transcode import transcode

FILM, OTHER = (30, 60, 200), (220, 40, 40)
DEFAULT = Disposition.default


@dataclass(frozen=True)
class Track:
    color: tuple[int, int, int]
    width: int = 96
    num_frames: int = 20
    codec: str = "mpeg4"
    disposition: Disposition = DEFAULT


def write(path: Path, *tracks: Track, **options: str) -> Path:
    """A file with these tracks, each of one color, at 10 frames a second."""
    with av.open(path, "w", options=options) as container:
        streams: list[VideoStream] = []
        for track in tracks:
            stream = container.add_stream(track.codec, rate=10)
            assert isinstance(stream, VideoStream)
            stream.width, stream.height = track.width, track.width // 2
            stream.pix_fmt = {"mjpeg": "yuvj420p", "png": "rgb24"}.get(track.codec, "yuv420p")
            stream.disposition = track.disposition
            streams.append(stream)
        for t in range(max(track.num_frames for track in tracks)):
            for stream, track in zip(streams, tracks, strict=True):
                if t < track.num_frames:
                    pixels = np.full((stream.height, stream.width, 3), track.color, np.uint8)
                    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                    frame.pts = t
                    container.mux(stream.encode(frame))
        for stream, track in zip(streams, tracks, strict=True):
            if track.num_frames:
                container.mux(stream.encode(None))
    return path


def assert_is_film(path: Path) -> None:
    shown = read_frames(path, times_sec=[0.5, 1.5]).frames.float().mean(dim=(0, 2, 3))
    assert shown.tolist() == pytest.approx(FILM, abs=12)
    assert read_frames(path, indices=[0, 12]).frames.shape[0] == 2


TRACKS = {
    "one picture": [Track(OTHER, 128, 1, "mjpeg"), Track(FILM)],
    "a default picture": [Track(OTHER, 128, 1, "mjpeg"), Track(FILM, disposition=Disposition(0))],
    "a preview": [Track(OTHER, 32, 20, "mjpeg"), Track(FILM)],
    "a larger film that is not the default": [Track(OTHER, 128, disposition=Disposition(0)), Track(FILM)],
    "a smaller film": [Track(OTHER, 64), Track(FILM)],
    "no frames at all": [Track(OTHER, 128, 0), Track(FILM)],
}


@pytest.mark.parametrize("tracks", TRACKS.values(), ids=TRACKS)
@pytest.mark.parametrize("kind", ["a.mp4", "a.mkv", "fragmented.mp4"])
def test_the_film_is_read_and_not_what_lies_before_it(tmp_path, kind, tracks):
    options = {"movflags": "frag_keyframe+empty_moov"} if kind == "fragmented.mp4" else {}
    path = write(tmp_path / kind, *tracks, **options)
    assert_is_film(path)


def test_of_two_equal_streams_the_longer_is_the_film_where_the_header_counts_frames(tmp_path):
    path = write(tmp_path / "a.mp4", Track(OTHER, num_frames=5), Track(FILM))
    assert_is_film(path)
    assert probe(path).stream_index == 1


def test_a_cover_is_not_the_film(tmp_path):
    cover = Track(OTHER, 128, 1, "png", Disposition.attached_pic)
    assert_is_film(write(tmp_path / "a.mp4", cover, Track(FILM)))


@pytest.mark.parametrize("damage", ["unknown codec", "no parameters"])
def test_a_stream_that_nothing_decodes_is_not_the_film(tmp_path, damage):
    path = write(tmp_path / "a.mp4", Track(OTHER, 128, codec="libx264"), Track(FILM))
    data = path.read_bytes()
    box = data.index(b"avcC")
    end = box - 4 + int.from_bytes(data[box - 4 : box], "big")
    if damage == "unknown codec":
        path.write_bytes(data.replace(b"avc1", b"zzzz"))
    else:
        path.write_bytes(data[: box + 14] + b"\xff" * (end - box - 14) + data[end:])
    assert_is_film(path)


def test_saved_clips_and_prepared_copies_show_the_film(tmp_path):
    path = write(tmp_path / "a.mp4", Track(OTHER, 128, 1, "mjpeg"), Track(FILM))
    saved = []
    for exact in (False, True):
        saved += save_clips([Hit(str(path), 0.0, 2.0, 1.0)], tmp_path / str(exact), exact=exact)
    assert transcode(path, tmp_path / "copy.mp4", short_side=48) is None
    for made in [*saved, tmp_path / "copy.mp4"]:
        assert isinstance(made, Path)
        assert_is_film(made)
