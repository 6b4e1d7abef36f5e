import inspect
import io

import numpy as np
import pytest
import torch
from PIL import Image

from allinone.video import read_frames
from allinone.video.in_memory import to_tensor

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 24, 32, 3), dtype=np.uint8)
WANTED = torch.from_numpy(PIXELS).permute(0, 3, 1, 2)


def read_only() -> np.ndarray:
    array = PIXELS.copy()
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "frames",
    [
        WANTED, PIXELS, PIXELS.transpose(0, 3, 1, 2), PIXELS[::-1][::-1], read_only(), list(PIXELS), tuple(PIXELS),
        [Image.fromarray(frame) for frame in PIXELS], [PIXELS[0], *map(Image.fromarray, PIXELS[1:])],
    ],
)  # fmt: skip
def test_frames_of_any_kind_are_the_same_tensor(frames):
    assert torch.equal(to_tensor(frames), WANTED)


def test_a_single_picture_is_a_clip_of_one_frame():
    for picture in (PIXELS[0], Image.fromarray(PIXELS[0]), [PIXELS[0]]):
        assert torch.equal(to_tensor(picture), WANTED[:1])
    gray = Image.fromarray(PIXELS[0, :, :, 0])
    assert torch.equal(to_tensor(gray)[0], WANTED[0, :1].expand(3, -1, -1))


def test_a_picture_shows_as_it_does_when_it_is_read_from_its_file():
    layer = Image.fromarray(np.dstack([PIXELS[0], np.linspace(0, 255, 24 * 32).reshape(24, 32).astype(np.uint8)]))
    palette = Image.new("P", (32, 24), 1)
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.info["transparency"] = 1
    for image, name in ((layer, "png"), (palette, "gif")):
        file = io.BytesIO()
        image.save(file, name)
        shown = read_frames(file.getvalue(), indices=[0]).frames
        assert (to_tensor(image).int() - shown.int()).abs().max() <= 1
    turned = Image.fromarray(PIXELS[0])
    turned.getexif()[0x0112] = 6
    assert to_tensor(turned).shape == (1, 3, 32, 24)


@pytest.mark.parametrize(("frames", "got"), [(["a.mp4", "b.mp4"], "a list with str"), (3, "int"), (None, "NoneType")])
def test_what_is_no_video_is_refused(frames, got: str):
    with pytest.raises(TypeError, match=f"a video is a file, its bytes, or frames: .*; got {got}"):
        inspect.unwrap(to_tensor)(frames)  # without the checker of types, as users call it


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (PIXELS.astype(np.float32), r"uint8 \[T, H, W, 3\] or \[T, 3, H, W\], got float32 \[5, 24, 32, 3\]"),
        (PIXELS.astype(np.int64), r"got int64 \[5, 24, 32, 3\]"),
        (PIXELS[..., :2], r"got uint8 \[5, 24, 32, 2\]"),
        (PIXELS[0, 0], r"got uint8 \[32, 3\]"),
        (PIXELS[None], r"got uint8 \[1, 5, 24, 32, 3\]"),
        (PIXELS[:0], r"none of these is 0; got \[0, 24, 32, 3\]"),
        (torch.from_numpy(PIXELS), r"uint8 \[T, 3, H, W\], got uint8 \[5, 24, 32, 3\]"),
        ([PIXELS[0], PIXELS[1, :12]], r"of one size, got \[1, 3, 24, 32\], \[1, 3, 12, 32\]"),
        ([PIXELS, PIXELS], r"of one size, got \[5, 3, 24, 32\]"),
        ([], "of one size, got none"),
    ],
)
def test_frames_of_another_shape_or_type_are_refused(frames, message):
    with pytest.raises(ValueError, match=message):
        to_tensor(frames)
