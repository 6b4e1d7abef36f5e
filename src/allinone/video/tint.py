"""Regions of a picture tinted in different colors, so that a model knows who is meant (visual commonsense)."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

Polygon = Sequence[tuple[float, float]]

COLORS = (
    (230, 25, 75), (60, 180, 75), (255, 225, 25), (0, 130, 200), (245, 130, 48), (145, 30, 180),
    (70, 240, 240), (240, 50, 230), (210, 245, 60), (250, 190, 212), (0, 128, 128), (170, 110, 40),
)  # fmt: skip
"""Colors that are easily distinguished; a thirteenth region takes the first again."""

STRENGTH = 0.4
"""Share of the color in a tinted pixel."""


def tint(
    frames: UInt8[Tensor, "T 3 H W"], regions: Sequence[tuple[Sequence[Polygon], int]]
) -> UInt8[Tensor, "T 3 H W"]:
    """Blend each region, polygons of (x, y) as shares of width and height, with the color of its index."""
    if not regions:
        return frames
    tinted = frames.float()
    for polygons, color in regions:
        inside = torch.from_numpy(fill(polygons, frames.shape[2], frames.shape[3]))
        paint = torch.tensor(COLORS[color % len(COLORS)], dtype=torch.float32)[:, None]
        tinted[..., inside] = torch.lerp(tinted[..., inside], paint, STRENGTH)
    return tinted.round().to(torch.uint8)


def fill(polygons: Sequence[Polygon], height: int, width: int) -> Bool[np.ndarray, "H W"]:
    """Return the pixels with their center inside one of the polygons (by the even-odd rule)."""
    rows, columns = np.arange(height) + 0.5, np.arange(width) + 0.5
    filled = np.zeros((height, width), dtype=bool)
    for polygon in polygons:
        inside = np.zeros_like(filled)
        corners = np.asarray(polygon, dtype=float).reshape(-1, 2) * (width, height)
        for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            # Half open: a corner between two edges counts once, and a horizontal edge never.
            crossed = (rows >= min(y0, y1)) & (rows < max(y0, y1))
            if crossed.any():  # a pixel is inside after an odd number of edges to its left
                crossing = x0 + (rows[crossed] - y0) * (x1 - x0) / (y1 - y0)
                inside[crossed] ^= columns >= crossing[:, None]
        filled |= inside
    return filled
