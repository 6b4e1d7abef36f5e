"""Frames that are in memory already, as numpy arrays, Pillow images or tensors, to the one tensor that models read."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps
from torch import Tensor

Picture = np.ndarray | Image.Image
"""A single picture: uint8 [H, W, 3], or one of Pillow's."""

Frames = Tensor | np.ndarray | Image.Image | Sequence[Picture]
"""A clip in memory: a uint8 tensor [T, 3, H, W]; a uint8 array [T, H, W, 3] or [T, 3, H, W]; a picture; or a list of
pictures of one size, one a frame."""


def to_tensor(frames: Frames) -> UInt8[Tensor, "T 3 H W"]:
    """Return frames as a tensor. The last axis of an array is its channels if it is 3; alpha is blended with white.

    Raises:
        ValueError: another dtype, other axes, no frame, or pictures of several sizes.
        TypeError: none of these kinds, for example a list of paths.
    """
    if isinstance(frames, list | tuple):
        pictures = [to_tensor(_checked(picture, "a list with ")) for picture in frames]
        # A picture is a clip of one frame, so more than one means a list of clips.
        if len({picture.shape for picture in pictures}) != 1 or len(pictures[0]) != 1:
            shapes = ", ".join(str(list(picture.shape)) for picture in pictures[:5]) or "none"
            raise ValueError(f"the frames of a clip are pictures of one size, got {shapes}")
        return torch.cat(pictures)
    given = _checked(frames)
    if isinstance(given, Image.Image):
        given = _pixels(given)
    is_array = isinstance(given, np.ndarray)
    expected = "uint8 [T, H, W, 3] or [T, 3, H, W]" if is_array else "uint8 [T, 3, H, W]"
    got = f"{str(given.dtype).removeprefix('torch.')} {list(given.shape)}"
    tensor = _channels_first(given) if is_array else given
    if tensor is None or tensor.dtype != torch.uint8 or tensor.ndim != 4 or tensor.shape[1] != 3:
        raise ValueError(f"frames are {expected}, got {got}")
    if not tensor.numel():
        raise ValueError(f"frames are {expected}, and none of these is 0; got {got.split(' ', 1)[1]}")
    return tensor


def _checked(frames: object, where: str = "") -> Tensor | np.ndarray | Image.Image:
    if isinstance(frames, Tensor | np.ndarray | Image.Image):
        return frames
    raise TypeError(
        "a video is a file, its bytes, or frames: a tensor, an array, a picture, or a list of pictures; got "
        f"{where}{type(frames).__name__}"
    )


def _channels_first(array: np.ndarray) -> Tensor | None:
    """None for an array of another dtype, since not every dtype has a tensor."""
    if array.dtype != np.uint8:
        return None
    array = array[None] if array.ndim == 3 else array  # a picture is a clip of one frame
    array = array.transpose(0, 3, 1, 2) if array.ndim == 4 and array.shape[-1] == 3 else array
    # torch warns of arrays that cannot be written to, and takes no negative strides.
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


def _pixels(image: Image.Image) -> np.ndarray:
    upright = ImageOps.exif_transpose(image)
    if upright.has_transparency_data:
        layer = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return np.asarray(upright.convert("RGB"))
