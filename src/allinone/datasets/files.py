"""Annotation files and videos as they are met in the wild: in other folders, packed, with BOMs, without extensions.

What is harmless is read as it was meant: a BOM, Windows line ends, blank lines at the end, a header in capitals, an id
with or without its extension. What is not is a ValueError that names file and line. A text that is no UTF-8 is read
as Windows-1252, and said so.
"""

import codecs
import csv
import gzip
import io
import json
import logging
import math
import os
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property, partial
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from allinone.datasets.streamed import list_values, object_members
from allinone.shards import Tree
from allinone.video.names import is_hidden, is_media, nfc, spellings

log = logging.getLogger(__name__)
T = TypeVar("T")

DEPTH = 2
"""Annotation files are looked for so many folders below the root."""

csv.field_size_limit(1 << 24)


class MissingFile(ValueError):
    """An annotation file that is not there."""


@dataclass(frozen=True)
class Annotation:
    """An annotation file, which may be a member of a zip archive or compressed with gzip."""

    path: Path
    member: str | None = None

    def __str__(self) -> str:
        return f"{self.path}:{self.member}" if self.member else str(self.path)

    @property
    def name(self) -> str:
        """What the file is called, in lower case and without folders and `.gz`."""
        return PurePosixPath(self.member or self.path.name).name.lower().removesuffix(".gz")

    @contextmanager
    def open(self) -> Iterator[Any]:
        try:
            with ExitStack() as opened:
                if self.member:
                    archive = opened.enter_context(zipfile.ZipFile(self.path))
                    yield opened.enter_context(archive.open(self.member))
                elif self.path.suffix == ".gz":
                    yield opened.enter_context(gzip.open(self.path))
                else:
                    yield opened.enter_context(self.path.open("rb"))
        except (OSError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{self}: cannot be read ({error})") from error

    @cached_property
    def encoding(self) -> str:
        decoder, line = codecs.getincrementaldecoder("utf-8")(), 1
        with self.open() as file:
            pieces = iter(partial(file.read, 1 << 20), b"")
            for number, piece in enumerate(chain(pieces, [b""])):  # nothing more: is the last character whole?
                if number == 0 and piece.startswith((b"\xff\xfe", b"\xfe\xff")):
                    return "utf-16"
                try:
                    decoder.decode(piece, final=not piece)
                except UnicodeDecodeError as error:
                    line += error.object.count(b"\n", 0, error.start)
                    log.warning("%s: line %d is not UTF-8; read as Windows-1252", self, line)
                    return "cp1252"
                line += piece.count(b"\n")
        return "utf-8-sig"

    @contextmanager
    def decoded(self) -> Iterator[io.TextIOWrapper]:
        with self.open() as file, io.TextIOWrapper(file, self.encoding, errors="replace", newline="") as text:
            yield text

    def stream(self) -> Iterator[str]:
        """The lines with their ends, one after another: for files that are larger than memory."""
        with self.decoded() as text:
            yield from text

    def text(self) -> str:
        return "".join(self.stream())

    def numbered(self) -> Iterator[tuple[int, str]]:
        """Lines that are not blank, one after another, with their numbers and without their ends."""
        lines = ((number, line.rstrip("\r\n")) for number, line in enumerate(self.stream(), start=1) if line.strip())
        return self.some(lines)

    def lines(self) -> list[str]:
        """Lines that are not blank, without white space around them."""
        return [line.strip() for _, line in self.numbered()]

    def some(self, records: Iterable[T]) -> Iterator[T]:
        """The records; a file without any, as a download that failed leaves it, is an error."""
        none = True
        for record in records:
            none = False
            yield record
        if none:
            raise ValueError(f"{self}: there are no records in it; download it again")

    def json(self) -> Any:
        try:
            return json.loads(self.text())
        except json.JSONDecodeError as error:
            raise ValueError(f"{self}: line {error.lineno}: not JSON ({error.msg})") from error

    def members(self) -> Iterator[tuple[str, Any]]:
        """Names and values of one JSON object that may be larger than memory, one after another."""
        with self.decoded() as text:
            yield from self.some(self.parsed(object_members(text)))

    def parsed(self, values: Iterator[T]) -> Iterator[T]:
        try:
            yield from values
        except ValueError as error:
            raise ValueError(f"{self}: {error}") from error

    def objects(self, *names: str) -> Iterator[dict[str, Any]]:
        """The objects of a JSON Lines file, one after another, or of a JSON list; each must have these names."""
        for place, record in self.values():
            yield self.checked(record, f"record {place}", names)

    def under(self, name: str, *names: str) -> Iterator[dict[str, Any]]:
        """The objects of the list `name` in one JSON object; each must have these names."""
        content = self.json()
        if not isinstance(content, dict) or not isinstance(content.get(name), list):
            raise ValueError(f"{self}: wanted an object with a list {name!r}")
        for place, record in enumerate(content[name], start=1):
            yield self.checked(record, f"{name}, record {place}", names)

    def checked(self, record: Any, place: str, names: Iterable[str]) -> dict[str, Any]:
        """The record, which must be an object and have something under these names."""
        if not isinstance(record, dict):
            raise ValueError(f"{self}: {place}: wanted an object, got {record!r:.40}")
        if missing := [name for name in names if record.get(name) is None]:
            has = ", ".join(name for name, value in record.items() if value is not None)
            raise ValueError(f"{self}: {place} has no {', '.join(missing)}; it has: {has}")
        return record

    def values(self) -> Iterator[tuple[int, Any]]:
        """What a JSON Lines file or a JSON list holds, with line or place."""
        with self.decoded() as text:
            if text.read(100).lstrip().startswith("["):
                text.seek(0)
                yield from self.some(enumerate(self.parsed(list_values(text)), start=1))
                return
        for line, content in self.numbered():
            try:
                value = json.loads(content)
            except json.JSONDecodeError as error:
                raise ValueError(f"{self}: line {line}: not JSON ({error.msg})") from error
            yield line, value

    def records(self, *names: str) -> list[dict[str, Any]]:
        """All `objects`."""
        return list(self.objects(*names))

    def rows(
        self,
        *columns: str,
        delimiter: str = ",",
        header: Sequence[str] | None = None,
        may_be_empty: Sequence[str] = (),
    ) -> Iterator[dict[str, str]]:
        """The rows of a csv file by column, one after another, names in lower case.

        `columns` must be there and filled, those that `may_be_empty` must be there. `header` names the columns of a
        file that has no line for that.
        """
        lines = csv.reader(self.stream(), delimiter=delimiter)
        filled = (fields for fields in lines if any(map(str.strip, fields)))
        names = [name.strip().lower() for name in (header or next(self.some(filled)))]
        if missing := [column for column in (*columns, *may_be_empty) if column not in names]:
            raise ValueError(f"{self}: no column {', '.join(missing)}; there are: {', '.join(names)}")
        for fields in self.some(filled):
            if len(fields) != len(names):
                raise ValueError(f"{self}: line {lines.line_num}: {len(fields)} fields, but {len(names)} columns")
            row = {name: value.strip() for name, value in zip(names, fields, strict=True)}
            if empty := [column for column in columns if not row[column]]:
                raise ValueError(f"{self}: line {lines.line_num}: nothing in column {', '.join(empty)}")
            yield row


def find(root: Path, *names: str) -> Annotation:
    """The first of these annotation files that is under the root; MissingFile tells what was looked for, and where.

    A name may be a glob pattern. Folders are searched from the top, to a depth of two, then the zip archives there;
    case does not matter, and `.gz` may be added.
    """
    root = Path(root)
    if not root.is_dir():
        raise MissingFile(f"{root}: there is no such folder")
    files = annotation_files(root)
    archives = matching(files, "*.zip")
    for name in names:
        if found := matching(files, name, f"{name}.gz"):
            if len(found) > 1:
                log.warning("%s: read, of %d files %s below %s", found[0], len(found), name, root)
            return Annotation(found[0])
        for archive in archives:
            if member := find_member(archive, name):
                return Annotation(archive, member)
    raise MissingFile(f"{root}: no annotation file {' or '.join(names)} there, nor up to {DEPTH} folders below")


def find_some(root: Path, *names: str) -> list[Annotation]:
    """Those of the annotation files that are there; maybe none."""
    found = []
    for name in names:
        with suppress(MissingFile):
            found.append(find(root, name))
    return found


def find_all(root: Path, pattern: str) -> list[Annotation]:
    """Every annotation file of the name (a glob pattern), by path; maybe none."""
    return [Annotation(path) for path in matching(annotation_files(Path(root)), pattern)]


def matching(files: Sequence[Path], *patterns: str) -> list[Path]:
    """Files whose name, in any case, fits one of the patterns; those of the first pattern first."""
    return [path for wanted in patterns for path in files if fnmatchcase(path.name.lower(), wanted.lower())]


def annotation_files(root: Path) -> list[Path]:
    """Every file of the annotation folders, by folder and name; not the hidden ones that a Mac puts beside others."""
    files = (path for folder in annotation_folders(root) for path in sorted(folder.iterdir()) if path.is_file())
    return [path for path in files if not path.name.startswith(".")]


def annotation_folders(root: Path) -> Iterator[Path]:
    """The root and the folders below it, level by level; not those that hold a great many folders (classes, frames)."""
    level = [root]
    for _ in range(DEPTH + 1):
        yield from level
        inner = [sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")) for folder in level]
        level = [path for paths in inner if len(paths) <= 50 for path in paths]


def find_member(archive: Path, name: str) -> str | None:
    try:
        with zipfile.ZipFile(archive) as opened:
            members = opened.namelist()
    except (OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{archive}: cannot be read ({error}); download it again") from error
    own = (m for m in members if "__MACOSX" not in m)
    return next((m for m in own if PurePosixPath(m.lower()).match(name.lower())), None)


@dataclass
class Videos:
    """Where the video of an id lies: in one of `folders` under the root (or in the root), whatever its extension.
    It may be packed in shards.

    A file that is not there gets the path at which it is expected, with `suffix`. `search_below=False`, for collections
    of millions, looks only for the very path.
    """

    root: Path
    folders: Sequence[str] = ("videos", "clips", "images")
    suffix: str = ".mp4"
    search_below: bool = True
    by_name: dict[str, list[Path]] | None = field(default=None, repr=False)
    listed: dict[Path, list[str]] = field(default_factory=dict, repr=False)

    def __post_init__(self):
        self.root = Path(self.root)
        self.tree = Tree(self.root)
        there = [self.root / folder for folder in self.folders if self.tree.is_dir(self.root / folder)]
        self.places = there or [self.root]
        self.expected = there[0] if there else self.root / self.folders[0]

    def path(self, video: str, *others: str) -> Path:
        """The file called `video` (with or without folders and extension), or else by one of the `others` names."""
        for name in (video, *others):
            for place in self.places:
                for path in (place / name, place / (name + self.suffix)):
                    if self.tree.is_file(there := self.spelled(path)):
                        return there
        for name in (video, *others) if self.search_below else ():
            if found := self.search(name):
                return found
        return self.expected / (video if is_media(video) else video + self.suffix)

    def spelled(self, path: Path) -> Path:
        """The path as it is written on disk, with composed letters or not (NFC, NFD); where there is none, itself."""
        if str(path).isascii() or self.tree.is_file(path):
            return path
        folder = self.root if path.is_relative_to(self.root) else Path(path.anchor)
        others = spellings(folder, path.relative_to(folder), self.names_in)
        return next((other for other in others if self.tree.is_file(other)), path)

    def names_in(self, folder: Path) -> list[str]:
        if folder not in self.listed:
            is_there = self.tree.is_dir(folder)
            self.listed[folder] = [path.name for path, _ in self.tree.children(folder)] if is_there else []
        return self.listed[folder]

    def search(self, name: str) -> Path | None:
        if self.by_name is None:
            self.by_name = {}
            for place in self.places:
                for path in media_files(place, self.tree):
                    self.by_name.setdefault(nfc(bare(path.name)).lower(), []).append(path)
        alike = self.by_name.get(nfc(bare(name)).lower(), [])
        exact = [path for path in alike if bare(path.name) == bare(name)]
        exact = exact or [path for path in alike if nfc(bare(path.name)) == nfc(bare(name))]  # YouTube's differ by case
        found = [path for path in exact if path.as_posix().endswith(f"/{name}")] or exact or alike
        if len({bare(path.name) for path in found}) > 1:
            raise ValueError(f"which one is {name!r}? {', '.join(map(str, found[:3]))}")
        return found[0] if found else None


def media_files(folder: Path, tree: Tree, above: tuple[str, ...] = ()) -> Iterator[Path]:
    """Every video and image below a folder, by name; hidden ones, and those in bins, are left out."""
    above = (*above, os.path.realpath(folder))
    for path, is_folder in tree.children(folder):
        if is_hidden(path.name):
            continue
        if is_folder:
            if not path.is_symlink() or os.path.realpath(path) not in above:  # else it leads round in a circle
                yield from media_files(path, tree, above)
        elif is_media(path.name):
            yield path


def bare(name: str) -> str:
    """The name of a video without its folders and extension."""
    path = PurePosixPath(name)
    return path.stem if is_media(name) else path.name


def as_mp4(path: Path) -> Path:
    """Where the video is that `allinone data prepare` makes of one."""
    return path.with_name(f"{bare(path.name)}.mp4")


def tidy(text: str) -> str:
    """A text with single spaces, and none around it."""
    return " ".join(text.split())


def parse_seconds(value: object) -> float | None:
    """A time, which may be written as a number or as a text; None where there is none."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        seconds = math.nan if isinstance(value, bool) or not isinstance(value, str | int | float) else float(value)
    except (ValueError, OverflowError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(f"must be a number of seconds, at least 0; got {value!r}")
    return seconds


def parse_span(start: object, end: object, place: str) -> tuple[float, float]:
    """Start and end of a part of a video; `place` tells where they stand."""
    try:
        first, last = parse_seconds(start), parse_seconds(end)
    except ValueError as error:
        raise ValueError(f"{place}: a time {error}") from None
    if first is None or last is None or last <= first:
        raise ValueError(f"{place}: wanted a start and a later end in seconds, got {start!r} and {end!r}")
    return first, last


def in_order_of_time(sentences: Iterable[tuple[float, float, str]]) -> str:
    """One paragraph of sentences with their spans (start, end, text), as paragraph retrieval reads them."""
    return " ".join(tidy(text) for _, _, text in sorted(sentences, key=lambda s: (s[0], s[1])))
