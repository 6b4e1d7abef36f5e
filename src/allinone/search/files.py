"""Video files: which there are, in what state, and which content."""

import glob
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = frozenset(
    f".{ending}" for ending in (
        "3gp", "avi", "flv", "gif", "m2ts", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "mts", "ogv", "ts", "webm",
        "webp", "wmv",
    )
)  # fmt: skip
"""What counts as a video in a folder. A file that is named itself may have any suffix."""


@dataclass(frozen=True)
class VideoFile:
    """A file and the state that it was found in: while both stay, it counts as unchanged and is not read again."""

    path: str
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> "VideoFile":
        str(path).encode()  # raises where the name is no UTF-8, which the table could not hold
        stat = path.stat()
        if path.is_dir():
            os.listdir(path)  # raises why this folder could not be walked
        return cls(str(path), stat.st_size, stat.st_mtime_ns)

    @property
    def state(self) -> tuple[int, int]:
        return self.size, self.mtime_ns

    def content(self) -> str:
        """BLAKE2b of all bytes: at some 1 GB/s little beside decoding and embedding, and no two videos share it."""
        with open(self.path, "rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def find_videos(paths: str | Path | Sequence[str | Path]) -> list[Path]:
    """Absolute paths, each once: files that are named, videos in folders (not in hidden ones), and what globs match.

    A path that exists is taken as it is, also with `*` or `[` in its name. A folder that cannot be read is in the list
    itself, so that it fails by name like a file.
    """
    named = [Path(p) for p in ([paths] if isinstance(paths, str | Path) else paths)]
    found: dict[Path, None] = {}
    missing = []
    for path in named:
        matches = [path] if os.path.exists(path) else [Path(p) for p in sorted(glob.glob(str(path), recursive=True))]
        if not matches:
            missing.append(printable(path))
        for match in matches:
            for file in videos_under(match) if match.is_dir() else [match]:
                found[Path(os.path.abspath(file))] = None
    if missing:
        raise ValueError(f"no such file or folder: {', '.join(missing)}")
    if not found:
        folders = ", ".join(map(printable, named)) or "nothing, since no path was given"
        raise ValueError(f"no videos in {folders}; looked for files ending in {' '.join(sorted(SUFFIXES))}")
    return list(found)


def videos_under(folder: Path) -> Iterator[Path]:
    unreadable: list[OSError] = []
    # Links to folders are not followed, so there are no circles.
    for parent, folders, files in os.walk(folder, onerror=unreadable.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                yield Path(parent, name)
    yield from (Path(error.filename) for error in unreadable)


def printable(path: str | Path) -> str:
    """A path as text, also where its bytes are no UTF-8."""
    return os.fsencode(path).decode(errors="replace")
