"""Filters of a search, written as one SQL condition on the index's table."""

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from unicodedata import normalize

from allinone.video.names import nfc

MAX_NAME, MAX_FOLDER = 255, 4000
"""Longest file name and path of common file systems. Longer ones match nothing, and would make long SQL."""


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Which segments a search may return; all given conditions must hold. A time without a zone is local time.

    The command line, the Python API, the HTTP API and the page all use this class.
    """

    folder: str | Path | None = None
    """The video is in this folder or below it: an absolute path, one that begins with `.` or `..`, or the last part of
    a path, so that `sport` matches /films/sport."""
    name: str | None = None
    """A part of the file's name; case is ignored."""
    added_after: datetime | None = None
    """Inclusive, as to when the segment was added to the index."""
    added_before: datetime | None = None
    """Exclusive."""
    min_duration_sec: float | None = None
    """Of the whole video; inclusive, as the next."""
    max_duration_sec: float | None = None

    def __post_init__(self) -> None:
        for field in ("min_duration_sec", "max_duration_sec"):
            if (value := getattr(self, field)) is not None and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{field} is a number of seconds, 0 or more; got {value}")
        for moment in (self.added_after, self.added_before):
            # At the ends of the calendar, `datetime.timestamp` fails or overflows.
            if moment is not None and not 1970 <= moment.year < 3000:
                raise ValueError(f"the year must be from 1970 to 2999, got {moment.year}")
        for text, limit in ((self.name, MAX_NAME), (None if self.folder is None else str(self.folder), MAX_FOLDER)):
            if text is not None and ("\0" in text or len(text) > limit or not _is_utf8(text)):
                raise ValueError(f"no file has such a name: {text[:limit]!r}")

    def sql(self) -> str | None:
        """Return the condition on the table's columns; None if everything passes."""
        return " AND ".join(self.conditions().values()) or None

    def conditions(self) -> dict[str, str]:
        """Return an SQL condition for each given filter, by its description in words."""
        conditions = {}
        if self.folder is not None:
            conditions[f"folder {str(self.folder)!r}"] = in_folder(str(self.folder))
        if self.name:
            conditions[f"name {self.name!r}"] = has_name(self.name)
        for word, moment, sign in (("after", self.added_after, ">="), ("before", self.added_before, "<")):
            if moment is not None:
                micros = round(moment.timestamp() * 1_000_000)  # exact: the column counts microseconds, in UTC
                conditions[f"added {word} {moment}"] = f"added {sign} to_timestamp_micros({micros})"
        for word, seconds, sign in (("least", self.min_duration_sec, ">="), ("most", self.max_duration_sec, "<=")):
            if seconds is not None:
                conditions[f"duration of at {word} {seconds:g} s"] = f"duration_sec {sign} {float(seconds)!r}"
        return conditions


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def in_folder(folder: str) -> str:
    """Return the condition that a video is below this folder, or below one with a path that ends in it."""
    # Relative, and not to the current folder: the last part of a path.
    if folder.split("/")[0] not in ("", ".", "..") and not os.path.normpath(folder).startswith(".."):
        ending = nfc(f"/{os.path.normpath(folder)}/")
        return f"contains({composed('video', ending)}, {sql_text(ending)})"
    # The index has the paths as they were given when videos were added: through links, or resolved.
    paths = dict.fromkeys(nfc(path.rstrip("/") + "/") for path in (os.path.abspath(folder), os.path.realpath(folder)))
    conditions = [f"starts_with({composed('video', path)}, {sql_text(path)})" for path in paths]
    return conditions[0] if len(conditions) == 1 else f"({' OR '.join(conditions)})"


def has_name(part: str) -> str:
    """Return the condition that the file's name contains `part`, ignoring case."""
    part = nfc(part)
    return f"contains({composed('lower(name)', part.lower())}, lower({sql_text(part)}))"


def composed(column: str, sought: str) -> str:
    """Return SQL for `column` with those letters composed (Unicode NFC) that occur in `sought`.

    A Mac writes "é" as two characters. SQL has no function for NFC, so each such letter is replaced.
    """
    parts = {letter: normalize("NFD", letter) for letter in sought}
    # Longest first: "e" with one accent is also the beginning of "e" with two.
    for letter in sorted(parts, key=lambda letter: -len(parts[letter])):
        if parts[letter] != letter:
            column = f"replace({column}, {sql_text(parts[letter])}, {sql_text(letter)})"
    return column


def sql_text(text: str) -> str:
    """Return a string literal. Only quotes need escaping, because no pattern (LIKE) is ever used."""
    return "'" + text.replace("'", "''") + "'"


def sql_in(column: str, values: Iterable[str]) -> str:
    """Return the condition that a column has one of the values."""
    return f"{column} IN ({', '.join(map(sql_text, values))})"
