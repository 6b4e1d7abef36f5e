"""Frames to an MP4 file, whole or not at all."""

import os
import uuid
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8


def write_mp4(
    path: str | Path, frames: UInt8[np.ndarray, "T H W 3"], fps: int | float, *, gop: int = 12, crf: int = 23
) -> None:
    """Write RGB frames with a keyframe every `gop` frames or sooner, over the file that was there.

    H.264 where FFmpeg has libx264, MPEG-4 part 2 elsewhere; `crf` (0 to 51, smaller is better) is for the first.
    A side of an odd length is written with its last row or column doubled, which the codecs' half-size colour
    planes ask for. The file appears under its name when it is complete.
    """
    if 0 in frames.shape:
        raise ValueError(f"{path}: nothing to write in frames of shape {frames.shape}")
    if not fps > 0:
        raise ValueError(f"{path}: frames per second must be above 0, got {fps}")
    path = Path(path)
    unfinished = path.with_name(f".{path.name[:40]}.{uuid.uuid4().hex[:12]}.part")
    try:
        _encode(unfinished, frames, fps, gop, crf)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def _encode(path: Path, frames: np.ndarray, fps: int | float, gop: int, crf: int) -> None:
    h264 = "libx264" in av.codecs_available
    options = {"crf": str(crf), "preset": "veryfast"} if h264 else {"qscale": "3"}
    height, width = frames.shape[1:3]
    edge = ((0, height % 2), (0, width % 2), (0, 0))
    with av.open(path, "w", format="mp4") as container:
        rate = Fraction(fps).limit_denominator(1001)
        stream = container.add_stream("libx264" if h264 else "mpeg4", rate=rate, options=options)
        stream.height, stream.width = height + height % 2, width + width % 2
        stream.pix_fmt = "yuv420p"
        stream.gop_size = gop
        stream.thread_count = 1  # small clips: starting threads costs more than it saves
        for frame in frames:
            picture = np.pad(frame, edge, mode="edge") if height % 2 or width % 2 else np.ascontiguousarray(frame)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
