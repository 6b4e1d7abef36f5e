"""Animated WebP, frame by frame.

FFmpeg decodes still WebP only, so the chunks of an animation are unpacked, decoded one by one and composed here.
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext

File = io.BytesIO | io.BufferedReader

_ANIMATED, _ALPHA = 0x02, 0x10
_DISPOSE, _REPLACE = 0x01, 0x02


class DamagedError(ValueError):
    """A frame of the animation does not decode."""


@dataclass(frozen=True)
class Animation:
    """An open animated WebP file: its canvas, and where its frames lie."""

    file: File
    width: int
    height: int

    def durations_ms(self) -> list[int]:
        """How long each frame is shown, without decoding anything."""
        return [header.duration_ms for header, _ in self._parts()]

    def frames(self) -> Iterator[av.VideoFrame]:
        """The whole canvas after each frame, timed in milliseconds; one canvas at a time is held."""
        canvas = np.zeros((self.height, self.width, 4), np.uint8)
        decoder = av.CodecContext.create("webp", "r")
        assert isinstance(decoder, VideoCodecContext)
        time_ms = 0
        for header, size in self._parts():
            picture = _decode(decoder, self.file.read(size), header)
            region = canvas[header.y : header.y + header.height, header.x : header.x + header.width]
            region[:] = picture if header.flags & _REPLACE else _blend(picture, region)
            frame = av.VideoFrame.from_ndarray(canvas, format="rgba")
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            yield frame
            time_ms += header.duration_ms
            if header.flags & _DISPOSE:
                region[:] = 0

    def _parts(self) -> Iterator[tuple["_FrameHeader", int]]:
        """Each frame's header and the number of bytes of its picture, with the file at the beginning of these."""
        position = 12
        while True:
            self.file.seek(position)
            head = self.file.read(8)
            if len(head) < 8:
                return
            size = int.from_bytes(head[4:], "little")
            if head[:4] == b"ANMF":
                fields = self.file.read(16)
                if len(fields) < 16 or size < 16:
                    return
                header = _FrameHeader.parse(fields)
                if header.x + header.width > self.width or header.y + header.height > self.height:
                    return
                yield header, size - 16
            position += 8 + size + size % 2


@dataclass(frozen=True)
class _FrameHeader:
    x: int
    y: int
    width: int
    height: int
    duration_ms: int
    flags: int

    @classmethod
    def parse(cls, fields: bytes) -> "_FrameHeader":
        x, y, width, height, duration = (int.from_bytes(fields[i : i + 3], "little") for i in range(0, 15, 3))
        return cls(2 * x, 2 * y, width + 1, height + 1, duration, fields[15])


def open_animation(file: File) -> Animation | None:
    """The animation in an open file, or None where the file is no animated WebP."""
    file.seek(0)
    head = file.read(30)
    file.seek(0)
    if len(head) < 30 or (head[:4], head[8:16]) != (b"RIFF", b"WEBPVP8X") or not head[20] & _ANIMATED:
        return None
    return Animation(file, 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little"))


def _decode(decoder: VideoCodecContext, chunks: bytes, header: _FrameHeader) -> np.ndarray:
    """RGBA pixels of one frame: its chunks are dressed up as a still WebP file."""
    if chunks[:4] == b"ALPH":
        size = (header.width - 1).to_bytes(3, "little") + (header.height - 1).to_bytes(3, "little")
        chunks = struct.pack("<4sIB3x", b"VP8X", 10, _ALPHA) + size + chunks
    still = struct.pack("<4sI4s", b"RIFF", 4 + len(chunks), b"WEBP") + chunks
    try:
        frames = decoder.decode(av.Packet(still))
    except FFmpegError as error:
        raise DamagedError(f"a frame of the animation is damaged ({error.strerror})") from error
    if len(frames) != 1 or (frames[0].width, frames[0].height) != (header.width, header.height):
        raise DamagedError("a frame of the animation has not the size that it should have")
    return frames[0].to_ndarray(format="rgba", threads=1)


def _blend(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """RGBA `above` over RGBA `below`, neither premultiplied."""
    opacity = above[..., 3:] / 255
    rest = below[..., 3:] / 255 * (1 - opacity)
    total = opacity + rest
    colour = (above[..., :3] * opacity + below[..., :3] * rest) / np.maximum(total, 1e-6)
    return np.concatenate([colour, total * 255], axis=-1).round().astype(np.uint8)
