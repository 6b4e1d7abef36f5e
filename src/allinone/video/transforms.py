"""Decoded frames to frames of the model's size, still uint8; random changes are the same for all frames of a clip."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

RESIZE = 268 / 224
"""Short side of a frame over the side of the square that is cut out of it, in the paper."""

MAX_RESIZE = 32
"""Largest such ratio in a checkpoint. A larger one is damage: the frame would fill the memory."""


class Transform:
    """Resizes the short side, crops a square, perhaps flips and distorts (paper: 224 out of 268, no flips).

    For evaluation the crop is central. For training, `random_crop`, `flip_prob` and `augment` (the number of random
    changes of color or geometry, as in RandAugment, https://arxiv.org/abs/1909.13719) draw from the generator given to
    the call, once a clip.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """`resize` and `crop` are in pixels; `augment_strength` is from 0 (no change) to 1."""

        resize: int = 268
        crop: int = 224
        random_crop: bool = False
        flip_prob: float = 0.0
        augment: int = 0
        augment_strength: float = 0.5

        def __post_init__(self) -> None:
            if not 1 <= self.crop <= self.resize:
                raise ValueError(f"crop is at least 1 and at most resize; got crop={self.crop}, resize={self.resize}")
            if not (0 <= self.flip_prob <= 1 and 0 <= self.augment_strength <= 1):
                raise ValueError(
                    "flip_prob and augment_strength are between 0 and 1; "
                    f"got {self.flip_prob} and {self.augment_strength}"
                )
            if self.augment < 0:
                raise ValueError(f"augment is a number of changes, 0 or more; got {self.augment}")

        @property
        def is_random(self) -> bool:
            return self.random_crop or self.flip_prob > 0 or self.augment > 0

    def __init__(self, config: Config):
        self.config = config

    def __call__(
        self, frames: UInt8[Tensor, "*batch T 3 H W"], rng: torch.Generator | None = None
    ) -> UInt8[Tensor, "*batch T 3 S S"]:
        if self.config.is_random and rng is None:
            raise ValueError("a random transform needs a torch.Generator: transform(frames, rng)")
        *batch, num_frames, channels, _, _ = frames.shape
        if not batch:
            return self._clip(frames, rng)
        clips = [self._clip(clip, rng) for clip in frames.reshape(-1, *frames.shape[-4:])]
        side = self.config.crop
        return torch.stack(clips).view(*batch, num_frames, channels, side, side)

    def _clip(self, frames: UInt8[Tensor, "T 3 H W"], rng: torch.Generator | None) -> UInt8[Tensor, "T 3 S S"]:
        config = self.config
        frames = _resized_square(frames, config.resize, config.crop, rng if config.random_crop else None)
        if config.flip_prob and _uniform(rng) < config.flip_prob:
            frames = frames.flip(-1)
        if config.augment:
            pixels = frames.float() / 255
            for _ in range(config.augment):
                change = list(_CHANGES.values())[int(torch.randint(len(_CHANGES), (), generator=rng))]
                amount = config.augment_strength * (2 * _uniform(rng) - 1)
                pixels = change(pixels, amount).clamp(0, 1)
            frames = (pixels * 255).round().to(torch.uint8)
        return frames.contiguous()


def evaluation_transform(image_size: int, resize: Any = None) -> Transform.Config:
    """Return the central square, from frames with a short side of `resize` (default: the paper's ratio).

    Raises:
        ValueError: `resize`, read from a file, is no size that a run has.
    """
    if resize is None:
        resize = round(RESIZE * image_size)
    elif type(resize) is not int or not image_size <= resize <= MAX_RESIZE * image_size:
        raise ValueError(
            f"expected a whole number from {image_size}, the model's image_size, to {MAX_RESIZE * image_size}, "
            f"got {resize!r}"
        )
    return Transform.Config(resize=resize, crop=image_size)


def _resized_square(
    frames: UInt8[Tensor, "T 3 H W"], resize: int, crop: int, rng: torch.Generator | None
) -> UInt8[Tensor, "T 3 S S"]:
    """Return the central square (with an `rng`, a random one) of `crop` pixels of frames with short side `resize`.

    It is cropped first and resized after that: the same picture (to half a pixel), but the part cropped away, which is
    nearly all of a frame a thousand times longer than high, is never resized.
    """
    height, width = frames.shape[-2:]
    side = max(1, round(min(height, width) * crop / resize))
    rows, columns = height - side, width - side
    if rng is None:
        top, left = rows // 2, columns // 2
    else:
        top = int(torch.randint(rows + 1, (), generator=rng))
        left = int(torch.randint(columns + 1, (), generator=rng))
    square = frames[..., top : top + side, left : left + side]
    if side == crop:
        return square
    return F.interpolate(square, size=(crop, crop), mode="bilinear", align_corners=False, antialias=True)


def _uniform(rng: torch.Generator | None) -> float:
    return torch.rand((), generator=rng).item()


Pixels = Float[Tensor, "T 3 S S"]  # between 0 and 1


def _gray(pixels: Pixels) -> Float[Tensor, "T 1 S S"]:
    # Luma of BT.601.
    return (pixels * pixels.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(dim=1, keepdim=True)


def _brightness(pixels: Pixels, amount: int | float) -> Pixels:
    return pixels * (1 + amount)


def _contrast(pixels: Pixels, amount: int | float) -> Pixels:
    return torch.lerp(_gray(pixels).mean(), pixels, 1 + amount)


def _saturation(pixels: Pixels, amount: int | float) -> Pixels:
    return torch.lerp(_gray(pixels), pixels, 1 + amount)


def _sharpness(pixels: Pixels, amount: int | float) -> Pixels:
    smooth = F.avg_pool2d(F.pad(pixels, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return torch.lerp(smooth, pixels, 1 + amount)


def _affine(pixels: Pixels, matrix: list[list[int | float]]) -> Pixels:
    theta = pixels.new_tensor(matrix).expand(len(pixels), 2, 3)
    grid = F.affine_grid(theta, list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)


def _turned(amount: int | float) -> list[list[int | float]]:
    turn = math.radians(60 * amount)
    return [[math.cos(turn), -math.sin(turn), 0], [math.sin(turn), math.cos(turn), 0]]


# With the default strength of 0.5, turns are at most 30 degrees, shears and shifts at most 0.3.
_CHANGES: dict[str, Callable[[Tensor, float], Tensor]] = {
    "brightness": _brightness,
    "contrast": _contrast,
    "saturation": _saturation,
    "sharpness": _sharpness,
    "rotate": lambda pixels, amount: _affine(pixels, _turned(amount)),
    "shear x": lambda pixels, amount: _affine(pixels, [[1, 0.6 * amount, 0], [0, 1, 0]]),
    "shear y": lambda pixels, amount: _affine(pixels, [[1, 0, 0], [0.6 * amount, 1, 0]]),
    "move x": lambda pixels, amount: _affine(pixels, [[1, 0, 0.6 * amount], [0, 1, 0]]),
    "move y": lambda pixels, amount: _affine(pixels, [[1, 0, 0], [0, 1, 0.6 * amount]]),
}
"""Changes of pixels by an amount from -1 to 1; 0 changes nothing. The order is part of what a seed means."""
