"""One `add` under way: which files are new, which are known by their content, what is written and when."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from allinone.apps.search.embedding import Embedded, segment_id
from allinone.apps.search.files import Listing, VideoFile, printable
from allinone.apps.search.hits import sql_in
from allinone.apps.search.table import FILE_COLUMNS, Store, Unreadable
from allinone.files.faults import explain

WRITE_SEC = 10
"""Rows wait no longer than this to be written, so that being killed costs little."""

TIDY_WRITES = 64


@dataclass(frozen=True)
class AddReport:
    """How many videos were embedded (new or changed) or there already; which failed, and why.

    `moved` ones were known by their content under another path, or only touched: their rows were taken over. What is
    told besides does not count where two reports are compared.
    """

    added: int
    skipped: int
    failed: tuple[tuple[str, str], ...]
    moved: int = 0
    before: frozenset[str] = field(default=frozenset(), compare=False)
    """Of those that failed the ones that had failed already: they have not changed, and were not read again."""
    stale: tuple[str, ...] = field(default=(), compare=False)
    """Of those that failed the ones that the index still has as they were."""
    gone: tuple[str, ...] = field(default=(), compare=False)
    """Videos in the index that were in these folders, and are no longer there."""
    others: Mapping[str, int] = field(default_factory=dict, compare=False)
    """How many files of other kinds were left alone in the folders, by ending."""
    hidden: Mapping[str, int] = field(default_factory=dict, compare=False)
    """How many videos and pictures were left alone in bins and hidden folders, or are hidden, by ending."""


class Adding:
    """What one `add` knows, has done, and holds to be written."""

    def __init__(self, store: Store, schema: Any, rows_per_write: int, listing: Listing):
        self.store = store
        self.listing = listing
        self.schema = schema
        self.rows_per_write = rows_per_write
        self.added = self.skipped = self.moved = self.writes = self.num_rows = 0
        self.failed: dict[str, str] = {}
        self.pending: list[Embedded] = []
        self.lost: list[VideoFile] = []
        """Known by content when they were looked at, but these rows have been replaced since."""
        self.written = time.monotonic()
        table = store.rows(FILE_COLUMNS)
        files = [] if table is None else table.group_by(FILE_COLUMNS).aggregate([]).to_pylist()
        self.state = {row["video"]: (row["size"], row["mtime_ns"]) for row in files}
        self.path_of = {row["content"]: row["video"] for row in files}
        self.remembered = store.unreadable()
        self.unreadable = {file.video: file for file in self.remembered}
        self.before: set[str] = set()

    @property
    def num_done(self) -> int:
        return self.added + self.skipped + self.moved + len(self.failed)

    def report(self) -> AddReport:
        folders = tuple(str(folder).rstrip("/") + "/" for folder in self.listing.folders)
        left = self.state.keys() - set(map(str, self.listing.files))
        return AddReport(
            self.added,
            self.skipped,
            tuple(sorted(self.failed.items())),
            self.moved,
            before=frozenset(self.before),
            stale=tuple(sorted(self.unreadable.keys() & self.failed.keys() & self.state.keys())),
            gone=tuple(sorted(path for path in left if path.startswith(folders) and not os.path.exists(path))),
            others=self.listing.others,
            hidden=self.listing.hidden,
        )

    def new_files(self) -> list[VideoFile]:
        """Those that are not in the index as they are, and may be readable."""
        new = []
        for path in self.listing.files:
            try:
                file = VideoFile.of(path)
            except OSError as error:
                self.failed[printable(path)] = explain(error)
                continue
            except UnicodeEncodeError:
                self.failed[printable(path)] = f"{printable(path)}: its name is not in UTF-8; give it another"
                continue
            if self.state.get(file.path) == file.state:
                self.skipped += 1
            elif (known := self.unreadable.get(file.path)) and known == unreadable(file, known.cause):
                self.failed[file.path] = known.cause
                self.before.add(file.path)
            else:
                new.append(file)
        return new

    def remember(self) -> None:
        """Keep which files could not be read, for the next time."""
        files = [file for path, file in sorted(self.unreadable.items()) if os.path.exists(path)]
        if files != self.remembered:
            self.store.write_unreadable(files)

    def take(self, result: Embedded) -> None:
        self.unreadable.pop(result.video.path, None)
        if result.failure is not None:
            self.failed[result.video.path] = result.failure
            if result.lasts:
                self.unreadable[result.video.path] = unreadable(result.video, result.failure)
            return
        self.added, self.moved = self.added + (not result.is_known), self.moved + result.is_known
        self.pending.append(result)
        self.num_rows += max(1, len(result.rows))
        # A large index is written in larger steps: each makes a file, and a version that lists all files.
        full = self.num_rows >= max(self.rows_per_write, len(self.state) // 64)
        if full or time.monotonic() - self.written > WRITE_SEC:
            self.flush()

    def flush(self) -> None:
        """Write what is held, in one step."""
        import pyarrow as pa

        if not self.pending:
            return
        now = datetime.now(UTC)
        copies = self.copies([result for result in self.pending if result.is_known])
        rows, written, replaced = [], [], set()
        for result in self.pending:
            video = result.video
            if result.is_known and video not in copies:
                self.moved -= 1
                self.lost.append(video)
                continue
            written.append(result)
            rows += [{"added": now, **row} for row in copies.get(video, result.rows)]
            before = {video.path, self.path_of.get(result.content, video.path)}
            replaced |= {path for path in before if path in self.state and gone(path, video)}
        if rows:
            self.store.write(pa.Table.from_pylist(rows, schema=self.schema), sorted(replaced))
        for path in replaced:
            self.state.pop(path, None)
        for result in written:
            self.state[result.video.path] = result.video.state
            self.path_of[result.content] = result.video.path
        self.pending, self.num_rows, self.written, self.writes = [], 0, time.monotonic(), self.writes + 1
        if self.writes % TIDY_WRITES == 0:
            self.store.tidy()

    def copies(self, results: list[Embedded]) -> dict[VideoFile, list[dict[str, Any]]]:
        """The rows that the index has of the same content, as rows of these videos."""
        if not results:
            return {}
        table = self.store.existing()
        there = table.search().where(sql_in("content", {result.content for result in results})).to_arrow().to_pylist()
        by_content: dict[str, dict[str, list[dict[str, Any]]]] = {}
        for row in there:
            by_content.setdefault(row["content"], {}).setdefault(row["video"], []).append(row)
        copies = {}
        for result in results:
            for rows in list(by_content.get(result.content, {}).values())[:1]:
                copies[result.video] = [moved(row, result.video) for row in rows]
        return copies


def unreadable(file: VideoFile, cause: str) -> Unreadable:
    return Unreadable(file.path, file.size, file.mtime_ns, cause, reader_version())


@cache
def reader_version() -> str:
    """What decides which files can be read."""
    return ", ".join(f"{package} {version(package)}" for package in ("allinone", "av", "pillow", "pi-heif"))


def moved(row: dict[str, Any], video: VideoFile) -> dict[str, Any]:
    id = segment_id(video.path, row["content"], row["start_sec"], row["end_sec"])
    place = {"id": id, "video": video.path, "name": Path(video.path).name}
    return {**row, **place, "size": video.size, "mtime_ns": video.mtime_ns}


def gone(path: str, video: VideoFile) -> bool:
    """Whether the rows of a path give way to those of a video: its own older ones, or those of where it lay before."""
    return path == video.path or not os.path.exists(path)
