"""`allinone data prepare`: a copy of a dataset with small videos that decode fast.

Each video gets the same path below the new folder, as MP4 with a short side of 240 pixels and a keyframe every 12
frames. Images and annotation files are copied (larger images are scaled), so the new folder is read like the source.
The source is only read. A journal in a hidden folder records finished files, so a run continues where it was stopped.
"""

import json
import math
import os
import shutil
import statistics
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from allinone.apps.tools.job import FileTask, Record, process_files, signature, with_causes
from allinone.apps.tools.pool import Failure, Heartbeat
from allinone.apps.tools.target_folder import CopyReport, TargetFolder
from allinone.datasets import DatasetEntry
from allinone.datasets.videos import as_mp4
from allinone.files.shards import open_file
from allinone.files.whole import write_json
from allinone.progress import Progress
from allinone.video import probe, read_frames
from allinone.video.encode import write_image
from allinone.video.names import PICTURES
from allinone.video.sampling import segment_times
from allinone.video.transcode import transcode

HIDDEN = ".prepared"
"""The folder in the new one for journal, format and report."""

SCALED = (".jpg", ".jpeg", ".png")
"""Larger images of these formats are scaled."""

PATIENCE_SEC = 120
"""A file for which nothing is read or written for this long is given up."""

NUM_MEASURED, MEASURE_SEC = 20, 60
"""Reading speed is measured on at most this many files, for about this long."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """What videos become: at most `short_side` pixels, a keyframe every `gop` frames, quality `crf` (0 is best)."""

    short_side: int = 240
    gop: int = 12
    crf: int = 23

    def __post_init__(self):
        if self.short_side < 2 or self.gop < 1 or not 0 <= self.crf <= 51:
            raise ValueError(f"short_side must be 2 or more, gop 1 or more, crf 0 to 51; got {self}")


@dataclass(frozen=True)
class Gain:
    """How many clips of three frames, spread over the video, are read per second: medians over some files."""

    num_files: int
    source: float
    prepared: float


@dataclass(kw_only=True)
class Report(CopyReport):
    """The outcome of `prepare`. `damaged` has causes by path, of videos that were written as far as they decode."""

    damaged: dict[str, str] = field(default_factory=dict)
    before_bytes: int = 0
    after_bytes: int = 0
    gain: Gain | None = None

    @property
    def complete(self) -> bool:
        """Whether every file was written whole."""
        return super().complete and not self.damaged

    def problems(self) -> dict[str, list[str]]:
        return super().problems() | {"damaged, written as far as it decodes": with_causes(self.damaged)}

    def summary(self) -> list[str]:
        """Return counts and sizes, the speed of reading, and warnings."""
        sizes = f"{self.before_bytes / 1e6:,.1f} MB became {self.after_bytes / 1e6:,.1f} MB"
        lines = [f"{self.in_words('prepared')}, {len(self.damaged):,} damaged; {sizes}"]
        if gain := self.gain:
            lines.append(
                f"clips of 3 frames: {gain.source:.1f} per second from the source, {gain.prepared:.1f} now "
                f"({gain.prepared / gain.source:.1f} times; medians of {gain.num_files} files)"
            )
        return [*lines, *self.warnings()]


def prepare(
    known: DatasetEntry,
    root: Path,
    to: Path,
    format: Format,
    *,
    workers: int | None = None,
    on_progress: Progress = lambda what, done, total: None,
) -> Report:
    """Convert the files that are new or changed since an earlier call. One process at a time may write to a folder.

    Raises:
        ValueError: the folders overlap, `to` has other files or another format, or two files would get one name.
    """
    # 1. Check everything that can be wrong before a file is written.
    folder = TargetFolder(known, root, to, HIDDEN)
    files, sources = folder.files, source_paths(folder)
    report = Report(counts=files.counts, num_files=len(files), missing=files.missing)
    with folder.opened() as journal:
        keep_format(folder, format)
        work = partial(convert, to=folder.to, unfinished=folder.unfinished, format=format)
        results = process_files(
            sources, work, journal, workers=workers, patience_sec=PATIENCE_SEC, what="files", on_progress=on_progress
        )
        # 2. Convert, in several processes.
        for path, record, is_new in results:
            add_result(report, path, record, is_new)
        if report.complete:
            report.alike = folder.is_alike()  # with files missing, they are not alike for that reason
        pairs = [(source, str(folder.to / name)) for name, source in sources.items() if source not in report.failed]
        report.gain = measure(pairs)
        write_json(folder.own / "report.json", asdict(report))
    return report


def source_paths(folder: TargetFolder) -> dict[str, str]:
    """Return the files by their paths in the new folder: the same as before, with `.mp4` unless it is an image."""
    sources: dict[str, str] = {}
    for path in folder.files.present:
        inside = folder.relative(path)
        name = str(inside if inside.suffix.lower() in PICTURES else as_mp4(inside))
        other = folder.relative(sources.setdefault(name, path))
        if other != inside:  # a.avi and a.mkv would both become a.mp4
            raise ValueError(f"{folder.root}: {other} and {inside} would both become {name}; rename one of them")
    return sources


def keep_format(folder: TargetFolder, format: Format) -> None:
    """Remember the format of a new folder. Raises ValueError for an older folder with another format."""
    path = folder.own / "format.json"
    if path.exists() and (before := json.loads(path.read_text())) != asdict(format):
        raise ValueError(f"{folder.to} was begun with {before}; continue with these, or choose another folder")
    write_json(path, asdict(format))


def add_result(report: Report, path: str, record: Record | Failure, is_new: bool) -> None:
    """Count the result of one file."""
    if isinstance(record, Failure):
        report.failed[path] = record.cause
        return
    before_bytes, _, after_bytes, damage = record
    report.num_done_before += not is_new
    report.before_bytes += before_bytes
    report.after_bytes += after_bytes
    if damage:
        report.damaged[path] = damage


def convert(task: FileTask, heartbeat: Heartbeat, to: Path, unfinished: Path, format: Format) -> Record | None:
    """Write a file to `to`, and return the signature of its source, its size, and what did not decode (or None).

    Returns None if it was written before, and neither source nor target has changed.
    """
    now, target = signature(task.path), str(to / task.key)
    # A target that was cut or removed is made again.
    if task.before and task.before[:2] == now and _has_size(target, task.before[2]):
        return None
    # Written elsewhere, then renamed: what has the final name is whole, whenever this process is killed. Two sources of
    # one name in different folders get different names here.
    new = str(unfinished / (uuid.uuid4().hex + Path(task.key).suffix))
    damage = write_converted(task.path, new, format, heartbeat)
    num_bytes = os.stat(new).st_size
    os.makedirs(os.path.dirname(target), exist_ok=True)
    os.replace(new, target)
    return [*now, num_bytes, damage]


def _has_size(path: str, num_bytes: int) -> bool:
    return os.path.isfile(path) and os.stat(path).st_size == num_bytes


def write_converted(source: str, target: str, format: Format, heartbeat: Heartbeat) -> str | None:
    """Convert one file. Returns what of the source did not decode, None if all did."""
    suffix = Path(source).suffix.lower()
    if suffix not in PICTURES:
        return transcode(
            source, target, short_side=format.short_side, gop=format.gop, crf=format.crf, on_progress=heartbeat
        )
    info = probe(source)
    if suffix in SCALED and min(info.width, info.height) > format.short_side:
        picture = read_frames(source, indices=[0], size=format.short_side).frames[0]  # upright, as the EXIF says
        write_image(target, picture.permute(1, 2, 0).numpy())
    else:
        with open_file(source) as file, open(target, "wb") as copy:
            shutil.copyfileobj(file, copy)
    return None


def measure(files: Sequence[tuple[str, str]]) -> Gain | None:
    """Measure reading three frames spread over the video, from sources and converted files in turns."""
    pairs = [pair for pair in files if Path(pair[1]).suffix == ".mp4"]
    pairs = pairs[:: max(1, math.ceil(len(pairs) / NUM_MEASURED))]  # spread over the dataset
    start = time.monotonic()
    rates: list[tuple[float, float]] = []
    for pair in pairs:
        info = probe(pair[1])
        times_sec = segment_times(0.0, info.duration_sec or 0.0, 3)
        seconds: tuple[list[float], list[float]] = ([], [])
        # In turns, so that other load on the machine slows both down.
        for _ in range(3):
            for path, times in zip(pair, seconds, strict=True):
                begin = time.perf_counter()
                read_frames(path, times_sec=times_sec, size=min(info.width, info.height))
                times.append(time.perf_counter() - begin)
        rates.append((1 / statistics.median(seconds[0]), 1 / statistics.median(seconds[1])))
        if time.monotonic() - start > MEASURE_SEC:
            break
    if not rates:
        return None
    source, prepared = zip(*rates, strict=True)
    return Gain(len(rates), statistics.median(source), statistics.median(prepared))
