"""`VideoIndex`: add videos, find moments in them, and maintain the index."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from jaxtyping import Float
from torch import Tensor

from allinone.apps.search.faults import explains_faults
from allinone.apps.search.files import VideoFile, list_files, no_videos
from allinone.apps.search.filters import Filters, sql_in
from allinone.apps.search.hits import Hit, Options, Query, merge
from allinone.apps.search.records import (
    FORMAT,
    AddReport,
    IndexInfo,
    Recall,
    Segment,
    Stats,
    Verified,
    Video,
)
from allinone.apps.search.segments import Cut, Windows
from allinone.apps.search.table import FILE_COLUMNS, Store
from allinone.data.video_inputs import Source
from allinone.inference import Predictor, load
from allinone.model.heads import ContrastiveHead, MatchingHead
from allinone.progress import Progress
from allinone.video.names import nfc

if TYPE_CHECKING:
    from allinone.apps.search.scale import Ray

SEGMENT_COLUMNS = ["video", "start_sec", "end_sec", "duration_sec", "size", "mtime_ns", "added"]
HIT_COLUMNS = ["id", "video", "start_sec", "end_sec", "duration_sec", "content"]

Skip = Callable[[dict[str, Any]], bool]
"""Whether a search leaves a row out."""


@explains_faults
class VideoIndex:
    """Videos in segments, to be searched by text. Open one with `VideoIndex.open`; `len` is the number of segments.

    A video is known by its absolute path, whatever the working folder was when it was added, and counts as changed if
    its size or modification time differs. All segments of a video are written in one commit, so an index that was
    killed at any moment has whole videos, each once, and `add` continues. One process may write while others search;
    each search sees the last finished write.
    """

    def __init__(self, store: Store, predictor: Predictor, info: IndexInfo):
        self.store = store
        # LanceDB's threads do not survive a fork, so threads and not worker processes read videos here.
        self.predictor = predictor.using(replace(predictor.data, num_workers=0))
        self.info = info

    @classmethod
    def open(
        cls,
        path: str | Path,
        model: Predictor | str | Path | None = None,
        cut: Cut | None = None,
        *,
        text_only: bool = False,
    ) -> "VideoIndex":
        """Open the index in a folder or at a URL (s3://bucket/my.index); a new one is created by its first `add`.

        Args:
            model: by default the one that the index was made with, loaded from where it was then; or another place of
                it (folder or hub id), or a loaded one.
            cut: how videos are cut, fixed when the index is created; windows of 10 s by default.
            text_only: load only what embeds texts, for a quick start; searches by words work, without `rerank`.

        Raises:
            ValueError: the index was made with another model or cut, or something else is in the folder.
        """
        store = Store(path)
        existing = store.info()
        if model is None:
            if existing is None:
                raise ValueError(f"{path}: no index there; make one with `allinone index VIDEOS --model M --to {path}`")
            if existing.name is None:
                raise ValueError(f"{path}: its model has no name; give it with --model")
            model = existing.name
        if not isinstance(model, Predictor):
            model = load(model, text_only=text_only)
        model.model.require(ContrastiveHead)  # before anything is indexed: without it there are no vectors
        info = IndexInfo(FORMAT, model.identity, model.name, model.num_frames, cut or Windows())
        if existing is None:
            return cls(store, model, info)
        if existing.model != info.model:
            raise ValueError(
                f"{path}: made with another model ({existing.model_name}) than this one ({info.model_name}), and their "
                "vectors cannot be compared; open it with that model, or choose another folder and add the videos there"
            )
        if cut is not None and cut != existing.cut:
            raise ValueError(
                f"{path}: its videos are cut into {existing.cut}, not {cut}; choose another folder for that"
            )
        return cls(store, model, existing)

    def __repr__(self) -> str:
        return f"VideoIndex({self.path}: {len(self):,} segments; model {self.info.model_name})"

    @property
    def path(self) -> str:
        return str(self.store)

    def __len__(self) -> int:
        return self.store.num_rows()

    # Writing

    def add(
        self,
        paths: str | Path | Sequence[str | Path],
        on_progress: Progress | None = None,
        *,
        rows_per_write: int = 256,
        num_threads: int | None = None,
        engine: "Ray | None" = None,
    ) -> AddReport:
        """Add files, the videos in folders, and matches of globs; unchanged ones that are in the index are skipped.

        A video that cannot be read is reported and stops nothing; it is not read again until the file changes.

        Args:
            on_progress: called with ("videos", done, total) and ("segments", done, planned until now).
            rows_per_write: rows that are collected for one commit.
            num_threads: threads that read videos while others are embedded; one per processor by default, at most 8.
            engine: embeds on many machines instead.

        Raises:
            ValueError: a path does not exist, or there is no video; nothing was done.
        """
        from allinone.apps.search.adding import add
        from allinone.apps.search.embedding import default_threads, embed_videos

        listing = list_files(paths, without=self.store.folder)
        # A folder that is empty now may have had videos, which are then reported as gone.
        if not listing.files and not any(self.below(folder) for folder in listing.folders):
            raise no_videos(listing)
        report = on_progress or (lambda what, done, total: None)
        embed = engine.embed_videos if engine else partial(embed_videos, num_threads=num_threads or default_threads())
        embed = partial(embed, predictor=self.predictor, cut=self.info.cut)
        shared_dim = self.predictor.model.config.shared_dim
        return add(self.store, self.info, shared_dim, listing, embed, rows_per_write, report)

    def remove(self, paths: str | Path | Sequence[str | Path]) -> int:
        """Remove videos, given as files or folders that may no longer exist; return the number of videos removed.

        ValueError if one of them is not in the index; then nothing is removed.
        """
        named = [paths] if isinstance(paths, str | Path) else list(paths)
        table = self.store.existing()
        with self.store.only_writer():
            known = set(self.store.rows(["video"])["video"].to_pylist())
            by_nfc = {nfc(video): video for video in known}
            removed: set[str] = set()
            unknown = []
            for path in (os.path.abspath(path) for path in named):
                # The exact path, the same in another Unicode form (as a Mac writes names), or all below a folder.
                matches = {path} & known or {by_nfc[nfc(path)]} if nfc(path) in by_nfc else self.below(path)
                if not matches:
                    unknown.append(path)
                removed |= matches
            if unknown or not removed:  # one wrong path removes nothing: the others may be wrong, too
                raise ValueError(f"{self.path}: not in the index: {', '.join(unknown) or 'nothing, no path was given'}")
            table.delete(sql_in("video", sorted(removed)))
        return len(removed)

    def below(self, folder: str | Path) -> set[str]:
        """Return the videos in a folder or below it."""
        rows = self.store.rows(["video"], Filters(folder=os.path.abspath(folder)).sql())
        return set() if rows is None else set(rows["video"].to_pylist())

    def compact(self, *, keep_sec: int | float = 60) -> Stats:
        """Merge small files, update the vector index, and delete versions older than `keep_sec`.

        A search that takes longer than that fails, because the files it reads are deleted.
        """
        if not keep_sec > 0:
            raise ValueError(f"keep_sec is above 0, because others may be searching; got {keep_sec}")
        self.store.existing()
        with self.store.only_writer():
            self.store.optimize(timedelta(seconds=keep_sec))
            self.store.tidy()
        return self.stats()

    # Searching

    def search(self, text: str, top_k: int = 10, rerank: int = 0, **options: Unpack[Options]) -> list[Hit]:
        """Return the moments that match the text, best first: hits `offset` to `offset + top_k`.

        Neighboring segments with nearly the same score are one hit (unless `merge=False`). With `rerank` = k, the
        matching head reads the best k again, text and frames together, and reorders them; those with a video that can
        no longer be read come last of the k. `where` limits the search (`Filters`).
        """
        return self.search_many([text], top_k, rerank, **options)[0]

    def search_many(
        self, texts: Sequence[str], top_k: int = 10, rerank: int = 0, **options: Unpack[Options]
    ) -> list[list[Hit]]:
        """Return the result of `search` for each text; they are embedded together."""
        query = Query(top_k=top_k, rerank=rerank, **options)
        if isinstance(texts, str) or not texts or not all(text.strip() for text in texts):
            raise ValueError("nothing to search for: the text is empty")
        if rerank:
            self.predictor.model.require(MatchingHead)
        self.store.existing()
        vectors = self.predictor.embed_text(texts).numpy()
        return [self.find(vector, query, text=text) for text, vector in zip(texts, vectors, strict=True)]

    def search_vector(self, vector: Float[Tensor, " E"], top_k: int = 10, **options: Unpack[Options]) -> list[Hit]:
        """Return the moments with the largest cosine to this vector."""
        return self.find(vector.numpy(), Query(top_k=top_k, **options))

    def similar(self, example: Source | Hit | Segment, top_k: int = 10, **options: Unpack[Options]) -> list[Hit]:
        """Return moments like this one: a hit or segment of the index, or any clip or image.

        The hit or segment itself is left out, and so are photos with the same content as a given file.
        """
        query = Query(top_k=top_k, **options)
        self.store.existing()
        if isinstance(example, Hit | Segment):
            [row] = self.segment_rows([segment_of(example)], ["vector"])
            vector = np.asarray(row["vector"], np.float32)
            return self.find(vector, query, skip=lambda row: overlaps(row, example))
        vector, skip = self.predictor.embed_video([example])[0].numpy(), None
        if isinstance(example, str | Path):
            content = VideoFile.of(Path(example)).content()
            skip = lambda row: row["duration_sec"] == 0 and row["content"] == content  # noqa: E731
        return self.find(vector, query, skip=skip)

    def find(self, vector: np.ndarray, query: Query, *, text: str | None = None, skip: Skip | None = None) -> list[Hit]:
        """Return one page of hits by cosine, re-ranked by `text` if the query says so."""
        hits = self.best(vector, query, skip)
        if text is not None and query.rerank:
            hits = self.reranked(text, hits[: query.rerank]) + hits[query.rerank :]
        return query.page(hits)

    def best(self, vector: np.ndarray, query: Query, skip: Skip | None) -> list[Hit]:
        """Return the first `query.num_hits` hits by cosine. Rows are read until there are enough hits."""
        # Merging makes one hit of several rows, and `skip` leaves some out: if hits are too few, read more rows.
        num_rows = query.num_hits * (2 if query.merge else 1) + (skip is not None)
        while True:
            rows = self.store.nearest(vector, num_rows, query.condition, HIT_COLUMNS)
            hits = [
                Hit(row["video"], row["start_sec"], row["end_sec"], 1 - row["_distance"], segment=row["id"])
                for row in rows
                if skip is None or not skip(row)
            ]
            hits = merge(hits) if query.merge else hits
            if len(hits) >= query.num_hits or len(rows) < num_rows:
                return hits[: query.num_hits]
            num_rows *= 4  # few rounds, even if most rows are merged into one hit

    def reranked(self, text: str, hits: list[Hit]) -> list[Hit]:
        """Return the hits in the order of the matching head, with `match` set; unreadable ones last."""
        from allinone.data.clip_reader import Span

        # Unreadable ones keep -inf, and so come last.
        rows, log_odds = self.predictor.tokenize([text]), dict.fromkeys(range(len(hits)), float("-inf"))
        spans = [Span(hit.video, hit.start_sec, hit.end_sec) for hit in hits]
        for indices, frames in self.predictor.clips(spans, allow_missing=True):
            scores = self.predictor.match_all(frames, rows)[:, 0]
            log_odds |= dict(zip(indices, scores.tolist(), strict=True))
            for index, probability in zip(indices, scores.sigmoid().tolist(), strict=True):
                hits[index] = replace(hits[index], match=probability)
        return [hits[i] for i in sorted(log_odds, key=lambda i: -log_odds[i])]

    def left_nothing(self, where: Filters | None) -> list[str]:
        """Name the filters that no video passes, in one sentence; return [] if a video passes them all."""
        table, conditions = self.store.table(), where.conditions() if where is not None else {}
        if table is None or where is None or not conditions or table.count_rows(where.sql()):
            return []
        # Each filter without the others.
        failing = [name for name, condition in conditions.items() if not table.count_rows(condition)]
        if not failing:
            return [f"no video in the index passes all of these together: {', '.join(conditions)}"]
        is_folder = any(name.startswith("folder ") for name in failing)
        folder = f"; the videos are in {self.common_folder()}" if is_folder else ""
        return [f"no video in the index passes: {', '.join(failing)}{folder}"]

    def common_folder(self) -> str:
        """Return the deepest folder that all videos are in or below."""
        rows = self.store.rows(["video"])
        videos = [] if rows is None else rows["video"].to_pylist()
        if not videos:
            return os.sep
        # In sorted order, all paths between the first and the last share what these two share.
        return os.path.commonpath([os.path.dirname(min(videos)), os.path.dirname(max(videos))])

    # Contents

    def segment_rows(self, ids: Sequence[str], columns: list[str]) -> list[dict[str, Any]]:
        """Return columns of the segments with these ids; ValueError if one is not there."""
        self.store.existing()
        rows = self.store.rows(["id", *columns], sql_in("id", ids), limit=len(ids)).to_pylist()
        if missing := set(ids) - {row["id"] for row in rows}:
            raise ValueError(f"{self.path}: no segment {min(missing)!r}; the index has changed, so search again")
        return rows

    def segment(self, id: str) -> Segment:
        """Return the segment with this id; ValueError if there is none."""
        [row] = self.segment_rows([id], SEGMENT_COLUMNS)
        return Segment(**row)

    def thumbnail(self, id: str) -> bytes:
        """Return the middle frame of a segment, a JPEG of at most 256 pixels a side; ValueError if there is none."""
        [row] = self.segment_rows([id], ["thumbnail"])
        return row["thumbnail"]

    def thumbnails(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Return the thumbnails of several segments, read together; unknown ids are left out."""
        if not ids:
            return {}
        self.store.existing()
        rows = self.store.rows(["id", "thumbnail"], sql_in("id", ids), limit=len(ids))
        return dict(zip(rows["id"].to_pylist(), rows["thumbnail"].to_pylist(), strict=True))

    def videos(self, where: Filters | None = None, *, offset: int = 0, limit: int | None = None) -> list[Video]:
        """Return the files in the index, sorted by path."""
        columns = [*FILE_COLUMNS, "duration_sec", "added"]
        table = self.store.rows([*columns, "id"], where.sql() if where is not None else None)
        if table is None:
            return []
        groups = table.group_by(columns).aggregate([("id", "count")]).sort_by("video")
        rows = groups.slice(offset, limit).rename_columns({"video": "path", "id_count": "num_segments"}).to_pylist()
        return [Video(**row) for row in rows]

    def verify(self, *, contents: bool = False, on_progress: Progress | None = None) -> Verified:
        """Compare the index with the files: their size and modification time, or, with `contents`, every byte."""
        from allinone.apps.search.verifying import verify

        return verify(self.store, self.predictor.reader(), contents, on_progress or (lambda what, done, total: None))

    def stats(self) -> Stats:
        """Count the rows, and measure the files of the index."""
        videos = self.videos()
        added = sorted(video.added for video in videos)
        return Stats(
            num_videos=len(videos),
            num_segments=sum(video.num_segments for video in videos),
            duration_sec=sum(video.duration_sec for video in videos),
            bytes=self.store.num_bytes(),
            info=self.info,
            ann=self.store.search_method(),
            num_unindexed=self.store.num_unindexed(),
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
        """Measure which share of the exact top k a search returns, for `texts`, or else for synthetic queries."""
        from allinone.apps.search.recall import measure_recall, synthetic_queries

        query = Query(top_k=top_k, where=where)
        if texts is None:
            queries = synthetic_queries(self.store, num_queries)
        else:
            queries = self.predictor.embed_text(texts).numpy()
        return measure_recall(self.store, queries, top_k, query.condition)


def segment_of(example: Hit | Segment) -> str:
    return example.segment if isinstance(example, Hit) else example.id


def overlaps(row: dict[str, Any], example: Hit | Segment) -> bool:
    """Return whether the row is of the same video at the same time, or is the very segment (an image has no time)."""
    is_inside = row["start_sec"] < example.end_sec and row["end_sec"] > example.start_sec
    return row["video"] == example.video and (is_inside or row["id"] == segment_of(example))
