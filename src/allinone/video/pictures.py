"""Photos and animations that FFmpeg cannot decode, or not as a whole: Pillow and libheif read them.

- Animated WebP: FFmpeg decodes still WebP only.
- HEIC photos in tiles: phones store a photo as a grid, and FFmpeg gives each tile as a video stream.
- AVIF with transparency: FFmpeg gives color and transparency as two streams.

Pillow also reads the EXIF orientation of ordinary photos.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.stream import Disposition
from av.video.stream import VideoStream
from PIL import Image, ImageOps
from PIL.AvifImagePlugin import AvifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from allinone.video.errors import DamagedError, UnreadableError

# The plugins' classes are used directly, since `Image.open` warns of large pictures; ours are limited by `VideoSource`.

File = io.BytesIO | io.BufferedReader

Matrix = tuple[int | float, int | float, int | float, int | float]
"""(a, b, c, d): the stored pixel (x, y) is displayed at (ax + cy, bx + dy)."""

BRANDS = ("avif", "avis", "heic", "heix", "heim", "heis", "hevc", "hevx", "mif1", "msf1")
"""Brands of HEIF files: photos, and sequences of pictures."""

_DAMAGE = (OSError, ValueError, RuntimeError, EOFError, SyntaxError)
"""Errors that Pillow and libheif raise for a file that they cannot decode."""

_EXIF_READERS = {"mjpeg": JpegImageFile, "png": PngImageFile, "webp": WebPImageFile}  # by FFmpeg's name of the codec
_EXIF_ORIENTATION = 0x0112
_ORIENTATIONS: dict[int, Matrix] = {  # 1 is upright; 5 to 8 swap width and height
    2: (-1, 0, 0, 1),
    3: (-1, 0, 0, -1),
    4: (1, 0, 0, -1),
    5: (0, 1, 1, 0),
    6: (0, 1, -1, 0),
    7: (0, -1, -1, 0),
    8: (0, -1, 1, 0),
}


@dataclass(frozen=True)
class Pictures:
    """An open photo, sequence or animation. No picture is decoded before its frame is requested."""

    width: int
    height: int
    images: Callable[[], Iterator[Image.Image]]
    """Decode the pictures; each is valid until the next."""
    transfer: int = 2
    """FFmpeg's number of the transfer characteristics, which identifies HDR; 2 is unspecified."""
    durations_ms: tuple[int, ...] | None = None
    """How long each frame of an animated WebP is shown; None for photos and AVIF, which FFmpeg can describe."""

    def frames(self) -> Iterator[av.VideoFrame]:
        """Decode each picture as an RGBA frame with its time in milliseconds.

        Raises:
            DamagedError: a picture does not decode, or the file is cut off after those that do.
        """
        images = self.images()
        while True:
            try:
                image = next(images, None)
                pixels = None if image is None else np.asarray(image.convert("RGBA"))
            except _DAMAGE as error:
                raise DamagedError(f"a picture is damaged ({error})") from error
            if image is None or pixels is None:
                return
            frame = av.VideoFrame.from_ndarray(pixels, format="rgba")
            frame.pts, frame.time_base = image.info.get("timestamp", 0), Fraction(1, 1000)
            frame.color_trc = self.transfer
            yield frame


def exif_orientation(file: File, codec: str) -> Matrix | None:
    """Return the orientation in a photo's EXIF data, mirrored ones included; None without one.

    FFmpeg knows it too, but PyAV's `rotation` does not distinguish mirrored from rotated pictures.
    """
    if codec not in _EXIF_READERS:
        return None
    here = file.tell()  # FFmpeg reads on from here, where the file is in memory
    file.seek(0)
    exif = Image.Exif()
    with suppress(*_DAMAGE, UserWarning):  # a warning where a program makes errors of them
        # Not getexif(), which for a PNG decodes the whole picture to look for EXIF data behind it.
        exif.load(_EXIF_READERS[codec](file).info.get("exif", b""))
    file.seek(here)
    return _ORIENTATIONS.get(exif.get(_EXIF_ORIENTATION, 1))


def in_pieces(film: VideoStream, streams: Sequence[VideoStream]) -> bool:
    """Return whether a HEIF file's `film` is less than the picture: one of its tiles, or color without transparency."""
    is_tile = bool(film.disposition & Disposition.dependent) or (film.frames <= 1 and len(streams) > 1)
    return is_tile or any(stream.metadata.get("title") == "Alpha" for stream in streams)


def open_photo(file: File, film: VideoStream) -> Pictures:
    """Open a HEIF file with the decoder for the codec of its stream `film`.

    Raises:
        UnreadableError: no decoder puts the pieces together.
    """
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


def _open_avif(file: File, transfer: int) -> Pictures:
    picture = AvifImageFile(file)

    def images() -> Iterator[Image.Image]:
        for index in range(picture.n_frames):
            picture.seek(index)
            picture.load()
            upright = ImageOps.exif_transpose(picture)
            upright.info["timestamp"] = picture.info["timestamp"]
            yield upright

    width, height = picture.size
    if picture.getexif().get(_EXIF_ORIENTATION, 1) >= 5:
        width, height = height, width
    return Pictures(width, height, images, transfer)


def _open_heic(file: File, transfer: int) -> Pictures:
    import pi_heif  # here, since it takes 0.1 s and few files are HEIC

    picture = pi_heif.open_heif(file)
    return Pictures(*picture.size, lambda: iter([picture.to_pillow()]), transfer)


def open_animation(file: File) -> Pictures | None:
    """Open an animated WebP file; None for other files.

    Pillow composes the frames, but refuses a file that is cut off and knows durations only after decoding. Both are in
    the list of chunks (https://developers.google.com/speed/webp/docs/riff_container): a cut-off file is decoded up to
    its last complete frame.
    """
    file.seek(0)
    head = file.read(30)
    # Byte 20 has the flags; 0x02 is animation.
    is_animated = len(head) == 30 and (head[:4], head[8:16]) == (b"RIFF", b"WEBPVP8X") and head[20] & 0x02
    if not is_animated:
        return None
    durations_ms, num_complete, end = _animation_chunks(file)

    def images() -> Iterator[Image.Image]:
        file.seek(0)
        data = file.read(end)
        # The size in the header is made that of the complete chunks, because Pillow refuses a shorter file.
        picture = WebPImageFile(io.BytesIO(data[:4] + (end - 8).to_bytes(4, "little") + data[8:]))
        for index in range(num_complete):
            picture.seek(index)
            picture.load()
            yield picture
        if num_complete < len(durations_ms):
            raise DamagedError("the file is cut off")

    # Width and height, minus 1, of the canvas.
    width, height = (1 + int.from_bytes(head[begin : begin + 3], "little") for begin in (24, 27))
    return Pictures(width, height, images, durations_ms=tuple(durations_ms))


def _animation_chunks(file: File) -> tuple[list[int], int, int]:
    """Return the duration of each frame in ms, how many frames are complete, and where the last complete chunk ends."""
    num_bytes = file.seek(0, io.SEEK_END)
    durations_ms, num_complete = [], 0
    begin = end = 12  # after "RIFF", the size, "WEBP"
    while begin + 8 <= num_bytes:
        file.seek(begin)
        chunk = file.read(8 + 16)  # name and size; x, y, width, height, duration (3 bytes each) and flags
        size = int.from_bytes(chunk[4:8], "little")
        is_complete = begin + 8 + size <= num_bytes
        begin += 8 + size + size % 2  # chunks are padded to an even length
        if chunk[:4] == b"ANMF" and len(chunk) == 24 and size >= 16:
            durations_ms.append(int.from_bytes(chunk[20:23], "little"))
            num_complete += is_complete
        end = min(begin, num_bytes) if is_complete else end
    return durations_ms, num_complete, end
