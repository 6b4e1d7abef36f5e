"""A copy of a data set with small videos that decode fast: a short side of 240 pixels and a keyframe every 12 frames.

Each video goes to the same place below the new folder, as MP4, images and annotation files as they are (images that
are larger are scaled); so the new folder is read as the old one was. The source is only ever read. What is finished is
noted in a hidden folder, so that a run that was stopped goes on where it was.
"""

import json
import os
import shutil
import statistics
import time
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from allinone.apps.tools.check import Part, reach
from allinone.apps.tools.info import differing, survey
from allinone.apps.tools.journal import Journal, signature
from allinone.apps.tools.pool import Alive, Failure, work_on
from allinone.apps.tools.target_folder import UNFINISHED, Named, apart, copy_annotations, place_in, taken
from allinone.data.example import Example
from allinone.data.presence import Folders
from allinone.datasets import DatasetEntry
from allinone.datasets.files import as_mp4
from allinone.files.shards import open_file
from allinone.files.whole import write_json
from allinone.progress import Progress
from allinone.video import probe, read_frames
from allinone.video.encode import write_image
from allinone.video.names import PICTURES
from allinone.video.sampling import segment_times
from allinone.video.transcode import transcode

OWN = ".prepared"
"""The folder in the new one for what is noted."""

SCALED = (".jpg", ".jpeg", ".png")
"""Larger images of these kinds are scaled."""

PATIENCE_SEC = 120
NUM_MEASURED, MEASURE_SEC = 20, 60


@dataclass(frozen=True, kw_only=True)
class Format:
    """What videos become: `short_side` pixels at most, a keyframe every `gop` frames, quality `crf` (0 is best)."""

    short_side: int = 240
    gop: int = 12
    crf: int = 23

    def __post_init__(self):
        if self.short_side < 2 or self.gop < 1 or not 0 <= self.crf <= 51:
            raise ValueError(f"short_side is 2 or more, gop 1 or more, crf 0 to 51; got {self}")


@dataclass(frozen=True)
class Job:
    """A file, its place in the new folder, and what was noted when it was done before."""

    source: str
    place: str
    to: str
    before: "Done | None"
    format: Format

    @property
    def target(self) -> str:
        return os.path.join(self.to, self.place)


Done = list[Any]
"""Signature of the source (size, time of change), size of what was written, and what did not decode, or None."""


@dataclass
class Report:
    """What was done."""

    num_files: int = 0
    num_done_before: int = 0
    unread: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)
    before_bytes: int = 0
    after_bytes: int = 0
    alike: bool = True
    """Whether the examples name the same files in the new folder; asked where all were made."""
    gain: "Gain | None" = None

    @property
    def complete(self) -> bool:
        return self.alike and not (self.missing or self.failed or self.damaged)


@dataclass(frozen=True)
class Gain:
    """Clips of three frames, spread over the video, that are read a second: medians over some files."""

    num_files: int
    source: float
    prepared: float


def prepare(
    known: DatasetEntry,
    root: Path,
    to: Path,
    format: Format,
    *,
    workers: int | None = None,
    on_progress: Progress = lambda what, done, total: None,
) -> Report:
    """Do what is not yet done. One process at a time may prepare a folder."""
    root, to = apart(root, to)
    needed: dict[str, Part] = {}
    as_read, as_prepared = Named(root), Named(to)
    found = survey(known, root, each=partial(note_needed, needed, as_read))
    if not needed:
        raise ValueError(f"{known.name}: nothing to prepare; {'; '.join(differing(found))}")
    folders = Folders()
    there = [path for path in needed if folders.have(path)]
    missing = [path for path in needed if not folders.have(path)]
    report = Report(len(needed), unread=list(differing(found)), missing=missing)
    places = new_places(there, root)
    with taken(to, OWN):
        keep_format(to, format)
        copy_annotations(root, to)
        with Journal(to / OWN / "done.jsonl") as journal:
            jobs = [Job(source, place, str(to), journal.get(place), format) for source, place in places.items()]
            for done, (job, result) in enumerate(work_on(jobs, do, workers or os.cpu_count() or 1, PATIENCE_SEC), 1):
                note(report, journal, job, result)
                on_progress("files", done, len(jobs))
        if report.complete:
            survey(known, to, each=as_prepared.add)
            report.alike = as_prepared.digest() == as_read.digest()
        report.gain = measure([(job.source, job.target) for job in jobs if job.source not in report.failed])
        write_json(to / OWN / "report.json", asdict(report))
    return report


def note_needed(needed: dict[str, Part], named: Named, example: Example) -> None:
    reach(needed, example)
    named.add(example)


def new_places(paths: Iterable[str], root: Path) -> dict[str, str]:
    """Where each file goes, from the new folder: where it was, as MP4 unless it is an image."""
    places: dict[str, str] = {}
    sources: dict[str, str] = {}
    for path in paths:
        inside = place_in(root, path)
        place = str(inside if inside.suffix.lower() in PICTURES else as_mp4(inside))
        other = sources.setdefault(place, str(inside))
        if other != str(inside):
            raise ValueError(f"{root}: {other} and {inside} would both become {place}; rename one of them")
        places[path] = place
    return places


def keep_format(to: Path, format: Format) -> None:
    """All that is in a folder has one format."""
    settings = to / OWN / "format.json"
    if settings.exists() and json.loads(settings.read_text()) != asdict(format):
        raise ValueError(f"{to} was begun with {settings.read_text()}; go on with these, or take another folder")
    write_json(settings, asdict(format))


def note(report: Report, journal: Journal, job: Job, result: tuple[Done, bool] | Failure) -> None:
    if isinstance(result, Failure):
        report.failed[job.source] = result.cause.removeprefix(f"{job.source}: ")
        return
    done, is_new = result
    if is_new:
        journal.add(job.place, done)
    else:
        report.num_done_before += 1
    before_bytes, _, after_bytes, damage = done
    report.before_bytes += before_bytes
    report.after_bytes += after_bytes
    if damage:
        report.damaged[job.source] = damage


def do(job: Job, alive: Alive) -> tuple[Done, bool]:
    """Write a file, unless it is there and its source is as it was; and whether it was written."""
    now = signature(job.source)
    if job.before and is_as_it_was(job.before, now, job.target):
        return job.before, False
    unfinished = os.path.join(job.to, OWN, UNFINISHED, uuid.uuid4().hex + Path(job.place).suffix)
    damage = write(job.source, unfinished, job.format, alive)
    after_bytes = os.stat(unfinished).st_size
    os.makedirs(os.path.dirname(job.target), exist_ok=True)
    os.replace(unfinished, job.target)
    return [*now, after_bytes, damage], True


def is_as_it_was(before: Done, now: list[int], target: str) -> bool:
    return before[:2] == now and os.path.isfile(target) and signature(target)[0] == before[2]


def write(source: str, target: str, form: Format, alive: Alive) -> str | None:
    """Make the new file; what of the source did not decode, or None."""
    suffix = Path(source).suffix.lower()
    if suffix not in PICTURES:
        return transcode(source, target, short_side=form.short_side, gop=form.gop, crf=form.crf, on_progress=alive)
    info = probe(source)
    if suffix in SCALED and min(info.width, info.height) > form.short_side:
        picture = read_frames(source, indices=[0], size=form.short_side).frames[0]
        write_image(target, picture.permute(1, 2, 0).numpy())
    else:
        with open_file(source) as file, open(target, "wb") as copy:
            shutil.copyfileobj(file, copy)
    return None


def measure(files: list[tuple[str, str]]) -> Gain | None:
    """Read three frames spread over the video, from the source and from what was made of it, in turns."""
    pairs = [pair for pair in files if Path(pair[1]).suffix == ".mp4"]
    pairs = pairs[:: max(1, -(-len(pairs) // NUM_MEASURED))]
    begun = time.monotonic()
    rates: list[tuple[float, float]] = []
    for pair in pairs:
        info = probe(pair[1])
        times_sec = segment_times(0.0, info.duration_sec or 0.0, 3)
        seconds: tuple[list[float], list[float]] = ([], [])
        for _ in range(3):
            for path, taken_sec in zip(pair, seconds, strict=True):
                begin = time.perf_counter()
                read_frames(path, times_sec=times_sec, size=min(info.width, info.height))
                taken_sec.append(time.perf_counter() - begin)
        rates.append((1 / statistics.median(seconds[0]), 1 / statistics.median(seconds[1])))
        if time.monotonic() - begun > MEASURE_SEC:
            break
    if not rates:
        return None
    source, prepared = zip(*rates, strict=True)
    return Gain(len(rates), statistics.median(source), statistics.median(prepared))
