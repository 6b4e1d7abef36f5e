"""Contact sheets: a few frames of a video side by side, with their times."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from allinone.video.decode import read_frames


def contact_sheet(video: Path, times_sec: Sequence[float], height: int = 96) -> bytes:
    """A PNG strip of the frames at these times, `height` pixels high; tiny videos are enlarged without smoothing."""
    from matplotlib.figure import Figure

    frames = read_frames(video, times_sec=list(times_sec)).frames.permute(0, 2, 3, 1).numpy()
    width = height * frames.shape[2] / frames.shape[1]
    figure = Figure(figsize=(len(frames) * (width + 4) / 100, (height + 16) / 100))
    for i, (frame, time) in enumerate(zip(frames, times_sec, strict=True)):
        axes = figure.add_axes((i / len(frames), 0, 0.97 / len(frames), height / (height + 16)))
        axes.imshow(np.ascontiguousarray(frame), interpolation="nearest", aspect="auto")
        axes.set_axis_off()
        axes.set_title(f"{time:.1f} s", fontsize=6, pad=2, color="#555555")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=100)
    return picture.getvalue()
