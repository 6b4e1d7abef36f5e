"""`allinone data check`: is a dataset complete and readable?

Annotations are compared with the published sizes, and every video that they name is read. Files that were found
readable are recorded in the user's cache folder, and not read again while their size and modification time stay the
same. Nothing is written below the folder of the dataset.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

from allinone.apps.tools.info import counts_as_json, differences
from allinone.apps.tools.job import (
    FileTask,
    JobReport,
    Journal,
    Record,
    collect_files,
    process_files,
    signature,
    with_causes,
)
from allinone.apps.tools.pool import Failure, Heartbeat
from allinone.data.example import Example
from allinone.datasets import DatasetEntry
from allinone.files.cache import cache_folder
from allinone.files.whole import write_json
from allinone.progress import Progress
from allinone.video import VideoFile

TOLERANCE_SEC = 1.0
"""Spans that end this much after their video are reported. Smaller differences come from rounded annotations."""

TIMEOUT_SEC = 60.0
"""A file that yields nothing for this long is given up."""


@dataclass(slots=True)
class Extent:
    """How far examples reach into a file: the latest start and the latest end in seconds, each with its example."""

    start: tuple[float, str] = (0.0, "")
    end: tuple[float, str] = (0.0, "")


@dataclass(frozen=True)
class Span:
    """The span of an example that exceeds its video: `start_sec` if it starts there, otherwise `end_sec`."""

    path: str
    example: str
    start_sec: float | None
    end_sec: float | None
    duration_sec: float

    @property
    def readable(self) -> bool:
        """Whether a part of it is in the video: it is read up to the end."""
        return self.start_sec is None

    def __str__(self) -> str:
        what = f"ends at {self.end_sec:g}" if self.readable else f"begins at {self.start_sec:g}"
        return f"{self.path}: {self.example} {what} s, the video at {self.duration_sec:g} s"


@dataclass(kw_only=True)
class Report(JobReport):
    """The outcome of a check: broken files in `failed`, and the spans that exceed their videos."""

    name: str
    root: Path
    spans: list[Span] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether the counts are the published ones, and every file and span can be read."""
        return super().complete and not any(differences(self.counts)) and all(span.readable for span in self.spans)

    def problems(self) -> dict[str, list[str]]:
        """Return lines by title. Differing counts are not among them, because they are shown with the counts."""
        return {
            "missing": self.missing,
            "broken": with_causes(self.failed),
            "span outside its video": [str(span) for span in self.spans if not span.readable],
            "span longer than its video": [str(span) for span in self.spans if span.readable],
        }

    def summary(self) -> list[str]:
        """Return the numbers in a line."""
        num_long = sum(span.readable for span in self.spans)
        return [
            f"{self.num_files:,} files: {self.num_readable:,} readable, {len(self.missing):,} missing, "
            f"{len(self.failed):,} broken; {len(self.spans) - num_long:,} spans start after their video ends, "
            f"{num_long:,} end after it"
        ]

    def as_json(self) -> dict[str, Any]:
        """Return the JSON that `check` writes."""
        return {
            "name": self.name,
            "root": str(self.root),
            "complete": self.complete,
            "tasks": counts_as_json(self.counts),
            "files": self.num_files,
            "missing": self.missing,
            "broken": [{"path": path, "cause": cause} for path, cause in sorted(self.failed.items())],
            "spans": [vars(span) | {"readable": span.readable} for span in self.spans],
        }


def check(
    known: DatasetEntry,
    root: Path,
    *,
    splits: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
    workers: int | None = None,
    timeout_sec: float = TIMEOUT_SEC,
    report: Path | None = None,
    on_progress: Progress = lambda what, done, total: None,
) -> tuple[Report, Path]:
    """Check a dataset.

    Args:
        splits, tasks: only these; all by default
        workers: number of processes; one per core by default
        timeout_sec: a file that yields nothing for this long is given up
        report: path of the JSON report; in the user's cache folder by default

    Returns:
        The report, and the path to which it was written.

    Raises:
        ValueError: the report would be written below `root`, or there is no such folder, task or split.
    """
    root = Path(root).resolve()
    path = Path(report).resolve() if report else _cache_path(known, root).with_suffix(".json")
    if path.is_relative_to(root):
        raise ValueError(f"{path}: a check writes nothing below {root}; put the report elsewhere")
    # 1. Read the annotations: which files there are, and how far into each the examples reach.
    extents: defaultdict[str, Extent] = defaultdict(Extent)
    files = collect_files(known, root, splits, tasks, partial(note_extent, extents))
    result = Report(name=known.name, root=root, counts=files.counts, num_files=len(files), missing=files.missing)
    # 2. Read each file once, and compare its length with the examples.
    for file, duration_sec in read_files(known, root, files.present, workers, "files", on_progress, timeout_sec):
        if isinstance(duration_sec, Failure):
            result.failed[file] = duration_sec.cause
        elif span := exceeding_span(file, extents[file], duration_sec):
            result.spans.append(span)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, result.as_json())
    return result, path


def read_files(
    known: DatasetEntry,
    root: Path,
    paths: Sequence[str],
    workers: int | None,
    what: str,
    on_progress: Progress,
    timeout_sec: float = TIMEOUT_SEC,
) -> Iterator[tuple[str, float | Failure]]:
    """Yield each file with its duration, or why it cannot be read. Files that were readable before are not read."""
    with Journal(_cache_path(known, root).with_suffix(".whole.jsonl")) as journal:
        work = partial(probe_file, timeout_sec=timeout_sec)
        files = {path: path for path in paths}
        patience_sec = 3 * timeout_sec  # a decoder stops by itself after `timeout_sec`, or its process is killed
        results = process_files(
            files, work, journal, workers=workers, patience_sec=patience_sec, what=what, on_progress=on_progress
        )
        for path, record, _ in results:
            yield path, record if isinstance(record, Failure) else record[2]


def _cache_path(known: DatasetEntry, root: Path) -> Path:
    """Return the path, without suffix, of what the cache folder holds about a dataset in a folder."""
    # By folder, since there may be several copies of a data set.
    return cache_folder("check") / f"{known.name}-{hashlib.sha256(str(root).encode()).hexdigest()[:12]}"


def note_extent(extents: defaultdict[str, Extent], example: Example) -> None:
    """Extend the extents of the files of an example by its spans."""
    for clip in example.clips or (example,):
        name = example.id or clip.video_id
        for extent in (extents[str(path)] for path in clip.files):
            # By time only: of equal ones the first example stays.
            extent.start = max(extent.start, (clip.start_sec or 0.0, name), key=itemgetter(0))
            extent.end = max(extent.end, (clip.end_sec or 0.0, name), key=itemgetter(0))


def exceeding_span(path: str, extent: Extent, duration_sec: float) -> Span | None:
    """Return a span that exceeds a file, if there is one. An image (0 s) has no end."""
    (start_sec, start_of), (end_sec, end_of) = extent.start, extent.end
    # The worse one first: of an example that starts after the end nothing can be read, one that ends after it is only
    # short.
    if duration_sec and start_sec >= duration_sec:
        return Span(path, start_of, start_sec, None, duration_sec)
    if duration_sec and end_sec > duration_sec + TOLERANCE_SEC:
        return Span(path, end_of, None, end_sec, duration_sec)
    return None


def probe_file(task: FileTask, heartbeat: Heartbeat, timeout_sec: float) -> Record | None:
    """Return signature and duration of a readable file, None if it has not changed since it was read before."""
    now = signature(task.path)
    if task.before is not None and task.before[:2] == now:  # size and time as when it was read to its end
        return None
    with VideoFile(task.path, timeout_sec=timeout_sec, on_progress=heartbeat) as file:
        return [*now, file.length_sec(complete=True)]
