"""Frames to an MP4 file, or one to an image; whole or not at all."""

import io
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np
from av.container import OutputContainer
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream
from jaxtyping import UInt8
from PIL import Image

from allinone.files.whole import whole_file


def write_mp4(
    path: str | Path, frames: UInt8[np.ndarray, "T H W 3"], fps: int | float, *, gop: int = 12, crf: int = 23
) -> None:
    """Write RGB frames with a keyframe every `gop` frames or sooner; an existing file is replaced.

    H.264 if FFmpeg has libx264, else MPEG-4 part 2; `crf` (0 to 51, smaller is better) is for the first. A side of an
    odd length is written with its last row or column doubled, because the codecs' color planes have half the size. The
    file appears under its name when it is complete.

    Raises:
        ValueError: no frames, or a frame rate that is not above 0.
    """
    if 0 in frames.shape:
        raise ValueError(f"{path}: nothing to write in frames of shape {frames.shape}")
    if not fps > 0:
        raise ValueError(f"{path}: frames per second must be above 0, got {fps}")
    height, width = frames.shape[1:3]
    with whole_file(path) as unfinished, av.open(unfinished, "w", format="mp4") as container:
        # At most 1001, so that rates such as 30000/1001 stay exact.
        stream = add_stream(container, height, width, Fraction(fps).limit_denominator(1001), gop, crf)
        if "libx264" in av.codecs_available:
            # With its macroblock tree x264 wrote other bytes for the same frames in 8 of 100 calls (with AVX-512).
            stream.options = {**stream.options, "mbtree": "0"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(even_sides(frame), format="rgb24")))
        container.mux(stream.encode(None))  # what the encoder still holds


def add_stream(container: OutputContainer, height: int, width: int, rate: Fraction, gop: int, crf: int) -> VideoStream:
    """Add the video stream of an MP4 file for frames of this size, made even."""
    h264 = "libx264" in av.codecs_available
    options = {"crf": str(crf), "preset": "veryfast"} if h264 else {"qscale": "3"}
    stream = container.add_stream("libx264" if h264 else "mpeg4", rate=rate, options=options)
    stream.height, stream.width = height + height % 2, width + width % 2
    stream.pix_fmt = "yuv420p"
    # What swscale makes of RGB. Without it players assume BT.709 if a video is large.
    stream.codec_context.colorspace, stream.codec_context.color_range = Colorspace.ITU601.value, ColorRange.MPEG.value
    stream.gop_size = gop
    stream.thread_count = 1  # small clips: starting threads costs more than it saves
    return stream


def even_sides(frame: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H2 W2 3"]:
    """Double the last row or column of a side with an odd length; the result is contiguous."""
    height, width = frame.shape[:2]
    if height % 2 or width % 2:
        return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(frame)


def write_image(path: str | Path, frame: UInt8[np.ndarray, "H W 3"]) -> None:
    """Write RGB pixels as JPEG, or as PNG if the name ends so."""
    is_png = Path(path).suffix.lower() == ".png"
    with whole_file(path) as unfinished:
        unfinished.write_bytes(encode_image(frame, "png" if is_png else "jpeg", quality=90))


def encode_image(
    frame: UInt8[np.ndarray, "H W 3"],
    form: Literal["jpeg", "png"] = "jpeg",
    *,
    quality: int = 85,
    max_side: int | None = None,
) -> bytes:
    """Return RGB pixels as a JPEG (`quality` from 0 to 95) or PNG, scaled down if a side is longer than `max_side`."""
    image, encoded = Image.fromarray(np.ascontiguousarray(frame)), io.BytesIO()
    if max_side is not None:
        image.thumbnail((max_side, max_side), Image.Resampling.BOX)
    image.save(encoded, form, quality=quality)
    return encoded.getvalue()
