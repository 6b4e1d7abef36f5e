"""How transparent and HDR files look; the files are made here."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import ColorPrimaries, ColorTrc
from av.video.stream import VideoStream
from PIL import Image

from allinone.video import probe, read_frames
from allinone.video.color import HLG, PQ, SWSCALE_ONE, tone_mapped
from allinone.video.transcode import transcode

RED, WHITE = (255, 0, 0), (255, 255, 255)


def sticker() -> np.ndarray:
    """RGBA [64, 64]: a red square; around it nothing is seen, but the hidden color is green."""
    pixels = np.full((64, 64, 4), (0, 255, 0, 0), np.uint8)
    pixels[16:48, 16:48] = (255, 0, 0, 255)
    return pixels


def encoded(path: Path, codec: str, pixel_format: str, **options: str) -> Path:
    """Three frames of the sticker."""
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=5, options=options)
        assert isinstance(stream, VideoStream)
        stream.width = stream.height = 64
        stream.pix_fmt = pixel_format
        for t in range(3):
            frame = av.VideoFrame.from_ndarray(sticker(), format="rgba").reformat(format=pixel_format)
            frame.pts, frame.time_base = t, Fraction(1, 5)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def picture(path: Path, mode: str = "RGBA", **options: Any) -> Path:
    image = Image.fromarray(sticker())
    if mode == "P":
        image = image.convert("RGB").quantize(4)
        options |= {"transparency": image.getpixel((0, 0))}
    elif mode == "RGB":
        image = image.convert("RGB")
        options |= {"transparency": (0, 255, 0)}
    image.save(path, **options)
    return path


def several(path: Path, **options: Any) -> Path:
    images = [Image.fromarray(sticker()), Image.fromarray(np.roll(sticker(), 1, axis=0))]
    images[0].save(path, save_all=True, append_images=images[1:], duration=100, **options)
    return path


TRANSPARENT = {
    "png": lambda folder: picture(folder / "a.png"),
    "png palette": lambda folder: picture(folder / "a.png", "P"),
    "png color key": lambda folder: picture(folder / "a.png", "RGB"),
    "png 16 bit": lambda folder: encoded(folder / "a%01d.png", "png", "rgba64be"),
    "apng": lambda folder: several(folder / "a.png"),
    "gif": lambda folder: several(folder / "a.gif"),
    "webp": lambda folder: picture(folder / "a.webp", lossless=True, exact=True),
    "webp animation": lambda folder: several(folder / "a.webp", lossless=True, exact=True),
    "tiff": lambda folder: picture(folder / "a.tiff"),
    "qtrle": lambda folder: encoded(folder / "a.mov", "qtrle", "argb"),
    "png in mov": lambda folder: encoded(folder / "a.mov", "png", "rgba"),
    "prores": lambda folder: encoded(folder / "a.mov", "prores_ks", "yuva444p10le", profile="4444"),
    "vp8": lambda folder: encoded(folder / "a.webm", "libvpx", "yuva420p", **{"auto-alt-ref": "0"}),
    "vp9": lambda folder: encoded(folder / "a.webm", "libvpx-vp9", "yuva420p"),
}


@pytest.mark.parametrize("write", TRANSPARENT.values(), ids=TRANSPARENT)
def test_where_nothing_is_to_be_seen_a_frame_is_white(tmp_path, write):
    path = write(tmp_path)
    path = path if path.exists() else next(tmp_path.iterdir())
    whole = read_frames(path, indices=[0]).frames[0]
    assert whole[:, 32, 32].tolist() == pytest.approx(RED, abs=4)
    assert whole[:, 4, 4].tolist() == pytest.approx(WHITE, abs=4)
    small = read_frames(path, times_sec=[0.1], size=24).frames[0].int()
    assert small[0].min() > 200  # no green bleeds into the edges: red and white have all the red there is


def test_a_prepared_copy_of_a_transparent_video_is_white_there_too(tmp_path):
    transcode(encoded(tmp_path / "a.mov", "qtrle", "argb"), tmp_path / "a.mp4", short_side=64)
    frame = read_frames(tmp_path / "a.mp4", indices=[1]).frames[0]
    assert frame[:, 4, 4].tolist() == pytest.approx(WHITE, abs=6)


def test_half_transparent_pixels_are_half_white(tmp_path):
    Image.new("LA", (16, 16), (40, 128)).save(tmp_path / "a.png")
    assert read_frames(tmp_path / "a.png", indices=[0]).frames[0, :, 8, 8].tolist() == pytest.approx([147] * 3, abs=1)


LIGHT = {"white": (1, 1, 1), "gray": (0.18, 0.18, 0.18), "black": (0, 0, 0), "red": (0.6, 0.02, 0.02)}
SEEN = {"white": (255, 255, 255), "gray": (118, 118, 118), "black": (0, 0, 0), "red": (203, 39, 39)}
TO_BT2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])


def pq_codes(nits: np.ndarray) -> np.ndarray:
    """Inverse EOTF of BT.2100, table 4."""
    root = (nits / 10000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * root) / (1 + 18.6875 * root)) ** 78.84375


def hlg_codes(nits: np.ndarray) -> np.ndarray:
    """Inverse OOTF of a screen of 1000 nits, and OETF, of BT.2100, table 5."""
    screen = nits / 1000
    luminance = screen @ [0.2627, 0.6780, 0.0593]
    scene = screen * max(luminance, 1e-9) ** (1 / 1.2 - 1)
    return np.where(
        scene <= 1 / 12, (3 * scene) ** 0.5, 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    )


def hdr(path: Path, transfer: int, full_range: bool = False) -> Path:
    """Four patches next to each other, 32 pixels each, as 10-bit YUV in BT.2020."""
    planes = [np.empty((32, 128)), np.empty((16, 64)), np.empty((16, 64))]
    for n, light in enumerate(LIGHT.values()):
        r, g, b = (pq_codes if transfer == PQ else hlg_codes)(203 * (TO_BT2020 @ light))
        y = 0.2627 * r + 0.6780 * g + 0.0593 * b
        u, v = (b - y) / 1.8814, (r - y) / 1.4746
        codes = (
            (1023 * y, 512 + 1023 * u, 512 + 1023 * v) if full_range else (64 + 876 * y, 512 + 896 * u, 512 + 896 * v)
        )
        for plane, code, width in zip(planes, codes, (32, 16, 16), strict=True):
            plane[:, n * width : (n + 1) * width] = code
    frame = av.VideoFrame(128, 32, "yuv420p10le")
    for plane, values in zip(frame.planes, planes, strict=True):
        padded = np.zeros((plane.height, plane.line_size // 2), np.uint16)
        padded[:, : plane.width] = values.round()
        plane.update(padded.tobytes())
    with av.open(path, "w") as container:
        stream = container.add_stream("ffv1", rate=5)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 128, 32, "yuv420p10le"
        context = stream.codec_context
        context.color_trc, context.color_primaries, context.colorspace = transfer, ColorPrimaries.BT2020, 9
        context.color_range = 2 if full_range else 1
        for t in range(3):
            frame.pts, frame.time_base, frame.color_range = t, Fraction(1, 5), context.color_range
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def assert_seen(path: Path, tolerance: int) -> None:
    for size in (None, 16):
        frame = read_frames(path, indices=[1], size=size).frames[0]
        step = frame.shape[2] // 4
        for n, color in enumerate(SEEN.values()):
            assert frame[:, frame.shape[1] // 2, n * step + step // 2].tolist() == pytest.approx(color, abs=tolerance)


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_hdr_is_shown_as_on_an_ordinary_screen(tmp_path, transfer, full_range):
    assert_seen(hdr(tmp_path / "a.mkv", transfer, full_range), tolerance=2)


def test_a_prepared_copy_of_hdr_is_an_ordinary_video(tmp_path):
    transcode(hdr(tmp_path / "a.mkv", PQ), tmp_path / "a.mp4", short_side=32)
    assert_seen(tmp_path / "a.mp4", tolerance=8)
    with av.open(tmp_path / "a.mp4") as container:
        assert container.streams.video[0].codec_context.color_trc not in (PQ, HLG)
    assert probe(tmp_path / "a.mp4").width == 128


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_light_above_white_keeps_its_hue(transfer):
    nits = np.array([[1.0, 1.0, 1.0], [4.0, 4.0, 4.0], [3.0, 1.5, 0.3]]) * 203
    codes = np.stack([(pq_codes if transfer == PQ else hlg_codes)(TO_BT2020 @ color) for color in nits])
    shown = tone_mapped((codes[None] * SWSCALE_ONE).round().astype(np.uint16), transfer)[0]
    assert shown[:2].tolist() == [[255] * 3, [255] * 3]
    assert shown[2].tolist() == pytest.approx([255, 188, 89], abs=2)  # light of 1, 0.5 and 0.1


@pytest.mark.parametrize("matrix", [1, 5, 9])  # BT.709, BT.601, BT.2020
@pytest.mark.parametrize("full_range", [False, True])
def test_matrix_and_range_of_ordinary_video_are_those_of_its_header(tmp_path, matrix, full_range):
    color = np.array([200, 50, 80]) / 255
    red, blue = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 9: (0.2627, 0.0593)}[matrix]
    y = float(color @ [red, 1 - red - blue, blue])
    u, v = (color[2] - y) / (2 - 2 * blue), (color[0] - y) / (2 - 2 * red)
    codes = (255 * y, 128 + 255 * u, 128 + 255 * v) if full_range else (16 + 219 * y, 128 + 224 * u, 128 + 224 * v)
    planes = np.stack([np.full((16, 16), round(float(code)), np.uint8) for code in codes])
    frame = av.VideoFrame.from_ndarray(planes, format="yuv444p")
    with av.open(tmp_path / "a.mkv", "w") as container:
        stream = container.add_stream("ffv1", rate=5)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv444p"
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, 2 if full_range else 1
        frame.colorspace, frame.color_range = matrix, 2 if full_range else 1
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    shown = read_frames(tmp_path / "a.mkv", indices=[0]).frames[0, :, 8, 8]
    assert shown.tolist() == pytest.approx([200, 50, 80], abs=2)


def test_the_numbers_of_transfers_are_those_of_ffmpeg():
    assert (PQ, HLG) == (ColorTrc["SMPTE2084"], ColorTrc["ARIB_STD_B67"]) == (16, 18)
