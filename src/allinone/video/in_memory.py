"""Frames that are in memory already, as numpy arrays, Pillow images or tensors, as the one tensor that models read."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps
from torch import Tensor

Picture = np.ndarray | Image.Image
"""A single picture: uint8 [H, W, 3], or one of Pillow's."""

Frames = Tensor | np.ndarray | Image.Image | Sequence[Picture]
"""A clip in memory: a uint8 tensor [T, 3, H, W]; a uint8 array [T, H, W, 3] or [T, 3, H, W]; a picture; or pictures of
one size in a list, one a frame."""


def to_tensor(frames: Frames) -> UInt8[Tensor, "T 3 H W"]:
    """Frames as a tensor. An array whose last axis is 3 has its channels there; alpha is laid over white.

    Raises:
        ValueError: another type of numbers, other axes, no frame, or pictures of several sizes.
        TypeError: none of these kinds, for example a list of paths.
    """
    is_list = isinstance(frames, list | tuple)
    for one in frames if is_list else [frames]:
        if not isinstance(one, Tensor | np.ndarray | Image.Image):
            raise TypeError(
                "a video is a file, its bytes, or frames: a tensor, an array, a picture, or a list of pictures; got "
                f"{'a list with ' if is_list else ''}{type(one).__name__}"
            )
    if isinstance(frames, Sequence):
        pictures = [to_tensor(picture) for picture in frames]
        if len({picture.shape for picture in pictures}) != 1 or len(pictures[0]) != 1:
            shapes = ", ".join(str(list(picture.shape)) for picture in pictures[:5]) or "none"
            raise ValueError(f"the frames of a clip are pictures of one size, got {shapes}")
        return torch.cat(pictures)
    if isinstance(frames, Image.Image):
        frames = _pixels(frames)
    wanted, found = "[T, 3, H, W]", str(frames.dtype).removeprefix("torch.")
    if isinstance(frames, np.ndarray):
        wanted = "[T, H, W, 3] or [T, 3, H, W]"
        shape = list(frames.shape)
        if frames.dtype == np.uint8:
            frames = frames[None] if frames.ndim == 3 else frames
            frames = frames.transpose(0, 3, 1, 2) if frames.ndim == 4 and frames.shape[-1] == 3 else frames
            frames = torch.from_numpy(np.require(frames, requirements=["C", "W"]))
    else:
        shape = list(frames.shape)
    if not isinstance(frames, Tensor) or frames.dtype != torch.uint8 or frames.ndim != 4 or frames.shape[1] != 3:
        raise ValueError(f"frames are uint8 {wanted}, got {found} {shape}")
    if not frames.numel():
        raise ValueError(f"frames are uint8 {wanted}, and none of these is 0; got {shape}")
    return frames


def _pixels(image: Image.Image) -> np.ndarray:
    upright = ImageOps.exif_transpose(image)
    if upright.has_transparency_data:
        layer = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return np.asarray(upright.convert("RGB"))
