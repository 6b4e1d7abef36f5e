"""Names of files: the endings of videos and pictures, and letters that Unicode writes in two ways.

There is one list of endings for folders that are indexed and for data sets. Not in it, although some of them decode:
files that are mostly sound (`ogg`) or something else (`dat`, `swf`), numbers (`264` would be the end of ids that end
with a time), and formats that nothing here decodes (`jxl`, raw photos). A file that is named directly may have any
ending.

A Mac writes the name of a file with "é" as two characters (NFD), keyboards give one (NFC). Files keep their names; a
search takes both for the same.
"""

import os
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path, PurePath

PICTURES = frozenset(
    f".{ending}" for ending in (
        "avif", "bmp", "dib", "heic", "heif", "hif", "j2k", "jfif", "jp2", "jpe", "jpeg", "jpg", "pgm", "png", "pnm",
        "ppm", "qoi", "tga", "tif", "tiff", "webp",
    )
)  # fmt: skip
"""Photos. AVIF and WebP may also be animated."""

VIDEOS = frozenset(
    f".{ending}" for ending in (
        "3g2", "3gp", "3gp2", "3gpp", "3gpp2", "amv", "apng", "asf", "avc", "avi", "bik", "dif", "divx", "dv", "dvr-ms",
        "evo", "f4v", "flc", "fli", "flv", "gif", "gxf", "h261", "h263", "h264", "h265", "hevc", "insv", "ismv", "ivf",
        "lrv", "m1v", "m2p", "m2t", "m2ts", "m2v", "m4v", "mjpeg", "mjpg", "mk3d", "mkv", "mod", "mov", "mp2v", "mp4",
        "mp4v", "mpe", "mpeg", "mpg", "mpg4", "mpv", "mpv2", "mqv", "mts", "mxf", "nsv", "nut", "nuv", "obu", "ogm",
        "ogv", "pva", "qt", "rm", "rmvb", "roq", "smk", "tod", "tp", "trp", "ts", "vc1", "viv", "vob", "vro", "webm",
        "wm", "wmv", "wtv", "xvid", "y4m",
    )
)  # fmt: skip

MEDIA = PICTURES | VIDEOS

BINS = frozenset({
    "#recycle", "#snapshot", "$recycle.bin", "@__thumb", "@eadir", "@recently-snapshot", "@recycle", "@sharebin",
    "@tmp", "__macosx", "files_trashbin", "files_versions", "found.000", "lost+found", "network trash folder",
    "recycle bin", "recycle.bin", "recycled", "recycler", "system volume information", "temporary items",
    "trashbox", "~snapshot",
})  # fmt: skip
"""Folders, in lower case, in which systems and storage devices keep deleted files and their own copies."""


def is_media(name: str) -> bool:
    """Return whether a file's name has the ending of a video or picture, in upper or lower case."""
    return PurePath(name).suffix.lower() in MEDIA


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is hidden from people, or one of the bins."""
    return name.startswith(".") or name.lower() in BINS


def nfc(text: str) -> str:
    """Return the text with composed letters, as people type them."""
    return unicodedata.normalize("NFC", text)


def on_disk(path: str | Path) -> Path:
    """Return the path, or the spelling of it that exists; the path itself if none does."""
    path = Path(path)
    if str(path).isascii() or path.exists():
        return path
    return next((other for other in spellings(Path(path.anchor), path, names_in) if other.exists()), path)


def names_in(folder: Path) -> list[str]:
    """Return the names in a folder; none if it cannot be read."""
    try:
        return os.listdir(folder)
    except OSError:
        return []


def spellings(folder: Path, name: str | PurePath, children: Callable[[Path], Iterable[str]]) -> list[Path]:
    """Return the paths below a folder that differ from `name` only in NFC and NFD, the same spelling first.

    `children` lists the names in a folder; it is called only for letters that can be written in two ways.
    """
    paths = [folder]
    for part in PurePath(name).parts:
        if part.isascii():
            paths = [path / part for path in paths]
        else:
            alike = [(path, other) for path in paths for other in children(path) if nfc(other) == nfc(part)]
            paths = [path / other for path, other in sorted(alike, key=lambda pair: pair[1] != part)]
    return paths
