"""Annotation files as users have them: in other folders, packed, with a BOM, with Windows line ends.

Harmless differences are accepted: a BOM, line ends, blank lines, a header in capitals. Anything else is a ValueError
that names file and line. A file that is not UTF-8 is read as Windows-1252, with a warning.

`Annotation.open` is the one place where readers open an annotation file.
"""

import codecs
import csv
import gzip
import io
import logging
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property, partial
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from allinone.datasets.fields import MAX_SHOWN, Record, listing, shown
from allinone.datasets.streamed import list_under, list_values, object_members, parse
from allinone.video.names import is_hidden

log = logging.getLogger(__name__)
T = TypeVar("T")

DEPTH = 2
"""Levels of folders below the root in which annotation files are searched."""

MAX_LINE = 1 << 24
"""Characters of one line. Lines of real files have some thousands."""

MAX_WHOLE = 1 << 28
"""Characters of a file that is read at once. The largest real one, of SBU, has some 200 million."""

MAX_RATIO, MIN_UNPACKED = 100, 1 << 24
"""A packed file may unpack to 100 times its size, or to 16 MB if that is more. Real annotations reach 20 times."""

MAX_COLUMNS = 1000

csv.field_size_limit(MAX_LINE)  # one limit for lines and fields; Python's default is 131,072


class MissingFile(ValueError):
    """An annotation file does not exist."""


@dataclass(frozen=True)
class Annotation:
    """An annotation file, which may be a member of a zip archive or compressed with gzip."""

    path: Path
    member: str | None = None

    def __str__(self) -> str:
        return self.label

    @cached_property
    def label(self) -> str:
        """The name of the file in errors."""
        return f"{self.path}:{self.member}" if self.member else str(self.path)

    @property
    def name(self) -> str:
        """The name in lower case, without folders and `.gz`."""
        return PurePosixPath(self.member or self.path.name).name.lower().removesuffix(".gz")

    def error(self, problem: str) -> ValueError:
        """Return an error that begins with the name of the file."""
        return ValueError(f"{self}: {problem}")

    @contextmanager
    def open(self) -> Iterator[Any]:
        """Open the unpacked bytes. Whatever goes wrong while they are read is a ValueError with the file's name."""
        try:
            with ExitStack() as opened:
                yield opened.enter_context(self.unpacked(opened))
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise self.error(f"cannot be read ({error})") from error

    def unpacked(self, opened: ExitStack) -> Any:
        """Return the bytes as a stream, which stops a packed file that would unpack to far too many (`MAX_RATIO`)."""
        if not self.member and self.path.suffix != ".gz":
            return self.path.open("rb")
        packed_bytes = self.path.stat().st_size
        if self.member:
            archive = opened.enter_context(zipfile.ZipFile(self.path))
            try:
                file = opened.enter_context(archive.open(self.member))
            except (NotImplementedError, RuntimeError) as error:  # encrypted, or a compression Python does not know
                raise self.error(f"cannot be read ({error})") from error
            # The directory of a damaged or hostile archive may claim any size, but no member is larger than the
            # archive.
            packed_bytes = min(packed_bytes, archive.getinfo(self.member).compress_size)
        else:
            file = opened.enter_context(gzip.GzipFile(self.path))
        limit = max(MIN_UNPACKED, MAX_RATIO * packed_bytes)
        too_many = self.error(f"{packed_bytes:,} packed bytes unpack to more than {limit:,}; unpack it to read it")
        return io.BufferedReader(Bounded(file, limit, too_many))

    @cached_property
    def encoding(self) -> str:
        """UTF-16 after its BOM, UTF-8 if all bytes are, else Windows-1252 with a warning that names the line."""
        decoder, line = codecs.getincrementaldecoder("utf-8")(), 1
        with self.open() as file:
            pieces = iter(partial(file.read, 1 << 20), b"")
            # The empty piece at the end makes the decoder report a last character that is cut.
            for number, piece in enumerate(chain(pieces, [b""])):
                if number == 0 and piece.startswith((b"\xff\xfe", b"\xfe\xff")):
                    return "utf-16"
                try:
                    decoder.decode(piece, final=not piece)
                except UnicodeDecodeError as error:
                    line += error.object.count(b"\n", 0, error.start)
                    log.warning("%s: line %d is not UTF-8; read as Windows-1252", self, line)
                    return "cp1252"
                line += piece.count(b"\n")
        # Right without a BOM, too.
        return "utf-8-sig"

    @contextmanager
    def decoded(self) -> Iterator[io.TextIOWrapper]:
        """Open the file as text, with its line ends."""
        # `replace`: five bytes have no character in Windows-1252, and UTF-16 may be cut in the middle of one.
        # newline="" keeps the line ends, which `csv` needs for those within quotes.
        with self.open() as file, io.TextIOWrapper(file, self.encoding, errors="replace", newline="") as text:
            yield text

    def stream(self) -> Iterator[str]:
        """Yield the lines with their ends: for files that are larger than memory."""
        with self.decoded() as text:
            # With a limit, because a JSON list of gigabytes may be a single line.
            for number, line in enumerate(iter(partial(text.readline, MAX_LINE), ""), start=1):
                if len(line) == MAX_LINE:
                    raise self.error(f"line {number} has more than {MAX_LINE:,} characters")
                yield line

    def text(self) -> str:
        """Return the whole text."""
        with self.decoded() as text:
            content = text.read(MAX_WHOLE + 1)  # one more shows that there is more
        if len(content) > MAX_WHOLE:
            raise self.error(f"more than {MAX_WHOLE:,} characters; too large to be read as a whole")
        return content

    def first_line(self) -> str:
        """Return the first line that is not blank."""
        return next(line for _, line in self.numbered())

    def numbered(self) -> Iterator[tuple[int, str]]:
        """Yield line number and line, without its end; blank lines are skipped."""
        lines = ((number, line.rstrip("\r\n")) for number, line in enumerate(self.stream(), start=1) if line.strip())
        return self.some(lines)

    def lines(self) -> list[str]:
        """Return the stripped lines without the blank ones."""
        return [line.strip() for _, line in self.numbered()]

    def some(self, records: Iterable[T]) -> Iterator[T]:
        """Yield the records; none at all is an error, because a failed download leaves such a file."""
        is_empty = True
        for record in records:
            is_empty = False
            yield record
        if is_empty:
            raise self.error("there are no records in it; download it again")

    def json(self) -> Any:
        """Return the value of a JSON file, read at once."""
        try:
            return parse(self.text())
        except ValueError as error:
            raise self.named(error) from error

    def object(self) -> Record:
        """Return the one JSON object of the file, read at once."""
        content = self.json()
        if not isinstance(content, dict):
            raise self.error(f"wanted an object, got {shown(content)}")
        return Record(content, str(self))

    def named(self, error: ValueError) -> ValueError:
        """Put the name of the file before an error that does not have it."""
        return error if str(error).startswith(str(self)) else self.error(str(error))

    def members(self) -> Iterator[tuple[str, Record]]:
        """Yield names and values of one JSON object that may be larger than memory; each value must be an object."""
        for name, value in self.values_by_name():
            yield name, self.checked(value, name)

    def values_by_name(self) -> Iterator[tuple[str, Any]]:
        """Yield names and values of one JSON object. A name that occurs twice is an error."""
        with self.decoded() as text:
            yield from self.some(self.parsed(object_members(text)))

    def parsed(self, values: Iterator[T]) -> Iterator[T]:
        """Yield the values; errors of the parser get the name of the file."""
        try:
            yield from values
        except ValueError as error:
            raise self.named(error) from error

    def objects(self, *names: str) -> Iterator[Record]:
        """Yield the objects of a JSON Lines file or of a JSON list; each must have the fields `names`."""
        for number, record in self.values():
            yield self.checked(record, f"record {number}", names)

    def under(self, name: str, *names: str) -> Iterator[Record]:
        """Yield the objects of the list called `name` in one JSON object; each must have the fields `names`."""
        with self.decoded() as text:
            for number, record in enumerate(self.some(self.parsed(list_under(text, name))), start=1):
                yield self.checked(record, f"{name}, record {number}", names)

    def checked(self, record: Any, position: str, names: Iterable[str] = ()) -> Record:
        """Check that a value is an object with these fields."""
        where = f"{self.label}: {position if len(position) <= 100 else shown(position)}"
        if not isinstance(record, dict):
            raise ValueError(f"{where}: wanted an object, got {shown(record)}")
        checked = Record(record, where)
        if missing := [name for name in names if record.get(name) is None]:
            raise checked.lacks(", ".join(missing))
        return checked

    def values(self) -> Iterator[tuple[int, Any]]:
        """Yield the values of a JSON Lines file or of a JSON list, each with its line or its number."""
        with self.decoded() as text:
            # The first character decides; only white space may come before it.
            is_list = text.read(100).lstrip().startswith("[")
        if is_list:
            with self.decoded() as text:
                yield from self.some(enumerate(self.parsed(list_values(text)), start=1))
            return
        for line, content in self.numbered():
            try:
                value = parse(content)
            except ValueError as error:
                # `parse` counts lines within its own text, which is one line here.
                raise self.error(f"line {line}: {str(error).removeprefix('line 1: ')}") from error
            yield line, value

    def records(self) -> Iterator[Record]:
        """Yield the records of a JSON list, of JSON Lines, or of a table with commas or tabs."""
        first = self.first_line()
        if first.lstrip().startswith(("[", "{")):
            return self.objects()
        return self.rows(delimiter="\t" if "\t" in first else ",")

    def rows(
        self,
        *columns: str,
        delimiter: str = ",",
        header: Sequence[str] | None = None,
        may_be_empty: Sequence[str] = (),
    ) -> Iterator[Record]:
        """Yield the rows of a CSV file: column names in lower case, values as texts.

        Args:
            columns: must exist and be filled.
            header: the columns of a file without a header line.
            may_be_empty: must exist.

        Raises:
            ValueError: among others, the file ends within quotes or within a row.
        """
        # 1. The header: given by the caller, or the first line.
        lines = self.fields(delimiter)
        names = [name.strip().lower() for name in (header or next(self.some(lines))[1])]
        if len(names) > MAX_COLUMNS:
            raise self.error(f"{len(names):,} columns; there may be {MAX_COLUMNS:,}")
        # 2. Check it once, so that each row can be read by name.
        if missing := [column for column in (*columns, *may_be_empty) if column not in names]:
            raise self.error(f"no column {', '.join(missing)}; there are: {listing(names)}")
        # Columns without a name may repeat: pandas writes its index as one.
        if repeated := [name for name, count in Counter(names).items() if count > 1 and name]:
            raise self.error(f"column {listing(repeated)} is there twice")
        # 3. The rows. One field more or less is mostly a comma without quotes: the other columns would be shifted.
        for line, fields in self.some(lines):
            if len(fields) != len(names):
                raise self.error(f"line {line}: {len(fields):,} fields, but {len(names)} columns")
            row = Record(dict(zip(names, map(str.strip, fields), strict=True)), f"{self}: line {line}")
            if empty := [column for column in columns if not row[column]]:
                raise self.error(f"line {line}: nothing in column {', '.join(empty)}")
            yield row

    def fields(self, delimiter: str) -> Iterator[tuple[int, list[str]]]:
        """Yield line number and fields of each line of a CSV file that is not blank."""
        end = "\x04"  # added as a last line: with an open quote it becomes a part of the last text
        lines = csv.reader(chain(self.stream(), [end]), delimiter=delimiter)
        try:
            for fields in lines:
                # `csv`'s strict mode would notice an open quote, too, but it also refuses text after a closing quote.
                if fields and fields[-1].endswith(end) and fields != [end]:
                    raise self.error("ends within a text in quotes; it is cut short, or a quote is not closed")
                if fields != [end] and any(map(str.strip, fields)):
                    yield lines.line_num, fields
        except csv.Error as error:
            raise self.error(f"line {lines.line_num}: not CSV ({error})") from error


class Bounded(io.RawIOBase):
    """A stream that raises `error` after `max_bytes` bytes."""

    def __init__(self, file: Any, max_bytes: int, error: ValueError):
        self.file, self.left, self.error = file, max_bytes, error

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self.file.read(min(len(buffer), 1 << 20))  # in pieces, so that `error` comes before all is unpacked
        self.left -= len(content)
        if self.left < 0:
            raise self.error
        buffer[: len(content)] = content
        return len(content)


def find(root: Path, *names: str) -> Annotation:
    """Return the first of these annotation files below the root.

    A name may be a glob pattern, and may have folders. Folders are searched from the top, two levels down, then the
    zip archives there. Case does not matter, and `.gz` may be added.

    Raises:
        MissingFile: none exists; the message has the names and the root.
    """
    for file in candidates(root, *names):
        return file
    wanted = " or ".join(names) if len(names) <= MAX_SHOWN else listing(names)
    raise MissingFile(f"{root}: no annotation file {wanted} there, nor up to {DEPTH} folders below")


def candidates(root: Path, *names: str) -> Iterator[Annotation]:
    """Yield the annotation files of these names in the order of `find`."""
    root = Path(root)
    if not root.is_dir():
        raise MissingFile(f"{root}: there is no such folder")
    files = annotation_files(root)
    archives = matching(files, "*.zip")
    # The official names come first in readers: look everywhere for one name, packed or not, before the next.
    for name in names:
        if found := matching(files, name, f"{name}.gz"):
            if len(found) > 1:
                log.warning("%s: read, of %d files %s below %s", found[0], len(found), name, root)
            yield Annotation(found[0])
        for archive in archives:
            if member := find_member(archive, name):
                yield Annotation(archive, member)


def find_some(root: Path, *names: str) -> list[Annotation]:
    """Return those of the annotation files that exist."""
    found = []
    for name in names:
        with suppress(MissingFile):
            found.append(find(root, name))
    return found


def find_all(root: Path, pattern: str) -> list[Annotation]:
    """Return every annotation file that fits a glob pattern, by path."""
    return [Annotation(path) for path in matching(annotation_files(Path(root)), pattern)]


def matching(files: Sequence[Path], *patterns: str) -> list[Path]:
    """Return the files that fit one of the patterns in any case; those of the first pattern first."""
    return [path for pattern in patterns for path in files if fits(path, pattern)]


def fits(path: Path, pattern: str) -> bool:
    """Return whether the name, and as many folders as the pattern has, fit the pattern."""
    wanted = pattern.lower().split("/")
    names = [name.lower() for name in path.parts[-len(wanted) :]]
    # Both are in lower case, so `fnmatchcase` gives the same result on every system.
    return len(names) == len(wanted) and all(map(fnmatchcase, names, wanted))


def annotation_files(root: Path) -> list[Path]:
    """Return every file of the annotation folders, by folder and name, without the hidden ones that macOS adds."""
    files = (path for folder in annotation_folders(root) for path in sorted(folder.iterdir()) if path.is_file())
    return [path for path in files if not path.name.startswith(".")]


def annotation_folders(root: Path) -> Iterator[Path]:
    """Yield the root and the folders below it, level by level; not those with over 50 folders (classes, frames)."""
    # Level by level, so that the file nearest to the root is found first.
    level = [root]
    for _ in range(DEPTH + 1):
        yield from level
        inner = [sorted(p for p in folder.iterdir() if p.is_dir() and not is_hidden(p.name)) for folder in level]
        level = [path for paths in inner if len(paths) <= 50 for path in paths]


def find_member(archive: Path, name: str) -> str | None:
    """Return the member of a zip archive that fits a name."""
    try:
        with zipfile.ZipFile(archive) as opened:
            members = opened.namelist()
    except (OSError, NotImplementedError, zipfile.BadZipFile) as error:
        raise ValueError(f"{archive}: cannot be read ({error}); download it again") from error
    own = (m for m in members if "__MACOSX" not in m)  # copies with metadata, which macOS adds
    # `match` compares from the right: a name without folders is found in any folder of the archive.
    return next((m for m in own if PurePosixPath(m.lower()).match(name.lower())), None)
