"""Frames come out upright, with square pixels, and in the size requested."""

from fractions import Fraction

import pytest
import torch

from allinone.video import VideoError, probe, read_frames
from video.films import X264, encode, in_order, moving_frames


def test_the_short_side_gets_the_size_asked_for(tmp_path):
    path = encode(tmp_path / "a.mp4", "libx264", X264)
    small = read_frames(path, indices=[5, 20], size=24)
    assert small.frames.shape == (2, 3, 24, 36)
    whole = read_frames(path, indices=[5, 20]).frames.float()
    want = torch.nn.functional.interpolate(whole, (24, 36), mode="bilinear", antialias=True)
    assert (small.frames - want).mean(dim=1).abs().mean() < 5  # mean over colors: chroma is stored at half size
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


def test_a_size_that_makes_frames_too_large_is_refused(tmp_path):
    path = encode(tmp_path / "a.mp4", "libx264", X264, frames=moving_frames(2))
    with pytest.raises(VideoError, match="at size 50000"):
        read_frames(path, indices=[0], size=50000)
