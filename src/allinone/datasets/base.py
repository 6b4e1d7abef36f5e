"""What every reader shares: the `Card` of a data set, its splits, and filters of repeats and of empty texts."""

import inspect
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, ClassVar, TypeVar

from allinone.checks import did_you_mean
from allinone.data.example import Dataset, Example, SplitSize
from allinone.datasets.fields import collapse_spaces, shown

log = logging.getLogger(__name__)
T = TypeVar("T")

# A paragraph ends at an empty line, at the next heading or at the end of the text; its final period is left out.
HEADED = re.compile(r"^(License|Get|Scored by): (.+?)\.?(?=\n\n|\n(?:License|Get|Scored by): |\Z)", re.M | re.S)
"""The paragraphs of a module docstring that a card needs."""

# ` (Xu et al., CVPR 2016)` at the end of a title: parentheses with a comma in them.
CITATION = re.compile(r" \([^()]+, [^()]+\)$")


@dataclass(frozen=True, kw_only=True)
class TaskReader:
    """One task of a data set: its reader, called with `split=`, and the published size of each split.

    `splits` is empty if users name the splits.
    """

    reader: Callable[..., Dataset]
    splits: Mapping[str, SplitSize]


@dataclass(frozen=True, kw_only=True)
class Card:
    """What to know before downloading a data set: `get` is where it comes from, `metric` how it is scored."""

    title: str
    license: str
    get: str
    metric: str
    tasks: Mapping[str, TaskReader]

    @classmethod
    def of(cls, doc: str | None, **readers: Callable[..., Dataset]) -> "Card":
        """Read the card of a data set from the docstring of its module, where these facts have their one place.

        The title is the first sentence without its citation; `License:`, `Get:` and `Scored by:` begin a line.
        `readers` are named after their tasks, and have the splits.
        """
        doc = inspect.cleandoc(doc or "")
        facts = {heading: collapse_spaces(text) for heading, text in HEADED.findall(doc)}
        if missing := {"License", "Get", "Scored by"} - facts.keys():
            raise ValueError(f"{doc.splitlines()[:1]}: a card needs lines that begin with {', '.join(sorted(missing))}")
        return cls(
            title=CITATION.sub("", collapse_spaces(doc.partition("\n\n")[0]).removesuffix(".")),
            license=facts["License"],
            get=facts["Get"],
            metric=facts["Scored by"],
            tasks={task: TaskReader(reader=r, splits=getattr(r, "splits", {})) for task, r in readers.items()},
        )


@dataclass(frozen=True)
class SplitDataset:
    """Base of readers with published splits. `splits` has their names and sizes.

    A split is never substituted for another: an unknown name is a ValueError.
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
        """Published size of the split."""
        return self.splits[self.split]


def distinct(records: Iterable[T], source: object, key: Callable[[T], Any] = attrgetter("id")) -> Iterator[T]:
    """Yield examples (or other records) without exact repeats; a warning counts the repeats.

    Only hashes of the contents are kept, because some splits have millions of records.

    Raises:
        ValueError: the same key occurs with other content.
    """
    seen: dict[Any, int] = {}
    num_repeats = 0
    for record in records:
        # By repr, because records are dicts, which have no hash, and a field with repr=False does not count (the line
        # number of `lsmdc.Row`).
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
    """Skip the examples of a web collection that have no text; a warning counts them."""
    num_empty = 0
    for example in examples:
        if example.text:
            yield example
        else:
            num_empty += 1
    if num_empty:
        log.warning("%s: left out %d records without a text", source, num_empty)
