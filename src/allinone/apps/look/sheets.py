"""Contact sheets: a few frames of a video side by side, with their times."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch.nn import functional as F

from allinone.progress import clock
from allinone.video import probe, read_frames
from allinone.video.encode import encode_image

GAP, LABEL, MIN_WIDTH = 4, 18, 44
"""In pixels: between frames, height of the times below them, and the least width for a time."""

FONT_SIZE, INK = 11, (85, 85, 85)


def contact_sheet(video: Path, times_sec: Sequence[float], height: int = 96) -> bytes:
    """Return a JPEG strip of the frames at these times, `height` pixels high, each with the time it is shown at.

    A smaller video is enlarged without smoothing, so that its pixels stay visible. Raises VideoError if it cannot be
    read.
    """
    info = probe(video)
    width = max(1, round(height * info.width / info.height))
    # A larger video is scaled while it is decoded, a smaller one is read as it is.
    clip = read_frames(video, times_sec=times_sec, size=min(height, width) if info.height >= height else None)
    frames = F.interpolate(clip.frames.float(), (height, width), mode="area")  # enlarging, `area` repeats pixels
    pixels = frames.round().byte().permute(0, 2, 3, 1).numpy()  # [T, H, W, 3]

    cell = max(width, MIN_WIDTH)
    sheet = Image.new("RGB", (len(pixels) * (cell + GAP) - GAP, height + LABEL), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_SIZE)
    for i, (frame, time_sec) in enumerate(zip(pixels, clip.times_sec.tolist(), strict=True)):
        left = i * (cell + GAP)
        sheet.paste(Image.fromarray(frame), (left + (cell - width) // 2, 0))
        center = left + cell / 2, height + LABEL / 2
        draw.text(center, clock(time_sec, 1), fill=INK, font=font, anchor="mm")
    return encode_image(np.asarray(sheet))
