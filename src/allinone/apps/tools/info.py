"""What a data set has on disk: records, videos, options and answers of each task and split, beside its published sizes.

Annotation files are read, videos are not looked for.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from allinone.checks import did_you_mean
from allinone.data.example import Example
from allinone.datasets import DatasetEntry
from allinone.datasets.base import SplitSize

ALL = "all"
"""The one split of a folder of one's own."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What a split holds. `videos` are distinct files; `options` are those of a question (of the one that has most);
    `answers` are distinct answers, numbers or labels. None where the task has no such thing."""

    records: int
    videos: int
    options: int | None
    answers: int | None
    published: SplitSize | None

    @property
    def equal(self) -> bool | None:
        """Whether it is what was published; None where no figure is."""
        wanted = self.published or SplitSize()
        pairs = (wanted.records, self.records), (wanted.videos, self.videos)
        known = [figure == found for figure, found in pairs if figure is not None]
        return all(known) if known else None

    def as_json(self) -> dict[str, Any]:
        published = None
        if self.published and (self.published.records, self.published.videos) != (None, None):
            published = {"records": self.published.records, "videos": self.published.videos}
        return {
            "records": self.records, "videos": self.videos, "options": self.options, "answers": self.answers,
            "published": published, "equal": self.equal,
        }  # fmt: skip


Found = Mapping[str, Mapping[str, Counts | str]]
"""By task and split what is there, or why it cannot be read."""


@dataclass
class _Tally:
    """Counts in the making. Of texts and paths only hashes are kept: some splits have tens of millions."""

    records: int = 0
    videos: set[int] = field(default_factory=set)
    options: int = 0
    answers: set[int] = field(default_factory=set)
    tasks: set[str] = field(default_factory=set)

    def add(self, example: Example) -> None:
        self.records += 1
        self.videos.update(map(hash, example.files))
        self.options = max(self.options, len(example.options) or len(example.clips))
        self.tasks.add(example.task)
        answer = next((a for a in (example.answer, example.label, example.number) if a not in (None, "")), None)
        if answer is not None:
            self.answers.add(hash(answer))

    def counts(self, published: SplitSize | None) -> Counts:
        return Counts(
            records=self.records,
            videos=len(self.videos),
            options=self.options if "choice" in self.tasks else None,
            answers=len(self.answers) if self.tasks & {"question", "label", "number"} else None,
            published=published,
        )


def survey(
    known: DatasetEntry,
    root: Path,
    splits: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
    each: Callable[[Example], object] = lambda example: None,
) -> Found:
    """Read every task and split (or these) once; `each` is given every example."""
    root = Path(root)
    if not root.is_dir():
        raise ValueError(f"{root}: there is no such folder")
    if wrong := [task for task in tasks or () if task not in known.card.readings]:
        hint = did_you_mean(wrong[0], known.card.readings)
        raise ValueError(
            f"{known.name} has no task {', '.join(wrong)}; {hint}there are: {', '.join(known.card.readings)}"
        )
    readings = {task: r for task, r in known.card.readings.items() if tasks is None or task in tasks}
    own = {split for reading in readings.values() for split in reading.splits}
    if own and (wrong := [split for split in splits or () if split not in own]):
        hint = did_you_mean(wrong[0], own)
        raise ValueError(f"{known.name} has no split {', '.join(wrong)}; {hint}there are: {', '.join(sorted(own))}")
    found: dict[str, dict[str, Counts | str]] = {}
    for task, reading in readings.items():
        names = list(reading.splits) or list(splits or [ALL])
        for split in (name for name in names if splits is None or name in splits):
            tally = _Tally()
            try:
                # A folder of one's own has the splits that its file names; None are all of them.
                for example in reading.reader(split=split if own or splits else None).examples(root):
                    tally.add(example)
                    each(example)
            except (OSError, ValueError) as error:  # a folder that may not be entered is told of its split, too
                found.setdefault(task, {})[split] = str(error)
            else:
                counts = tally.counts(reading.splits.get(split))
                found.setdefault(task, {})[split] = counts if counts.records else f"{root}: no examples"
    return found if own else without_what_it_is_not_for(found)


def without_what_it_is_not_for(found: dict[str, dict[str, Counts | str]]) -> dict[str, dict[str, Counts | str]]:
    """A folder of one's own may have captions and no questions."""
    used = {
        task: splits for task, splits in found.items() if any(isinstance(there, Counts) for there in splits.values())
    }
    return used or found


def counts_as_json(found: Found) -> dict[str, Any]:
    return {task: {name: as_json(there) for name, there in splits.items()} for task, splits in found.items()}


def as_json(there: Counts | str) -> dict[str, Any]:
    return {"error": there} if isinstance(there, str) else there.as_json()


def differing(found: Found) -> Iterator[str]:
    """A line for each split that cannot be read, or is not what was published."""
    for task, splits in found.items():
        for split, there in splits.items():
            if isinstance(there, str):
                yield f"{task}, {split}: {there}"
            elif there.equal is False:
                size = there.published or SplitSize()
                figures = (there.records, size.records, "records"), (there.videos, size.videos, "videos")
                unequal = [f"{n:,} {what}, not {wanted:,}" for n, wanted, what in figures if wanted not in (n, None)]
                yield f"{task}, {split}: {' and '.join(unequal)} as published"
