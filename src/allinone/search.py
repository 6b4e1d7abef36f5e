"""`VideoIndex`: whole videos, cut into windows that are embedded and kept on disk (LanceDB), to be found by words."""

import hashlib
import json
import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
from jaxtyping import UInt8
from torch import Tensor

from allinone.data.samples import ClipReader, Span
from allinone.inference import Predictor, Progress, all_pairs
from allinone.model.heads import ContrastiveHead, MatchingHead
from allinone.video.decode import VideoError, read_frames
from allinone.video.sampling import segment_times

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

FORMAT = 1
"""Raised with every change of what a row holds or of which frames a window shows."""

TABLE, META, LOCK = "windows", b"allinone", "adding.lock"
SUFFIXES = frozenset(
    f".{ending}" for ending in (
        "3gp", "avi", "flv", "gif", "m2ts", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "mts", "ogv", "ts", "webm",
        "webp", "wmv",
    )
)  # fmt: skip
"""What counts as a video in a folder. A file that is named itself may have any suffix."""

WINDOW_SEC = 10.0
CHUNK = 16
"""So many windows of a video are read at a time, so that a long one takes no more memory than a short one."""

TIMEOUT_SEC = 300
"""A video of which a chunk takes longer to read is given up."""


@dataclass(frozen=True)
class Hit:
    """A part of a video that fits the words.

    `score` is the cosine of both; `match`, where the hit was re-ranked, the probability that they belong together.
    """

    video: str
    start_sec: float
    end_sec: float
    score: float
    match: float | None = None


@dataclass(frozen=True)
class AddReport:
    """How many videos were added (or replaced, since they had changed), or were there; which failed, and why."""

    added: int
    skipped: int
    failed: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Made:
    """What an index was made with, kept with its table. Vectors of another `model` cannot be compared with its own."""

    format: int
    model: str
    name: str | None
    window_sec: float


class VideoIndex:
    """Open one with `VideoIndex.open`. Search is exact; `len` is the number of windows.

    A video is known by its absolute path, whatever the working folder was when it was added, and counts as changed
    when its size or its time of change differ. All windows of a video are written in one step: killed at any moment,
    an index holds whole videos, each once, and `add` goes on where it stopped. One process may add while others search.
    """

    def __init__(self, path: Path, predictor: Predictor, made: Made):
        self.path = path
        # LanceDB's threads do not survive a fork, so videos are read by threads here and not by worker processes.
        self.predictor = predictor.using(replace(predictor.data, num_workers=0))
        self.made = made

    @classmethod
    def open(cls, path: str | Path, model: Predictor, window_sec: int | float | None = None) -> "VideoIndex":
        """Open the index in a folder; where there is none, the first `add` makes it.

        `window_sec`, by default 10, is the length of the windows, fixed when the index is made. Raises ValueError
        where the index was made with another model, and where something else is in the folder.
        """
        path = Path(path)
        model.model.require(ContrastiveHead)
        if window_sec is not None and not 0 < window_sec < float("inf"):
            raise ValueError(f"window_sec must be positive, got {window_sec}")
        made = Made(FORMAT, model_identity(model), model.name, float(window_sec or WINDOW_SEC))
        index = cls(path, model, made)
        table = index.table()
        if table is None:
            others = [p.name for p in path.iterdir() if p.name not in (LOCK, f"{TABLE}.lance")] if path.is_dir() else []
            if others or (path.exists() and not path.is_dir()):
                raise ValueError(f"{path}: no index, and not an empty folder; choose another for the index")
            return index
        there = read_made(table, path)
        if there.model != made.model:
            raise ValueError(
                f"{path}: made with another model ({there.name or 'unnamed'}, {there.model}) than this one "
                f"({made.name or 'unnamed'}, {made.model}), and their vectors cannot be compared; open it with that "
                "model, or choose another folder and add the videos there"
            )
        if window_sec is not None and window_sec != there.window_sec:
            raise ValueError(f"{path}: its windows are {there.window_sec:g} s long, not {window_sec:g}")
        index.made = there
        return index

    def __len__(self) -> int:
        table = self.table()
        return 0 if table is None else table.count_rows()

    def add(
        self,
        paths: str | Path | Sequence[str | Path],
        on_progress: Progress | None = None,
        *,
        rows_per_write: int = 256,
        num_threads: int | None = None,
    ) -> AddReport:
        """Add files, and the videos in folders, to the index; those that are there and unchanged are left alone.

        A video that cannot be read is reported and holds up nothing. `on_progress` is told ("videos", done, total).
        `num_threads` threads (by default one for each processor, at most 8) read videos while others are embedded.
        Raises ValueError where a path does not exist or there is no video, before anything is done.
        """
        files = find_videos(paths)
        report = on_progress or (lambda what, done, total: None)
        num_threads = num_threads or min(os.cpu_count() or 1, 8)
        failed: dict[str, str] = {}
        num_added = num_skipped = 0
        with self.only_writer(), ThreadPoolExecutor(num_threads) as pool:
            known, new = self.known(), []
            for file in files:
                try:
                    video = VideoFile.of(file)
                except (OSError, UnicodeEncodeError) as error:
                    failed[printable(file)] = str(error)
                    continue
                if known.get(video.path) == (video.size, video.mtime_ns):
                    num_skipped += 1
                else:
                    new.append(video)
            report("videos", len(files) - len(new), len(files))
            pending: dict[VideoFile, list[dict[str, Any]]] = {}
            num_pending = 0
            for video, rows in self.embedded(new, pool, 2 * num_threads, failed):
                if rows:
                    pending[video] = rows
                    num_added, num_pending = num_added + 1, num_pending + len(rows)
                if num_pending >= rows_per_write:
                    self.write(pending, known)
                    pending, num_pending = {}, 0
                report("videos", num_added + num_skipped + len(failed), len(files))
            if pending:
                self.write(pending, known)
        return AddReport(num_added, num_skipped, tuple(sorted(failed.items())))

    def embedded(
        self, videos: Sequence["VideoFile"], pool: ThreadPoolExecutor, num_ahead: int, failed: dict[str, str]
    ) -> Iterator[tuple["VideoFile", list[dict[str, Any]]]]:
        """The rows of each video, none of one that fails; its cause is then in `failed`."""
        reader, window_sec = self.predictor.reader(), self.made.window_sec
        plans = read_ahead(pool, lambda video: plan_chunks(video, reader, window_sec), videos, num_ahead)
        planned = (chunk for plan in plans for chunk in plan)
        chunks = read_ahead(pool, lambda chunk: chunk.read(reader), planned, num_ahead)
        rows: list[dict[str, Any]] = []
        for group in grouped(chunks, self.predictor.data.batch_size):
            frames = torch.cat([chunk.frames for chunk in group])
            vectors = iter(self.predictor.embed_clips(frames[:, None]).numpy() if len(frames) else ())
            for chunk in group:
                video = chunk.video
                if chunk.failure is not None:
                    failed.setdefault(video.path, chunk.failure)
                for start, end in chunk.windows if chunk.failure is None else ():
                    rows.append({**video.columns(), "start_sec": start, "end_sec": end, "vector": next(vectors)})
                if chunk.is_last:
                    yield video, [] if video.path in failed else rows
                    rows = []

    def write(self, videos: dict["VideoFile", list[dict[str, Any]]], known: dict[str, tuple[int, int]]) -> None:
        """Write all windows of these videos in one step, in place of those that were there."""
        import pyarrow as pa

        schema = self.schema()
        rows = pa.Table.from_pylist([row for rows in videos.values() for row in rows], schema=schema)
        table = self.table()
        if table is None:
            lancedb().connect(self.path).create_table(TABLE, rows, schema=schema)
            return
        changed = [video.path for video in videos if video.path in known]
        if not changed:
            table.add(rows)
            return
        replaced = f"video IN ({', '.join(map(sql_text, changed))})"
        merge = table.merge_insert(["video", "start_sec"]).when_matched_update_all().when_not_matched_insert_all()
        merge.when_not_matched_by_source_delete(replaced).execute(rows)

    def search(self, text: str, top_k: int = 10, rerank: int = 0) -> list[Hit]:
        """The windows that fit the words best, the best first.

        With `rerank` = k the matching head reads the k best again, words and frames together, and puts them in its
        own order. Those whose video cannot be read any more come behind the others of the k.
        """
        if top_k < 1 or rerank < 0:
            raise ValueError(f"top_k must be at least 1 and rerank at least 0, got {top_k} and {rerank}")
        if not text.strip():
            raise ValueError("nothing to search for: the text is empty")
        if rerank:
            self.predictor.model.require(MatchingHead)
        table = self.table()
        if table is None:
            raise ValueError(f"{self.path}: no index there yet; add videos first")
        vector = self.predictor.embed_text(text)[0].numpy()
        query = table.search(vector).distance_type("dot").limit(max(top_k, rerank))
        found = query.select(["video", "start_sec", "end_sec", "_distance"]).to_arrow().to_pylist()
        hits = [Hit(row["video"], row["start_sec"], row["end_sec"], 1 - row["_distance"]) for row in found]
        hits.sort(key=lambda hit: (-hit.score, hit.video, hit.start_sec))
        return (self.reranked(text, hits[:rerank]) + hits[rerank:])[:top_k]

    def reranked(self, text: str, hits: list[Hit]) -> list[Hit]:
        rows, log_odds = self.predictor.rows([text]), dict.fromkeys(range(len(hits)), float("-inf"))
        spans = [Span(hit.video, hit.start_sec, hit.end_sec) for hit in hits]
        for numbers, frames in self.predictor.clips(spans, allow_missing=True):
            scores = self.predictor.log_odds(frames, rows, all_pairs(len(numbers), 1))
            log_odds |= dict(zip(numbers, scores.tolist(), strict=True))
            for number, probability in zip(numbers, scores.sigmoid().tolist(), strict=True):
                hits[number] = replace(hits[number], match=probability)
        return [hits[i] for i in sorted(log_odds, key=lambda i: -log_odds[i])]

    # The table

    def table(self) -> Any:
        """The LanceDB table; None before the first write."""
        return open_table(self.path)

    def schema(self) -> Any:
        import pyarrow as pa

        columns = {
            "video": pa.string(),
            "size": pa.int64(),
            "mtime_ns": pa.int64(),
            "start_sec": pa.float64(),
            "end_sec": pa.float64(),
            "vector": pa.list_(pa.float32(), self.predictor.model.config.shared_dim),
        }
        return pa.schema(list(columns.items()), metadata={META: json.dumps(asdict(self.made)).encode()})

    def known(self) -> dict[str, tuple[int, int]]:
        """Size and time of change of each video in the index."""
        table = self.table()
        if table is None:
            return {}
        rows = table.search().select(["video", "size", "mtime_ns"]).to_arrow().to_pydict()
        return dict(zip(rows["video"], zip(rows["size"], rows["mtime_ns"], strict=True), strict=True))

    @contextmanager
    def only_writer(self) -> Iterator[None]:
        """Refuse to add while another process does; a killed one holds nothing up."""
        if os.name != "posix":
            yield
            return
        import fcntl

        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / LOCK).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ValueError(f"{self.path}: another process is adding to this index; wait for it") from error
            yield


def lancedb() -> Any:
    """The module, imported when an index is used: it is an extra, and slow to import."""
    try:
        import lancedb
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"an index needs {error.name}: pip install 'allinone[search]'") from error
    return lancedb


def open_table(path: Path) -> Any:
    """The LanceDB table of an index, as the last write left it; None where there is none."""
    if not (path / f"{TABLE}.lance").is_dir():
        return None
    database = lancedb().connect(path, read_consistency_interval=timedelta(0))
    try:
        return database.open_table(TABLE)
    except ValueError as error:  # killed before the first write was done
        if "not found" in str(error):
            return None
        raise


def read_made(table: Any, path: Path) -> Made:
    written = (table.schema.metadata or {}).get(META)
    if written is None:
        raise ValueError(f"{path}: a LanceDB table {TABLE!r} that allinone did not make; choose another folder")
    fields = json.loads(written)
    if fields["format"] != FORMAT:
        raise ValueError(
            f"{path}: an index of format {fields['format']}, but this version of allinone reads {FORMAT}; "
            "choose another folder and add the videos there"
        )
    return Made(**fields)


def model_of(path: str | Path) -> str:
    """The folder or hub id of the model that an index was made with. ValueError where there is no index."""
    path = Path(path)
    table = open_table(path)
    if table is None:
        raise ValueError(f"{path}: no index there; make one with `allinone index VIDEOS --model M --to {path}`")
    name = read_made(table, path).name
    if name is None:
        raise ValueError(f"{path}: its model has no name; give it with --model")
    return name


def model_identity(predictor: Predictor) -> str:
    """A fingerprint of all that decides about a vector: weights, sizes, vocabulary, and which pixels are seen."""
    model, tokenizer = predictor.model, predictor.tokenizer
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps(asdict(model.config), sort_keys=True).encode())
    digest.update(
        repr((predictor.data.transform, predictor.data.max_text_len, tokenizer and tokenizer.tokens)).encode()
    )
    for name, tensor in sorted(model.state_dict().items()):
        if name.startswith(("encoder.", f"heads.{ContrastiveHead.kind}.")):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def sql_text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def printable(path: Path) -> str:
    """A path as text, also where its bytes are no UTF-8."""
    return os.fsencode(path).decode(errors="replace")


def find_videos(paths: str | Path | Sequence[str | Path]) -> list[Path]:
    """Absolute paths of the files named and of the videos in the folders named (not in hidden ones), each once."""
    named = [Path(p) for p in ([paths] if isinstance(paths, str | Path) else paths)]
    missing = [str(path) for path in named if not path.exists()]
    if missing:
        raise ValueError(f"no such file or folder: {', '.join(missing)}")
    found: dict[Path, None] = {}
    for path in named:
        for file in videos_under(path) if path.is_dir() else [path]:
            found[Path(os.path.abspath(file))] = None
    if not found:
        folders = ", ".join(map(str, named)) or "nothing, since no path was given"
        raise ValueError(f"no videos in {folders}; looked for files ending in {' '.join(sorted(SUFFIXES))}")
    return list(found)


def videos_under(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):  # which does not follow links to folders, so there are no circles
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                yield Path(parent, name)


@dataclass(frozen=True)
class VideoFile:
    """A file and the state that it was found in."""

    path: str
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> "VideoFile":
        str(path).encode()  # raises where the name is no UTF-8, which the table could not hold
        stat = path.stat()
        return cls(str(path), stat.st_size, stat.st_mtime_ns)

    def columns(self) -> dict[str, Any]:
        return {"video": self.path, "size": self.size, "mtime_ns": self.mtime_ns}


@dataclass(frozen=True)
class Chunk:
    """Some neighbouring windows of a video, and their frames once they are read; or why they cannot be."""

    video: VideoFile
    windows: list[tuple[float, float]]
    is_last: bool
    frames: UInt8[Tensor, "G T C H W"]
    failure: str | None = None

    def read(self, reader: ClipReader) -> "Chunk":
        if self.failure is not None:
            return self
        times = [t for start, end in self.windows for t in segment_times(start, end, reader.num_frames)]
        size = reader.look_up(Path(self.video.path)).size
        try:
            clip = read_frames(self.video.path, times_sec=times, size=size, timeout_sec=TIMEOUT_SEC)
        except VideoError as error:
            return replace(self, failure=cause(error, self.video))
        return replace(self, frames=reader.transform(clip.frames.unflatten(0, (-1, reader.num_frames))))


def plan_chunks(video: VideoFile, reader: ClipReader, window_sec: float) -> list[Chunk]:
    """Cut a video into windows, and these into chunks; one chunk that says why, if it cannot be read."""
    side = reader.transform.config.crop
    unread = torch.empty(0, reader.num_frames, 3, side, side, dtype=torch.uint8)
    try:
        windows = cut(known_duration(video, reader, window_sec), window_sec)
    except VideoError as error:
        return [Chunk(video, [], True, unread, cause(error, video))]
    starts = range(0, len(windows), CHUNK)
    return [Chunk(video, windows[i : i + CHUNK], i + CHUNK >= len(windows), unread) for i in starts]


def known_duration(video: VideoFile, reader: ClipReader, window_sec: float) -> float:
    """The length that the header claims; of a video of several windows, no more than its frames bear out."""
    duration_sec = reader.look_up(Path(video.path)).duration_sec
    if duration_sec > 1.5 * window_sec:
        last = read_frames(video.path, times_sec=[duration_sec], size=16, timeout_sec=TIMEOUT_SEC).times_sec[-1].item()
        if last < duration_sec - window_sec / 2:
            return max(last, window_sec / 2)
    return duration_sec


def cut(duration_sec: float, window_sec: float) -> list[tuple[float, float]]:
    """Windows of equal length; a rest of half of that or less is part of the last one."""
    count = max(1, round(duration_sec / window_sec))
    ends = [window_sec * i for i in range(1, count)] + [duration_sec]
    return list(zip([0.0, *ends[:-1]], ends, strict=True))


def cause(error: VideoError, video: VideoFile) -> str:
    return str(error).removeprefix(f"{video.path}: ")


def read_ahead(
    pool: ThreadPoolExecutor, function: Callable[[Item], Result], items: Iterable[Item], num_ahead: int
) -> Iterator[Result]:
    """`function(item)` for each item, in order, of which the pool works on the next `num_ahead`."""
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > num_ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def grouped(chunks: Iterable[Chunk], size: int) -> Iterator[list[Chunk]]:
    """Chunks together that have `size` windows or more, for the model to embed at once."""
    group: list[Chunk] = []
    for chunk in chunks:
        group.append(chunk)
        if sum(len(chunk.frames) for chunk in group) >= size:
            yield group
            group = []
    if group:
        yield group
