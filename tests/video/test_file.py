"""Reading frames of files made here; the yardstick is decoding everything in order with PyAV."""

import io
import time
import tracemalloc
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from av.error import InvalidDataError
from av.stream import Disposition
from av.video.stream import VideoStream
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from allinone.video import VideoError, VideoFile, file, probe, read_frames, seek
from allinone.video.encode import write_mp4
from allinone.video.pixels import ClipBuilder
from allinone.video.source import MAX_PIXELS

NUM_FRAMES = 50


def moving_frames(num_frames: int = NUM_FRAMES, height: int = 48, width: int = 72) -> np.ndarray:
    """A drifting pattern, different in every frame, that makes encoders use B-frames and long references."""
    rng = np.random.default_rng(0)
    scene = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    scene = scene[:height, :width]
    frames = np.stack([np.roll(scene, (t, 2 * t), axis=(0, 1)) for t in range(num_frames)])
    for t, frame in enumerate(frames):
        frame[:8, :8] = 255 * ((t >> np.arange(3)) & 1)
    return frames


def encode(
    path: Path,
    codec: str,
    options: dict[str, str] | None = None,
    mux: dict[str, str] | None = None,
    pts: list[int] | None = None,
    rotation: float | None = None,
    mirrored: bool = False,
    pixel_aspect: Fraction | None = None,
    frames: np.ndarray | None = None,
    gop: int = 12,
) -> Path:
    frames = moving_frames() if frames is None else frames
    with av.open(path, "w", options=mux or {}) as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        assert isinstance(stream, VideoStream)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.gop_size = gop
        stream.thread_count = 1
        stream.codec_context.time_base = Fraction(1, 25)
        if pixel_aspect:
            stream.sample_aspect_ratio = pixel_aspect
        if rotation is not None:
            stream.set_display_rotation(rotation, hflip=mirrored)
        for t, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = pts[t] if pts else t, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def in_order(source: Path) -> tuple[torch.Tensor, list[float]]:
    """Every frame [N, 3, H, W] as PyAV gives it in order up to the first error, and its time after the start."""
    frames, times = [], []
    with av.open(source, "r") as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        try:
            for frame in container.decode(stream):
                frames.append(torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1))
                times.append((frame.time or 0) - float((stream.start_time or 0) * (stream.time_base or 1)))
        except InvalidDataError:
            pass
    return torch.stack(frames), sorted(times)  # sorted: those guessed for AVI with B-frames are out of order


X264 = {"preset": "veryfast", "bf": "3", "b-adapt": "0"}
KINDS = {
    "h264 gop 12": ("a.mp4", "libx264", X264, {}, 12),
    "h264 one keyframe": ("a.mp4", "libx264", X264, {}, 250),
    "h264 pyramid": ("a.mp4", "libx264", X264 | {"x264-params": "b-pyramid=normal:bframes=7:ref=5"}, {}, 20),
    "h264 open gop": ("a.mp4", "libx264", X264 | {"x264-params": "open-gop=1"}, {}, 12),
    "h264 intra refresh": ("a.mp4", "libx264", {"x264-params": "intra-refresh=1:bframes=0"}, {}, 12),
    "h264 no b-frames": ("a.mov", "libx264", {"tune": "zerolatency"}, {}, 12),
    "h264 matroska": ("a.mkv", "libx264", X264, {}, 12),
    "h264 fragmented": ("a.mp4", "libx264", X264, {"movflags": "frag_keyframe+empty_moov"}, 12),
    "h264 segments": ("a.mp4", "libx264", X264, {"movflags": "dash+global_sidx+frag_keyframe+empty_moov"}, 12),
    "wmv": ("a.wmv", "wmv2", {}, {}, 12),
    "h264 transport stream": ("a.ts", "libx264", X264, {}, 12),
    "h264 avi": ("a.avi", "libx264", X264, {}, 12),
    "h264 flash": ("a.flv", "libx264", X264, {}, 12),
    "hevc open gop": ("a.mp4", "libx265", {"preset": "ultrafast", "x265-params": "log-level=none:open-gop=1"}, {}, 12),
    "vp9": ("a.webm", "libvpx-vp9", {"cpu-used": "8", "deadline": "realtime", "auto-alt-ref": "1"}, {}, 12),
    "vp8": (
        "a.webm",
        "libvpx",
        {"deadline": "good", "cpu-used": "5", "auto-alt-ref": "1", "lag-in-frames": "16"},
        {},
        12,
    ),
    "av1": ("a.mp4", "libsvtav1", {"preset": "12", "svtav1-params": "lookahead=0"}, {}, 12),
    "mpeg4 avi": ("a.avi", "mpeg4", {"bf": "2"}, {}, 12),
    "mpeg4 mp4": ("a.mp4", "mpeg4", {"bf": "2"}, {}, 12),
    "mpeg2 program stream": ("a.mpg", "mpeg2video", {"bf": "2"}, {}, 12),
    "mjpeg": ("a.mov", "mjpeg", {}, {}, 12),
}


@pytest.fixture(scope="module", params=KINDS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    name, codec, options, mux, gop = KINDS[request.param]
    if codec not in av.codecs_available:
        pytest.skip(f"this FFmpeg has no {codec}")
    path = encode(tmp_path_factory.mktemp("made") / name, codec, options, mux, gop=gop)
    return request.param, path, *in_order(path)


@settings(
    max_examples=8,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_list_of_indices_or_times_gives_what_decoding_in_order_gives(made, data):
    _, path, frames, times = made
    indices = data.draw(st.lists(st.integers(0, len(frames) - 1), min_size=1, max_size=6))
    clip = read_frames(path, indices=indices)
    assert torch.equal(clip.frames, frames[indices])
    assert clip.times_sec.tolist() == pytest.approx([times[i] for i in indices])
    clip = read_frames(path, times_sec=[times[i] + data.draw(st.sampled_from([0, 0.01, 0.03])) for i in indices])
    assert torch.equal(clip.frames, frames[indices])


def test_seeking_is_used_where_it_is_safe_and_only_there(made, monkeypatch):
    kind, path, frames, times = made
    seen = []
    sparse = VideoFile._read_sparse

    def spy(*args):
        result = sparse(*args)
        seen.append(result is not None)
        return result

    monkeypatch.setattr(VideoFile, "_read_sparse", spy)
    middle = len(times) * 5 // 8
    clip = read_frames(path, times_sec=[times[middle]])
    assert torch.equal(clip.frames[0], frames[middle])
    unsafe = ("avi", "intra refresh", "wmv")  # of WMV, a few packets hold the whole of so small a file
    assert seen == [not any(word in kind for word in unsafe)]


def test_a_sparse_read_decodes_and_converts_little(tmp_path, monkeypatch):
    path = encode(tmp_path / "a.mp4", "libx264", X264, gop=12)
    converted, sent = [], []
    put, resolve = ClipBuilder.put, seek.resolve

    def spy(packets, ticks):
        for packet, answers in resolve(packets, ticks):
            sent.append(packet.pts)
            yield packet, answers

    monkeypatch.setattr(file, "timed_frames", lambda source: pytest.fail("read in order"))
    monkeypatch.setattr(ClipBuilder, "put", lambda self, shown: (converted.append(shown.tick), put(self, shown)))
    monkeypatch.setattr(seek, "resolve", spy)
    read_frames(path, times_sec=[1.5, 0.5, 0.51])
    assert len(converted) == 2
    assert len(sent) < 12  # of 50: those between a keyframe and the frame wanted


def test_times_outside_the_video_give_its_first_and_last_frame(tmp_path):
    path = encode(tmp_path / "a.mp4", "libx264", X264)
    frames, times = in_order(path)
    clip = read_frames(path, times_sec=[1e9, -5, 2, 1e5])
    assert torch.equal(clip.frames, frames[[-1, 0, -1, -1]])
    assert clip.times_sec.tolist() == pytest.approx([times[-1], 0, times[-1], times[-1]])
    assert clip.video_id == "a"
    assert read_frames(path, indices=[0], video_id="b").video_id == "b"


def test_a_clips_own_times_lead_to_the_same_frames(tmp_path):
    path = encode(tmp_path / "a.mkv", "libx264", X264)  # Matroska rounds times to milliseconds
    clip = read_frames(path, times_sec=[0.3, 0.31, 1.234])
    assert torch.equal(read_frames(path, times_sec=clip.times_sec.tolist()).frames, clip.frames)


def test_bytes_give_what_the_path_gives(tmp_path):
    path = encode(tmp_path / "a.mp4", "libx264", X264)
    clip = read_frames(path.read_bytes(), indices=[3, 30])
    assert torch.equal(clip.frames, read_frames(str(path), indices=[3, 30]).frames)
    assert clip.video_id == "<bytes>"
    with pytest.raises(VideoError, match=r"^<bytes>: not a readable video"):
        probe(b"no video")


def test_frames_of_uneven_length_are_found_by_time(tmp_path):
    pts = np.cumsum([1, 7, 1, 30, 2] * 10).tolist()
    path = encode(tmp_path / "a.mp4", "libx264", X264, pts=pts)
    frames, times = in_order(path)
    asked = [times[i] + offset for i in range(0, 50, 3) for offset in (0, 0.03)]
    want = [max(i for i, t in enumerate(times) if t <= a + 1e-6) for a in asked]
    assert torch.equal(read_frames(path, times_sec=asked).frames, frames[want])


def test_the_short_side_gets_the_size_asked_for(tmp_path):
    path = encode(tmp_path / "a.mp4", "libx264", X264)
    small = read_frames(path, indices=[5, 20], size=24)
    assert small.frames.shape == (2, 3, 24, 36)
    whole = read_frames(path, indices=[5, 20]).frames.float()
    want = torch.nn.functional.interpolate(whole, (24, 36), mode="bilinear", antialias=True)
    assert (small.frames - want).mean(dim=1).abs().mean() < 5  # of colours' mean: chroma is stored at half the size
    assert read_frames(path, indices=[5], size=100).frames.shape == (1, 3, 100, 150)


@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
@pytest.mark.parametrize("mirrored", [False, True])
def test_rotation_and_mirroring_are_applied(tmp_path, rotation, mirrored):
    path = encode(tmp_path / "a.mp4", "libx264", X264, rotation=rotation, mirrored=mirrored)
    info = probe(path)
    clip = read_frames(path, indices=[4])
    frames, _ = in_order(path)
    upright = torch.rot90(frames[4], rotation // 90, dims=(1, 2))  # counter-clockwise
    assert torch.equal(clip.frames[0], upright.flip(2) if mirrored else upright)
    assert (info.height, info.width) == tuple(clip.frames.shape[2:])
    if not mirrored:
        assert info.rotation == rotation


@pytest.mark.parametrize(("aspect", "shape"), [(Fraction(16, 9), (48, 128)), (Fraction(1, 2), (96, 72))])
def test_pixels_come_out_square(tmp_path, aspect, shape):
    path = encode(tmp_path / "a.mp4", "libx264", X264, pixel_aspect=aspect)
    assert read_frames(path, indices=[4]).frames.shape[2:] == shape
    assert (probe(path).height, probe(path).width) == shape


def test_pixels_come_out_square_where_the_stream_alone_tells_their_shape(tmp_path):
    path = encode(tmp_path / "a.mp4", "libx264", X264, pixel_aspect=Fraction(16, 9))
    path.write_bytes(path.read_bytes().replace(b"pasp", b"free"))
    assert read_frames(path, times_sec=[0.3]).frames.shape[2:] == (48, 128)
    assert (probe(path).height, probe(path).width) == (48, 128)


def test_a_header_with_another_size_than_the_frames_is_not_believed(tmp_path):
    path = encode(tmp_path / "a.mp4", "libx264", X264)
    data = path.read_bytes()
    width = data.index(b"avc1", data.index(b"stsd")) + 28  # behind the four letters and 24 bytes of the sample entry
    assert data[width : width + 4] == bytes([0, 72, 0, 48])
    path.write_bytes(data[:width] + bytes([0, 36, 0, 48]) + data[width + 4 :])
    frames = read_frames(path, indices=range(21)).frames
    assert frames.shape[2:] == (48, 144)  # pixels twice as wide, as the header of the track says
    assert torch.equal(read_frames(path, times_sec=[20 / 25]).frames[0], frames[20])


def test_a_cut_off_file_gives_its_beginning_and_its_last_good_frame_for_later_times(tmp_path):
    path = encode(tmp_path / "a.mp4", "libx264", X264, {"movflags": "faststart"})
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 6 // 10])
    frames, times = in_order(path)
    assert 10 < len(frames) < NUM_FRAMES
    clip = read_frames(path, times_sec=[times[3], times[-5], 1.9])
    assert torch.equal(clip.frames[:2], frames[[3, -5]])
    assert torch.equal(clip.frames[2], frames[-1])
    with pytest.raises(VideoError, match=r"a.mp4: frame 49 asked for, but \d+ decode"):
        read_frames(path, indices=[0, 49])


def test_after_damage_reading_goes_on_from_the_next_keyframe(tmp_path):
    path = encode(tmp_path / "a.mp4", "libx264", X264 | {"x264-params": "scenecut=0"}, gop=10)
    with av.open(path) as container:
        packets = [(p.pos or 0, p.size) for p in container.demux(video=0) if p.size]
    frames, times = in_order(path)
    data = bytearray(path.read_bytes())
    position, size = packets[14]
    data[position : position + size] = b"\xff" * size
    clip = read_frames(bytes(data), times_sec=[times[2], times[33]])
    assert torch.equal(clip.frames, frames[[2, 33]])
    in_the_gap = read_frames(bytes(data), times_sec=[times[19]])
    assert in_the_gap.times_sec.item() < times[19]  # the last frame before that is whole


def test_gif_frames_are_complete_pictures(tmp_path):
    frames = moving_frames(6)
    pictures = [Image.fromarray(f).quantize(200) for f in frames]
    pictures[0].save(
        tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=[100, 100, 500, 100, 100, 100]
    )
    info = probe(tmp_path / "a.gif")
    assert (info.width, info.height, info.num_frames, info.is_image) == (72, 48, 6, False)
    assert info.duration_sec == pytest.approx(1.0)
    clip = read_frames(tmp_path / "a.gif", indices=range(6))
    want = torch.from_numpy(np.stack([np.array(p.convert("RGB")) for p in pictures])).permute(0, 3, 1, 2)
    assert torch.equal(clip.frames, want)
    assert torch.equal(read_frames(tmp_path / "a.gif", times_sec=[0.65]).frames[0], want[2])


@pytest.mark.parametrize("kind", ["png", "bmp", "webp", "tiff", "gif", "ppm"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_still_images_are_clips_of_one_frame(tmp_path, kind, mode):
    picture = Image.fromarray(moving_frames(1, 40, 60)[0]).convert(mode)
    path = tmp_path / f"a %03d.{kind}"
    picture.save(path, lossless=True)  # for WebP; the others are so anyway
    want = torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)
    clip = read_frames(path, times_sec=[0, 3.5])
    assert torch.equal(clip.frames, want.expand(2, 3, 40, 60))
    assert clip.times_sec.tolist() == [0, 0]
    assert torch.equal(read_frames(path.read_bytes(), indices=[0]).frames[0], want)
    info = probe(path)
    assert info.is_image
    assert (info.num_frames, info.duration_sec, info.width, info.height) == (1, None, 60, 40)


@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "avif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_turned_upright(tmp_path, orientation, kind):
    picture = Image.fromarray(moving_frames(1, 40, 60)[0]).resize((240, 160))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{kind}"
    picture.save(path, exif=exif, quality=95)
    want = torch.from_numpy(np.array(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))).permute(2, 0, 1)
    clip = read_frames(path, indices=[0])
    assert clip.frames[0].shape == want.shape
    assert (clip.frames[0].float() - want.float()).abs().mean() < 6
    assert probe(path).width == want.shape[2]


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


def test_a_size_that_makes_frames_too_large_is_refused(tmp_path):
    path = encode(tmp_path / "a.mp4", "libx264", X264, frames=moving_frames(2))
    with pytest.raises(VideoError, match="at size 50000"):
        read_frames(path, indices=[0], size=50000)


def test_reading_stops_when_the_time_is_up(tmp_path):
    path = encode(tmp_path / "a.avi", "mpeg4")
    with pytest.raises(VideoError, match=r"a.avi: still reading after 0 s; given up \(timeout_sec\)"):
        read_frames(path, indices=[40], timeout_sec=0)


@pytest.mark.parametrize(
    "matrix",
    [(0, 0, 0, 0), (65536, 0, 0, 0), (0, 65536, 0, 0), (65536, 65536, 65536, 65536), (46341, 46341, -46341, 46341)],
)
def test_a_broken_display_matrix_is_no_rotation(tmp_path, matrix):
    path = encode(tmp_path / "a.mp4", "libx264", X264, rotation=90)
    a, b, c, d = (value.to_bytes(4, "big", signed=True) for value in matrix)
    before = b"".join(value.to_bytes(4, "big", signed=True) for value in (0, -65536, 0, 65536, 0, 0))
    data = path.read_bytes()
    assert data.count(before) == 1
    path.write_bytes(data.replace(before, a + b + bytes(4) + c + d + bytes(4)))
    info = probe(path)
    assert (info.rotation, info.width, info.height) == (0, 72, 48)
    assert torch.equal(read_frames(path, indices=[4]).frames[0], in_order(path)[0][4])


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


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"times_sec": [0], "indices": [0]},
        {"times_sec": []},
        {"indices": []},
        {"indices": [-1]},
        {"times_sec": [float("nan")]},
        {"times_sec": [float("inf")]},
        {"indices": [0], "size": 0},
    ],
)
def test_a_senseless_request_is_the_callers_error(tmp_path, wrong):
    path = tmp_path / "a.mp4"
    write_mp4(path, moving_frames(2), fps=25)
    with pytest.raises(ValueError, match=r"give|asked|finite|size") as error:
        read_frames(path, **wrong)
    assert not isinstance(error.value, VideoError)


def test_probe_reports_what_the_header_says(tmp_path):
    path = tmp_path / "a.mp4"
    write_mp4(path, moving_frames(), fps=25)
    info = probe(path)
    assert (info.name, info.width, info.height, info.num_frames) == (str(path), 72, 48, NUM_FRAMES)
    assert (info.duration_sec, info.fps, info.rotation, info.is_image) == (2.0, 25.0, 0, False)
    assert info.codec in ("h264", "mpeg4")


def test_a_file_opened_once_tells_what_probing_tells_and_reads_as_often_as_wanted(made):
    _, path, _, _ = made
    info = probe(path)
    with VideoFile(path) as file:
        claims = (file.duration_sec, file.fps, file.is_image, file.short_side)
        for times_sec in ([0.3, 1.1], [1e6], [0.0]):
            wanted = read_frames(path, times_sec=times_sec)
            got = file.read(times_sec=times_sec)
            assert torch.equal(got.frames, wanted.frames)
            assert torch.equal(got.times_sec, wanted.times_sec)
    assert claims == (info.duration_sec, info.fps, info.is_image, min(info.width, info.height))


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
