"""What the jobs on the files of a dataset share: which files there are, a journal to resume from, and a report."""

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from allinone.apps.tools.info import DatasetCounts, count_records, differences
from allinone.apps.tools.pool import Failure, Heartbeat, run_tasks
from allinone.data.example import Example
from allinone.data.presence import Folders
from allinone.datasets import DatasetEntry
from allinone.files.shards import find_packed
from allinone.progress import Progress

Record = list[Any]
"""What the journal says of a file that is done. It begins with the `signature` of the file."""


@dataclass(frozen=True)
class FileTask:
    """A file to process. `key` is its name in the journal, `before` its record there from an earlier run."""

    path: str
    key: str
    before: Record | None


@dataclass(kw_only=True)
class JobReport(ABC):
    """The outcome of a job."""

    counts: DatasetCounts
    num_files: int
    """Distinct files that the examples name."""
    missing: list[str]
    failed: dict[str, str] = field(default_factory=dict)
    """Causes by path."""

    @property
    def complete(self) -> bool:
        """Whether every file was there and could be read."""
        return not (self.missing or self.failed)

    @property
    def num_readable(self) -> int:
        return self.num_files - len(self.missing) - len(self.failed)

    def problems(self) -> dict[str, list[str]]:
        """Return by title the lines that a user should see, one for each file, part or split."""
        return {
            "not read": list(differences(self.counts)),
            "missing": self.missing,
            "unreadable": with_causes(self.failed),
        }

    @abstractmethod
    def summary(self) -> list[str]:
        """Return the numbers in words, line by line."""


def with_causes(causes: Mapping[str, str]) -> list[str]:
    """Return "PATH: CAUSE" for each path, in order of the paths."""
    return [f"{path}: {cause}" for path, cause in sorted(causes.items())]


@dataclass
class Files:
    """The files that the examples of a dataset name, in the order of their first use."""

    counts: DatasetCounts
    present: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.present) + len(self.missing)


def collect_files(
    known: DatasetEntry,
    root: Path,
    splits: Sequence[str] | None,
    tasks: Sequence[str] | None,
    each: Callable[[Example], object],
) -> Files:
    """Read the annotations, call `each` with every example, and look which of the files exist."""
    paths: dict[str, None] = {}

    def add(example: Example) -> None:
        paths.update(dict.fromkeys(map(str, example.files)))
        each(example)

    files, folders = Files(count_records(known, root, splits, tasks, add)), Folders()
    for path in paths:
        (files.present if folders.have(path) else files.missing).append(path)
    return files


class Journal:
    """Records by key, in memory and as JSON lines on disk, so that a job continues where it was stopped.

    The last line of a process that was killed may be cut short, and is ignored. Several processes may append to one
    file.
    """

    def __init__(self, path: Path):
        self.records: dict[str, Any] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file = path.open("a+b", buffering=0)  # appends, and each record is one write
        self.file.seek(0)  # writing appends all the same
        content = self.file.read()
        for line in content.split(b"\n"):
            try:
                key, record = json.loads(line)
                self.records[key] = record
            except (ValueError, TypeError):  # a cut line may be JSON, too: `5` of `5.25`
                continue
        if content and not content.endswith(b"\n"):  # end the cut line, or the next record would be lost with it
            self.file.write(b"\n")

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def get(self, key: str) -> Any:
        """Return the record of a key, None if there is none."""
        return self.records.get(key)

    def add(self, key: str, record: Any) -> None:
        """Write a record, which replaces an earlier one with this key."""
        self.records[key] = record
        self.file.write(json.dumps([key, record]).encode() + b"\n")


def process_files(
    files: Mapping[str, str],
    work: Callable[[FileTask, Heartbeat], Record | None],
    journal: Journal,
    *,
    workers: int | None,
    patience_sec: float,
    what: str,
    on_progress: Progress,
) -> Iterator[tuple[str, Record | Failure, bool]]:
    """Process files in several processes, and write the records of those that are done to the journal.

    Args:
        files: paths by their keys in the journal
        work: returns the record of a file, or None if the record of an earlier run still holds
        workers: number of processes; one per core by default
        what: name of this step for `on_progress`

    Yields:
        The path, its record or why there is none, and whether the record is new, in the order in which they finish.
    """
    # All files are tasks, also those that are done: a worker looks whether they have changed, and in parallel.
    tasks = [FileTask(path, key, journal.get(key)) for key, path in files.items()]
    results = run_tasks(tasks, work, workers or os.cpu_count() or 1, patience_sec)
    for num_done, (task, result) in enumerate(results, start=1):
        # Failures are not in the journal: the next run tries them again.
        if isinstance(result, Failure):
            yield task.path, Failure(result.cause.removeprefix(f"{task.path}: ")), False
        elif result is None:  # unchanged, so the earlier record holds
            assert task.before is not None
            yield task.path, task.before, False
        else:
            journal.add(task.key, result)  # before the caller sees it, which may stop
            yield task.path, result, True
        on_progress(what, num_done, len(tasks))


def signature(path: str | Path) -> list[int]:
    """Return size and modification time of a file; a file counts as unchanged while both stay the same.

    The time of a packed file is that of its shard.
    """
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):  # a member of a tar is below a file
        packed = find_packed(path)
        if packed is None:
            raise
        return [packed.size, os.stat(packed.tar).st_mtime_ns]
    return [status.st_size, status.st_mtime_ns]
