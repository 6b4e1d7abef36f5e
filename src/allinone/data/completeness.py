"""Is a data set whole? Told before the first step of training or evaluation, not by a crash in the middle of it."""

import logging
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from allinone.data.example import Dataset, Example, HasPublishedSize
from allinone.data.presence import missing

log = logging.getLogger(__name__)

NUM_NAMED = 5


def require_complete(dataset: Dataset, examples: Sequence[Example], root: str | Path, allow_missing: bool) -> int:
    """Compare the examples of a data set with what its card says was published, and look whether all files are there.

    ValueError tells what is missing, unless that is allowed and something is there: then it is logged. Returns by how
    many examples the data set is short of the published number. More than were published are only logged.
    """
    size = dataset.published if isinstance(dataset, HasPublishedSize) else None
    num_files = len({path for example in examples for path in example.files})
    num_clips = len({clip.video_id for example in examples for clip in example.clips or (example,)})
    wanted = {} if size is None else {"records": size.records, "videos": size.videos}
    counted = {"records": len(examples), "videos": num_files}
    problems = [
        f"{counted[what]:,} {what} of {number:,} published"
        for what, number in wanted.items()
        if number is not None and counted[what] < number
    ]
    absent = missing(examples)
    if absent:
        paths = [str(path) for some in absent.values() for path in some]
        more = f" and {len(paths) - NUM_NAMED:,} more" if len(paths) > NUM_NAMED else ""
        problems.append(
            f"files of {len(absent):,} of {num_clips:,} videos are missing: {', '.join(paths[:NUM_NAMED])}{more}"
        )
    name = type(dataset).__module__.rpartition(".")[2]
    told = f"{name}.{dataset} in {root} is incomplete: {'; '.join(problems)}"
    if problems and (not allow_missing or len(absent) == num_clips):
        ways_out = [] if size is None else [f"look closer with `allinone data check {name} --root {root}`"]
        if len(absent) < num_clips:
            ways_out.append("allow it with data.allow_missing=true, and every score will tell how much is missing")
        else:
            ways_out.append("set data.root to the folder that holds the videos")
        raise ValueError(f"{told}\n  {', or '.join(ways_out)}")
    if problems:
        warn_once(told)
    for what, number in wanted.items():
        if number is not None and counted[what] > number:
            warn_once(f"{dataset} in {root}: {counted[what]:,} {what}, but {number:,} were published")
    return max(0, ((size and size.records) or 0) - len(examples))


@cache
def warn_once(message: str) -> None:
    """An evaluation looks at its data set more than once, and its controls do again."""
    log.warning("%s", message)
