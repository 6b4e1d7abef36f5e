"""Whether a data set is complete: checked before the first step of training or evaluation, not by a crash later."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from allinone.data.cached_table import open_table
from allinone.data.example import Dataset, HasPublishedSize, SplitSize
from allinone.data.presence import missing
from allinone.data.table import ExampleTable

log = logging.getLogger(__name__)

MAX_NAMED = 5
"""Paths of missing files in an error; the others are counted."""


class Checked(NamedTuple):
    """The examples of a data set, and how many records it is short of the published number."""

    examples: ExampleTable
    num_missing_records: int


class Tables:
    """The data sets that a run has open: each is read, and its files are looked for, once a run."""

    def __init__(self) -> None:
        self.opened: list[tuple[Dataset, Path, bool, Checked]] = []

    def open(self, dataset: Dataset, root: str | Path, allow_missing: bool = False) -> Checked:
        """Return a data set of this run; read it and check that it is complete if it is not open yet.

        Raises:
            ValueError: the data set is incomplete; see `require_complete`.
        """
        for other, folder, allowed, checked in self.opened:
            if (other, folder, allowed) == (dataset, Path(root), allow_missing):
                return checked
        table = open_table(dataset, root)
        checked = Checked(table, require_complete(dataset, table, root, allow_missing))
        self.opened.append((dataset, Path(root), allow_missing, checked))
        return checked


def require_complete(dataset: Dataset, examples: ExampleTable, root: str | Path, allow_missing: bool) -> int:
    """Compare a data set with its published size, and check that all files exist.

    A surplus is only logged.

    Returns:
        How many records it is short of the published number.

    Raises:
        ValueError: something is missing, unless `allow_missing` is set and at least one video exists; then it is
            logged.
    """
    size = dataset.published if isinstance(dataset, HasPublishedSize) else None
    counted = {"records": len(examples), "videos": len(np.unique(examples.file_keys()))}
    absent = missing(examples)
    num_clips = num_videos(examples) if absent else 0  # not for nothing: it sorts all ids
    problems = shortages(counted, size, absent, num_clips)
    # Without any video, `allow_missing` would only move the error to the first evaluation.
    is_empty = bool(absent) and len(absent) == num_clips
    message = f"{name_of(dataset)}.{dataset} in {root} is incomplete: {'; '.join(problems)}"
    if problems and (not allow_missing or is_empty):
        raise ValueError(f"{message}\n  {ways_out(dataset, root, size, is_empty)}")
    if problems:
        log.warning("%s", message)
    for what, number in published(size).items():
        if counted[what] > number:
            log.warning(
                "%s in %s: %s, but %s were published", dataset, root, f"{counted[what]:,} {what}", f"{number:,}"
            )
    return max(0, published(size).get("records", 0) - len(examples))


def published(size: SplitSize | None) -> dict[str, int]:
    """Return the figures that are known."""
    figures = {} if size is None else {"records": size.records, "videos": size.videos}
    return {what: number for what, number in figures.items() if number is not None}


def shortages(
    counted: Mapping[str, int], size: SplitSize | None, absent: Mapping[str, list[Path]], num_clips: int
) -> list[str]:
    """Describe each shortage in words."""
    problems = [
        f"{counted[what]:,} {what} of {number:,} published"
        for what, number in published(size).items()
        if counted[what] < number
    ]
    if absent:
        paths = [str(path) for some in absent.values() for path in some]
        more = f" and {len(paths) - MAX_NAMED:,} more" if len(paths) > MAX_NAMED else ""
        named = ", ".join(paths[:MAX_NAMED])
        problems.append(f"files of {len(absent):,} of {num_clips:,} videos are missing: {named}{more}")
    return problems


def ways_out(dataset: Dataset, root: str | Path, size: SplitSize | None, is_empty: bool) -> str:
    """Say what a user can do about it."""
    ways = [] if size is None else [f"look closer with `allinone data check {name_of(dataset)} --root {root}`"]
    if is_empty:
        ways.append("set data.root to the folder that holds the videos")
    else:
        ways.append("allow it with data.allow_missing=true, and every score will say how much is missing")
    return ", or ".join(ways)


def name_of(dataset: Dataset) -> str:
    """Return the name that users type for a data set: that of its module."""
    return type(dataset).__module__.rpartition(".")[2]


def num_videos(examples: ExampleTable) -> int:
    """Return how many distinct videos are shown, including those that questions choose between."""
    of_choices = examples.list_lengths("clips")
    # A choice between clips shows those, and not its own video.
    own = examples.video_keys()[slice(None) if of_choices is None else of_choices == 0]
    clips = np.empty(0, "u8") if examples.clips is None else examples.clips.video_keys()[:]
    return len(np.unique(np.concatenate([own, clips])))
