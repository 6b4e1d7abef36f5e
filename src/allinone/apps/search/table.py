"""The LanceDB table of an index: what a row is, where it lies, what made it, and how near vectors are found in it.

Up to `EXACT_UP_TO` rows a search compares every vector. Above, vectors are grouped and coded (IVF), a query looks into
the nearest groups, and the best by their codes are compared again in full. How many groups and how many candidates is
measured when the groups are made, against exact search, and kept beside the table.
"""

import hashlib
import json
import logging
import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, fields, replace
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import numpy as np
import torch

from allinone.apps.search.faults import Unfit, explained
from allinone.apps.search.hits import sql_in
from allinone.apps.search.segments import KINDS, Cut, Windows
from allinone.files.lock import only_process
from allinone.inference import Predictor
from allinone.model.heads import ContrastiveHead

log = logging.getLogger(__name__)

FORMAT = 2
"""Raised with every change of what a row holds or of which frames a segment shows."""

TABLE, TUNING, UNREADABLE, META, LOCK = "segments", "tuning", "unreadable", b"allinone", "adding.lock"
FILE_COLUMNS = ["video", "size", "mtime_ns", "content"]
VERSION_HINT = "_versions/latest_version_hint.json"
"""LanceDB writes it after the first write is done."""
OLD_TABLE = "windows"  # of format 1

EXACT_UP_TO = 20_000
"""So many rows are compared one by one in some 20 ms."""

RECALL = 0.99
"""What tuning aims at, so that 0.98 holds for other queries."""

MAX_FILES = 64
"""With more small ones than this they are merged."""

NUM_TUNING, TOP_K, REFINES = 50, 10, (2, 5, 20)
"""Tuned with so many queries, for so many hits, among these."""

TUNED_EVERY_SEC = 2.0
"""A reader looks so often whether the groups have been made anew."""


@dataclass(frozen=True)
class IndexInfo:
    """What an index was made with, kept with its table. Vectors of another `model` cannot be compared with its own."""

    format: int
    model: str
    name: str | None
    num_frames: int
    cut: Cut

    @property
    def model_name(self) -> str:
        return f"{self.name or 'unnamed'}, {self.num_frames} frames, {self.model}"

    def to_json(self) -> bytes:
        kind = next(kind for kind, cls in KINDS.items() if isinstance(self.cut, cls))
        return json.dumps({**asdict(self), "cut": {"kind": kind, **asdict(self.cut)}}).encode()

    @classmethod
    def of(cls, predictor: Predictor, cut: Cut | None) -> "IndexInfo":
        return cls(FORMAT, model_identity(predictor), predictor.name, predictor.num_frames, cut or Windows())


@dataclass(frozen=True)
class IvfParams:
    """How the groups are searched, and of how many rows they were made."""

    num_rows: int
    num_partitions: int
    nprobes: int
    refine: int


@dataclass(frozen=True)
class Unreadable:
    """A file that could not be read, in which state, why, and by which version: another one may be able to."""

    video: str
    size: int
    mtime_ns: int
    cause: str
    reader: str


class Store:
    """The tables of one index, in a folder or at a URL (s3://, gs://, az://, memory://)."""

    def __init__(self, path: str | Path):
        self.path = str(path)
        url = urlparse(self.path)
        is_local = url.scheme in ("", "file") or len(url.scheme) == 1
        self.folder = Path(unquote(url.path) if url.scheme == "file" else self.path) if is_local else None
        self.guard = threading.RLock()
        self.database: Any = None
        self.handle: Any = None
        self.inode: int | None = None
        self.tuned: tuple[float, IvfParams | None] = (float("-inf"), None)

    def __str__(self) -> str:
        return self.path

    def connect(self) -> Any:
        with self.guard:
            if self.database is None:
                module = lancedb()
                session = module.Session(index_cache_size_bytes=2 << 30, metadata_cache_size_bytes=256 << 20)
                place = self.folder if self.folder is not None else self.path
                # Every read asks for the newest version: what another process has finished is seen at once.
                self.database = module.connect(place, read_consistency_interval=timedelta(0), session=session)
            return self.database

    def table(self) -> Any:
        """The rows, as the last write left them; None before the first."""
        inode = None
        if self.folder is not None:
            try:
                inode = os.stat(self.folder / f"{TABLE}.lance").st_ino
            except (FileNotFoundError, NotADirectoryError):
                return None
        with self.guard:
            if self.handle is None or inode != self.inode:
                self.handle, self.inode = self.opened(TABLE), inode
            return self.handle

    def opened(self, name: str) -> Any:
        try:
            return self.connect().open_table(name)
        except ValueError as error:  # also where a process was killed before its first write was done
            if "not found" not in str(error):
                raise
        if self.folder is not None and (self.folder / f"{name}.lance" / VERSION_HINT).exists():
            raise Unfit("none of its versions is left")
        return None

    def existing(self) -> Any:
        table = self.table()
        if table is None:
            raise ValueError(f"{self}: no index there yet; add videos first")
        return table

    def rows(self, columns: list[str], condition: str | None = None) -> Any:
        """Some columns of all rows (an Arrow table); None where there is no index."""
        table = self.table()
        if table is None:
            return None
        query = table.search().select(columns)
        return (query if condition is None else query.where(condition)).to_arrow()

    def write(self, rows: Any, replaced: Iterable[str]) -> None:
        """Write all rows of some videos in one step, in place of those of the paths that they replace."""
        table = self.table()
        replaced = list(replaced)
        if table is None:
            self.connect().create_table(TABLE, rows, schema=rows.schema)
        elif not replaced:
            table.add(rows)
        else:
            merge = table.merge_insert(["id"]).when_matched_update_all().when_not_matched_insert_all()
            merge.when_not_matched_by_source_delete(sql_in("video", replaced)).execute(rows)

    def unreadable(self) -> list[Unreadable]:
        """The files that `add` could not read, as they were then."""
        return [Unreadable(**row) for row in self.extra_rows(UNREADABLE, Unreadable, "It only names unreadable files")]

    def write_unreadable(self, files: Iterable[Unreadable]) -> None:
        import pyarrow as pa

        kinds = {str: pa.string(), int: pa.int64()}
        schema = pa.schema([(field.name, kinds[field.type]) for field in fields(Unreadable)])
        rows = pa.Table.from_pylist([asdict(file) for file in files], schema=schema)
        self.connect().create_table(UNREADABLE, rows, mode="overwrite")

    def made(self) -> IndexInfo | None:
        """What the index was made with; None where there is none. ValueError where something else is there."""
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
                cut = values.pop("cut")
                return IndexInfo(**values, cut=KINDS[cut.pop("kind")](**cut))
            except (KeyError, TypeError, AttributeError, UnicodeDecodeError, json.JSONDecodeError) as error:
                raise Unfit("it does not say what it was made with") from error

    def explained(self) -> AbstractContextManager[None]:
        advice = "The videos are not touched by this: remove that folder, or put back a copy, and index them again"
        return explained(self.path, self.folder, advice)

    def extra_rows(self, name: str, kind: type, purpose: str) -> list[dict[str, Any]]:
        """The rows of a table beside that of the segments, with the fields of `kind`; none where it is not there."""
        folder = None if self.folder is None else self.folder / f"{name}.lance"
        if folder is not None and not folder.exists():
            return []
        advice = f"{purpose}: remove that folder, and the next `allinone index` makes it again"
        with explained(self.path, folder, advice):
            table = self.opened(name)
            rows = [] if table is None else table.search().to_arrow().to_pylist()
            if rows and rows[0].keys() != {field.name for field in fields(kind)}:
                raise Unfit(f"it holds {', '.join(rows[0])}")
        return rows

    def check_empty(self) -> None:
        if self.folder is None or not self.folder.exists():
            return
        names = [path.name for path in self.folder.iterdir()] if self.folder.is_dir() else []
        if f"{OLD_TABLE}.lance" in names:
            raise self.wrong_format(1)
        if not self.folder.is_dir() or set(names) - {LOCK, *(f"{name}.lance" for name in (TABLE, TUNING, UNREADABLE))}:
            raise ValueError(f"{self}: no index, and not an empty folder; choose another for the index")

    def wrong_format(self, number: int) -> ValueError:
        return ValueError(
            f"{self}: an index of format {number}, but this version of allinone reads {FORMAT}; "
            "choose another folder and add the videos there"
        )

    @contextmanager
    def only_writer(self) -> Iterator[None]:
        """Refuse to write while another process does; a killed one holds nothing up. Object storage has no lock."""
        if self.folder is None:
            yield
            return
        with only_process(self.folder, self.folder / LOCK):
            yield

    # Near vectors

    def nearest(self, vector: np.ndarray, count: int, condition: str | None) -> list[dict[str, Any]]:
        """The rows with the largest cosine, the best first; equal ones by video and time."""
        table = self.table()
        tuning = self.tuning()
        query = table.search(vector, vector_column_name="vector").distance_type("cosine").limit(count)
        if condition is not None:
            query = query.where(condition)
        if tuning is None:
            query = query.bypass_vector_index()
        else:
            # What passes a filter may lie in groups that are not near, and so may the hundredth: all are looked into.
            is_tuned = condition is None and count <= 2 * TOP_K
            query = query.nprobes(tuning.nprobes if is_tuned else tuning.num_partitions).refine_factor(tuning.refine)
        rows = query.select(["id", "video", "start_sec", "end_sec", "_distance"]).to_arrow().to_pylist()
        return sorted(rows, key=lambda row: (row["_distance"], row["video"], row["start_sec"]))

    def tuning(self) -> IvfParams | None:
        """How to search the groups; None while there are none."""
        read_at, tuning = self.tuned
        if time.monotonic() - read_at > TUNED_EVERY_SEC:
            rows = self.extra_rows(TUNING, IvfParams, "It only makes searches fast")
            tuning = IvfParams(**rows[0]) if rows else None
            self.tuned = time.monotonic(), tuning
        return tuning

    def tidy(self) -> None:
        """Merge small files, take new rows into the groups, and make these (anew) where the index has grown for it."""
        table, tuning = self.table(), self.tuning()
        num_rows = table.count_rows()
        grown = num_rows > EXACT_UP_TO and (tuning is None or num_rows > 2 * tuning.num_rows)
        scattered = table.stats()["fragment_stats"]["num_small_fragments"] > MAX_FILES
        if scattered or (not grown and self.num_ungrouped() > EXACT_UP_TO):
            self.optimize(timedelta(minutes=5))
        if grown:
            self.group(table, num_rows)

    def optimize(self, older_than: timedelta) -> None:
        """Old versions go, and what killed writers left: there is none at work but the caller, who holds the lock."""
        self.table().optimize(cleanup_older_than=older_than, delete_unverified=self.folder is not None)

    def num_ungrouped(self) -> int:
        stats = self.table().index_stats("vector_idx") if self.tuning() else None
        return 0 if stats is None else stats.num_unindexed_rows

    def group(self, table: Any, num_rows: int) -> None:
        import pyarrow as pa
        from lancedb.index import BTree, IvfSq

        log.info("%s: grouping %d segments", self, num_rows)
        num_partitions = max(1, num_rows // 4096)
        table.create_index("vector", config=IvfSq(distance_type="cosine", num_partitions=num_partitions), replace=True)
        for column in ("id", "video"):
            table.create_index(column, config=BTree(), replace=True)
        tuning = self.tuned_on(table, num_rows, num_partitions)
        self.connect().create_table(TUNING, pa.Table.from_pylist([asdict(tuning)]), mode="overwrite")
        self.tuned = time.monotonic(), tuning

    def tuned_on(self, table: Any, num_rows: int, num_partitions: int) -> IvfParams:
        """The least work that reaches `RECALL`: how many candidates to compare in full, then in how many groups."""
        queries = self.made_queries(NUM_TUNING)
        wanted = self.exact_scores(queries, TOP_K, None)
        tuning = IvfParams(num_rows, num_partitions, num_partitions, REFINES[-1])

        def reaches(tried: IvfParams) -> bool:
            self.tuned = time.monotonic() + 3600, tried
            return self.recall(queries, TOP_K, None, wanted)[0] >= RECALL

        for refine in REFINES:
            tried = replace(tuning, refine=refine)
            if reaches(tried):
                tuning = tried
                break
        for share in (16, 8, 4, 2):
            tried = replace(tuning, nprobes=max(1, num_partitions // share))
            if reaches(tried):
                return tried
        return tuning

    def recall(
        self, queries: np.ndarray, top_k: int, condition: str | None, wanted: np.ndarray | None = None
    ) -> tuple[float, float]:
        """The part of the `top_k` best that is found, and the median milliseconds of a query.

        What scores like the last of these is as good as it, so copies of a video do no harm.
        """
        wanted = self.exact_scores(queries, top_k, condition) if wanted is None else wanted
        num_wanted = num_found = 0
        times = []
        for query, scores in zip(queries, wanted, strict=True):
            started = time.perf_counter()
            rows = self.nearest(query, 2 * top_k, condition)[:top_k]
            times.append(time.perf_counter() - started)
            scores = scores[np.isfinite(scores)]
            num_wanted += len(scores)
            num_found += sum(1 - row["_distance"] >= scores[-1] - 1e-5 for row in rows[: len(scores)])
        return float(num_found / max(1, num_wanted)), 1000 * float(np.median(times))

    def exact_scores(self, queries: np.ndarray, count: int, condition: str | None) -> np.ndarray:
        """The `count` largest cosines of each query, descending, -inf where there are fewer: by plain arithmetic."""
        best = np.full((len(queries), count), -np.inf, np.float32)
        rows = self.table().search().select(["vector"])
        for batch in (rows if condition is None else rows.where(condition)).to_batches(8192):
            vectors = batch["vector"].flatten().to_numpy().reshape(len(batch), -1)
            best = np.concatenate([best, queries @ vectors.T], axis=1)
            best = -np.partition(-best, count - 1, axis=1)[:, :count]
        return -np.sort(-best, axis=1)

    def made_queries(self, count: int) -> np.ndarray:
        """Unit vectors to try a search with: stored ones and as much noise, since words do not lie on clips either."""
        table, rng = self.table(), np.random.default_rng(0)
        numbers = rng.integers(table.count_rows(), size=count)
        rows = table.take_offsets(sorted(set(numbers.tolist()))).select(["vector"]).to_arrow()
        vectors = rows["vector"].combine_chunks().flatten().to_numpy().reshape(len(rows), -1)
        noise = rng.normal(size=vectors.shape).astype(np.float32)
        queries = vectors + noise / np.linalg.norm(noise, axis=1, keepdims=True)
        return queries / np.linalg.norm(queries, axis=1, keepdims=True)

    def num_bytes(self) -> int:
        if self.folder is None:
            return self.table().stats()["total_bytes"]
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())


def schema(made: IndexInfo, width: int) -> Any:
    """What a row is; with it goes what the index was made with."""
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
    return pa.schema(list(columns.items()), metadata={META: made.to_json()})


def lancedb() -> Any:
    """The module, imported when an index is used: it is an extra, and slow to import."""
    os.environ.setdefault("LANCEDB_LOG", "error")  # it warns of every table that is made
    try:
        import lancedb
    except ModuleNotFoundError as error:
        raise missing_extra(str(error.name)) from error
    return lancedb


def require_lancedb() -> None:
    """ModuleNotFoundError where it is not installed. It is not imported: after that nothing should fork."""
    if find_spec("lancedb") is None:
        raise missing_extra("lancedb")


def missing_extra(package: str) -> ModuleNotFoundError:
    return ModuleNotFoundError(f"an index needs {package}: pip install 'allinone[search]'")


def model_of(path: str | Path) -> str:
    """The folder or hub id of the model that an index was made with. ValueError where there is no index."""
    made = Store(path).made()
    if made is None:
        raise ValueError(f"{path}: no index there; make one with `allinone index VIDEOS --model M --to {path}`")
    if made.name is None:
        raise ValueError(f"{path}: its model has no name; give it with --model")
    return made.name


def model_identity(predictor: Predictor) -> str:
    """A fingerprint of all that decides about a vector: weights, sizes, vocabulary, and which pixels are seen."""
    model, tokenizer = predictor.model, predictor.tokenizer
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps(asdict(model.config), sort_keys=True).encode())
    digest.update(repr((predictor.data.transform, predictor.max_text_len, tokenizer and tokenizer.tokens)).encode())
    for name, tensor in sorted(model.state_dict().items()):
        if name.startswith(("encoder.", f"heads.{ContrastiveHead.kind}.")):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
