"""The LanceDB tables of an index: rows, writing, locking, and nearest-neighbor search.

Up to `EXACT_UP_TO` rows a search compares the query with every vector. Above, there is an IVF-SQ index: vectors are
clustered into partitions and stored as 8-bit codes; a query scans the nearest partitions (`nprobes`) by these codes,
and compares the best candidates again by their full vectors (`refine_factor`).
"""

import json
import logging
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, fields
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import numpy as np

from allinone.apps.search.faults import Unfit, explained
from allinone.apps.search.filters import sql_in
from allinone.apps.search.records import FORMAT, IndexInfo, Unreadable
from allinone.files.lock import only_process

log = logging.getLogger(__name__)

TABLE, UNREADABLE, LOCK = "segments", "unreadable", "adding.lock"
OLD_TABLE = "windows"  # of format 1
META, BUILT_WITH = b"allinone", "allinone.num_rows"
"""Metadata keys: of the table, for `IndexInfo`; of the column `vector`, for the rows when its index was built."""

VERSION_HINT = "_versions/latest_version_hint.json"
"""LanceDB writes this file when its first write is complete."""

FILE_COLUMNS = ["video", "size", "mtime_ns", "content"]

EXACT_UP_TO = 20_000
"""Rows up to which there is no index: comparing all takes some 20 ms."""

PARTITION_ROWS, NPROBES, REFINE = 4096, 64, 5
"""Rows of a partition, partitions that a query scans, and candidates re-scored, per hit asked for.

So up to 262,144 rows every partition is scanned. Measured on clustered vectors of 512 (`benchmarks/search.py`):
recall@10 is 1.000 at 100,000, 200,000 and 1,000,000 rows; with 24 partitions it was 0.992 at 200,000.
"""

NEAR_ROWS = 24
"""Rows asked for up to which `NPROBES` partitions suffice: a page of 12 hits, twice that for merging. The hundredth
best row, and rows that pass a filter, may be in any partition: then all are scanned."""

ALL_PARTITIONS = 1_000_000

MAX_SMALL_FILES = 64
"""Small files of a table above which they are merged."""


class Store:
    """The tables of one index, in a folder or at a URL (s3://, gs://, az://, memory://)."""

    def __init__(self, path: str | Path):
        self.path = str(path)
        url = urlparse(self.path)
        is_local = url.scheme in ("", "file") or len(url.scheme) == 1  # a drive letter of Windows
        self.folder = Path(unquote(url.path) if url.scheme == "file" else self.path) if is_local else None
        self.guard = threading.RLock()
        self.database: Any = None
        self.handle: Any = None
        self.inode: int | None = None

    def __str__(self) -> str:
        return self.path

    # Opening

    def connect(self) -> Any:
        """Open the database when it is first needed, because LanceDB is slow to import."""
        with self.guard:
            if self.database is None:
                module = lancedb()
                session = module.Session(index_cache_size_bytes=2 << 30, metadata_cache_size_bytes=256 << 20)
                uri = self.folder if self.folder is not None else self.path
                # With an interval of 0, every read sees the writes that other processes have finished.
                self.database = module.connect(uri, read_consistency_interval=timedelta(0), session=session)
            return self.database

    def table(self) -> Any:
        """Return the table of segments as the last write left it; None before the first write."""
        inode = None
        if self.folder is not None:
            try:
                inode = os.stat(self.folder / f"{TABLE}.lance").st_ino
            except (FileNotFoundError, NotADirectoryError):
                return None
        with self.guard:
            # Another inode: the index was removed and built again while this process had it open.
            if self.handle is None or inode != self.inode:
                self.handle, self.inode = self.open_table(TABLE), inode
            return self.handle

    def open_table(self, name: str) -> Any:
        """Return a table by name, or None if it was never written."""
        try:
            return self.connect().open_table(name)
        except ValueError as error:  # also if a process was killed before its first write was complete
            if "not found" not in str(error):  # LanceDB has no error class for this
                raise
        # It was written once, so it is damaged, and not new: a new index here would hide the loss.
        if self.folder is not None and (self.folder / f"{name}.lance" / VERSION_HINT).exists():
            raise Unfit("none of its versions is left")
        return None

    def existing(self) -> Any:
        """Return the table of segments; ValueError if there is none."""
        table = self.table()
        if table is None:
            raise ValueError(f"{self}: no index there yet; add videos first")
        return table

    def num_rows(self) -> int:
        """Return the number of segments."""
        table = self.table()
        return 0 if table is None else table.count_rows()

    def info(self) -> IndexInfo | None:
        """Return how the index was made; None if there is none. ValueError if something else is in the folder."""
        with self.explained():
            table = self.table()
            if table is None:
                self.check_empty()
                return None
            written = (table.schema.metadata or {}).get(META)
            if written is None:
                raise ValueError(f"{self}: a LanceDB table {TABLE!r} that allinone did not make; choose another folder")
            try:
                values = json.loads(written)
                if values["format"] != FORMAT:
                    raise self.wrong_format(values["format"])
                return IndexInfo.from_values(values)
            except (KeyError, TypeError, AttributeError, UnicodeDecodeError, json.JSONDecodeError) as error:
                raise Unfit("it does not say how it was made") from error

    def check_empty(self) -> None:
        """Raise ValueError unless the folder may become an index: it is absent, or empty but for our own files."""
        if self.folder is None or not self.folder.exists():
            return
        # A process that was killed leaves a lock, or a table without a version.
        names = {path.name for path in self.folder.iterdir()} if self.folder.is_dir() else set[str]()
        if f"{OLD_TABLE}.lance" in names:
            raise self.wrong_format(1)
        if not self.folder.is_dir() or names - {LOCK, f"{TABLE}.lance", f"{UNREADABLE}.lance"}:
            raise ValueError(f"{self}: no index, and not an empty folder; choose another for the index")

    def wrong_format(self, number: int) -> ValueError:
        return ValueError(
            f"{self}: an index of format {number}, but this version of allinone reads {FORMAT}; "
            "choose another folder and add the videos there"
        )

    def explained(self) -> AbstractContextManager[None]:
        """Return a context in which errors of LanceDB say what to do; see `faults`."""
        advice = "The videos are not touched by this: remove that folder, or put back a copy, and index them again"
        return explained(self.path, self.folder, advice)

    # Reading and writing rows

    def rows(self, columns: list[str], condition: str | None = None, limit: int | None = None) -> Any:
        """Return columns of all rows, or of those that pass, as an Arrow table; None if there is no index."""
        table = self.table()
        if table is None:
            return None
        query = table.search().select(columns).limit(limit)
        return (query if condition is None else query.where(condition)).to_arrow()

    def write(self, rows: Any, replaced: Iterable[str]) -> None:
        """Write all rows of some videos in one commit, which also deletes the rows of the paths in `replaced`."""
        table = self.table()
        replaced = list(replaced)
        if table is None:
            self.connect().create_table(TABLE, rows, schema=rows.schema)
        elif not replaced:
            table.add(rows)
        else:
            # One commit for both, so that no search finds a video twice or not at all.
            merge = table.merge_insert(["id"]).when_matched_update_all().when_not_matched_insert_all()
            merge.when_not_matched_by_source_delete(sql_in("video", replaced)).execute(rows)

    def unreadable(self) -> list[Unreadable]:
        """Return the files that earlier calls of `add` could not read."""
        folder = None if self.folder is None else self.folder / f"{UNREADABLE}.lance"
        if folder is not None and not folder.exists():  # on object storage, `open_table` finds out
            return []
        advice = "It only names unreadable files: remove that folder, and the next `allinone index` makes it again"
        with explained(self.path, folder, advice):
            table = self.open_table(UNREADABLE)
            rows = [] if table is None else table.search().to_arrow().to_pylist()
            # Of an older version, or damaged.
            if rows and rows[0].keys() != {field.name for field in fields(Unreadable)}:
                raise Unfit(f"it holds {', '.join(rows[0])}")
        return [Unreadable(**row) for row in rows]

    def write_unreadable(self, files: Iterable[Unreadable]) -> None:
        """Replace the list of unreadable files."""
        import pyarrow as pa

        types = {str: pa.string(), int: pa.int64()}
        schema = pa.schema([(field.name, types[field.type]) for field in fields(Unreadable)])
        rows = pa.Table.from_pylist([asdict(file) for file in files], schema=schema)
        self.connect().create_table(UNREADABLE, rows, mode="overwrite")

    @contextmanager
    def only_writer(self) -> Iterator[None]:
        """Hold the index's lock, which ends with the process; ValueError if another one writes.

        Object storage has no lock.
        """
        if self.folder is None:
            yield
            return
        with only_process(self.folder, self.folder / LOCK):
            yield

    # Nearest neighbors

    def nearest(self, vector: np.ndarray, count: int, condition: str | None, columns: list[str]) -> list[dict]:
        """Return the rows with the largest cosine, best first, ties by video and time; `_distance` is 1 - cosine."""
        query = self.existing().search(vector, vector_column_name="vector").distance_type("cosine").limit(count)
        if condition is not None:
            query = query.where(condition)
        is_near = condition is None and count <= NEAR_ROWS
        # Both settings have no effect while there is no index, and on rows that are not in it yet.
        query = query.nprobes(NPROBES if is_near else ALL_PARTITIONS).refine_factor(REFINE)
        # Sorted again below: LanceDB leaves ties in any order.
        rows = query.select([*columns, "_distance"]).to_arrow().to_pylist()
        return sorted(rows, key=lambda row: (row["_distance"], row["video"], row["start_sec"]))

    def built_with(self) -> int:
        """Return how many rows the table had when the vector index was built; 0 while there is none."""
        table = self.table()
        metadata = None if table is None else table.schema.field("vector").metadata
        return int((metadata or {}).get(BUILT_WITH.encode(), 0))

    def num_unindexed(self) -> int:
        """Return how many rows are not in the vector index yet, and so compared one by one; 0 while there is none."""
        stats = self.table().index_stats("vector_idx") if self.built_with() else None
        return 0 if stats is None else stats.num_unindexed_rows

    def search_method(self) -> str:
        """Say how vectors are searched, for people."""
        if not self.built_with():
            return "exact"
        num_partitions = max(1, self.built_with() // PARTITION_ROWS)
        return f"IVF_SQ, {min(NPROBES, num_partitions)} of {num_partitions} partitions, refined {REFINE} times"

    def tidy(self) -> None:
        """Merge small files, take new rows into the index, and build it (again) when the table has doubled."""
        table = self.table()
        num_rows, built_with = table.count_rows(), self.built_with()
        outgrown = num_rows > max(EXACT_UP_TO, 2 * built_with)
        scattered = table.stats()["fragment_stats"]["num_small_fragments"] > MAX_SMALL_FILES
        # If it is outgrown, it is built again anyway.
        if scattered or (not outgrown and self.num_unindexed() > EXACT_UP_TO):
            self.optimize(timedelta(minutes=5))
        if outgrown:
            self.build_index(table, num_rows)

    def optimize(self, older_than: timedelta) -> None:
        """Merge files, update the indices, and delete versions older than that and files of killed writers.

        Such files are deleted at any age (`delete_unverified`), because the caller holds the lock: no writer is at
        work. Object storage has no lock, so there they stay.
        """
        self.table().optimize(cleanup_older_than=older_than, delete_unverified=self.folder is not None)

    def build_index(self, table: Any, num_rows: int) -> None:
        """Build the vector index, and indices of the columns that single rows are looked up by."""
        from lancedb.index import BTree, IvfSq

        log.info("%s: building the vector index of %d segments", self, num_rows)
        config = IvfSq(distance_type="cosine", num_partitions=max(1, num_rows // PARTITION_ROWS))
        table.create_index("vector", config=config, replace=True)
        for column in ("id", "video"):
            table.create_index(column, config=BTree(), replace=True)
        # Last: a process that is killed before builds the index again, which does no harm.
        table.update_field_metadata({"path": "vector", "metadata": {BUILT_WITH: str(num_rows)}})

    def num_bytes(self) -> int:
        """Return the size on disk or, for object storage, the size that LanceDB reports."""
        if self.folder is None:
            return self.table().stats()["total_bytes"]
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())


def schema(info: IndexInfo, width: int) -> Any:
    """Return the Arrow schema of a row, with `info` as its metadata; vectors have `width` numbers."""
    import pyarrow as pa

    columns = {
        "id": pa.string(),
        "video": pa.string(),
        "name": pa.string(),
        "size": pa.int64(),
        "mtime_ns": pa.int64(),
        "content": pa.string(),
        "duration_sec": pa.float64(),
        "start_sec": pa.float64(),
        "end_sec": pa.float64(),
        "added": pa.timestamp("us", tz="UTC"),
        "thumbnail": pa.binary(),
        "vector": pa.list_(pa.float32(), width),
    }
    return pa.schema(list(columns.items()), metadata={META: json.dumps(info.to_values()).encode()})


def lancedb() -> Any:
    """Import LanceDB, which is an extra and slow to import, when an index is first used."""
    os.environ.setdefault("LANCEDB_LOG", "error")  # it warns of every table that is made
    try:
        with _without_validators():
            import lancedb
    except ModuleNotFoundError as error:
        raise missing_extra(str(error.name)) from error
    return lancedb


@contextmanager
def _without_validators() -> Iterator[None]:
    """Let pydantic build no validators of functions meanwhile.

    LanceDB imports the client of its web service, whose 366 functions would get one each, in half a second. None of
    them is called here.
    """
    import pydantic

    before = pydantic.validate_call
    pydantic.validate_call = lambda function: function  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        pydantic.validate_call = before


def require_lancedb() -> None:
    """Raise ModuleNotFoundError if LanceDB is not installed, without importing it: after that, no process may fork."""
    if find_spec("lancedb") is None:
        raise missing_extra("lancedb")


def missing_extra(package: str) -> ModuleNotFoundError:
    return ModuleNotFoundError(f"an index needs {package}: pip install 'allinone[search]'")
