"""Find video files, and know them by size, modification time and content."""

import glob
import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from allinone.video.names import BINS, MEDIA, is_hidden, is_media, on_disk

MAX_ENDINGS = 8
"""Endings that a message lists."""


@dataclass(frozen=True)
class VideoFile:
    """A file with its size and modification time; while these stay, it counts as unchanged and is not read again."""

    path: str
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> "VideoFile":
        str(path).encode()  # raises UnicodeEncodeError if the name is not UTF-8, which the table could not store
        stat = path.stat()
        if path.is_dir():
            os.listdir(path)  # raises the reason why this folder could not be walked
        return cls(str(path), stat.st_size, stat.st_mtime_ns)

    @property
    def state(self) -> tuple[int, int]:
        return self.size, self.mtime_ns

    def content(self) -> str:
        """Return BLAKE2b of all bytes. At about 1 GB/s it takes little time compared with decoding and embedding."""
        with open(self.path, "rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


@dataclass(frozen=True)
class Listing:
    """The files below some paths."""

    files: list[Path]
    """Videos and pictures, absolute, each once."""
    folders: list[Path]
    """The given paths that are folders."""
    others: Counter[str]
    """Files of other kinds, by ending."""
    hidden: Counter[str]
    """Videos and pictures in bins and hidden folders, and hidden ones (`._a.mp4` of a Mac), by ending."""


def find_videos(paths: str | Path | Sequence[str | Path]) -> list[Path]:
    """Return the `files` of `list_files`; ValueError if there are none."""
    listing = list_files(paths)
    if not listing.files:
        raise no_videos(listing)
    return listing.files


def no_videos(listing: Listing) -> ValueError:
    """Return the error that no videos were found, with counts of the files that were."""
    folders = ", ".join(map(printable, listing.folders)) or "nothing, since no path was given"
    left = f"; other files there: {by_ending(listing.others)}" if listing.others else ""
    hidden = f"; in bins and hidden folders: {by_ending(listing.hidden)}" if listing.hidden else ""
    endings = f"looked for files ending in .mp4, .mkv, .jpg, .heic and {len(MEDIA) - 4} more"
    return ValueError(f"no videos in {folders}; {endings}{left}{hidden}")


def list_files(paths: str | Path | Sequence[str | Path], without: Path | None = None) -> Listing:
    """List files given by name, videos and pictures in folders, and matches of globs.

    An existing path is taken literally, also with `*` or `[` in its name. Links to folders are followed; each folder is
    walked once, under its own path rather than that of a link. Bins and hidden folders are skipped, unless one of them
    is the only path given; so is the folder `without`. A folder that cannot be read is listed itself, so that it is
    reported by name like a file.

    Raises:
        ValueError: a path does not exist.
    """
    # 1. The index's own folder counts as walked: it may be in the folder that is added, and its files are none of the
    # user's.
    named = [Path(p) for p in ([paths] if isinstance(paths, str | Path) else paths)]
    walk, missing = Walk(), []
    walk.seen.update([] if without is None else [os.path.realpath(without)])
    # 2. Everything but links to files and folders; those wait until it is known what else was found.
    for path in named:
        matches = existing(path)
        if not matches:
            missing.append(printable(path))
        for match in matches:
            if not match.is_dir():
                walk.files[Path(os.path.abspath(match))] = None
            elif match.name.lower() in BINS and len(named) > 1:  # from a `*` that the shell expanded
                walk.count_hidden(match)
            else:
                walk.folders.append(Path(os.path.abspath(match)))
                walk.enter(walk.folders[-1])
    if missing:
        raise ValueError(f"no such file or folder: {', '.join(missing)}")
    # 3. Links at last, so that a file is listed by its own path if it has one among the given folders.
    walk.follow_links()
    return Listing(list(walk.files), walk.folders, walk.others, walk.hidden)


def existing(path: Path) -> list[Path]:
    """Return the path if it exists, maybe in another Unicode form; or else its matches as a glob, except in bins."""
    path = on_disk(path)
    if os.path.exists(path):
        return [path]
    matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
    return [match for match in matches if not BINS & {part.lower() for part in set(match.parts) - set(path.parts)}]


class Walk:
    """A walk through folders: the files found until now, and the links to follow at the end."""

    def __init__(self):
        self.files: dict[Path, None] = {}
        self.folders: list[Path] = []
        self.others: Counter[str] = Counter()
        self.hidden: Counter[str] = Counter()
        self.seen: set[str] = set()
        self.links: list[Path] = []
        self.file_links: list[Path] = []

    def enter(self, folder: Path) -> None:
        """Take all files below a folder, except in folders that were walked before, bins and hidden folders."""
        unreadable: list[OSError] = []  # folders, which `os.walk` would skip silently
        for parent, folders, names in os.walk(folder, onerror=unreadable.append):
            real = os.path.realpath(parent)
            if real in self.seen:
                folders.clear()  # `os.walk` enters the folders that stay in this list
                continue
            self.seen.add(real)
            inner = [(name, Path(parent, name)) for name in sorted(folders)]
            folders[:] = [name for name, path in inner if not is_hidden(name) and not path.is_symlink()]
            for name, path in inner:
                if path.is_symlink():
                    self.links += [] if is_hidden(name) else [path]
                elif is_hidden(name):
                    self.count_hidden(path)
            for name in sorted(names):
                self.take(Path(parent, name))
        # As files, so that each is reported by name with its cause.
        self.files |= dict.fromkeys(Path(error.filename) for error in unreadable)

    def take(self, path: Path) -> None:
        """Take one file: as a video or picture, as a link to look at later, or into one of the counts."""
        if path.name.startswith("."):
            self.hidden.update([path.suffix.lower()] if is_media(path.name) else [])
        elif not is_media(path.name):
            self.others[path.suffix.lower()] += 1
        elif path.is_symlink():
            self.file_links.append(path)
        else:
            self.files[path] = None

    def follow_links(self) -> None:
        """Take the files behind links, unless they were found under their own path."""
        # A folder behind a link may contain further links, which `enter` appends.
        while self.links:
            link = self.links.pop(0)
            target = os.path.realpath(link)
            if not Path(os.path.realpath(link.parent)).is_relative_to(target):  # otherwise it is a loop
                self.enter(link)
        real = {os.path.realpath(path) for path in self.files}  # a film library may link one film from many folders
        for link in self.file_links:
            target = os.path.realpath(link)
            if target not in real:
                real.add(target)
                self.files[link] = None

    def count_hidden(self, folder: Path) -> None:
        for _, _, names in os.walk(folder):
            self.hidden.update(PurePath(name).suffix.lower() for name in names if is_media(name))


def by_ending(counts: Mapping[str, int]) -> str:
    """Return counts of files in words, the most frequent endings first."""
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    shown = [f"{printable(ending) or 'no ending'} {count}" for ending, count in ordered[:MAX_ENDINGS]]
    return ", ".join([*shown, "..."] if len(ordered) > MAX_ENDINGS else shown)


def printable(path: str | Path) -> str:
    """Return a path as text, with replacement characters for bytes that are not UTF-8."""
    return os.fsencode(path).decode(errors="replace")
