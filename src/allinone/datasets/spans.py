"""Parts of videos: times in seconds, sentences with times, and examples about a part."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from allinone.data.example import Example
from allinone.datasets.fields import Record, collapse_spaces, shown

Sentence = tuple[float, float, str]
"""Start, end and text."""


def part_name(video: str, start_sec: float | None, end_sec: float | None) -> str:
    """Return the `video_id` of a part of a video: it ends as a media fragment, `#t=12.5,17`."""
    # A part from the beginning to the end is the whole video, and has its name.
    span = f"#t={start_sec or 0:.10g}" if start_sec or end_sec is not None else ""
    return video + span + ("" if end_sec is None else f",{end_sec:.10g}")


def part(video: Path, name: str, start_sec: float, end_sec: float, text: str, id: str | None) -> Example:
    """Return an example about a part of a video; `name` is that of the whole video."""
    video_id = part_name(name, start_sec, end_sec)
    return Example(id=id, video=video, video_id=video_id, text=text, start_sec=start_sec, end_sec=end_sec)


def parse_seconds(value: object) -> float | None:
    """Read a time, a number or a text; None if it is None or blank.

    Raises:
        ValueError: not a finite number of at least 0. The message does not name the field.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        # `true` would be 1.
        seconds = math.nan if isinstance(value, bool) or not isinstance(value, str | int | float) else float(value)
    except (ValueError, OverflowError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:  # False for NaN, too
        raise ValueError(f"must be a number of seconds, at least 0; got {shown(value)}")
    return seconds


def parse_span(start: object, end: object, where: str) -> tuple[float, float]:
    """Read start and end of a part of a video; errors begin with `where`."""
    try:
        first, last = parse_seconds(start), parse_seconds(end)
    except ValueError as error:
        raise ValueError(f"{where}: a time {error}") from None
    if first is None or last is None or last <= first:
        raise ValueError(f"{where}: wanted a start and a later end in seconds, got {shown(start)} and {shown(end)}")
    return first, last


def is_span(value: Any) -> bool:
    """Return whether it is a list of two finite numbers."""
    are_numbers = isinstance(value, list) and all(isinstance(n, int | float) and math.isfinite(n) for n in value)
    return are_numbers and len(value) == 2


def timed_sentences(record: Record) -> list[Sentence]:
    """Read a record of dense captioning: `timestamps`, a list of [start, end], and as many `sentences`."""
    spans, sentences = record.items_of("timestamps"), record.texts("sentences", may_be_empty=True)
    wrong = [span for span in spans if not is_span(span)]
    if wrong or len(spans) != len(sentences):
        wanted = "as many sentences as timestamps [start, end]"
        raise record.error(f"wanted {wanted}, got {shown(sentences)} at {shown(wrong or spans)}")
    return [(float(start), float(end), text) for (start, end), text in zip(spans, sentences, strict=True)]


def in_order_of_time(sentences: Iterable[Sentence]) -> str:
    """Join sentences to the paragraph of paragraph retrieval: by start, then end, then their order in the file."""
    return collapse_spaces(" ".join(text for _, _, text in sorted(sentences, key=lambda s: (s[0], s[1]))))
