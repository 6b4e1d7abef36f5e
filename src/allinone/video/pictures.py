"""Photos that FFmpeg gives in pieces, tiles or colors without their transparency, read whole by Pillow and libheif.

Phones store a HEIC photo as a grid of tiles, each a video stream of its own.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.stream import Disposition
from av.video.stream import VideoStream
from PIL import Image, ImageOps
from PIL.AvifImagePlugin import AvifImageFile

from allinone.video.webp import DamagedError, File

BRANDS = ("avif", "avis", "heic", "heix", "heim", "heis", "hevc", "hevx", "mif1", "msf1")
"""Kinds of HEIF files: photos, and sequences of pictures."""

_DAMAGE = (OSError, ValueError, RuntimeError, EOFError, SyntaxError)
"""What Pillow and libheif raise for a file that they cannot decode."""

_EXIF_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)


class UnreadableError(ValueError):
    """No whole picture can be had of the file."""


@dataclass(frozen=True)
class Photo:
    """An open photo, or a sequence of pictures; nothing is decoded before a frame is asked for."""

    width: int
    height: int
    images: Callable[[], Iterator[Image.Image]]
    transfer: int
    """Of its light: the number of the transfer characteristics, which tells HDR."""

    def frames(self) -> Iterator[av.VideoFrame]:
        """Upright, timed in milliseconds."""
        images = self.images()
        while True:
            try:
                image = next(images, None)
                pixels = None if image is None else np.asarray(image.convert("RGBA"))
            except _DAMAGE as error:
                raise DamagedError(f"the picture is damaged ({error})") from error
            if image is None or pixels is None:
                return
            frame = av.VideoFrame.from_ndarray(pixels, format="rgba")
            frame.pts, frame.time_base = image.info.get("timestamp", 0), Fraction(1, 1000)
            frame.color_trc = self.transfer
            yield frame


def in_pieces(film: VideoStream, streams: Sequence[VideoStream]) -> bool:
    """Whether a HEIF file's `film` is less than the picture: a tile of it, or its color without its transparency."""
    is_tile = bool(film.disposition & Disposition.dependent) or (film.frames <= 1 and len(streams) > 1)
    return is_tile or any(stream.metadata.get("title") == "Alpha" for stream in streams)


def open_photo(file: File, film: VideoStream) -> Photo:
    """The picture in an open HEIF file, decoded by what reads the codec of `film`. Raises `UnreadableError`."""
    codec = film.codec_context.codec.canonical_name
    opener = {"av1": _open_avif, "hevc": _open_heic}.get(codec)
    if opener is None:
        raise UnreadableError(f"a photo in pieces, coded as {codec}; only those of AV1 and HEVC can be put together")
    file.seek(0)
    try:
        return opener(file, film.codec_context.color_trc)
    except ImportError as error:
        raise UnreadableError("a HEIC photo in pieces needs pi-heif: pip install pi-heif") from error
    except _DAMAGE as error:
        raise UnreadableError(f"a photo in pieces that cannot be put together: {error}") from error


def _open_avif(file: File, transfer: int) -> Photo:
    picture = AvifImageFile(file)  # and not Image.open, which warns of large pictures; ours are limited by the reader

    def images() -> Iterator[Image.Image]:
        for number in range(picture.n_frames):
            picture.seek(number)
            picture.load()
            upright = ImageOps.exif_transpose(picture)
            upright.info["timestamp"] = picture.info["timestamp"]
            yield upright

    width, height = picture.size
    if picture.getexif().get(_EXIF_ORIENTATION) in _TURNED:
        width, height = height, width
    return Photo(width, height, images, transfer)


def _open_heic(file: File, transfer: int) -> Photo:
    import pi_heif  # here, since it takes 0.1 s and few read HEIC

    picture = pi_heif.open_heif(file)
    return Photo(*picture.size, lambda: iter([picture.to_pillow()]), transfer)
