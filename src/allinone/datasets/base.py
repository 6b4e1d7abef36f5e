"""What every reader tells of its data set beside the examples: a `Card` with licence, source, tasks and sizes."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from allinone.checks import did_you_mean
from allinone.data.example import Dataset, Example, SplitSize
from allinone.datasets.records import shown

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class TaskReader:
    """One way to use a data set: the reader (called with `split=`), and its splits with their published sizes."""

    reader: Callable[..., Dataset]
    splits: Mapping[str, SplitSize]


@dataclass(frozen=True, kw_only=True)
class Card:
    """What one wants to know before downloading. The layout on disk and a record are in the module's docstring.

    `get` tells where the data comes from, `metric` how it is scored; `readings` are named after what they ask.
    """

    title: str
    licence: str
    get: str
    metric: str
    readings: Mapping[str, TaskReader]


@dataclass(frozen=True)
class SplitDataset:
    """Base of the readers that take a split: one of `splits`, which keep their published names and sizes.

    None stands in for another.
    """

    splits: ClassVar[Mapping[str, SplitSize]]
    split: str

    def __post_init__(self):
        if self.split not in self.splits:
            raise ValueError(
                f"no split {self.split!r}; {did_you_mean(self.split, self.splits)}there are: {', '.join(self.splits)}"
            )

    @property
    def published(self) -> SplitSize:
        """What the split is published to hold."""
        return self.splits[self.split]


def distinct(records: Iterable[T], source: object, key: Callable[[T], Any] = attrgetter("id")) -> Iterator[T]:
    """The examples (or other records) without exact repeats, which one warning counts.

    The same id with other content is an error.
    """
    seen: dict[Any, int] = {}
    num_repeats = 0
    for record in records:
        name, content = key(record), hash(repr(record))
        if name not in seen:
            seen[name] = content
            yield record
        elif seen[name] == content:
            num_repeats += 1
        else:
            raise ValueError(f"{source}: the id {shown(name)} occurs twice with different content; remove one")
    if num_repeats:
        log.warning("%s: left out %d exact repeats of earlier records", source, num_repeats)


def with_texts(examples: Iterable[Example], source: object) -> Iterator[Example]:
    """Those examples of a collection from the web that have a text; one warning counts the others."""
    num_empty = 0
    for example in examples:
        if example.text:
            yield example
        else:
            num_empty += 1
    if num_empty:
        log.warning("%s: left out %d records without a text", source, num_empty)


def part_name(video: str, start_sec: float | None, end_sec: float | None) -> str:
    """The `video_id` of a part of a video, which ends as a media fragment does: `#t=12.5,17`."""
    span = f"#t={start_sec or 0:.10g}" if start_sec or end_sec is not None else ""
    return video + span + ("" if end_sec is None else f",{end_sec:.10g}")


def part(video: Path, name: str, start_sec: float, end_sec: float, text: str, id: str | None) -> Example:
    """A text about a part of a video; `name` is that of the whole."""
    video_id = part_name(name, start_sec, end_sec)
    return Example(id=id, video=video, video_id=video_id, text=text, start_sec=start_sec, end_sec=end_sec)
