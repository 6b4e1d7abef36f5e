"""How a photo is to be turned: the orientation in its EXIF data."""

import io

from allinone.video.webp import File

Matrix = tuple[int | float, int | float, int | float, int | float]
"""(a, b, c, d): the pixel (x, y) is displayed at (ax + cy, bx + dy)."""

EXIF_CODECS = ("mjpeg", "png", "webp")

_ORIENTATION = 0x0112

_MATRICES: dict[int, Matrix] = {
    2: (-1, 0, 0, 1),
    3: (-1, 0, 0, -1),
    4: (1, 0, 0, -1),
    5: (0, 1, 1, 0),
    6: (0, 1, -1, 0),
    7: (0, -1, -1, 0),
    8: (0, -1, 1, 0),
}


def exif_orientation(file: File) -> Matrix | None:
    """The orientation that a photo asks for, mirrored ones included (PyAV's rotation does not tell those apart)."""
    file.seek(0)
    head = file.read(1 << 16)
    file.seek(max(len(head), file.seek(0, io.SEEK_END) - (1 << 16)))
    data = head + file.read()  # WebP has it at the end
    for mark, skipped in ((b"Exif\0\0", 6), (b"eXIf", 4), (b"EXIF", 8)):  # JPEG, PNG, WebP
        begin = data.find(mark) + skipped
        if begin >= skipped and data[begin : begin + 4] in (b"II*\0", b"MM\0*"):
            return _orientation_in(data[begin:])
    return None


def _orientation_in(exif: bytes) -> Matrix | None:
    order = "little" if exif[:2] == b"II" else "big"

    def number(at: int, length: int) -> int:
        return int.from_bytes(exif[at : at + length], order)

    entries = number(4, 4)
    for entry in range(entries + 2, entries + 2 + 12 * number(entries, 2), 12):
        if number(entry, 2) == _ORIENTATION:
            return _MATRICES.get(number(entry + 8, 2))
    return None
