"""Photos, GIF and AVIF. HEIF photos in pieces are made here: tiles are videos of one frame, put into a grid."""

import io
import struct
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from av.video.stream import VideoStream
from PIL import AvifImagePlugin, Image, ImageOps

from allinone.video import VideoError, probe, read_frames, source
from video.films import moving_frames

TILE, WIDTH, HEIGHT = 64, 120, 100
COLORS = ((220, 30, 30), (30, 30, 220), (30, 200, 30), (250, 250, 250))

CODECS = {
    "heic": (b"heic", "libx265", b"hvc1", b"hvcC", {"preset": "ultrafast", "x265-params": "log-level=none:bframes=0"}),
    "avif": (b"avif", "libsvtav1", b"av01", b"av1C", {"preset": "12"}),
}


def box(kind: bytes, *parts: bytes) -> bytes:
    return struct.pack(">I", 8 + sum(map(len, parts))) + kind + b"".join(parts)


def full_box(kind: bytes, *parts: bytes, version: int = 0) -> bytes:
    return box(kind, bytes([version, 0, 0, 0]), *parts)


def encoded_tile(
    color: tuple[int, int, int], codec: str, config: bytes, options: dict[str, str]
) -> tuple[bytes, bytes]:
    """The configuration box of a decoder, and the picture."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream(codec, rate=1, options=options)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = TILE, TILE, "yuv420p"
        stream.thread_count = 1
        frame = av.VideoFrame.from_ndarray(np.full((TILE, TILE, 3), color, np.uint8), format="rgb24")
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    data = file.getvalue()
    begin = data.index(config) - 4
    with av.open(io.BytesIO(data), "r") as container:
        packet = bytes(next(packet for packet in container.demux(video=0) if packet.size))
    return data[begin : begin + int.from_bytes(data[begin : begin + 4], "big")], packet


def write_grid(
    path: Path, quarter_turns: int = 0, colors: tuple[tuple[int, int, int], ...] = COLORS, transfer: int = 13
) -> Path:
    """A photo of four tiles in four colors, displayed turned left by quarters (ISO/IEC 23008-12)."""
    brand, codec, kind, config_name, options = CODECS[path.suffix[1:]]
    tiles = [encoded_tile(color, codec, config_name, options) for color in colors]
    items = [packet for _, packet in tiles] + [struct.pack(">BBBBHH", 0, 0, 1, 1, WIDTH, HEIGHT)]
    kinds = [kind] * len(tiles) + [b"grid"]
    numbers = range(1, len(items) + 1)
    infos = [
        full_box(b"infe", struct.pack(">HH", number, 0), kind, b"\0", version=2)
        for number, kind in zip(numbers, kinds, strict=True)
    ]
    properties = box(
        b"ipco",
        tiles[0][0],
        full_box(b"ispe", struct.pack(">II", TILE, TILE)),
        full_box(b"ispe", struct.pack(">II", WIDTH, HEIGHT)),
        full_box(b"pixi", bytes([3, 8, 8, 8])),
        box(b"irot", bytes([quarter_turns])),
        box(b"colr", b"nclx", struct.pack(">HHHB", 1, transfer, 6, 0)),
    )
    essential = 0x80
    tile_uses, grid_uses = bytes([4, essential | 1, 2, 4, 6]), bytes([4, 3, 4, essential | 5, 6])
    uses = [struct.pack(">H", number) + tile_uses for number in numbers[:-1]] + [
        struct.pack(">H", numbers[-1]) + grid_uses
    ]
    ftyp = box(b"ftyp", brand, bytes(4), b"mif1", brand, b"miaf")

    def meta(offset: int) -> bytes:
        places = []
        for number, item in zip(numbers, items, strict=True):
            places.append(struct.pack(">HHHII", number, 0, 1, offset, len(item)))
            offset += len(item)
        return full_box(
            b"meta",
            full_box(b"hdlr", bytes(4), b"pict", bytes(13)),
            full_box(b"pitm", struct.pack(">H", numbers[-1])),
            full_box(b"iloc", b"\x44\0", struct.pack(">H", len(items)), *places),
            full_box(b"iinf", struct.pack(">H", len(items)), *infos),
            full_box(b"iref", box(b"dimg", struct.pack(f">HH{len(tiles)}H", numbers[-1], len(tiles), *numbers[:-1]))),
            box(b"iprp", properties, full_box(b"ipma", struct.pack(">I", len(items)), *uses)),
        )

    path.write_bytes(ftyp + meta(len(ftyp) + len(meta(0)) + 8) + box(b"mdat", *items))
    return path


def corners(frame: torch.Tensor) -> list[list[int]]:
    height, width = frame.shape[1:]
    return [frame[:, y, x].tolist() for y in (9, height - 10) for x in (9, width - 10)]


@pytest.fixture(params=CODECS)
def kind(request: pytest.FixtureRequest) -> str:
    if CODECS[request.param][1] not in av.codecs_available:
        pytest.skip(f"this FFmpeg has no {CODECS[request.param][1]}")
    return request.param


@pytest.mark.parametrize("turned", [False, True])
def test_a_photo_of_tiles_is_read_whole_and_upright(tmp_path, kind, turned):
    path = write_grid(tmp_path / f"a.{kind}", quarter_turns=int(turned))
    colors = [COLORS[n] for n in ((1, 3, 0, 2) if turned else (0, 1, 2, 3))]
    height, width = (WIDTH, HEIGHT) if turned else (HEIGHT, WIDTH)
    info = probe(path)
    assert (info.width, info.height, info.is_image, info.duration_sec) == (width, height, True, None)
    for given in (path, path.read_bytes()):
        clip = read_frames(given, times_sec=[0, 3])
        assert clip.frames.shape == (2, 3, height, width)
        assert torch.equal(clip.frames[0], clip.frames[1])
        assert np.abs(np.array(corners(clip.frames[0])) - colors).max() < 12
    assert min(read_frames(path, indices=[0], size=32).frames.shape[2:]) == 32


def test_an_hdr_photo_of_tiles_is_tone_mapped(tmp_path, kind):
    codes = tuple(
        (code, code, code) for code in (148, 104, 0, 250)
    )  # of PQ: reference white, 18 % gray, black, the sun
    path = write_grid(tmp_path / f"a.{kind}", colors=codes, transfer=16)
    shown = np.array(corners(read_frames(path, indices=[0]).frames[0]))
    assert np.abs(shown - np.array([255, 118, 0, 255])[:, None]).max() < 6


def test_a_photo_of_tiles_that_nothing_can_put_together_is_refused(tmp_path, kind, monkeypatch):
    path = write_grid(tmp_path / f"a.{kind}")
    monkeypatch.setitem(sys.modules, "pi_heif", None)  # not installed
    monkeypatch.setattr(AvifImagePlugin, "SUPPORTED", False)
    with pytest.raises(VideoError, match=rf"a.{kind}: a (HEIC )?photo in pieces"):
        read_frames(path, indices=[0])


def test_damaged_and_huge_photos_of_tiles_are_one_clear_error(tmp_path, kind, monkeypatch):
    path = write_grid(tmp_path / f"a.{kind}")
    data = path.read_bytes()
    for damaged in (data[: len(data) // 2], data.replace(CODECS[kind][3], b"free"), data[:-200] + bytes(200)):
        with pytest.raises(VideoError, match=r"^<bytes>: [^\n]+$"):
            read_frames(damaged, indices=[0])
    monkeypatch.setattr(source, "MAX_PIXELS", WIDTH * HEIGHT - 1)
    with pytest.raises(VideoError, match=f"{WIDTH} x {HEIGHT}"):
        read_frames(path, indices=[0])


def sticker(step: int = 0) -> Image.Image:
    pixels = np.full((64, 64, 4), (0, 255, 0, 0), np.uint8)
    pixels[16 + step : 48 + step, 16:48] = (255, 0, 0, 255)
    return Image.fromarray(pixels)


def test_the_transparency_of_avif_is_read(tmp_path):
    sticker().save(tmp_path / "a.avif", quality=90)
    frame = read_frames(tmp_path / "a.avif", indices=[0]).frames[0]
    assert frame[:, 4, 4].tolist() == pytest.approx([255, 255, 255], abs=4)
    assert frame[:, 32, 32].tolist() == pytest.approx([255, 0, 0], abs=12)


@pytest.mark.parametrize("transparent", [False, True])
def test_an_animated_avif_is_a_video_of_its_frames(tmp_path, transparent):
    images = [sticker(4 * t) if transparent else sticker(4 * t).convert("RGB") for t in range(4)]
    images[0].save(tmp_path / "a.avif", save_all=True, append_images=images[1:], duration=100, quality=90)
    info = probe(tmp_path / "a.avif")
    assert (info.num_frames, info.duration_sec, info.fps, info.is_image) == (4, pytest.approx(0.4), 10, False)
    clip = read_frames(tmp_path / "a.avif", times_sec=[0.05, 0.35])
    assert clip.times_sec.tolist() == pytest.approx([0, 0.3])
    background = [255, 255, 255] if transparent else [0, 255, 0]
    assert clip.frames[1, :, 20, 32].tolist() == pytest.approx(background, abs=12)  # the square has moved on
    assert clip.frames[0, :, 20, 32].tolist() == pytest.approx([255, 0, 0], abs=12)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_transparent_avif_is_turned_upright(tmp_path, orientation):
    y, x = np.indices((40, 60))
    picture = Image.fromarray(np.stack([6 * y, 4 * x, 0 * x, 200 + 0 * x], axis=-1).astype(np.uint8))
    shown = []
    for mode in ("RGBA", "RGB"):
        exif = Image.Exif()
        exif[0x0112] = orientation
        picture.convert(mode).save(tmp_path / f"{mode}.avif", exif=exif, quality=95)
        shown.append(read_frames(tmp_path / f"{mode}.avif", indices=[0]).frames[0].float())
    ours, opaque = shown
    assert ours.shape == opaque.shape
    assert ours.shape[2] == probe(tmp_path / "RGBA.avif").width
    assert (ours - (opaque * 200 + 255 * 55) / 255).abs().mean() < 4


def test_gif_frames_are_complete_pictures(tmp_path):
    frames = moving_frames(6)
    pictures = [Image.fromarray(f).quantize(200) for f in frames]
    pictures[0].save(
        tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=[100, 100, 500, 100, 100, 100]
    )
    info = probe(tmp_path / "a.gif")
    assert (info.width, info.height, info.num_frames, info.is_image) == (72, 48, 6, False)
    assert info.duration_sec == pytest.approx(1.0)
    clip = read_frames(tmp_path / "a.gif", indices=range(6))
    want = torch.from_numpy(np.stack([np.array(p.convert("RGB")) for p in pictures])).permute(0, 3, 1, 2)
    assert torch.equal(clip.frames, want)
    assert torch.equal(read_frames(tmp_path / "a.gif", times_sec=[0.65]).frames[0], want[2])


@pytest.mark.parametrize("kind", ["png", "bmp", "webp", "tiff", "gif", "ppm"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_still_images_are_clips_of_one_frame(tmp_path, kind, mode):
    picture = Image.fromarray(moving_frames(1, 40, 60)[0]).convert(mode)
    path = tmp_path / f"a %03d.{kind}"
    picture.save(path, lossless=True)  # for WebP; the others are so anyway
    want = torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)
    clip = read_frames(path, times_sec=[0, 3.5])
    assert torch.equal(clip.frames, want.expand(2, 3, 40, 60))
    assert clip.times_sec.tolist() == [0, 0]
    assert torch.equal(read_frames(path.read_bytes(), indices=[0]).frames[0], want)
    info = probe(path)
    assert info.is_image
    assert (info.num_frames, info.duration_sec, info.width, info.height) == (1, None, 60, 40)


@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "avif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_turned_upright(tmp_path, orientation, kind):
    picture = Image.fromarray(moving_frames(1, 40, 60)[0]).resize((240, 160))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{kind}"
    picture.save(path, exif=exif, quality=95)
    want = torch.from_numpy(np.array(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))).permute(2, 0, 1)
    clip = read_frames(path, indices=[0])
    assert clip.frames[0].shape == want.shape
    assert (clip.frames[0].float() - want.float()).abs().mean() < 6
    assert probe(path).width == want.shape[2]
