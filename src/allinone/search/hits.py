"""What a search is narrowed by, and the moments that it finds."""

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

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


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Which segments may be found; all that is given must hold. A time without a zone is local time."""

    folder: str | Path | None = None
    """The video lies in it, or in a folder below it."""
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
        conditions = []
        if self.folder is not None:
            folder = os.path.abspath(self.folder).rstrip("/") + "/"
            conditions.append(f"starts_with(video, {sql_text(folder)})")
        if self.name:
            conditions.append(f"contains(lower(name), lower({sql_text(self.name)}))")
        for moment, sign in ((self.added_after, ">="), (self.added_before, "<")):
            if moment is not None:
                conditions.append(f"added {sign} to_timestamp_micros({round(moment.timestamp() * 1_000_000)})")
        for seconds, sign in ((self.min_duration_sec, ">="), (self.max_duration_sec, "<=")):
            if seconds is not None:
                conditions.append(f"duration_sec {sign} {float(seconds)!r}")
        return " AND ".join(conditions) or None


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


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
