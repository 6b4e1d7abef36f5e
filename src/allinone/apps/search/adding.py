"""One call of `add`: which files are new, which have known content, and when rows are written."""

import os
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from allinone.apps.search.embedding import Embedded, segment_id
from allinone.apps.search.files import Listing, VideoFile, printable
from allinone.apps.search.filters import sql_in
from allinone.apps.search.records import AddReport, IndexInfo, Unreadable
from allinone.apps.search.table import FILE_COLUMNS, Store, schema
from allinone.files.faults import explain
from allinone.progress import Progress

WRITE_SEC = 10
"""Longest time that rows wait to be written, because a killed process loses them."""

TIDY_WRITES = 64
"""Writes after which small files are merged."""

Embed = Callable[..., Iterable[Embedded]]
"""Embeds `videos`, except those with one of the `contents`, and reports to `on_segments`; in any order."""


def add(
    store: Store,
    info: IndexInfo,
    shared_dim: int,
    listing: Listing,
    embed: Embed,
    rows_per_write: int,
    report: Progress,
) -> AddReport:
    """Add the listed files to an index of vectors with `shared_dim` numbers; see `VideoIndex.add`."""
    with store.only_writer():
        # Under the lock: another process may have made the index after this one opened it.
        existing = store.info()
        if existing is not None and (existing.model, existing.cut) != (info.model, info.cut):
            raise ValueError(f"{store}: made by another process meanwhile, with another model or cut; open it again")
        columns = schema(info, shared_dim)
        adding = Adding(store, columns, rows_per_write, listing)
        todo, contents = adding.new_files(), frozenset(adding.path_of)
        report("videos", adding.num_done, len(listing.files))
        # A second round only for files in `lost`, and then no content counts as known.
        while todo:
            for result in embed(videos=todo, contents=contents, on_segments=partial(report, "segments")):
                adding.take(result)
                report("videos", adding.num_done, len(listing.files))
            adding.flush()
            todo, contents, adding.lost = adding.lost, frozenset(), []
        adding.remember()
        if store.num_rows():
            store.tidy()
    return adding.report()


class Adding:
    """The state of one `add`: the index as it was before, counts, and rows that wait to be written.

    The caller holds the index's lock.
    """

    def __init__(self, store: Store, schema: Any, rows_per_write: int, listing: Listing):
        self.store = store
        self.listing = listing
        self.schema = schema
        self.rows_per_write = rows_per_write
        self.added = self.skipped = self.moved = self.num_writes = self.num_rows = 0
        self.failed: dict[str, str] = {}
        self.pending: list[Embedded] = []
        self.lost: list[VideoFile] = []
        """Files of known content, for which the rows to copy have been deleted since: they must be embedded."""
        self.written_at = time.monotonic()
        # Each file once: all segments of a video have the same values in these columns.
        table = store.rows(FILE_COLUMNS)
        files = [] if table is None else table.group_by(FILE_COLUMNS).aggregate([]).to_pylist()
        self.state = {row["video"]: (row["size"], row["mtime_ns"]) for row in files}
        self.path_of = {row["content"]: row["video"] for row in files}
        self.remembered = store.unreadable()
        self.unreadable = {file.video: file for file in self.remembered}
        self.before: set[str] = set()

    @property
    def num_done(self) -> int:
        """Number of listed files that are done, in whatever way."""
        return self.added + self.skipped + self.moved + len(self.failed)

    def report(self) -> AddReport:
        """Return the counts and failures; look which videos of the given folders no longer exist."""
        # With the slash, so that /films does not cover /films2.
        folders = tuple(str(folder).rstrip("/") + "/" for folder in self.listing.folders)
        not_listed = self.state.keys() - set(map(str, self.listing.files))
        return AddReport(
            self.added,
            self.skipped,
            tuple(sorted(self.failed.items())),
            self.moved,
            before=frozenset(self.before),
            stale=tuple(sorted(self.unreadable.keys() & self.failed.keys() & self.state.keys())),
            gone=tuple(sorted(path for path in not_listed if path.startswith(folders) and not os.path.exists(path))),
            others=self.listing.others,
            hidden=self.listing.hidden,
        )

    def new_files(self) -> list[VideoFile]:
        """Return the files that are not in the index in their present state, except known unreadable ones."""
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
            # It failed before, in the same state and with the same versions of what reads it.
            elif (known := self.unreadable.get(file.path)) and known == unreadable(file, known.cause):
                self.failed[file.path] = known.cause
                self.before.add(file.path)
            else:
                new.append(file)
        return new

    def take(self, result: Embedded) -> None:
        """Count one result, and hold its rows until a write is due."""
        self.unreadable.pop(result.video.path, None)  # it was read again, so the old cause no longer counts
        if result.failure is not None:
            self.failed[result.video.path] = result.failure
            if result.lasts:
                self.unreadable[result.video.path] = unreadable(result.video, result.failure)
            return
        self.added, self.moved = self.added + (not result.is_known), self.moved + result.is_known
        self.pending.append(result)
        self.num_rows += max(1, len(result.rows))  # the rows of known content are copied later, in `flush`
        # Each write makes a file and a version that lists all files, so a large index is written in larger steps.
        is_due = self.num_rows >= max(self.rows_per_write, len(self.state) // 64)
        if is_due or time.monotonic() - self.written_at > WRITE_SEC:
            self.flush()

    def flush(self) -> None:
        """Write the held rows in one commit, which also deletes the rows that they replace."""
        import pyarrow as pa

        if not self.pending:
            return
        now = datetime.now(UTC)
        # 1. Rows to write: embedded ones, or copies of those with the same content.
        copies = self.copied_rows([result for result in self.pending if result.is_known])
        rows, written, replaced = [], [], set[str]()
        for result in self.pending:
            video = result.video
            # The content was known when `add` began, but a file that was written since has replaced its rows.
            if result.is_known and video not in copies:
                self.moved -= 1
                self.lost.append(video)
                continue
            written.append(result)
            rows += [{"added": now, **row} for row in copies.get(video, result.rows)]
            # Its own older rows give way, and those at the path from which the file has moved away.
            old_path = self.path_of.get(result.content, video.path)
            replaced |= {video.path} if old_path == video.path or os.path.exists(old_path) else {video.path, old_path}
        # 2. One commit, and then the same changes here.
        replaced &= self.state.keys()  # a condition on paths that have no rows would only be slow
        if rows:
            self.store.write(pa.Table.from_pylist(rows, schema=self.schema), sorted(replaced))
        for path in replaced:
            del self.state[path]
        for result in written:
            self.state[result.video.path] = result.video.state
            self.path_of[result.content] = result.video.path
        # 3. Begin the next write, and merge small files after some of them.
        self.pending, self.num_rows, self.written_at = [], 0, time.monotonic()
        self.num_writes += 1
        if self.num_writes % TIDY_WRITES == 0:
            self.store.tidy()

    def copied_rows(self, results: list[Embedded]) -> dict[VideoFile, list[dict[str, Any]]]:
        """Return, for files of known content, the index's rows of that content, changed to be rows of these files."""
        if not results:
            return {}
        condition = sql_in("content", {result.content for result in results})
        by_content: dict[str, dict[str, list[dict[str, Any]]]] = {}
        for row in self.store.existing().search().where(condition).to_arrow().to_pylist():
            by_content.setdefault(row["content"], {}).setdefault(row["video"], []).append(row)
        return {
            # Several videos may have this content; the rows of any one are a whole video.
            result.video: [moved_row(row, result.video) for row in next(iter(by_content[result.content].values()))]
            for result in results
            if result.content in by_content
        }

    def remember(self) -> None:
        """Store which files could not be read, so that the next `add` does not read them again."""
        # Nothing is kept about files that are gone.
        files = [file for path, file in sorted(self.unreadable.items()) if os.path.exists(path)]
        if files != self.remembered:
            self.store.write_unreadable(files)


def unreadable(file: VideoFile, cause: str) -> Unreadable:
    """Return a file as it is stored in the table of unreadable files."""
    return Unreadable(file.path, file.size, file.mtime_ns, cause, reader_version())


@cache
def reader_version() -> str:
    """Return the versions of the packages that decide which files can be read."""
    return ", ".join(f"{package} {version(package)}" for package in ("allinone", "av", "pillow", "pi-heif"))


def moved_row(row: dict[str, Any], video: VideoFile) -> dict[str, Any]:
    """Return a row as a row of another file with the same content."""
    id = segment_id(video.path, row["content"], row["start_sec"], row["end_sec"])
    return {**row, "id": id, "video": video.path, "name": Path(video.path).name,
            "size": video.size, "mtime_ns": video.mtime_ns}  # fmt: skip
