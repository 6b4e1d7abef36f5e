"""Is a data set complete and readable? Annotations against the published sizes, and every video file that they name.

Files are read by several processes. What was found readable is kept in the user's cache folder, and not read again
while size and time of the file stay as they are. Nothing is written below the data set's folder.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from allinone.apps.tools.info import Found, counts_as_json, differing, survey
from allinone.apps.tools.journal import Journal, signature
from allinone.apps.tools.pool import Alive, Failure, work_on
from allinone.data.example import Example
from allinone.data.presence import Folders
from allinone.datasets import DatasetEntry
from allinone.files.cache import cache_folder
from allinone.files.whole import write_json
from allinone.progress import Progress
from allinone.video import VideoFile

LATER_SEC = 1.0
"""A part that ends this much after its video is told of; less comes from rounding."""


@dataclass(slots=True)
class Part:
    """How far into a file the examples reach: the latest beginning and the latest end, each with whose it is."""

    start_sec: float = 0.0
    start_of: str = ""
    end_sec: float = 0.0
    end_of: str = ""


@dataclass(frozen=True)
class Span:
    """A part that goes beyond its video. One that begins there cannot be read; another is read up to the end."""

    path: str
    example: str
    start_sec: float | None
    end_sec: float | None
    duration_sec: float

    def __str__(self) -> str:
        what = f"begins at {self.start_sec:g}" if self.end_sec is None else f"ends at {self.end_sec:g}"
        return f"{self.path}: {self.example} {what} s, the video at {self.duration_sec:g} s"


@dataclass
class Report:
    """What was found."""

    name: str
    root: Path
    tasks: Found
    num_files: int = 0
    missing: list[str] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)
    outside: list[Span] = field(default_factory=list)
    beyond: list[Span] = field(default_factory=list)

    @property
    def differing(self) -> list[str]:
        return list(differing(self.tasks))

    @property
    def complete(self) -> bool:
        return not (self.differing or self.missing or self.broken or self.outside)

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "root": str(self.root),
            "complete": self.complete,
            "tasks": counts_as_json(self.tasks),
            "files": self.num_files,
            "missing": self.missing,
            "broken": [{"path": path, "cause": cause} for path, cause in sorted(self.broken.items())],
            "spans": [vars(span) | {"readable": span.end_sec is not None} for span in (*self.outside, *self.beyond)],
        }


def check(
    known: DatasetEntry,
    root: Path,
    *,
    splits: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
    workers: int | None = None,
    timeout_sec: float = 60,
    report: Path | None = None,
    on_progress: Progress = lambda what, done, total: None,
) -> tuple[Report, Path]:
    """Check it, and write the report as JSON: to `report`, or into the user's cache folder."""
    root = Path(root).resolve()
    report = Path(report).resolve() if report else notes(known, root).with_suffix(".json")
    if report.is_relative_to(root):
        raise ValueError(f"{report}: a check writes nothing below {root}; put the report elsewhere")
    files: dict[str, Part] = {}
    found = Report(known.name, root, survey(known, root, splits, tasks, partial(reach, files)))
    found.num_files = len(files)
    folders = Folders()
    there = []
    for path in files:
        (there if folders.have(path) else found.missing).append(path)
    for done, (path, result) in enumerate(read_all(known, root, there, workers, timeout_sec), start=1):
        if isinstance(result, Failure):
            found.broken[path] = result.cause
        else:
            compare(found, path, files[path], duration_sec=result)
        on_progress("files", done, len(there))
    report.parent.mkdir(parents=True, exist_ok=True)
    write_json(report, found.as_json())
    return found, report


def read_all(
    known: DatasetEntry, root: Path, paths: Sequence[str], workers: int | None = None, timeout_sec: float = 60
) -> Iterator[tuple[str, float | Failure]]:
    """Each file with its duration, or why it cannot be read. One that was readable before is not read again."""
    with Journal(notes(known, root).with_suffix(".whole.jsonl")) as journal:
        looks = [(path, journal.get(path), timeout_sec) for path in paths]
        results = work_on(looks, look, workers or os.cpu_count() or 1, patience_sec=3 * timeout_sec)
        for (path, before, _), result in results:
            if isinstance(result, Failure):
                yield path, Failure(result.cause.removeprefix(f"{path}: "))
            else:
                if result != before:
                    journal.add(path, result)
                yield path, result[2]


def notes(known: DatasetEntry, root: Path) -> Path:
    """Where it is noted what was found in a data set, without an ending."""
    return cache_folder("check") / f"{known.name}-{hashlib.sha256(str(root).encode()).hexdigest()[:12]}"


def reach(files: dict[str, Part], example: Example) -> None:
    """Note which files an example needs, and how far into them it reaches."""
    for clip in example.clips or (example,):
        for path in clip.files:
            part = files.setdefault(str(path), Part())
            name = example.id or clip.video_id
            if (clip.start_sec or 0) > part.start_sec:
                part.start_sec, part.start_of = clip.start_sec or 0, name
            if (clip.end_sec or 0) > part.end_sec:
                part.end_sec, part.end_of = clip.end_sec or 0, name


def compare(report: Report, path: str, part: Part, duration_sec: float) -> None:
    if not duration_sec:  # an image has no time
        return
    if part.start_sec >= duration_sec:
        report.outside.append(Span(path, part.start_of, part.start_sec, None, duration_sec))
    elif part.end_sec > duration_sec + LATER_SEC:
        report.beyond.append(Span(path, part.end_of, None, part.end_sec, duration_sec))


def look(task: tuple[str, list[float] | None, float], alive: Alive) -> list[float]:
    """Size, time of change and duration of a file that is readable (as `before`, where it has not changed since)."""
    path, before, timeout_sec = task
    now = signature(path)
    if before is not None and before[:2] == now:
        return before
    with VideoFile(path, timeout_sec=timeout_sec, on_progress=alive) as file:
        return [*now, file.length_sec(complete=True)]
