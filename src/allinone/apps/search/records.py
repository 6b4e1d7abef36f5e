"""What an index returns besides hits: its segments and videos, its state, and what adding and checking came to."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from allinone.apps.search.segments import CUTS, Cut

FORMAT = 2
"""To be raised with every change of the columns, or of which frames of a segment are read."""


@dataclass(frozen=True)
class IndexInfo:
    """How an index was made; stored in its table. `model` is a fingerprint: other models' vectors don't compare."""

    format: int
    model: str
    name: str | None
    num_frames: int
    cut: Cut

    @property
    def model_name(self) -> str:
        """The model in words: its name, frames and fingerprint."""
        return f"{self.name or 'unnamed'}, {self.num_frames} frames, {self.model}"

    def to_values(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        kind = next(kind for kind, cls in CUTS.items() if isinstance(self.cut, cls))
        return {**asdict(self), "cut": {"kind": kind, **asdict(self.cut)}}

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> "IndexInfo":
        """Undo `to_values`; KeyError, TypeError or AttributeError if something is missing or of another type."""
        cut = {**values["cut"]}
        return cls(**{**values, "cut": CUTS[cut.pop("kind")](**cut)})


@dataclass(frozen=True)
class Segment:
    """A row of the index. `duration_sec` is the whole video's (0 for an image), `size` and `mtime_ns` the file's."""

    id: str
    video: str
    start_sec: float
    end_sec: float
    duration_sec: float
    size: int
    mtime_ns: int
    added: datetime


@dataclass(frozen=True)
class Video:
    """A file in the index, as it was when it was added; `content` is the hash of its bytes."""

    path: str
    size: int
    mtime_ns: int
    content: str
    duration_sec: float
    num_segments: int
    added: datetime


@dataclass(frozen=True)
class Unreadable:
    """A file that could not be read, its size and time then, why, and the versions that tried (`reader`)."""

    video: str
    size: int
    mtime_ns: int
    cause: str
    reader: str


@dataclass(frozen=True)
class AddReport:
    """Numbers of videos that `add` embedded (new or changed) and skipped (unchanged), and which failed with the cause.

    `moved` ones had the content of a video in the index: renamed, copied or touched files, for which rows are copied.
    The fields after it are ignored by `==`.
    """

    added: int
    skipped: int
    failed: tuple[tuple[str, str], ...]
    moved: int = 0
    before: frozenset[str] = field(default=frozenset(), compare=False)
    """Failed files that failed in an earlier `add` and are unchanged; they were not read again."""
    stale: tuple[str, ...] = field(default=(), compare=False)
    """Failed files that the index still has an older version of."""
    gone: tuple[str, ...] = field(default=(), compare=False)
    """Videos in the index below the given folders that no longer exist."""
    others: Mapping[str, int] = field(default_factory=dict, compare=False)
    """Numbers of files in the folders that are not videos or pictures, by ending."""
    hidden: Mapping[str, int] = field(default_factory=dict, compare=False)
    """Numbers of videos and pictures skipped because they, or their folder, are hidden or in a bin; by ending."""


@dataclass(frozen=True)
class Verified:
    """How an index differs from the files: missing videos, changed ones, and ids of orphaned segments.

    `unreadable` are those of the changed videos that cannot be read. A segment is orphaned if its id occurs twice, or
    if it is of another version of the file than the newest rows.
    """

    missing: tuple[str, ...]
    changed: tuple[str, ...]
    orphaned: tuple[str, ...]
    unreadable: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether index and files agree."""
        return not (self.missing or self.changed or self.orphaned)


@dataclass(frozen=True)
class Stats:
    """The state of an index. `ann` says how vectors are searched; `bytes` is the size on disk."""

    num_videos: int
    num_segments: int
    duration_sec: float
    bytes: int
    info: IndexInfo
    ann: str
    num_unindexed: int
    first_added: datetime | None
    last_added: datetime | None


@dataclass(frozen=True)
class Recall:
    """The share of the exact top k that a search returns, and its median time without embedding the query."""

    recall: float
    num_queries: int
    top_k: int
    search_ms: float
