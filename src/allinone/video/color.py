"""The colors of stored pixels on an ordinary screen: white behind transparent ones, HDR tone-mapped to BT.709.

HDR video (PQ and HLG, ITU-R BT.2100-2) stores light far above the white of a page. It is mapped as BT.2408-7 maps SDR
into HDR, in the other direction: its reference white, 203 cd/m2, becomes white. Brighter colors keep their hue and are
reduced until they fit; colors outside of BT.709 are clipped.
"""

from collections.abc import Callable
from functools import cache, lru_cache, partial

import av
import numpy as np
import torch
from av.video.format import VideoFormat
from av.video.reformatter import Colorspace, ColorTrc, VideoReformatter
from jaxtyping import Float, Shaped, UInt8, UInt16
from torch import Tensor

PQ, HLG = ColorTrc.SMPTE2084.value, ColorTrc.ARIB_STD_B67.value
HDR = (PQ, HLG)

STRIP_PIXELS = 1 << 18  # 3 MB of light in float32: stays in cache

_NO_MATRIX = 2  # AVCOL_SPC_UNSPECIFIED

WHITE_NITS = 203
"""HDR reference white (BT.2408-7, section 2.1)."""

HLG_PEAK_NITS, HLG_GAMMA = 1000, 1.2
"""The screen that HLG is graded for (BT.2100-2, table 5)."""

FROM_BT2020 = (
    (1.6605, -0.5876, -0.0728),
    (-0.1246, 1.1329, -0.0083),
    (-0.0182, -0.1006, 1.1187),
)
"""Linear BT.2020 to linear BT.709 (BT.2407-0, section 2)."""

BT2020_LUMINANCE = (0.2627, 0.6780, 0.0593)

SWSCALE_ONE = 255 << 8
"""The value that swscale gives to white when it converts YUV to 16 bits."""


@lru_cache
def may_be_transparent(pixel_format: str) -> bool:
    """Return whether pixels of this FFmpeg format can have an alpha value."""
    form = VideoFormat(pixel_format)
    return form.has_palette or any(component.is_alpha for component in form.components)


def over_white(frame: av.VideoFrame) -> av.VideoFrame:
    """Return the frame as it shows on a white page; the same object if nothing is transparent."""
    pixels = frame.to_ndarray(format="rgba", threads=1)
    if pixels[..., 3].min(initial=255) == 255:
        return frame
    shown = av.VideoFrame.from_ndarray(in_strips(blended_with_white, pixels), format="rgb24")
    shown.color_trc = frame.color_trc
    return shown


def hdr_pixels(
    frame: av.VideoFrame, width: int, height: int, reformatter: VideoReformatter
) -> UInt8[np.ndarray, "H W 3"]:
    """Return a frame of PQ or HLG, scaled and tone-mapped."""
    matrix = Colorspace.BT2020 if frame.colorspace == _NO_MATRIX else None
    scaled = reformatter.reformat(frame, width, height, "rgb48le", src_colorspace=matrix, threads=1)
    return in_strips(partial(tone_mapped, transfer=frame.color_trc), scaled.to_ndarray())


def in_strips(
    convert: Callable[[np.ndarray], UInt8[np.ndarray, "h W 3"]], pixels: Shaped[np.ndarray, "H W C"]
) -> UInt8[np.ndarray, "H W 3"]:
    """Convert a few rows at a time, so that intermediate results stay small, also for photos of 60 megapixels."""
    height, width = pixels.shape[:2]
    rows = max(1, STRIP_PIXELS // max(1, width))
    shown = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, rows):
        shown[top : top + rows] = convert(pixels[top : top + rows])
    return shown


def blended_with_white(pixels: UInt8[np.ndarray, "H W 4"]) -> UInt8[np.ndarray, "H W 3"]:
    """Blend RGBA, not premultiplied, with white."""
    alpha = pixels[..., 3:].astype(np.uint16)
    return ((pixels[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def tone_mapped(pixels: UInt16[np.ndarray, "H W 3"], transfer: int) -> UInt8[np.ndarray, "H W 3"]:
    """Convert RGB of PQ or HLG (`transfer`) in BT.2020 primaries, from swscale, to RGB of an ordinary screen."""
    codes = torch.from_numpy(pixels.reshape(-1, 3).T.astype(np.int32))  # [3, H W]: four times as fast as [H W, 3]
    light = linear_light(transfer)[codes]
    if transfer == HLG:  # light of the scene to light of the screen: the OOTF of BT.2100-2, table 5
        luminance = light.new_tensor(BT2020_LUMINANCE) @ light
        light *= luminance.pow_(HLG_GAMMA - 1) * (HLG_PEAK_NITS / WHITE_NITS)
    light = (light.new_tensor(FROM_BT2020) @ light).clamp_(min=0)
    light /= light.amax(dim=0).clamp_(min=1)  # brighter than white: all three channels by the same factor
    return (255 * srgb_encoded(light)).round().to(torch.uint8).T.reshape(pixels.shape).numpy()


@cache
def linear_light(transfer: int) -> Float[Tensor, "65536"]:
    """Return the light of each code: PQ of the screen, 1 for reference white (EOTF); HLG of the scene, 1 for its peak.

    The constants are those of BT.2100-2, tables 4 and 5.
    """
    code = (torch.arange(65536, dtype=torch.float64) / SWSCALE_ONE).clamp(max=1)
    if transfer == PQ:
        m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 4096 * 128, 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
        root = code.pow(1 / m2)
        light = 10_000 / WHITE_NITS * ((root - c1).clamp(min=0) / (c2 - c3 * root)).pow(1 / m1)
    else:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        light = torch.where(code <= 0.5, code.square() / 3, (((code - c) / a).exp() + b) / 12)
    return light.float()


def srgb_encoded(light: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """Return linear light, 0 to 1, as values of a screen (IEC 61966-2-1)."""
    return torch.where(light <= 0.0031308, 12.92 * light, 1.055 * light.pow(1 / 2.4) - 0.055)
