from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from allinone.data.cache import FrameCache
from allinone.data.clip_reader import ClipReader, Control, Span, unique_clips
from allinone.data.example import Example, Region
from allinone.video import VideoError
from allinone.video.transforms import Transform
from real import DATA, needs_data

PLAIN = Transform(Transform.Config(resize=32, crop=32))


def frame_numbers(clip: torch.Tensor) -> list[int]:
    """Which frames of a video of the fixture these are, by their red channel."""
    return [round(f[0].float().mean().item() / 15) for f in clip]


def test_evaluation_takes_the_middle_of_each_segment(videos: list[Path]):
    reader = ClipReader(4, PLAIN)
    assert frame_numbers(reader.read(Span(videos[0]))) == [2, 6, 10, 14]
    assert frame_numbers(reader.read(Span(videos[0], start_sec=1.0))) == [9, 11, 13, 15]
    assert frame_numbers(reader.read(Span(str(videos[0]), end_sec=0.5))) == [0, 1, 2, 3]


def test_views_look_at_different_moments(videos: list[Path]):
    reader = ClipReader(2, PLAIN)
    views = [frame_numbers(reader.read(Span(videos[0]), None, view, 4)) for view in range(4)]
    assert views == [[1, 9], [3, 11], [5, 13], [7, 15]]


def test_training_sees_every_frame_of_each_segment(videos: list[Path]):
    reader = ClipReader(2, PLAIN, FrameCache(videos, 1, 32))
    clips = [frame_numbers(reader.read(Span(videos[0]), np.random.default_rng(s))) for s in range(200)]
    assert {first for first, _ in clips} == set(range(8))
    assert {second for _, second in clips} == set(range(8, 16))


def test_cache_and_file_give_the_same_clips(videos: list[Path]):
    transform = Transform(Transform.Config(resize=24, crop=20, random_crop=True, flip_prob=0.5))
    from_file, cached = ClipReader(3, transform), ClipReader(3, transform, FrameCache(videos, 1, 24))
    for seed, path in enumerate(videos):
        clips = [r.read(Span(path, 0.3, 1.8), np.random.default_rng(seed)) for r in (from_file, cached, cached)]
        assert clips[0].shape == (3, 3, 20, 20)
        assert torch.equal(clips[0], clips[1])
        assert torch.equal(clips[0], clips[2])


def test_a_photo_is_a_clip_of_one_frame_repeated(tmp_path: Path):
    path = tmp_path / "photo.png"
    Image.new("RGB", (50, 40), (200, 10, 30)).save(path)
    for cache in (None, FrameCache([path], 1, 32)):
        clip = ClipReader(3, PLAIN, cache).read(Span(path, 2.0, 3.0), np.random.default_rng(0))
        assert clip.shape == (3, 3, 32, 32)
        assert (clip == torch.tensor([200, 10, 30])[:, None, None]).all()


def test_bytes_are_read_as_files_are(videos: list[Path]):
    reader = ClipReader(4, PLAIN)
    assert torch.equal(reader.read(Span(videos[3].read_bytes())), reader.read(Span(videos[3])))


def test_a_span_past_the_end_is_unreadable_and_one_over_the_end_is_cut(videos: list[Path]):
    reader = ClipReader(2, PLAIN)
    with pytest.raises(VideoError, match=r"0\.mp4: the span begins at 2 s, but the video ends at 2 s"):
        reader.read(Span(videos[0], start_sec=2.0))
    assert frame_numbers(reader.read(Span(videos[0], 1.0, 99.0))) == frame_numbers(reader.read(Span(videos[0], 1.0)))


def test_small_videos_are_scaled_up(videos: list[Path]):
    clip = ClipReader(2, Transform(Transform.Config(resize=70, crop=64))).read(Span(videos[0]))
    assert clip.shape == (2, 3, 64, 64)


@needs_data
@pytest.mark.parametrize(
    "name", ["odd/libwebm_bbb_480p_vp9_opus_1second.webm", "odd/gpac_enstvid.ivf", "isl_gifs/pune.gif"]
)
def test_videos_whose_header_tells_little_are_sampled_to_their_end(name: str):
    reader = ClipReader(4, PLAIN)
    clip = reader.read(Span(DATA / "videos" / name))
    assert clip.shape == (4, 3, 32, 32)
    assert reader.look_up(DATA / "videos" / name).duration_sec > 0.5


def write_image(path: Path, size: tuple[int, int], color: tuple[int, int, int]) -> Path:
    Image.new("RGB", size, color).save(path)
    return path


def test_several_images_are_one_clip_in_their_order(tmp_path: Path):
    red, blue = (200, 0, 0), (0, 0, 200)
    pair = (write_image(tmp_path / "left.png", (50, 40), red), write_image(tmp_path / "right.png", (30, 64), blue))
    clip = ClipReader(2, PLAIN).read(Span.of(Example(video=pair, video_id="pair", text="")))
    assert clip.shape == (2, 3, 32, 32)
    assert [f[:, 16, 16].tolist() for f in clip] == [list(red), list(blue)]
    longer = ClipReader(4, PLAIN).read(Span(pair), np.random.default_rng(0))
    assert [f[:, 16, 16].tolist() for f in longer] == [list(red)] * 2 + [list(blue)] * 2


def test_regions_are_tinted_where_they_are_in_the_whole_picture(tmp_path: Path):
    path = write_image(tmp_path / "wide.png", (96, 48), (0, 0, 0))
    right_half = Region(polygons=(((0.5, 0), (1, 0), (1, 1), (0.5, 1)),), color=0)
    clip = ClipReader(1, PLAIN).read(Span.of(Example(video=path, video_id="w", text="", regions=(right_half,))))
    assert (clip[0, 0, :, 17:] > 50).all()  # the square in the middle of the picture: its right half
    assert (clip[0, :, :, :15] == 0).all()


def test_controls_withhold_frames(videos: list[Path], tmp_path: Path):
    def read(control: Control, rng: np.random.Generator | None = None, video: Path = videos[0]) -> torch.Tensor:
        return ClipReader(4, PLAIN, control=control).read(Span(video), rng)

    assert frame_numbers(read("single_frame")) == [8] * 4
    shuffled = frame_numbers(read("shuffle_frames"))
    assert sorted(shuffled) == [2, 6, 10, 14] != shuffled
    assert shuffled == frame_numbers(read("shuffle_frames"))
    in_training = {tuple(frame_numbers(read("shuffle_frames", np.random.default_rng(s)))) for s in range(20)}
    assert len(in_training) > 10
    assert all(list(frames) != sorted(frames) for frames in in_training)
    assert torch.equal(read("blind"), read("blind", video=tmp_path / "not there.mp4"))
    assert read("blind").shape == (4, 3, 32, 32)


def test_clips_are_told_apart_by_their_ids():
    examples = [Example(video=Path("x.mp4"), video_id=name, text=name) for name in "abacb"]
    firsts, clips = unique_clips(examples)
    assert [e.video_id for e in firsts] == ["a", "b", "c"]
    assert clips == [0, 1, 0, 2, 1]
