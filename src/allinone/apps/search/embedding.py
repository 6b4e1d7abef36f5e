"""Videos to rows: threads hash, cut and decode them ahead, while the calling thread embeds their segments."""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import torch
from jaxtyping import UInt8
from torch import Tensor

from allinone.apps.search.files import VideoFile
from allinone.apps.search.segments import Bounds, Cut
from allinone.data.clip_reader import ClipReader
from allinone.inference import Predictor
from allinone.video import VideoError, read_frames
from allinone.video.encode import encode_image
from allinone.video.sampling import segment_times

Item = TypeVar("Item")
Result = TypeVar("Result")

CHUNK = 16
"""Segments of a video that are decoded together, so that a long video takes no more memory than a short one."""

THUMBNAIL_SIDE = 256
"""Pixels of the longer side, at most."""


@dataclass(frozen=True)
class Embedded:
    """A video's rows; or none, because the index has its content under another path (`is_known`), or it failed.

    If the failure `lasts`, the file itself is at fault: it is not read again until it changes.
    """

    video: VideoFile
    content: str = ""
    rows: tuple[dict[str, Any], ...] = ()
    is_known: bool = False
    failure: str | None = None
    lasts: bool = False


@dataclass(frozen=True)
class Chunk:
    """Some consecutive segments of a video, with frames and thumbnails once they are decoded.

    A video of known content, or one that failed, is one chunk without segments; its `outcome` says so.
    """

    outcome: Embedded
    duration_sec: float
    segments: Bounds
    is_last: bool
    frames: UInt8[Tensor, "G T C H W"]
    thumbnails: tuple[bytes, ...] = ()

    def read(self, reader: ClipReader) -> "Chunk":
        """Decode the frames of all segments in one pass over the video."""
        if not self.segments:
            return self
        path = Path(self.outcome.video.path)
        times = [t for start, end in self.segments for t in segment_times(start, end, reader.num_frames)]
        try:
            clip = read_frames(path, times_sec=times, size=reader.look_up(path).size)
        except VideoError as error:
            return replace(self, outcome=failure(self.outcome.video, error))
        clips = clip.frames.unflatten(0, (-1, reader.num_frames))
        middles = clips[:, reader.num_frames // 2].permute(0, 2, 3, 1).numpy()
        thumbnails = tuple(encode_image(frame, max_side=THUMBNAIL_SIDE) for frame in middles)
        return replace(self, frames=reader.transform(clips), thumbnails=thumbnails)

    def rows(self, vectors: Iterable[Any]) -> list[dict[str, Any]]:
        """Return the rows of the decoded segments, without the time at which they are added."""
        video, content = self.outcome.video, self.outcome.content
        return [
            {
                "id": segment_id(video.path, content, start, end),
                "video": video.path,
                "name": Path(video.path).name,
                "size": video.size,
                "mtime_ns": video.mtime_ns,
                "content": content,
                "duration_sec": self.duration_sec,
                "start_sec": start,
                "end_sec": end,
                "thumbnail": thumbnail,
                "vector": vector,
            }
            # A chunk that failed has segments, but neither thumbnails nor vectors.
            for (start, end), thumbnail, vector in zip(self.segments, self.thumbnails, vectors, strict=False)
        ]


def segment_id(video: str, content: str, start_sec: float, end_sec: float) -> str:
    """Return the same id for the same part of the same content at the same path, in any index."""
    # 96 bits: a billion segments have no two equal ids.
    return hashlib.blake2b(repr((video, content, start_sec, end_sec)).encode(), digest_size=12).hexdigest()


def embed_videos(
    videos: Iterable[VideoFile],
    predictor: Predictor,
    cut: Cut,
    contents: Container[str] = (),
    *,
    num_threads: int,
    on_segments: Callable[[int, int], None] = lambda done, planned: None,
) -> Iterator[Embedded]:
    """Yield a result for every video, in order; those with one of the `contents` are not embedded.

    `num_threads` threads read while the calling one embeds. `on_segments` gets the numbers of segments that are
    embedded, and that are known of until now.
    """
    # Three steps in a row: hash and cut videos (pool), decode chunks of segments (pool), embed groups of them (here).
    # Both of the first are generators that are pulled by the last, and work ahead of it by a limited amount.
    reader = predictor.reader()
    done = planned = 0
    with ThreadPoolExecutor(num_threads) as pool:

        def planned_chunks() -> Iterator[Chunk]:
            nonlocal planned
            for plan in map_ahead(
                pool, lambda video: plan_chunks(video, reader, cut, contents), videos, 2 * num_threads
            ):
                planned += sum(len(chunk.segments) for chunk in plan)
                yield from plan

        rows: list[dict[str, Any]] = []
        failed: Embedded | None = None
        # A chunk for each thread, and two groups that wait for the model: it never waits if decoding is faster.
        chunks = map_ahead(
            pool,
            lambda chunk: chunk.read(reader),
            planned_chunks(),
            CHUNK * (num_threads + 2),
            size=lambda chunk: max(1, len(chunk.segments)),
        )
        for group in grouped(chunks, min(predictor.data.batch_size, CHUNK)):
            frames = torch.cat([chunk.frames for chunk in group])
            vectors = iter(predictor.embed_clips(frames[:, None]).numpy() if len(frames) else ())
            for chunk in group:
                if chunk.outcome.failure is not None:
                    failed = failed or chunk.outcome
                rows += chunk.rows(islice(vectors, len(chunk.frames)))  # a chunk that failed takes no vectors
                done += len(chunk.segments)
                if chunk.is_last:
                    # What the reader knows of a video is never needed again, and there may be a million of them.
                    reader.facts.pop(Path(chunk.outcome.video.path), None)
                    yield failed or replace(chunk.outcome, rows=tuple(rows))
                    rows, failed = [], None
            on_segments(done, planned)


def plan_chunks(video: VideoFile, reader: ClipReader, cut: Cut, contents: Container[str]) -> list[Chunk]:
    """Cut a video into segments, and these into chunks."""
    side = reader.transform.config.crop
    no_frames = torch.empty(0, reader.num_frames, 3, side, side, dtype=torch.uint8)
    try:
        meta = reader.look_up(Path(video.path))
        content = video.content()
        if content in contents:  # moved, copied or touched: its rows are in the index
            return [Chunk(Embedded(video, content, is_known=True), 0.0, [], True, no_frames)]
        segments = cut.cut(video.path, meta)
        # The hash and the cut are of one version of the file only if it is still the one that was listed.
        if VideoFile.of(Path(video.path)) != video:
            changed = "it changed while it was read; add it again when it is complete"
            return [Chunk(Embedded(video, failure=changed), 0.0, [], True, no_frames)]
    except (VideoError, OSError) as error:
        return [Chunk(failure(video, error), 0.0, [], True, no_frames)]
    parts = [segments[i : i + CHUNK] for i in range(0, len(segments), CHUNK)]
    outcome = Embedded(video, content)
    return [Chunk(outcome, meta.duration_sec, part, part is parts[-1], no_frames) for part in parts]


def failure(video: VideoFile, error: Exception) -> Embedded:
    """Return the result of a video that failed, without its path in the cause."""
    return Embedded(video, failure=str(error).removeprefix(f"{video.path}: "), lasts=lasts(error))


def lasts(error: Exception) -> bool:
    """Return whether the file itself is at fault, and not that opening it failed or reading it took too long."""
    # A network folder may be away, or a disk busy: such files are tried again with the next `add`.
    return isinstance(error, VideoError) and not isinstance(error.__cause__, OSError) and "given up" not in str(error)


def map_ahead(
    pool: ThreadPoolExecutor,
    function: Callable[[Item], Result],
    items: Iterable[Item],
    limit: int,
    size: Callable[[Item], int] = lambda item: 1,
) -> Iterator[Result]:
    """Yield `function(item)` for each item, in order, while the pool works on the next ones.

    The items that are submitted and not yet yielded have a total size of `limit`, or just above. The pool goes on with
    them while the caller is busy.
    """
    waiting: deque[tuple[Future[Result], int]] = deque()
    total = 0
    for item in items:
        waiting.append((pool.submit(function, item), size(item)))
        total += waiting[-1][1]
        while total > limit:
            future, freed = waiting.popleft()
            total -= freed
            yield future.result()
    for future, _ in waiting:
        yield future.result()


def grouped(chunks: Iterable[Chunk], size: int) -> Iterator[list[Chunk]]:
    """Collect chunks until they have `size` segments or more, which the model embeds together."""
    group: list[Chunk] = []
    for chunk in chunks:
        group.append(chunk)
        if sum(len(chunk.frames) for chunk in group) >= size:
            yield group
            group = []
    if group:
        yield group


def default_threads() -> int:
    """Return the number of processors, at most 8."""
    return min(os.cpu_count() or 1, 8)
