"""What every reader tells of its data set beside the examples: a `Card` with licence, source, tasks and sizes."""

import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from allinone.data.example import Dataset, Example

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Size:
    """What a split is published to hold: examples of its reader, and distinct video files. None: no figure is known."""

    records: int | None = None
    videos: int | None = None


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One way to use a data set: the reader (called with `split=`), and its splits with their published sizes."""

    reader: Callable[..., Dataset]
    splits: Mapping[str, Size]


@dataclass(frozen=True, kw_only=True)
class Card:
    """What one wants to know before downloading. The layout on disk and a record are in the module's docstring.

    `get` tells where the data comes from, `metric` how it is scored; `readings` are named after what they ask.
    """

    title: str
    licence: str
    get: str
    metric: str
    readings: Mapping[str, Reading]


def check_split(split: str, known: Iterable[str]) -> None:
    """Splits keep their published names, and none stands in for another."""
    known = tuple(known)
    if split not in known:
        raise ValueError(f"no split {split!r}; there are: {', '.join(known)}")


def distinct(examples: Iterable[Example], source: object) -> Iterator[Example]:
    """The examples without exact repeats, which one warning counts; one id with two contents is an error."""
    seen: dict[str | None, int] = {}
    num_repeats = 0
    for example in examples:
        content = hash(example)
        if example.id not in seen:
            seen[example.id] = content
            yield example
        elif seen[example.id] == content:
            num_repeats += 1
        else:
            raise ValueError(f"{source}: the id {example.id!r} occurs twice with different content; remove one")
    if num_repeats:
        log.warning("%s: left out %d exact repeats of earlier records", source, num_repeats)


def published(dataset: Dataset) -> Size | None:
    """What the card of its module says about a data set's split; None where there is no card."""
    card = getattr(sys.modules[type(dataset).__module__], "CARD", None)
    if not isinstance(card, Card):
        return None
    readings = (reading for reading in card.readings.values() if reading.reader is type(dataset))
    return next((reading.splits.get(getattr(dataset, "split", "")) for reading in readings), None)
