"""Videos to rows: threads look up, cut and read them ahead, while the model embeds what is read."""

import hashlib
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import av
import torch
from av.video.codeccontext import VideoCodecContext
from jaxtyping import UInt8
from torch import Tensor

from allinone.apps.search.files import VideoFile
from allinone.apps.search.segments import Bounds, Cut
from allinone.data.clip_reader import ClipReader
from allinone.inference import Predictor
from allinone.video import VideoError, read_frames
from allinone.video.sampling import segment_times

Item = TypeVar("Item")
Result = TypeVar("Result")

CHUNK = 16
"""So many segments of a video are read at a time, so that a long one takes no more memory than a short one."""

THUMBNAIL_SIDE = 256
"""Pixels of the long side, at most."""


@dataclass(frozen=True)
class Embedded:
    """A video's rows; or none, because they are in the index under another path (`is_known`), or it failed.

    A failure that `lasts` is the file's own: as long as it does not change, trying again is in vain.
    """

    video: VideoFile
    content: str = ""
    rows: tuple[dict[str, Any], ...] = ()
    is_known: bool = False
    failure: str | None = None
    lasts: bool = False


@dataclass(frozen=True)
class Chunk:
    """Some neighbouring segments of a video, with frames and pictures once they are read; or why they cannot be."""

    video: VideoFile
    content: str
    duration_sec: float
    segments: Bounds
    is_last: bool
    frames: UInt8[Tensor, "G T C H W"]
    thumbnails: tuple[bytes, ...] = ()
    is_known: bool = False
    failure: str | None = None
    lasts: bool = False

    def read(self, reader: ClipReader) -> "Chunk":
        if self.failure is not None or not self.segments:
            return self
        times = [t for start, end in self.segments for t in segment_times(start, end, reader.num_frames)]
        size = reader.look_up(Path(self.video.path)).size
        try:
            clip = read_frames(self.video.path, times_sec=times, size=size)
        except VideoError as error:
            return replace(self, failure=cause(error, self.video), lasts=lasts(error))
        clips = clip.frames.unflatten(0, (-1, reader.num_frames))
        thumbnails = tuple(thumbnail(frames[len(frames) // 2]) for frames in clips)
        return replace(self, frames=reader.transform(clips), thumbnails=thumbnails)

    def row(self, number: int, vector: Any) -> dict[str, Any]:
        start, end = self.segments[number]
        return {
            "id": segment_id(self.video.path, self.content, start, end),
            "video": self.video.path,
            "name": Path(self.video.path).name,
            "size": self.video.size,
            "mtime_ns": self.video.mtime_ns,
            "content": self.content,
            "duration_sec": self.duration_sec,
            "start_sec": start,
            "end_sec": end,
            "thumbnail": self.thumbnails[number],
            "vector": vector,
        }


def segment_id(video: str, content: str, start_sec: float, end_sec: float) -> str:
    """The same for the same part of the same content at the same path, in any index."""
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
    """Every video, in order; those whose content is among `contents` are not embedded.

    `num_threads` threads read while the calling one embeds. `on_segments` is told how many are embedded, and how many
    are known of so far.
    """
    reader, num_ahead = predictor.reader(), 2 * num_threads
    done = planned = 0
    with ThreadPoolExecutor(num_threads) as pool:

        def plans() -> Iterator[Chunk]:
            nonlocal planned
            for plan in read_ahead(pool, lambda video: plan_chunks(video, reader, cut, contents), videos, num_ahead):
                planned += sum(len(chunk.segments) for chunk in plan)
                yield from plan

        rows: list[dict[str, Any]] = []
        failed: Chunk | None = None
        chunks = read_ahead(pool, lambda chunk: chunk.read(reader), plans(), num_ahead)
        for group in prefetched(grouped(chunks, min(predictor.data.batch_size, CHUNK)), 2):
            frames = torch.cat([chunk.frames for chunk in group])
            vectors = iter(predictor.embed_clips(frames[:, None]).numpy() if len(frames) else ())
            for chunk in group:
                failed = failed or (None if chunk.failure is None else chunk)
                rows += [chunk.row(number, next(vectors)) for number in range(len(chunk.frames))]
                done += len(chunk.segments)
                if chunk.is_last:
                    reader.facts.pop(Path(chunk.video.path), None)
                    if failed is not None:
                        yield Embedded(chunk.video, failure=failed.failure, lasts=failed.lasts)
                    else:
                        yield Embedded(chunk.video, chunk.content, tuple(rows), chunk.is_known)
                    rows, failed = [], None
            on_segments(done, planned)


def plan_chunks(video: VideoFile, reader: ClipReader, cut: Cut, contents: Container[str]) -> list[Chunk]:
    """Cut a video into segments, and these into chunks; one empty chunk if it is known, or cannot be read."""
    side = reader.transform.config.crop
    unread = torch.empty(0, reader.num_frames, 3, side, side, dtype=torch.uint8)
    empty = Chunk(video, "", 0.0, [], True, unread)
    try:
        facts = reader.look_up(Path(video.path))
        content = video.content()
        if content in contents:
            return [replace(empty, content=content, is_known=True)]
        segments = cut.cut(video.path, facts)
        if VideoFile.of(Path(video.path)) != video:
            return [replace(empty, failure="it changed while it was read; add it again when it is complete")]
    except (VideoError, OSError) as error:
        return [replace(empty, failure=cause(error, video), lasts=lasts(error))]
    return [
        replace(
            empty,
            content=content,
            duration_sec=facts.duration_sec,
            segments=segments[i : i + CHUNK],
            is_last=i + CHUNK >= len(segments),
        )
        for i in range(0, len(segments), CHUNK)
    ]


def cause(error: Exception, video: VideoFile) -> str:
    return str(error).removeprefix(f"{video.path}: ")


def lasts(error: Exception) -> bool:
    """Whether the file itself is to blame, and not that it could not be opened or that reading it took too long."""
    return isinstance(error, VideoError) and not isinstance(error.__cause__, OSError) and "given up" not in str(error)


def thumbnail(frame: UInt8[Tensor, "3 H W"]) -> bytes:
    """A frame as a small JPEG."""
    height, width = frame.shape[1:]
    scale = min(1.0, THUMBNAIL_SIDE / max(height, width))
    picture = av.VideoFrame.from_ndarray(frame.permute(1, 2, 0).contiguous().numpy(), format="rgb24").reformat(
        width=max(1, round(width * scale)),
        height=max(1, round(height * scale)),
        format="yuvj420p",
        dst_color_range="JPEG",
        interpolation="AREA",
    )
    encoder = av.CodecContext.create("mjpeg", "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = picture.width, picture.height, "yuvj420p"
    encoder.time_base = Fraction(1)
    encoder.qmin = encoder.qmax = 5
    return b"".join(bytes(packet) for packet in [*encoder.encode(picture), *encoder.encode(None)])


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


def prefetched(items: Iterable[Item], num_ahead: int) -> Iterator[Item]:
    """The same items, taken by a thread of its own, so that they go on being made while the caller is busy."""
    waiting: queue.Queue[Item | BaseException | None] = queue.Queue(num_ahead)
    stopped = threading.Event()

    def feed() -> None:
        try:
            for item in items:
                waiting.put(item)
                if stopped.is_set():
                    return
            waiting.put(None)
        except BaseException as error:
            waiting.put(error)

    feeder = threading.Thread(target=feed, daemon=True)
    feeder.start()
    try:
        while (item := waiting.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        while feeder.is_alive():  # it may be waiting for room
            with suppress(queue.Empty):
                waiting.get(timeout=0.05)
        feeder.join()


def grouped(chunks: Iterable[Chunk], size: int) -> Iterator[list[Chunk]]:
    """Chunks together that have `size` segments or more, for the model to embed at once."""
    group: list[Chunk] = []
    for chunk in chunks:
        group.append(chunk)
        if sum(len(chunk.frames) for chunk in group) >= size:
            yield group
            group = []
    if group:
        yield group


def default_threads() -> int:
    return min(os.cpu_count() or 1, 8)
