"""Small films to read, and the reference: decoding everything in order with PyAV."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from av.error import InvalidDataError
from av.video.stream import VideoStream

NUM_FRAMES = 50


def moving_frames(num_frames: int = NUM_FRAMES, height: int = 48, width: int = 72) -> np.ndarray:
    """A drifting pattern, different in every frame, that makes encoders use B-frames and long references."""
    rng = np.random.default_rng(0)
    scene = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    scene = scene[:height, :width]
    frames = np.stack([np.roll(scene, (t, 2 * t), axis=(0, 1)) for t in range(num_frames)])
    for t, frame in enumerate(frames):
        frame[:8, :8] = 255 * ((t >> np.arange(3)) & 1)
    return frames


def encode(
    path: Path,
    codec: str,
    options: dict[str, str] | None = None,
    mux: dict[str, str] | None = None,
    pts: list[int] | None = None,
    rotation: float | None = None,
    mirrored: bool = False,
    pixel_aspect: Fraction | None = None,
    frames: np.ndarray | None = None,
    gop: int = 12,
) -> Path:
    frames = moving_frames() if frames is None else frames
    with av.open(path, "w", options=mux or {}) as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        assert isinstance(stream, VideoStream)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.gop_size = gop
        stream.thread_count = 1
        stream.codec_context.time_base = Fraction(1, 25)
        if pixel_aspect:
            stream.sample_aspect_ratio = pixel_aspect
        if rotation is not None:
            stream.set_display_rotation(rotation, hflip=mirrored)
        for t, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = pts[t] if pts else t, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def in_order(source: Path) -> tuple[torch.Tensor, list[float]]:
    """Every frame [N, 3, H, W] as PyAV gives it in order up to the first error, and its time after the start."""
    frames, times = [], []
    with av.open(source, "r") as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        try:
            for frame in container.decode(stream):
                frames.append(torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1))
                times.append((frame.time or 0) - float((stream.start_time or 0) * (stream.time_base or 1)))
        except InvalidDataError:
            pass
    return torch.stack(frames), sorted(times)  # sorted: those guessed for AVI with B-frames are out of order


X264 = {"preset": "veryfast", "bf": "3", "b-adapt": "0"}
