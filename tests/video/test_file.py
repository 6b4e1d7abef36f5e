"""Any frame of any format equals the one that decoding everything in order gives."""

import av
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from allinone.video import VideoError, VideoFile, file, probe, read_frames, seek
from allinone.video.encode import write_mp4
from allinone.video.pixels import ClipBuilder
from video.films import NUM_FRAMES, X264, encode, in_order, moving_frames

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
