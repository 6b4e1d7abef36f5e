import io

import numpy as np
import pytest
import torch
from PIL import Image

from allinone.video import FrameStream, VideoError, probe, read_frames


def pictures(num_frames: int, alpha: bool) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 256, (4, 6, 3), dtype=np.uint8)).resize((60, 40), Image.Resampling.BICUBIC)
    canvas = np.array(smooth.convert("RGBA"))
    made = []
    for t in range(num_frames):  # a small patch changes, so that the encoder writes parts of the canvas
        canvas = canvas.copy()
        canvas[4 * t : 4 * t + 8, 10:20, :3] = rng.integers(0, 256, 3)
        if alpha:
            canvas[20:30, 5 * t : 5 * t + 10, 3] = 100
        made.append(Image.fromarray(canvas if alpha else canvas[..., :3]))
    return made


def animation(num_frames: int = 6, alpha: bool = False, **options: object) -> bytes:
    file = io.BytesIO()
    first, *others = pictures(num_frames, alpha)
    first.save(
        file,
        "WEBP",
        save_all=True,
        append_images=others,
        duration=[100, 100, 300, 100, 100, 100][:num_frames],
        **options,
    )
    return file.getvalue()


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("options", [{"lossless": True}, {"lossless": True, "minimize_size": True}, {"quality": 80}])
def test_animated_webp_gives_the_canvas_after_each_frame(alpha, options):
    data = animation(alpha=alpha, **options)
    want = []
    with Image.open(io.BytesIO(data)) as picture:
        for t in range(6):
            picture.seek(t)
            want.append(np.array(picture.convert("RGBA")))
    clip = read_frames(data, indices=range(6))
    opaque = torch.from_numpy(np.stack(want)[..., 3] == 255)
    difference = clip.frames.permute(0, 2, 3, 1).int() - torch.from_numpy(np.stack(want)[..., :3]).int()
    assert difference[opaque].abs().max() == 0
    assert clip.times_sec.tolist() == pytest.approx([0, 0.1, 0.2, 0.5, 0.6, 0.7])


def test_animated_webp_is_described_and_found_by_time(tmp_path):
    path = tmp_path / "a.webp"
    path.write_bytes(animation(lossless=True))
    info = probe(path)
    assert (info.width, info.height, info.num_frames, info.is_image) == (60, 40, 6, False)
    assert info.duration_sec == pytest.approx(0.8)
    every = read_frames(path, indices=range(6)).frames
    assert torch.equal(read_frames(path, times_sec=[0.45, 0.05, 9]).frames, every[[2, 0, 5]])
    assert read_frames(path, times_sec=[0], size=20).frames.shape == (1, 3, 20, 30)


def test_a_cut_off_animation_gives_its_beginning():
    data = animation(lossless=True)
    clip = read_frames(data[:-20], times_sec=[0, 9])
    assert torch.equal(clip.frames, read_frames(data, indices=[0, 4]).frames)
    with pytest.raises(VideoError, match=r"frame 5 asked for, but 5 decode"):
        read_frames(data[:-20], indices=[5])
    with FrameStream(data[:-20]) as stream:
        assert len(list(stream)) == 5
        assert stream.describe_damage() == "a picture is damaged (the file is cut off)"
    with pytest.raises(VideoError, match=r"<bytes>: (no frame decodes|not a readable)"):
        read_frames(data[:60], indices=[0])


def test_a_canvas_of_absurd_size_is_refused():
    data = bytearray(animation(lossless=True))
    data[24:30] = b"\xff" * 6
    with pytest.raises(VideoError, match="16777216 x 16777216"):
        read_frames(bytes(data), indices=[0])
