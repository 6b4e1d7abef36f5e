"""Annotation files and videos as they are met in the wild: in other folders, packed, with BOMs, without extensions.

What is harmless is read as it was meant: a BOM, Windows line ends, blank lines at the end, a header in capitals, an id
with or without its extension. What is not is a ValueError that names file and line. A text that is no UTF-8 is read
as Windows-1252, and said so.
"""

import codecs
import csv
import gzip
import io
import logging
import math
import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property, partial
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from allinone.datasets.records import MAX_SHOWN, Record, listing, shown, tidy
from allinone.datasets.streamed import list_under, list_values, object_members, parse
from allinone.files.shards import Tree
from allinone.video.names import is_hidden, is_media, nfc, spellings

log = logging.getLogger(__name__)
T = TypeVar("T")

DEPTH = 2
"""Annotation files are looked for so many folders below the root."""

MAX_LINE = 1 << 24
"""Characters of one line. Lines of real files have some thousands."""

MAX_WHOLE = 1 << 28
"""Characters of a file that is read as a whole. The largest real one, of SBU, has some 200 million."""

MAX_RATIO, MIN_UNPACKED = 100, 1 << 24
"""A packed file may unpack to so many times its size, or to so many bytes (16 MB). Real annotations reach 20 times."""

MAX_COLUMNS = 1000

csv.field_size_limit(MAX_LINE)


class MissingFile(ValueError):
    """An annotation file that is not there."""


@dataclass(frozen=True)
class Annotation:
    """An annotation file, which may be a member of a zip archive or compressed with gzip."""

    path: Path
    member: str | None = None

    def __str__(self) -> str:
        return self.label

    @cached_property
    def label(self) -> str:
        return f"{self.path}:{self.member}" if self.member else str(self.path)

    @property
    def name(self) -> str:
        """What the file is called, in lower case and without folders and `.gz`."""
        return PurePosixPath(self.member or self.path.name).name.lower().removesuffix(".gz")

    def error(self, problem: str) -> ValueError:
        return ValueError(f"{self}: {problem}")

    @contextmanager
    def open(self) -> Iterator[Any]:
        try:
            with ExitStack() as opened:
                yield opened.enter_context(self.unpacked(opened))
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise self.error(f"cannot be read ({error})") from error

    def unpacked(self, opened: ExitStack) -> Any:
        """The bytes of the file, which end with an error where they are far more than the packed file suggests."""
        if not self.member and self.path.suffix != ".gz":
            return self.path.open("rb")
        packed_bytes = self.path.stat().st_size
        if self.member:
            archive = opened.enter_context(zipfile.ZipFile(self.path))
            try:
                file = opened.enter_context(archive.open(self.member))
            except (NotImplementedError, RuntimeError) as error:  # encrypted, or of a kind that Python does not unpack
                raise self.error(f"cannot be read ({error})") from error
            packed_bytes = min(packed_bytes, archive.getinfo(self.member).compress_size)
        else:
            file = opened.enter_context(gzip.GzipFile(self.path))
        limit = max(MIN_UNPACKED, MAX_RATIO * packed_bytes)
        too_many = self.error(f"{packed_bytes:,} packed bytes unpack to more than {limit:,}; unpack it to read it")
        return io.BufferedReader(Bounded(file, limit, too_many))

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
            for number, line in enumerate(iter(partial(text.readline, MAX_LINE), ""), start=1):
                if len(line) == MAX_LINE:
                    raise self.error(f"line {number} has more than {MAX_LINE:,} characters")
                yield line

    def text(self) -> str:
        with self.decoded() as text:
            content = text.read(MAX_WHOLE + 1)
        if len(content) > MAX_WHOLE:
            raise self.error(f"more than {MAX_WHOLE:,} characters; too large to be read as a whole")
        return content

    def first_line(self) -> str:
        """The first line that is not blank."""
        return next(line for _, line in self.numbered())

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
            raise self.error("there are no records in it; download it again")

    def json(self) -> Any:
        try:
            return parse(self.text())
        except ValueError as error:
            raise self.named(error) from error

    def object(self) -> Record:
        """The one JSON object that the file is."""
        content = self.json()
        if not isinstance(content, dict):
            raise self.error(f"wanted an object, got {shown(content)}")
        return Record(content, str(self))

    def named(self, error: ValueError) -> ValueError:
        """The error with the name of the file before it, unless it is there."""
        return error if str(error).startswith(str(self)) else self.error(str(error))

    def members(self) -> Iterator[tuple[str, Record]]:
        """Names and values of one JSON object that may be larger than memory; each value must be an object."""
        for name, value in self.values_by_name():
            yield name, self.checked(value, name)

    def values_by_name(self) -> Iterator[tuple[str, Any]]:
        """Names and values of one JSON object, one after another. A name that occurs twice is an error."""
        with self.decoded() as text:
            yield from self.some(self.parsed(object_members(text)))

    def parsed(self, values: Iterator[T]) -> Iterator[T]:
        try:
            yield from values
        except ValueError as error:
            raise self.named(error) from error

    def objects(self, *names: str) -> Iterator[Record]:
        """The objects of a JSON Lines file, one after another, or of a JSON list; each must have these names."""
        for place, record in self.values():
            yield self.checked(record, f"record {place}", names)

    def under(self, name: str, *names: str) -> Iterator[Record]:
        """The objects of the list `name` in one JSON object, one after another; each must have these names."""
        with self.decoded() as text:
            for place, record in enumerate(self.some(self.parsed(list_under(text, name))), start=1):
                yield self.checked(record, f"{name}, record {place}", names)

    def checked(self, record: Any, place: str, names: Iterable[str] = ()) -> Record:
        """The record, which must be an object and have something under these names."""
        where = f"{self.label}: {place if len(place) <= 100 else shown(place)}"
        if not isinstance(record, dict):
            raise ValueError(f"{where}: wanted an object, got {shown(record)}")
        checked = Record(record, where)
        if missing := [name for name in names if record.get(name) is None]:
            raise checked.lacks(", ".join(missing))
        return checked

    def values(self) -> Iterator[tuple[int, Any]]:
        """What a JSON Lines file or a JSON list holds, with line or place."""
        with self.decoded() as text:
            is_list = text.read(100).lstrip().startswith("[")
        if is_list:
            with self.decoded() as text:
                yield from self.some(enumerate(self.parsed(list_values(text)), start=1))
            return
        for line, content in self.numbered():
            try:
                value = parse(content)
            except ValueError as error:
                raise self.error(f"line {line}: {str(error).removeprefix('line 1: ')}") from error
            yield line, value

    def rows(
        self,
        *columns: str,
        delimiter: str = ",",
        header: Sequence[str] | None = None,
        may_be_empty: Sequence[str] = (),
    ) -> Iterator[Record]:
        """The rows of a csv file by column, one after another, names in lower case and values texts.

        `columns` must be there and filled, those that `may_be_empty` must be there. `header` names the columns of a
        file that has no line for that. A file that ends within quotes or within a row is an error.
        """
        lines = self.fields(delimiter)
        names = [name.strip().lower() for name in (header or next(self.some(lines))[1])]
        if len(names) > MAX_COLUMNS:
            raise self.error(f"{len(names):,} columns; there may be {MAX_COLUMNS:,}")
        if missing := [column for column in (*columns, *may_be_empty) if column not in names]:
            raise self.error(f"no column {', '.join(missing)}; there are: {listing(names)}")
        if twice := [name for name, count in Counter(names).items() if count > 1 and name]:
            raise self.error(f"column {listing(twice)} is there twice")
        for line, fields in self.some(lines):
            if len(fields) != len(names):
                raise self.error(f"line {line}: {len(fields):,} fields, but {len(names)} columns")
            row = Record(dict(zip(names, map(str.strip, fields), strict=True)), f"{self}: line {line}")
            if empty := [column for column in columns if not row[column]]:
                raise self.error(f"line {line}: nothing in column {', '.join(empty)}")
            yield row

    def fields(self, delimiter: str) -> Iterator[tuple[int, list[str]]]:
        """The fields of each line of a csv file that is not blank, with its number."""
        end = "\x04"  # a last line, which becomes a part of the text where quotes are open
        lines = csv.reader(chain(self.stream(), [end]), delimiter=delimiter)
        try:
            for fields in lines:
                if fields and fields[-1].endswith(end) and fields != [end]:
                    raise self.error("ends within a text in quotes; it is cut short, or a quote is not closed")
                if fields != [end] and any(map(str.strip, fields)):
                    yield lines.line_num, fields
        except csv.Error as error:
            raise self.error(f"line {lines.line_num}: not CSV ({error})") from error


class Bounded(io.RawIOBase):
    """A stream that raises an error once it has given more than so many bytes."""

    def __init__(self, file: Any, max_bytes: int, error: ValueError):
        self.file, self.left, self.error = file, max_bytes, error

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self.file.read(min(len(buffer), 1 << 20))
        self.left -= len(content)
        if self.left < 0:
            raise self.error
        buffer[: len(content)] = content
        return len(content)


def find(root: Path, *names: str) -> Annotation:
    """The first of these annotation files that is under the root; MissingFile tells what was looked for, and where.

    A name may be a glob pattern. Folders are searched from the top, to a depth of two, then the zip archives there;
    case does not matter, and `.gz` may be added.
    """
    for file in candidates(root, *names):
        return file
    wanted = " or ".join(names) if len(names) <= MAX_SHOWN else listing(names)
    raise MissingFile(f"{root}: no annotation file {wanted} there, nor up to {DEPTH} folders below")


def candidates(root: Path, *names: str) -> Iterator[Annotation]:
    """The annotation files of these names (`folder/name` asks for the folder, too), in the order of `find`."""
    root = Path(root)
    if not root.is_dir():
        raise MissingFile(f"{root}: there is no such folder")
    files = annotation_files(root)
    archives = matching(files, "*.zip")
    for name in names:
        if found := matching(files, name, f"{name}.gz"):
            if len(found) > 1:
                log.warning("%s: read, of %d files %s below %s", found[0], len(found), name, root)
            yield Annotation(found[0])
        for archive in archives:
            if member := find_member(archive, name):
                yield Annotation(archive, member)


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
    """Files whose name, in any case, fits one of the patterns; those of the first pattern first.

    A pattern with folders is about the folders that the file lies in, too.
    """
    return [path for wanted in patterns for path in files if fits(path, wanted)]


def fits(path: Path, pattern: str) -> bool:
    wanted = pattern.lower().split("/")
    names = [name.lower() for name in path.parts[-len(wanted) :]]
    return len(names) == len(wanted) and all(map(fnmatchcase, names, wanted))


def annotation_files(root: Path) -> list[Path]:
    """Every file of the annotation folders, by folder and name; not the hidden ones that a Mac puts beside others."""
    files = (path for folder in annotation_folders(root) for path in sorted(folder.iterdir()) if path.is_file())
    return [path for path in files if not path.name.startswith(".")]


def annotation_folders(root: Path) -> Iterator[Path]:
    """The root and the folders below it, level by level; not those that hold a great many folders (classes, frames)."""
    level = [root]
    for _ in range(DEPTH + 1):
        yield from level
        inner = [sorted(p for p in folder.iterdir() if p.is_dir() and not is_hidden(p.name)) for folder in level]
        level = [path for paths in inner if len(paths) <= 50 for path in paths]


def find_member(archive: Path, name: str) -> str | None:
    try:
        with zipfile.ZipFile(archive) as opened:
            members = opened.namelist()
    except (OSError, NotImplementedError, zipfile.BadZipFile) as error:
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
            raise ValueError(f"which one is {shown(name)}? {', '.join(map(str, found[:3]))}")
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


def parse_seconds(value: object) -> float | None:
    """A time, which may be written as a number or as a text; None where there is none."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        seconds = math.nan if isinstance(value, bool) or not isinstance(value, str | int | float) else float(value)
    except (ValueError, OverflowError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(f"must be a number of seconds, at least 0; got {shown(value)}")
    return seconds


def parse_span(start: object, end: object, place: str) -> tuple[float, float]:
    """Start and end of a part of a video; `place` tells where they stand."""
    try:
        first, last = parse_seconds(start), parse_seconds(end)
    except ValueError as error:
        raise ValueError(f"{place}: a time {error}") from None
    if first is None or last is None or last <= first:
        raise ValueError(f"{place}: wanted a start and a later end in seconds, got {shown(start)} and {shown(end)}")
    return first, last


def timed_sentences(record: Record) -> list[tuple[float, float, str]]:
    """The sentences of a record of dense captioning, each after its start and end."""
    spans, sentences = record.items_of("timestamps"), record.texts("sentences", may_be_empty=True)
    wrong = [span for span in spans if not is_span(span)]
    if wrong or len(spans) != len(sentences):
        wanted = "as many sentences as timestamps [start, end]"
        raise record.error(f"wanted {wanted}, got {shown(sentences)} at {shown(wrong or spans)}")
    return [(float(start), float(end), said) for (start, end), said in zip(spans, sentences, strict=True)]


def is_span(value: Any) -> bool:
    """Whether it is a list of two numbers."""
    are_numbers = isinstance(value, list) and all(isinstance(n, int | float) and math.isfinite(n) for n in value)
    return are_numbers and len(value) == 2


def in_order_of_time(sentences: Iterable[tuple[float, float, str]]) -> str:
    """One paragraph of sentences with their spans (start, end, text), as paragraph retrieval reads them."""
    return tidy(" ".join(text for _, _, text in sorted(sentences, key=lambda s: (s[0], s[1]))))
