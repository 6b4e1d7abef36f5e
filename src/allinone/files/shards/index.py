"""An index of packed files: JSON lines in the order of their names, searched on disk and not read into memory.

    ["videos/video7.mp4", "shards/00000.tar", 512, 81234]       name, tar, where its bytes begin, how many
    ["000030012.mp4", null, 1536, 77001, "a cat jumps"]         of a tar that is the folder itself; with a caption

The first name of every few kilobytes is kept; the rest is a map of the file, which processes share.
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
"""A line: name, tar (from the folder, or None), offset, size, and the caption where there is one."""


class Entry(NamedTuple):
    """Where the bytes of a file are: `size` of them in this tar, from `offset` on."""

    name: str
    tar: str
    offset: int
    size: int
    caption: str = ""

    def open(self) -> io.BufferedReader:
        return open_window(self.tar, self.offset, self.size)


class Index:
    """The files that are packed of `folder`, by the paths that they would have there."""

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
        return ValueError(f"{self.path}: damaged at byte {at:,}; remove it, and have it made again")

    def record_at(self, start: int) -> Record:
        try:
            name, tar, offset, size, *caption = json.loads(self.lines[start : self.lines.find(b"\n", start)])
            if leads_out(name) or (tar is not None and leads_out(tar)) or offset < 0 or size < 0:
                raise self.damaged(start)
        except (ValueError, TypeError):
            raise self.damaged(start) from None
        return name, tar, offset, size, *caption

    def records(self, name: str = "") -> Iterator[Record]:
        """Every line, or those from this name on."""
        block = max(bisect_left(self.names, name) - 1, 0)
        start = self.starts[block] if self.starts else len(self.lines)
        while start < len(self.lines):
            record = self.record_at(start)
            if record[0] >= name:
                yield record
            start = self.lines.find(b"\n", start) + 1

    def entry(self, record: Record) -> Entry:
        name, tar, *rest = record
        return Entry(name, self.folder if tar is None else os.path.join(self.folder, tar), *rest)

    def __iter__(self) -> Iterator[Entry]:
        return map(self.entry, self.records())

    def place(self, path: str | Path) -> str | None:
        """What a path is called here; None where it lies elsewhere."""
        path, above = os.path.abspath(path), self.folder.rstrip(os.sep) + os.sep
        if path == self.folder:
            return ""
        return path[len(above) :] if path.startswith(above) else None

    def find(self, path: str | Path) -> Entry | None:
        place = self.place(path)
        block = bisect_right(self.names, place) - 1 if place else -1
        if block < 0:
            return None
        end = self.starts[block + 1] if block + 1 < len(self.starts) else len(self.lines)
        at = self.lines.find(b"\n[" + json.dumps(place).encode() + b",", self.starts[block] - 1, end)
        return self.entry(self.record_at(at + 1)) if at >= 0 else None

    def has_folder(self, folder: str | Path) -> bool:
        return next(self.children(folder), None) is not None

    def children(self, folder: str | Path) -> Iterator[tuple[str, bool]]:
        """The names in a folder, and whether each is a folder; no files of tars that are not there."""
        place = self.place(folder)
        if place is None:
            return
        above = f"{place}/" if place else ""
        records = self.records(above)
        while (record := next(records, None)) and record[0].startswith(above):
            name, is_folder, _ = record[0][len(above) :].partition("/")
            if self.has_tar(record):
                yield name, bool(is_folder)
                if is_folder:
                    records = self.records(f"{above}{name}0")  # "0" comes after "/": the rest of it is passed over

    def has_tar(self, record: Record) -> bool:
        tar = self.entry(record).tar
        if tar not in self.seen:
            self.seen[tar] = os.path.isfile(tar)
        return self.seen[tar]


def leads_out(name: str) -> bool:
    """Whether a name, joined to a folder, may be that of a file outside of it."""
    return name.startswith("/") or "\0" in name or (".." in name and ".." in name.split("/"))


def write_index(path: str | Path, records: Iterable[Record]) -> None:
    """Write it anew; it appears under its name when it is complete."""
    with whole_file(path) as unfinished, unfinished.open("wb") as file:
        file.write(HEADER)
        file.writelines(json.dumps(record).encode() + b"\n" for record in sorted(records, key=lambda r: r[0]))
