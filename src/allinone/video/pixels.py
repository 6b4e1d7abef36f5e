"""Decoded frames to upright RGB: square pixels, rotation and mirroring, white behind transparency, HDR tone-mapped."""

import math
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np
import torch
from av.video.reformatter import VideoReformatter
from jaxtyping import UInt8

from allinone.types import Clip
from allinone.video.color import HDR, hdr_pixels, may_be_transparent, over_white
from allinone.video.errors import WrongHeaderError
from allinone.video.in_order import Shown
from allinone.video.pictures import Matrix
from allinone.video.source import MAX_PIXELS, VideoSource

_MAX_PIXEL_ASPECT = 8
"""A pixel that is longer than this (or as much higher than wide) is taken for a mistake in the header."""


def with_square_pixels(source: VideoSource, width: int, height: int) -> tuple[int, int]:
    """Return the size of a stored picture when its pixels are made square, by stretching its shorter direction."""
    known = None if source.pictures else source.stream.sample_aspect_ratio or source.decoder.sample_aspect_ratio
    aspect = known or Fraction(1)
    if 1 < aspect <= _MAX_PIXEL_ASPECT:
        return round(width * aspect), height
    if Fraction(1, _MAX_PIXEL_ASPECT) <= aspect < 1:
        return width, round(height / aspect)
    return width, height


class Painter:
    """Converts the frames of a video to pixels of one size, that of its first frame.

        stored frame -> scaled (square pixels, `size`) -> perhaps transposed -> perhaps mirrored -> [3, height, width]

    `size` is the length of the short side; with `enlarge=False` it is a maximum. `rotation` is in degrees
    counter-clockwise, for people; `transpose` and the mirrors also say what a mirrored picture needs.
    """

    def __init__(self, source: VideoSource, first: av.VideoFrame, size: int | None = None, *, enlarge: bool = True):
        self.source = source
        width, height = with_square_pixels(source, source.width or first.width, source.height or first.height)
        short = min(width, height)
        if size is not None and (enlarge or size < short):
            width, height = round(width * size / short), round(height * size / short)
        if width * height > MAX_PIXELS:
            at_size = "" if size is None else f" at size {size}"
            raise source.error(f"frames of {width} x {height} pixels{at_size}; at most {MAX_PIXELS} pixels are read")
        self.scaled_width, self.scaled_height = width, height

        # Of a display matrix only the signs and the larger ones of these four numbers count, because photos and films
        # are turned by quarters and mirrored, nothing else.
        a, b, c, d = source.orientation or display_matrix(first)
        self.transpose = abs(b) > abs(a) and abs(c) > abs(d)
        if not self.transpose and not (abs(a) > abs(b) and abs(d) > abs(c)):  # broken, or 45 degrees: no rotation
            a, b, c, d = 1, 0, 0, 1
        self.mirror_x, self.mirror_y = a + c < 0, b + d < 0
        self.width, self.height = (height, width) if self.transpose else (width, height)
        self.reformatter = VideoReformatter()

    @property
    def rotation(self) -> int:
        if self.transpose:
            return 90 if self.mirror_y else -90
        return 180 if self.mirror_x and self.mirror_y else 0

    def draw(self, frame: av.VideoFrame, onto: UInt8[np.ndarray, "3 H W"]) -> None:
        """Write the frame's pixels into an array of the painter's size."""
        if frame.width * frame.height > MAX_PIXELS:
            raise self.source.error(f"a frame of {frame.width} x {frame.height}; at most {MAX_PIXELS} pixels are read")
        width, height = self.scaled_width, self.scaled_height
        if may_be_transparent(frame.format.name):  # before scaling, which would mix hidden colors with visible ones
            frame = over_white(frame)
        if frame.color_trc in HDR:
            pixels = hdr_pixels(frame, width, height, self.reformatter)
        else:
            # rgb24, since swscale leaves columns of planar RGB (gbrp) unwritten if the width is no multiple of 16.
            plane = self.reformatter.reformat(frame, width, height, "rgb24", threads=1).planes[0]
            pixels = np.asarray(memoryview(plane)).reshape(height, plane.line_size)[:, : 3 * width]
            pixels = pixels.reshape(height, width, 3)
        pixels = pixels.transpose(2, 0, 1)
        pixels = pixels.swapaxes(1, 2) if self.transpose else pixels
        onto[:] = pixels[:, :: -1 if self.mirror_y else 1, :: -1 if self.mirror_x else 1]


class ClipBuilder:
    """A clip in the making: each frame goes, when it is decoded, to all positions that asked for its key.

    Keys are ticks or indices of frames, one a position of the clip; a key may repeat.
    """

    def __init__(self, source: VideoSource, keys: Sequence[int], size: int | None):
        self.source = source
        self.size = size
        self.positions: dict[int, list[int]] = {}
        for position, key in enumerate(keys):
            self.positions.setdefault(key, []).append(position)
        self.num_missing = len(keys)
        self.times_sec = np.empty(len(keys))
        self.painter: Painter | None = None  # known with the first frame

    def put(self, shown: Shown) -> None:
        """Draw a frame. Raises `WrongHeaderError` if the first one is not of the size that a quick header claims."""
        frame = shown.frame
        if self.painter is None:
            if self.source.is_quick and (frame.width, frame.height) != (self.source.width, self.source.height):
                raise WrongHeaderError
            self.painter = Painter(self.source, frame, self.size)
            shape = (len(self.times_sec), self.painter.height, self.painter.width, 3)
            # [T, 3, H, W] with the channels innermost in memory: as swscale writes and torch's resizing reads them.
            self.frames = np.empty(shape, np.uint8).transpose(0, 3, 1, 2)
        first, *others = [position for key in shown.keys for position in self.positions[key]]
        self.painter.draw(frame, self.frames[first])
        for position in others:
            self.frames[position] = self.frames[first]
        self.times_sec[[first, *others]] = self.source.seconds(shown.tick)
        self.num_missing -= 1 + len(others)

    def clip(self) -> Clip:
        """Return the clip; all frames must have been put."""
        assert not self.num_missing
        return Clip(torch.from_numpy(self.frames), torch.from_numpy(self.times_sec), self.source.stem)


def display_matrix(frame: av.VideoFrame) -> Matrix:
    """Return the matrix by which the container asks to display the frame."""
    try:
        data = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV fails at kinds of side data that it does not know; the rotation it always knows
        data = None
    if data is not None:
        # The first two rows of a 3 x 3 matrix in fixed point; only proportions are used.
        a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
        return a, b, c, d
    turn = math.radians(frame.rotation if abs(frame.rotation) <= 360 else 0)  # more is FFmpeg's for a broken matrix
    return math.cos(turn), -math.sin(turn), math.sin(turn), math.cos(turn)
