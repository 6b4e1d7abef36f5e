"""How a photo is to be turned: the orientation in its EXIF data."""

import io

from allinone.video.webp import File

Matrix = tuple[int | float, int | float, int | float, int | float]
"""(a, b, c, d): the pixel (x, y) is displayed at (ax + cy, bx + dy)."""

_MARKS = {"mjpeg": (b"Exif\0\0", 6), "png": (b"eXIf", 4), "webp": (b"EXIF", 8)}
"""What stands before EXIF data, by codec, and how many bytes before."""

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


def exif_orientation(file: File, codec: str) -> Matrix | None:
    """The orientation that a photo asks for, mirrored ones included (PyAV's rotation does not tell those apart)."""
    if codec not in _MARKS:
        return None
    mark, skipped = _MARKS[codec]
    file.seek(0)
    if codec == "webp":  # it is at the end
        file.seek(max(0, file.seek(0, io.SEEK_END) - (1 << 16)))
    data = file.read(1 << 16)
    begin = data.find(mark) + skipped
    exif = data[begin:].removeprefix(b"Exif\0\0")
    is_exif = begin >= skipped and exif.startswith((b"II*\0", b"MM\0*"))
    return _orientation_in(exif) if is_exif else None


def _orientation_in(exif: bytes) -> Matrix | None:
    order = "little" if exif[:2] == b"II" else "big"

    def number(at: int, length: int) -> int:
        return int.from_bytes(exif[at : at + length], order)

    entries = number(4, 4)
    for entry in range(entries + 2, entries + 2 + 12 * number(entries, 2), 12):
        if number(entry, 2) == _ORIENTATION:
            return _MATRICES.get(number(entry + 8, 2))
    return None
