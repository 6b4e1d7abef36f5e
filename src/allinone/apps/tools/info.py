"""Count the records, videos, options and answers of each task and split of a dataset, next to the published sizes.

Only annotation files are read; the videos may be missing.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from allinone.checks import did_you_mean
from allinone.data.example import Example, SplitSize
from allinone.datasets import DatasetEntry
from allinone.datasets.base import TaskReader

ALL = "all"
"""Name of the only split of a user's own folder."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """The size of a split.

    `videos` counts distinct files, `options` the options of the question that has most, `answers` distinct answers,
    numbers or labels; None where the task has no such thing.
    """

    records: int
    videos: int
    options: int | None
    answers: int | None
    published: SplitSize | None

    @property
    def equal(self) -> bool | None:
        """Whether the counts are the published ones; None if no size is published."""
        figures = [(count, figure) for count, figure, _ in self.compared() if figure is not None]
        return all(count == figure for count, figure in figures) if figures else None

    def compared(self) -> list[tuple[int, int | None, str]]:
        """Return what can be compared with a published size: our count, the published figure (or None), its name."""
        size = self.published or SplitSize()
        return [(self.records, size.records, "records"), (self.videos, size.videos, "videos")]

    def as_json(self) -> dict[str, Any]:
        """Return the counts as `allinone data info --json` prints them."""
        published = {name: figure for _, figure, name in self.compared()}
        is_published = any(figure is not None for figure in published.values())
        return {
            "records": self.records, "videos": self.videos, "options": self.options, "answers": self.answers,
            "published": published if is_published else None, "equal": self.equal,
        }  # fmt: skip


DatasetCounts = Mapping[str, Mapping[str, Counts | str]]
"""By task and split the counts, or the reason why the split cannot be read."""


@dataclass
class _Tally:
    """Running counts. Texts and paths are kept as hashes, because some splits have tens of millions."""

    records: int = 0
    videos: set[int] = field(default_factory=set)
    options: int = 0
    answers: set[int] = field(default_factory=set)
    tasks: set[str] = field(default_factory=set)

    def add(self, example: Example) -> None:
        """Count an example."""
        self.records += 1
        self.videos.update(map(hash, example.files))
        self.options = max(self.options, len(example.options) or len(example.clips))  # texts, or clips as in EgoMCQ
        self.tasks.add(example.task)
        # A secret answer is "", and the number 0 is an answer.
        answer = next((a for a in (example.answer, example.label, example.number) if a not in (None, "")), None)
        if answer is not None:
            self.answers.add(hash(answer))

    def counts(self, published: SplitSize | None) -> Counts:
        """Return the totals next to the published size."""
        return Counts(
            records=self.records,
            videos=len(self.videos),
            options=self.options if "choice" in self.tasks else None,
            answers=len(self.answers) if self.tasks & {"question", "label", "number"} else None,
            published=published,
        )


def count_records(
    known: DatasetEntry,
    root: Path,
    splits: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
    each: Callable[[Example], object] = lambda example: None,
) -> DatasetCounts:
    """Read every task and split once, or only the given ones.

    Args:
        each: is called with every example

    Raises:
        ValueError: the folder does not exist, or the dataset has no such task or split.
    """
    root = Path(root)
    if not root.is_dir():
        raise ValueError(f"{root}: there is no such folder")
    readings = select_readings(known, splits, tasks)
    has_splits = any(reading.splits for reading in readings.values())
    counts: dict[str, dict[str, Counts | str]] = {}
    for task, reading in readings.items():
        for split in reading.splits or splits or [ALL]:  # published, else given, else all
            if splits is None or split in splits:
                # A user's own folder has the splits that its captions.csv names; None reads all of them.
                name = split if has_splits or splits else None
                counts.setdefault(task, {})[split] = count_split(reading, name, root, each)
    # Of a published data set every task is shown, maybe with its error.
    return counts if has_splits else _readable_tasks(counts)


def select_readings(
    known: DatasetEntry, splits: Sequence[str] | None, tasks: Sequence[str] | None
) -> dict[str, TaskReader]:
    """Return the readers of the tasks, all by default. Raises ValueError if there is no such task or split."""
    require_known(f"{known.name} has no task", tasks, known.card.tasks)
    readings = {task: r for task, r in known.card.tasks.items() if tasks is None or task in tasks}
    published = {split for reading in readings.values() for split in reading.splits}
    if published:
        require_known(f"{known.name} has no split", splits, sorted(published))
    return readings


def require_known(problem: str, names: Iterable[str] | None, known: Iterable[str]) -> None:
    """Raise ValueError if one of the names is unknown, with the known ones."""
    if wrong := [name for name in names or () if name not in known]:
        hint = did_you_mean(wrong[0], known)
        raise ValueError(f"{problem} {', '.join(wrong)}; {hint}there are: {', '.join(known)}")


def count_split(reading: TaskReader, split: str | None, root: Path, each: Callable[[Example], object]) -> Counts | str:
    """Count one split, or return why it cannot be read."""
    tally = _Tally()
    try:
        for example in reading.reader(split=split).examples(root):
            tally.add(example)
            each(example)
    except (OSError, ValueError) as error:  # an OSError is, for example, a folder without permission
        return str(error)
    return tally.counts(reading.splits.get(split or ALL)) if tally.records else f"{root}: no examples"


def _readable_tasks(counts: dict[str, dict[str, Counts | str]]) -> DatasetCounts:
    """Leave out the tasks that a user's own folder does not have, because it may have captions and no questions."""
    readable = {
        task: splits for task, splits in counts.items() if any(isinstance(count, Counts) for count in splits.values())
    }
    return readable or counts


def counts_as_json(counts: DatasetCounts) -> dict[str, Any]:
    """Return the counts as plain JSON; a split that cannot be read is {"error": TEXT}."""
    return {
        task: {split: {"error": c} if isinstance(c, str) else c.as_json() for split, c in splits.items()}
        for task, splits in counts.items()
    }


def differences(counts: DatasetCounts) -> Iterator[str]:
    """Yield a line for each split that cannot be read, or differs from the published size."""
    for task, splits in counts.items():
        for split, count in splits.items():
            if isinstance(count, str):
                yield f"{task}, {split}: {count}"
            elif count.equal is False:
                unequal = [f"{n:,} {what}, not {size:,}" for n, size, what in count.compared() if size not in (n, None)]
                yield f"{task}, {split}: {' and '.join(unequal)} as published"
