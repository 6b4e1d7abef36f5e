"""Contact sheets: a few frames of a video side by side, with their times."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch.nn import functional as F

from allinone.apps.look.curves import needs_plots
from allinone.progress import clock
from allinone.video import probe, read_frames

DPI = 128  # a power of two: sizes in inches are then whole pixels again, without rounding
GAP, LABEL, MIN_WIDTH = 4, 18, 44
"""Pixels between frames, below them, and that a label needs."""


def contact_sheet(video: Path, times_sec: Sequence[float], height: int = 96) -> bytes:
    """A JPEG strip of the frames at these times, `height` pixels high, each above the time it was shown at.

    A tiny video is enlarged without smoothing, so that its pixels are seen as they are. VideoError if it can't be read.
    """
    with needs_plots("contact sheets"):
        from matplotlib.figure import Figure

    info = probe(video)
    width = max(1, round(height * info.width / info.height))
    clip = read_frames(video, times_sec=times_sec, size=min(height, width) if info.height >= height else None)
    frames = F.interpolate(clip.frames.float(), (height, width), mode="area")
    pixels = frames.round().byte().permute(0, 2, 3, 1).numpy()  # [T, H, W, 3]

    cell = max(width, MIN_WIDTH)
    sheet_width = len(pixels) * (cell + GAP) - GAP
    sheet = np.full((height + LABEL, sheet_width, 3), 255, np.uint8)
    figure = Figure(figsize=(sheet_width / DPI, (height + LABEL) / DPI), dpi=DPI)
    for i, (frame, time_sec) in enumerate(zip(pixels, clip.times_sec.tolist(), strict=True)):
        left = i * (cell + GAP)
        inset = left + (cell - width) // 2
        sheet[:height, inset : inset + width] = frame
        middle = (left + cell / 2) / sheet_width
        figure.text(
            middle,
            LABEL / 2 / (height + LABEL),
            clock(time_sec, decimals=1),
            fontsize=6.5,
            color="#555555",
            ha="center",
            va="center",
        )
    figure.figimage(sheet)
    picture = io.BytesIO()
    figure.savefig(picture, format="jpeg", dpi=DPI, pil_kwargs={"quality": 85, "subsampling": 0})
    return picture.getvalue()
