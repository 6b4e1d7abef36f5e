"""`allinone data list`, `info`, `check`, `prepare` and `shard`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from allinone.cli.command import Group
from allinone.cli.show import print_json, progress_bars, show_table
from allinone.video.names import on_disk

if TYPE_CHECKING:
    from allinone.apps.tools.info import DatasetCounts
    from allinone.apps.tools.job import JobReport
    from allinone.datasets import DatasetEntry
    from allinone.datasets.base import SplitSize

MAX_SHOWN = 20
"""More files of one kind are not listed but counted; the report has all of them."""


def list_datasets() -> None:
    """List all known datasets."""
    from allinone.datasets import all_known

    rows = []
    for known in all_known():
        sizes = []
        for reading in known.card.tasks.values():
            figures = [size.records for size in reading.splits.values() if size.records]
            sizes.append(f"{max(figures):,}" if figures else "")
        card, tasks = known.card, "\n".join(known.card.tasks)
        rows.append((known.name, card.title, tasks, "\n".join(sizes), card.license))
    show_table(("name", "description", "tasks", "records", "license"), rows)


def info(name: str, *, root: Path | None = None, json: bool = False) -> None:
    """Describe a dataset: license, download, layout on disk, one record, published sizes. With --root, count the
    records that are there; the videos may be missing.

    The JSON is {"name", "root", "tasks": {TASK: {SPLIT: {"records", "videos" (distinct files), "options" (of a
    question) or null, "answers" (distinct answers, numbers or labels) or null, "published": {"records", "videos"} or
    null, "equal": true, false or null} or {"error": TEXT}}}}.

    Args:
        name: a dataset; `allinone data list` lists them
        root (R): folder of the dataset
        json: print the counts as JSON
    """
    from allinone.apps.tools.info import count_records, counts_as_json
    from allinone.datasets import find

    known = find(name)
    if root is None:
        if json:
            raise ValueError("--json prints counts; give the folder of the dataset with --root R")
        show_card(known)
        return
    counts = count_records(known, on_disk(root))
    if json:
        print_json({"name": known.name, "root": str(root), "tasks": counts_as_json(counts)})
    else:
        show_counts(f"{known.name} in {root}", counts)


def check(
    name: str,
    *,
    root: Path,
    split: Sequence[str] | None = None,
    task: Sequence[str] | None = None,
    workers: int | None = None,
    timeout_sec: float = 60,
    report: Path | None = None,
) -> None:
    """Check whether a dataset is complete and readable. Compares annotations with the published sizes, and reads each
    video at its start, middle and end. Changes nothing; continues where an earlier check stopped. Exit code 1 if
    anything is missing or broken.

    Args:
        name: a dataset; `allinone data list` lists them
        root (R): folder of the dataset
        split (S): only these splits (default: all)
        task (T): only these tasks (default: all)
        workers: processes (default: one per core)
        timeout_sec: give up a file that yields nothing for this long
        report (FILE): where to write the JSON report (default: the user's cache folder)
    """
    from allinone.apps.tools.check import check
    from allinone.datasets import find

    known = find(name)
    with progress_bars() as show:
        result, path = check(
            known,
            on_disk(root),
            splits=split,
            tasks=task,
            workers=workers,
            timeout_sec=timeout_sec,
            report=report,
            on_progress=show,
        )
    show_counts(f"{known.name} in {root}", result.counts)
    finish(known.name, result, f"report: {path}")


def prepare(
    name: str,
    *,
    root: Path,
    to: Path,
    short_side: int = 240,
    gop: int = 12,
    crf: int = 23,
    workers: int | None = None,
) -> None:
    """Make the videos of a dataset fast to read: encode them again, small and with frequent keyframes, into a new
    folder that is read like the source. The source stays as it is; continues where an earlier call stopped.

    Args:
        name: a dataset; `allinone data list` lists them
        root (R): folder of the dataset
        to (D): the new folder
        short_side (PIXELS): larger videos are scaled to this
        gop: frames from keyframe to keyframe
        crf: quality, from 0 (best) to 51
        workers: processes (default: one per core)
    """
    from allinone.apps.tools.prepare import Format, prepare
    from allinone.datasets import find

    format = Format(short_side=short_side, gop=gop, crf=crf)
    with progress_bars() as show:
        report = prepare(find(name), on_disk(root), to, format, workers=workers, on_progress=show)
    finish(name, report)


def shard(
    name: str,
    *,
    root: Path,
    to: Path,
    split: Sequence[str] | None = None,
    task: Sequence[str] | None = None,
    max_mb: int = 512,
    max_samples: int = 10_000,
    workers: int | None = None,
) -> None:
    """Pack the videos of a dataset, unchanged, into a few large tar files in WebDataset's layout, in a new folder that
    is read like the source. The source stays as it is; continues where an earlier call stopped. Exit code 1 if a video
    is missing or unreadable.

    Args:
        name: a dataset; `allinone data list` lists them
        root (R): folder of the dataset
        to (S): the new folder
        split (S): only these splits (default: all)
        task (T): only these tasks (default: all)
        max_mb (MB): size of a shard
        max_samples: videos in a shard
        workers: processes that read (default: one per core)
    """
    from allinone.apps.tools.shard import Limits, shard
    from allinone.datasets import find

    limits = Limits(max_mb=max_mb, max_samples=max_samples)
    with progress_bars() as show:
        report = shard(
            find(name), on_disk(root), to, limits, splits=split, tasks=task, workers=workers, on_progress=show
        )
    finish(name, report)


def finish(name: str, report: "JobReport", *more: str) -> None:
    """Print the problems of a job, the first few of each kind, and its numbers. Exit with 1 if it is not complete."""
    for title, lines in report.problems().items():
        for line in lines[:MAX_SHOWN]:
            print(f"{title}: {line}")
        if len(lines) > MAX_SHOWN:
            print(f"{title}: ... and {len(lines) - MAX_SHOWN:,} more")
    print(*report.summary(), *more, sep="\n")
    if not report.complete:
        print(f"{name}: not complete", file=sys.stderr)
        sys.exit(1)


def show_card(known: "DatasetEntry") -> None:
    """Print the page of a dataset."""
    print(f"{known.name}: {known.about}\n")
    for task, reading in known.card.tasks.items():
        for split, size in reading.splits.items():
            print(f"{task}, {split}: {size_in_words(size)}")


def show_counts(title: str, counts: "DatasetCounts") -> None:
    """Print the counts of each task and split, and where they differ from the published ones."""
    from allinone.apps.tools.info import differences

    header, rows = ("task", "split", "records", "videos", "options", "answers", "as published"), []
    for task, splits in counts.items():
        for split, count in splits.items():
            if isinstance(count, str):
                rows.append((task, split, "-", "-", "-", "-", "not read"))
            else:
                figures = (count.records, count.videos, count.options, count.answers)
                verdict = {True: "yes", False: "no", None: ""}[count.equal]
                rows.append((task, split, *("" if figure is None else f"{figure:,}" for figure in figures), verdict))
    show_table(header, rows, title=title)
    for line in differences(counts):
        print(line)


def size_in_words(size: "SplitSize | None") -> str:
    figures = [] if size is None else [(size.records, "records"), (size.videos, "videos")]
    return ", ".join(f"{count:,} {what}" for count, what in figures if count is not None) or "no published size"


COMMANDS = Group(
    "List, describe, check and pack datasets.",
    {"list": list_datasets, "info": info, "check": check, "prepare": prepare, "shard": shard},
)
