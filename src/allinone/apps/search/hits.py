"""What a search is narrowed by, and the moments that it finds."""

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from unicodedata import normalize

from allinone.video.names import nfc

MARGIN = 0.05
"""A neighbouring segment belongs to a moment if its cosine is no more than this below that of the moment's best."""


@dataclass(frozen=True)
class Hit:
    """A moment that fits: a segment, or neighbouring ones together.

    `score` is the cosine of its best segment, whose id is `segment`; `match`, where the hit was re-ranked, the
    probability that words and moment belong together.
    """

    video: str
    start_sec: float
    end_sec: float
    score: float
    match: float | None = None
    segment: str = ""
    gone: bool = False
    """The file was no longer there when it was found."""

    def __repr__(self) -> str:
        match = "" if self.match is None else f", match {self.match:.3f}"
        gone = ", gone" if self.gone else ""
        return f"Hit({self.video!r}, {self.start_sec:g} to {self.end_sec:g} s, score {self.score:.3f}{match}{gone})"


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Which segments may be found; all that is given must hold. A time without a zone is local time."""

    folder: str | Path | None = None
    """The video lies in it, or in a folder below it: an absolute path, one that begins with `.` or `..`, or the end of
    one, so that `sport` is /films/sport wherever that is."""
    name: str | None = None
    """A part of the file's name, in upper or lower case."""
    added_after: datetime | None = None
    added_before: datetime | None = None
    min_duration_sec: float | None = None
    """Of the whole video."""
    max_duration_sec: float | None = None

    def __post_init__(self) -> None:
        for name in ("min_duration_sec", "max_duration_sec"):
            if (value := getattr(self, name)) is not None and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} is a number of seconds, 0 or more; got {value}")
        for text in (self.name, None if self.folder is None else str(self.folder)):
            if text is not None and ("\0" in text or (not text.isascii() and not _is_utf8(text))):
                raise ValueError(f"no file has such a name: {text!r}")

    def sql(self) -> str | None:
        """As a condition on the table's columns; None where everything passes."""
        return " AND ".join(self.conditions().values()) or None

    def conditions(self) -> dict[str, str]:
        """A condition for each filter that is given, by what people call it."""
        found = {}
        if self.folder is not None:
            found[f"folder {str(self.folder)!r}"] = in_folder(str(self.folder))
        if self.name:
            found[f"name {self.name!r}"] = has_name(self.name)
        for what, moment, sign in (("after", self.added_after, ">="), ("before", self.added_before, "<")):
            if moment is not None:
                micros = round(moment.timestamp() * 1_000_000)
                found[f"added {what} {moment}"] = f"added {sign} to_timestamp_micros({micros})"
        for what, seconds, sign in (("least", self.min_duration_sec, ">="), ("most", self.max_duration_sec, "<=")):
            if seconds is not None:
                found[f"duration of at {what} {seconds:g} s"] = f"duration_sec {sign} {float(seconds)!r}"
        return found


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def in_folder(folder: str) -> str:
    """The condition that a video lies in this folder, or in one whose path ends so."""
    if folder.split("/")[0] not in ("", ".", "..") and not os.path.normpath(folder).startswith(".."):
        ending = nfc(f"/{os.path.normpath(folder)}/")
        return f"contains({composed('video', ending)}, {sql_text(ending)})"
    # The path may go through links, where videos were indexed by the path behind them.
    paths = dict.fromkeys(nfc(path.rstrip("/") + "/") for path in (os.path.abspath(folder), os.path.realpath(folder)))
    conditions = [f"starts_with({composed('video', path)}, {sql_text(path)})" for path in paths]
    return conditions[0] if len(conditions) == 1 else f"({' OR '.join(conditions)})"


def has_name(part: str) -> str:
    """The condition that this is a part of the file's name, in upper or lower case."""
    part = nfc(part)
    return f"contains({composed('lower(name)', part.lower())}, lower({sql_text(part)}))"


def composed(column: str, sought: str) -> str:
    """A column with the letters of `sought` in their composed form (NFC), however they are written in it.

    SQL can replace, but not compose. The letters of most parts go first, since "e" with one accent is also the
    beginning of "e" with two.
    """
    parts = {letter: normalize("NFD", letter) for letter in sought}
    for letter in sorted(parts, key=lambda letter: -len(parts[letter])):
        if parts[letter] != letter:
            column = f"replace({column}, {sql_text(parts[letter])}, {sql_text(letter)})"
    return column


def sql_text(text: str) -> str:
    """A string in SQL, where a quote is the one thing that needs care; no pattern is ever matched."""
    return "'" + text.replace("'", "''") + "'"


def sql_in(column: str, values: Iterable[str]) -> str:
    return f"{column} IN ({', '.join(map(sql_text, values))})"


def merged(segments: Iterable[Hit]) -> list[Hit]:
    """One hit a moment, of segments that come best first.

    A segment that touches or overlaps a hit, and scores nearly as well as its best (`MARGIN`), widens it; it may widen
    only the first such. Any other begins a hit. So which hits there are, and in which order, does not depend on how
    many segments follow: pages fit together.
    """
    hits: list[Hit] = []
    of_video: dict[str, list[int]] = {}
    for segment in segments:
        numbers = of_video.setdefault(segment.video, [])
        for number in numbers:
            hit = hits[number]
            touches = segment.start_sec <= hit.end_sec + 1e-6 and hit.start_sec <= segment.end_sec + 1e-6
            if touches and segment.score >= hit.score - MARGIN:
                start, end = min(hit.start_sec, segment.start_sec), max(hit.end_sec, segment.end_sec)
                hits[number] = replace(hit, start_sec=start, end_sec=end)
                break
        else:
            numbers.append(len(hits))
            hits.append(segment)
    return hits
