"""An index of packed files: JSON lines in the order of their names, searched on disk and not read into memory.

    ["videos/video7.mp4", "shards/00000.tar", 512, 81234]       name, tar, where its bytes begin, how many
    ["000030012.mp4", null, 1536, 77001, "a cat jumps"]         of a tar that is the folder itself; with a caption

The first name of every few kilobytes is kept in memory. The rest is a memory map, which processes share.
"""

import io
import json
import mmap
import os
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from allinone.files.shards.window import open_window
from allinone.files.whole import whole_file

INDEX = "shards.index"
HEADER = b"index of packed files 1\n"
BLOCK = 4096

Record = tuple[Any, ...]
"""A line: name, tar (relative to the folder, or None), offset, size, and the caption if there is one."""


class Entry(NamedTuple):
    """The place of a file: `size` bytes of this tar from `offset` on."""

    name: str
    tar: str
    offset: int
    size: int
    caption: str = ""

    def open(self) -> io.BufferedReader:
        """Open the file in its tar."""
        return open_window(self.tar, self.offset, self.size)


class Index:
    """The packed files of `folder`, by the paths that they would have there."""

    def __init__(self, path: str | Path, folder: str | Path):
        self.path = path
        self.folder = os.path.abspath(folder)
        with open(path, "rb") as file:
            if file.read(len(HEADER)) != HEADER:
                raise self.damaged(0)
            self.lines = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        size = len(self.lines)
        blocks = range(len(HEADER), size, BLOCK)
        self.starts = sorted({self.lines.find(b"\n", at - 1) + 1 for at in blocks} - {0, size})
        self.names = [self.record_at(start)[0] for start in self.starts]
        self.seen: dict[str, bool] = {}

    def damaged(self, at: int) -> ValueError:
        """Return the error of an index that cannot be read at this byte."""
        return ValueError(f"{self.path}: damaged at byte {at:,}; remove it; it is made again")

    def record_at(self, start: int) -> Record:
        """Read the line that begins at this byte."""
        try:
            name, tar, offset, size, *caption = json.loads(self.lines[start : self.lines.find(b"\n", start)])
            if leads_out(name) or (tar is not None and leads_out(tar)) or offset < 0 or size < 0:
                raise self.damaged(start)
        except (ValueError, TypeError):
            raise self.damaged(start) from None
        return name, tar, offset, size, *caption

    def records(self, name: str = "") -> Iterator[Record]:
        """Yield every line, or those from this name on."""
        block = max(bisect_left(self.names, name) - 1, 0)
        start = self.starts[block] if self.starts else len(self.lines)
        while start < len(self.lines):
            record = self.record_at(start)
            if record[0] >= name:
                yield record
            start = self.lines.find(b"\n", start) + 1

    def entry(self, record: Record) -> Entry:
        """Return the place of a line's file."""
        name, tar, *rest = record
        return Entry(name, self.folder if tar is None else os.path.join(self.folder, tar), *rest)

    def __iter__(self) -> Iterator[Entry]:
        return map(self.entry, self.records())

    def relative(self, path: str | Path) -> str | None:
        """Return a path relative to the folder; None if it is outside."""
        path, above = os.path.abspath(path), self.folder.rstrip(os.sep) + os.sep
        if path == self.folder:
            return ""
        return path[len(above) :] if path.startswith(above) else None

    def find(self, path: str | Path) -> Entry | None:
        """Return the place of a file; None if it is not packed here."""
        place = self.relative(path)
        block = bisect_right(self.names, place) - 1 if place else -1
        if block < 0:
            return None
        end = self.starts[block + 1] if block + 1 < len(self.starts) else len(self.lines)
        at = self.lines.find(b"\n[" + json.dumps(place).encode() + b",", self.starts[block] - 1, end)
        return self.entry(self.record_at(at + 1)) if at >= 0 else None

    def has_folder(self, folder: str | Path) -> bool:
        """Return whether there is a file in or below this folder."""
        return next(self.children(folder), None) is not None

    def children(self, folder: str | Path) -> Iterator[tuple[str, bool]]:
        """Yield the names in a folder, and whether each is a folder, without files of missing tars."""
        place = self.relative(folder)
        if place is None:
            return
        above = f"{place}/" if place else ""
        records = self.records(above)
        while (record := next(records, None)) and record[0].startswith(above):
            name, is_folder, _ = record[0][len(above) :].partition("/")
            if self.has_tar(record):
                yield name, bool(is_folder)
                if is_folder:
                    records = self.records(f"{above}{name}0")  # skips the rest of it, since "0" comes after "/"

    def has_tar(self, record: Record) -> bool:
        """Return whether the tar of a line is on disk."""
        tar = self.entry(record).tar
        if tar not in self.seen:
            self.seen[tar] = os.path.isfile(tar)
        return self.seen[tar]


def leads_out(name: str) -> bool:
    """Return whether a name, joined to a folder, may be a path outside of it."""
    return name.startswith("/") or "\0" in name or (".." in name and ".." in name.split("/"))


def write_index(path: str | Path, records: Iterable[Record]) -> None:
    """Write an index, sorted by name, whole or not at all."""
    with whole_file(path) as unfinished, unfinished.open("wb") as file:
        file.write(HEADER)
        file.writelines(json.dumps(record).encode() + b"\n" for record in sorted(records, key=lambda r: r[0]))
