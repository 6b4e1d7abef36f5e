"""`VideoIndex`: add videos, find moments in them, keep the index in order."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from allinone.apps.search.adding import Adding, AddReport
from allinone.apps.search.embedding import Embedded, default_threads, embed_videos, lasts
from allinone.apps.search.faults import explains_faults
from allinone.apps.search.files import VideoFile, list_files, no_videos
from allinone.apps.search.hits import Filters, Hit, merged, sql_in, sql_text
from allinone.apps.search.scale import Ray
from allinone.apps.search.segments import Cut
from allinone.apps.search.table import FILE_COLUMNS, IndexInfo, Store, schema
from allinone.data.clip_reader import Span
from allinone.inference import Predictor, Source, all_pairs
from allinone.model.heads import ContrastiveHead, MatchingHead
from allinone.progress import Progress
from allinone.video.decode import VideoError
from allinone.video.names import nfc

SEGMENT_COLUMNS = ["id", "video", "start_sec", "end_sec", "duration_sec", "size", "mtime_ns", "added"]


@dataclass(frozen=True)
class Segment:
    """A row of the index. `duration_sec` is the whole video's, 0 of an image; `size` and `mtime_ns` are its file's."""

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
    """A file in the index, in the state in which it was added; `content` is the hash of its bytes."""

    path: str
    size: int
    mtime_ns: int
    content: str
    duration_sec: float
    num_segments: int
    added: datetime


@dataclass(frozen=True)
class Verified:
    """Videos that are gone, or no longer what was added; ids of segments that double others or belong to no whole.

    `unreadable` are those of the changed ones that cannot be read any more.
    """

    missing: tuple[str, ...]
    changed: tuple[str, ...]
    orphaned: tuple[str, ...]
    unreadable: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not (self.missing or self.changed or self.orphaned)


@dataclass(frozen=True)
class Stats:
    """The state of an index. `ann` is "exact", or how its groups are searched; `bytes` those on disk."""

    num_videos: int
    num_segments: int
    duration_sec: float
    bytes: int
    made: IndexInfo
    ann: str
    num_ungrouped: int
    first_added: datetime | None
    last_added: datetime | None


@dataclass(frozen=True)
class Recall:
    """Which part of the exactly nearest segments a search finds, and its median time, without embedding."""

    recall: float
    num_queries: int
    top_k: int
    search_ms: float


@explains_faults
class VideoIndex:
    """Videos in segments, to be found by words. Open one with `VideoIndex.open`; `len` is the number of segments.

    A video is known by its absolute path, whatever the working folder was when it was added, and counts as changed
    when its size or its time of change differ. All segments of a video are written in one step: killed at any moment,
    an index holds whole videos, each once, and `add` goes on where it stopped. One process may write while others
    search; each search sees what the last finished write left.
    """

    def __init__(self, store: Store, predictor: Predictor, made: IndexInfo):
        self.store = store
        # LanceDB's threads do not survive a fork, so videos are read by threads here and not by worker processes.
        self.predictor = predictor.using(replace(predictor.data, num_workers=0))
        self.made = made

    @classmethod
    def open(cls, path: str | Path, model: Predictor, cut: Cut | None = None) -> "VideoIndex":
        """Open the index in a folder or at a URL (s3://bucket/my.index); where there is none, the first `add` makes it.

        `cut`, by default windows of 10 s, is how videos are cut, fixed when the index is made. Raises ValueError where
        the index was made with another model, and where something else is in the folder.
        """
        model.model.require(ContrastiveHead)
        store, made = Store(path), IndexInfo.of(model, cut)
        there = store.made()
        if there is None:
            return cls(store, model, made)
        if there.model != made.model:
            raise ValueError(
                f"{path}: made with another model ({there.model_name}) than this one ({made.model_name}), and their "
                "vectors cannot be compared; open it with that model, or choose another folder and add the videos there"
            )
        if cut is not None and cut != there.cut:
            raise ValueError(f"{path}: its videos are cut into {there.cut}, not {cut}; choose another folder for that")
        return cls(store, model, there)

    def __repr__(self) -> str:
        return f"VideoIndex({self.path}: {len(self):,} segments; model {self.made.model_name})"

    @property
    def path(self) -> str:
        return str(self.store)

    def __len__(self) -> int:
        table = self.store.table()
        return 0 if table is None else table.count_rows()

    # Writing

    def add(
        self,
        paths: str | Path | Sequence[str | Path],
        on_progress: Progress | None = None,
        *,
        rows_per_write: int = 256,
        num_threads: int | None = None,
        engine: Ray | None = None,
    ) -> AddReport:
        """Add files, the videos in folders, and what globs match; those that are there and unchanged are left alone.

        A video that cannot be read is reported and holds up nothing. `on_progress` is told ("videos", done, total) and
        ("segments", done, known of so far). `num_threads` threads (by default one for each processor, at most 8) read
        videos while others are embedded; or an `engine` embeds on many machines. Raises ValueError where a path does
        not exist or there is no video, before anything is done. Files that could not be read are not read again until
        they change.
        """
        listing = list_files(paths, without=self.store.folder)
        if not listing.files and not any(self.below(folder) for folder in listing.folders):
            raise no_videos(listing)
        report = on_progress or (lambda what, done, total: None)
        with self.store.only_writer():
            there = self.store.made()
            if there is not None and (there.model, there.cut) != (self.made.model, self.made.cut):
                raise ValueError(
                    f"{self.path}: made by another process meanwhile, with another model or cut; open it again"
                )
            width, num_files = self.predictor.model.config.shared_dim, len(listing.files)
            adding = Adding(self.store, schema(self.made, width), rows_per_write, listing)
            todo, contents = adding.new_files(), frozenset(adding.path_of)
            report("videos", adding.num_done, num_files)
            while todo:
                for result in self.embedded(todo, contents, num_threads or default_threads(), engine, report):
                    adding.take(result)
                    report("videos", adding.num_done, num_files)
                adding.flush()
                todo, contents = adding.lost, frozenset()
                adding.lost = []
            adding.remember()
            if len(self):
                self.store.tidy()
        return adding.report()

    def embedded(
        self, videos: list[VideoFile], contents: frozenset[str], num_threads: int, engine: Ray | None, report: Progress
    ) -> Iterator[Embedded]:
        def on_segments(done: int, planned: int) -> None:
            report("segments", done, planned)

        if engine is not None:
            return engine.embed_videos(videos, self.predictor, self.made.cut, contents, on_segments)
        return embed_videos(
            videos, self.predictor, self.made.cut, contents, num_threads=num_threads, on_segments=on_segments
        )

    def remove(self, paths: str | Path | Sequence[str | Path]) -> int:
        """Take videos out, given as files or folders, there or gone; the number of videos taken out.

        ValueError where one of them is not in the index, before anything is done.
        """
        named = [paths] if isinstance(paths, str | Path) else list(paths)
        table = self.store.existing()
        with self.store.only_writer():
            known = set(table.search().select(["video"]).to_arrow()["video"].to_pylist())
            by_nfc = {nfc(video): video for video in known}
            found: set[str] = set()
            strange = []
            for path in (os.path.abspath(path) for path in named):
                matches = {path} & known or {by_nfc[nfc(path)]} if nfc(path) in by_nfc else self.below(path)
                if not matches:
                    strange.append(path)
                found |= matches
            if strange or not found:
                raise ValueError(f"{self.path}: not in the index: {', '.join(strange) or 'nothing, no path was given'}")
            table.delete(sql_in("video", sorted(found)))
        return len(found)

    def below(self, folder: str | Path) -> set[str]:
        """The videos that lie in a folder, or below it."""
        rows = self.store.rows(["video"], Filters(folder=os.path.abspath(folder)).sql())
        return set() if rows is None else set(rows["video"].to_pylist())

    def compact(self, *, keep_sec: int | float = 60) -> Stats:
        """Merge small files, bring the groups up to date, and drop versions that are older than `keep_sec`.

        A search that has taken longer than that would lose the files that it reads.
        """
        if not keep_sec > 0:
            raise ValueError(f"keep_sec is above 0, since others may search at this moment; got {keep_sec}")
        self.store.existing()
        with self.store.only_writer():
            self.store.optimize(timedelta(seconds=keep_sec))
            self.store.tidy()
        return self.stats()

    # Searching

    def search(
        self,
        text: str,
        top_k: int = 10,
        rerank: int = 0,
        *,
        offset: int = 0,
        where: Filters | None = None,
        merge: bool = True,
    ) -> list[Hit]:
        """The moments that fit the words best, the best first: `top_k` of them from number `offset` on.

        Neighbouring segments that fit nearly as well are one hit (not with `merge=False`). With `rerank` = k the
        matching head reads the k best again, words and frames together, and puts them in its own order; those whose
        video cannot be read any more come behind the others of the k.
        """
        return self.search_many([text], top_k, rerank, offset=offset, where=where, merge=merge)[0]

    def search_many(
        self,
        texts: Sequence[str],
        top_k: int = 10,
        rerank: int = 0,
        *,
        offset: int = 0,
        where: Filters | None = None,
        merge: bool = True,
    ) -> list[list[Hit]]:
        """What `search` finds for each of several texts."""
        if isinstance(texts, str) or not texts or not all(text.strip() for text in texts):
            raise ValueError("nothing to search for: the text is empty")
        if rerank < 0:
            raise ValueError(f"rerank is a number of hits, 0 or more; got {rerank}")
        if rerank:
            self.predictor.model.require(MatchingHead)
        check_page(top_k, offset)
        self.store.existing()
        found = []
        for text, vector in zip(texts, self.predictor.embed_text(texts), strict=True):
            hits = self.best(vector.numpy(), max(offset + top_k, rerank), where, merge)
            found.append(marked((self.reranked(text, hits[:rerank]) + hits[rerank:])[offset : offset + top_k]))
        return found

    def search_vector(
        self,
        vector: Float[Tensor, " E"],
        top_k: int = 10,
        *,
        offset: int = 0,
        where: Filters | None = None,
        merge: bool = True,
    ) -> list[Hit]:
        """The moments whose vectors have the largest cosine with this one."""
        check_page(top_k, offset)
        self.store.existing()
        return marked(self.best(vector.numpy(), offset + top_k, where, merge)[offset:])

    def similar(
        self,
        example: Source | Hit | Segment,
        top_k: int = 10,
        *,
        offset: int = 0,
        where: Filters | None = None,
        merge: bool = True,
    ) -> list[Hit]:
        """More like this: a hit or segment of the index, or any clip or image.

        Left out is the hit or segment itself, and a photo with the same content as the file that is given.
        """
        check_page(top_k, offset)
        table = self.store.existing()
        if not isinstance(example, Hit | Segment):
            vector = self.predictor.embed_video([example])[0].numpy()
            without = VideoFile.of(Path(example)).content() if isinstance(example, str | Path) else None
            return marked(self.best(vector, offset + top_k, where, merge, without_photo=without)[offset:])
        id = example.segment if isinstance(example, Hit) else example.id
        rows = table.search().where(sql_in("id", [id])).select(["vector"]).limit(1).to_arrow()
        if not len(rows):
            raise self.no_segment(id)
        vector = rows["vector"].combine_chunks().flatten().to_numpy()
        return marked(self.best(vector, offset + top_k, where, merge, without=example)[offset:])

    def best(
        self,
        vector: np.ndarray,
        count: int,
        where: Filters | None,
        merge: bool,
        without: Hit | Segment | None = None,
        without_photo: str | None = None,
    ) -> list[Hit]:
        condition, depth = where.sql() if where is not None else None, 2 * count if merge else count + bool(without)
        if without_photo is not None:
            other = f"(duration_sec > 0 OR content != {sql_text(without_photo)})"
            condition = other if condition is None else f"{condition} AND {other}"
        while True:
            rows = self.store.nearest(vector, depth, condition)
            segments = [
                Hit(row["video"], row["start_sec"], row["end_sec"], 1 - row["_distance"], segment=row["id"])
                for row in rows
                if without is None or not overlap(row, without)
            ]
            hits = merged(segments) if merge else segments
            if len(hits) >= count or len(rows) < depth:
                return hits[:count]
            depth *= 4

    def reranked(self, text: str, hits: list[Hit]) -> list[Hit]:
        rows, log_odds = self.predictor.rows([text]), dict.fromkeys(range(len(hits)), float("-inf"))
        spans = [Span(hit.video, hit.start_sec, hit.end_sec) for hit in hits]
        for numbers, frames in self.predictor.clips(spans, allow_missing=True):
            scores = self.predictor.log_odds(frames, rows, all_pairs(len(numbers), 1))
            log_odds |= dict(zip(numbers, scores.tolist(), strict=True))
            for number, probability in zip(numbers, scores.sigmoid().tolist(), strict=True):
                hits[number] = replace(hits[number], match=probability)
        return [hits[i] for i in sorted(log_odds, key=lambda i: -log_odds[i])]

    def left_nothing(self, where: Filters | None) -> list[str]:
        """Which filters no video passes, in words; empty where one passes them all."""
        table, conditions = self.store.table(), where.conditions() if where is not None else {}
        if table is None or not conditions or table.count_rows(" AND ".join(conditions.values())):
            return []
        alone = [name for name, condition in conditions.items() if not table.count_rows(condition)]
        place = f"; the videos lie in {self.common_folder()}" if any(n.startswith("folder ") for n in alone) else ""
        if alone:
            return [f"no video in the index passes: {', '.join(alone)}{place}"]
        return [f"no video in the index passes all of these together: {', '.join(conditions)}"]

    def common_folder(self) -> str:
        """The folder that all videos lie in or below."""
        rows = self.store.rows(["video"])
        videos = [] if rows is None else rows["video"].to_pylist()
        if not videos:
            return os.sep
        # What the first and the last in order have in common, all between them have too.
        return os.path.commonpath([os.path.dirname(min(videos)), os.path.dirname(max(videos))])

    # What is in it

    def segment(self, id: str) -> Segment:
        """The segment of this id; ValueError where there is none."""
        rows = self.store.existing().search().where(sql_in("id", [id])).select(SEGMENT_COLUMNS).limit(1).to_arrow()
        if not len(rows):
            raise self.no_segment(id)
        return Segment(**rows.to_pylist()[0])

    def thumbnail(self, id: str) -> bytes:
        """The middle frame of a segment, a JPEG of at most 256 pixels a side; ValueError where there is none."""
        found = self.thumbnails([id])
        if id not in found:
            raise self.no_segment(id)
        return found[id]

    def thumbnails(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Those of several segments in one read; ids that are not there are left out."""
        if not ids:
            return {}
        rows = (
            self.store.existing()
            .search()
            .where(sql_in("id", ids))
            .select(["id", "thumbnail"])
            .limit(len(ids))
            .to_arrow()
        )
        return dict(zip(rows["id"].to_pylist(), rows["thumbnail"].to_pylist(), strict=True))

    def no_segment(self, id: str) -> ValueError:
        return ValueError(f"{self.path}: no segment {id!r}; the index has changed, so search again")

    def videos(self, where: Filters | None = None, *, offset: int = 0, limit: int | None = None) -> list[Video]:
        """The files in the index, by path."""
        columns = [*FILE_COLUMNS, "duration_sec", "added"]
        table = self.store.rows([*columns, "id"], where.sql() if where is not None else None)
        if table is None:
            return []
        groups = table.group_by(columns).aggregate([("id", "count")]).sort_by("video")
        rows = groups.slice(offset, limit).rename_columns({"video": "path", "id_count": "num_segments"}).to_pylist()
        return [Video(**row) for row in rows]

    def verify(self, *, contents: bool = False, on_progress: Progress | None = None) -> Verified:
        """Compare the index with the files: their size and time of change, or, with `contents`, every byte."""
        table = self.store.rows([*FILE_COLUMNS, "id", "added"])
        if table is None:
            return Verified((), (), ())
        seen: set[str] = set()
        newest: dict[str, dict[str, Any]] = {}
        rows = table.sort_by([("added", "descending")]).to_pylist()
        orphaned = []
        for row in rows:
            file = newest.setdefault(row["video"], row)
            if row["id"] in seen or any(row[name] != file[name] for name in FILE_COLUMNS):
                orphaned.append(row["id"])
            seen.add(row["id"])
        missing, changed = [], list[VideoFile]()
        for number, (path, row) in enumerate(sorted(newest.items()), start=1):
            try:
                file = VideoFile.of(Path(path))
                same = file.content() == row["content"] if contents else file.state == (row["size"], row["mtime_ns"])
            except OSError:
                missing.append(path)
            else:
                if not same:
                    changed.append(file)
            if on_progress:
                on_progress("files", number, len(newest))
        known = {(file.video, file.size, file.mtime_ns) for file in self.store.unreadable()}
        broken = [f.path for f in changed if (f.path, *f.state) in known or not self.is_readable(f.path)]
        return Verified(tuple(missing), tuple(file.path for file in changed), tuple(orphaned), tuple(broken))

    def is_readable(self, path: str) -> bool:
        try:
            self.predictor.reader().look_up(Path(path))
        except VideoError as error:
            return not lasts(error)
        return True

    def stats(self) -> Stats:
        videos, tuning = self.videos(), self.store.tuning()
        added = sorted(video.added for video in videos)
        ann = "exact"
        if tuning is not None:
            ann = f"IVF_SQ, {tuning.nprobes} of {tuning.num_partitions} groups, refined {tuning.refine} times"
        return Stats(
            num_videos=len(videos),
            num_segments=sum(video.num_segments for video in videos),
            duration_sec=sum(video.duration_sec for video in videos),
            bytes=self.store.num_bytes(),
            made=self.made,
            ann=ann,
            num_ungrouped=self.store.num_ungrouped(),
            first_added=added[0] if added else None,
            last_added=added[-1] if added else None,
        )

    def check_recall(
        self,
        num_queries: int = 100,
        *,
        texts: Sequence[str] | None = None,
        top_k: int = 10,
        where: Filters | None = None,
    ) -> Recall:
        """How much of what is exactly best `search` finds, for `texts`, or else for vectors made from stored ones."""
        self.store.existing()
        check_page(top_k, 0)
        queries = self.store.made_queries(num_queries) if texts is None else self.predictor.embed_text(texts).numpy()
        recall, search_ms = self.store.recall(queries, top_k, where.sql() if where is not None else None)
        return Recall(recall, len(queries), top_k, search_ms)


def marked(hits: list[Hit]) -> list[Hit]:
    """The hits, with those marked whose files are gone."""
    gone = {video for video in {hit.video for hit in hits} if not os.path.exists(video)}
    return [replace(hit, gone=True) if hit.video in gone else hit for hit in hits]


def overlap(row: dict[str, Any], example: Hit | Segment) -> bool:
    same = row["video"] == example.video
    inside = row["start_sec"] < example.end_sec and row["end_sec"] > example.start_sec
    return same and (inside or row["id"] == (example.segment if isinstance(example, Hit) else example.id))


def check_page(top_k: int, offset: int) -> None:
    if top_k < 1 or offset < 0:
        raise ValueError(f"top_k must be at least 1 and offset at least 0, got {top_k} and {offset}")
