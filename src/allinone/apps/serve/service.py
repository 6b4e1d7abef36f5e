"""What the page and the HTTP API call: an index and its model, shared by many requests at once."""

import mimetypes
import os
import stat
import tempfile
import threading
import time
import uuid
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from av.error import FFmpegError
from jaxtyping import UInt8
from torch import Tensor

from allinone.apps.search import Hit, Segment, VideoIndex
from allinone.apps.search.clips import encode
from allinone.apps.serve.errors import NotFound
from allinone.apps.serve.limits import Gate, Limits
from allinone.apps.serve.requests import (
    Answer,
    Answers,
    Classify,
    Embed,
    FoundMoment,
    Hits,
    LikelyAnswer,
    Match,
    Matches,
    Search,
    State,
    TextMatch,
    Vectors,
    VideoPart,
)
from allinone.data.clip_reader import Span, bounds
from allinone.questions import Question
from allinone.video import VideoError, probe
from allinone.video.sampling import segment_times

MAX_CLIP_SEC = 60

ENDINGS = {".m4v": "video/mp4", ".mts": "video/mp2t", ".m2ts": "video/mp2t", ".ogv": "video/ogg"}
"""Media types that Python's table lacks, on some systems or on all."""


@dataclass(frozen=True)
class ClipFrames:
    """The frames of a video that the model reads, and their times."""

    clip: UInt8[Tensor, "1 1 T C H W"]
    times_sec: list[float]


class Service:
    """Answers requests; one at a time runs the model.

    Requests name segments by id, never files. Of an upload, only the frames that the model reads are kept, in memory;
    the file is deleted as soon as they are read. Methods raise `Busy`, `NotFound`, and ValueError for what a user can
    correct.
    """

    def __init__(self, index: VideoIndex, limits: Limits):
        self.index = index
        self.predictor = index.predictor
        self.limits = limits
        self.model = Gate(1, limits.max_waiting, limits.wait_sec)
        self.reading = Gate(2, limits.max_waiting, limits.wait_sec)
        self.receiving = Gate(limits.max_receiving, 0, 0)  # no queue, because waiting would block the event loop
        self.uploads: OrderedDict[str, ClipFrames] = OrderedDict()
        self.lock = threading.Lock()  # of `uploads`
        self.abilities = self.predictor.model.abilities
        self.counting = threading.Lock()  # one thread counts, others wait for its result
        self.counted: State | None = None
        self.count_again = 0.0

    def search(self, body: Search) -> Hits:
        """Search by text or by a segment of the index; name the filters if nothing passes them."""
        notes = []
        page = {"top_k": body.top_k, "offset": body.offset, "where": body.where}
        with self.model.enter():
            if body.like is not None:
                hits = self.index.similar(self.segment(body.like), **page)
            else:
                assert body.text is not None
                notes = self.predictor.notes([body.text])  # words that the model does not know
                hits = self.index.search(body.text, rerank=body.rerank, **page)
        if not hits:
            notes += self.index.left_nothing(body.where)
        return Hits(hits=[found_moment(hit) for hit in hits], notes=notes)

    def answer(self, body: Answer) -> Answers:
        """Answer an open question, or fill in a [MASK]."""
        return self.answers(self.predictor.question(body.question), body, body.top_k)

    def classify(self, body: Classify) -> Answers:
        """Return the most probable of the labels."""
        return self.answers(self.predictor.question(body.labels), body, body.top_k)

    def answers(self, question: Question, part: VideoPart, top_k: int) -> Answers:
        """Ask about a segment or an upload, and return the most probable answers."""
        clip = self.read_part(part).clip
        with self.model.enter():
            top = question.top(clip, top_k)
        return Answers(
            answers=[LikelyAnswer(answer=name, probability=p) for name, p in top], notes=list(question.notes)
        )

    def match(self, body: Match) -> Matches:
        """Return the probability of each text (joint mode)."""
        clip, token_ids = self.read_part(body).clip, self.predictor.tokenize(body.texts)
        with self.model.enter():
            probs = self.predictor.match_all(clip, token_ids)[0].sigmoid()
        matches = [TextMatch(text=text, probability=p) for text, p in zip(body.texts, probs.tolist(), strict=True)]
        return Matches(matches=matches, notes=self.predictor.notes(body.texts))

    def embed(self, body: Embed) -> Vectors:
        """Embed texts, or a segment or an upload."""
        if body.texts is not None:
            with self.model.enter():
                vectors = self.predictor.embed_text(body.texts).tolist()
            return Vectors(vectors=vectors, notes=self.predictor.notes(body.texts))
        assert body.video is not None
        clip = self.read_part(body.video).clip
        with self.model.enter():
            return Vectors(vectors=self.predictor.embed_clips(clip).tolist(), notes=[])

    def state(self) -> State:
        """Return the state of the index. Counting a large one takes a while, so it is kept for ten times as long."""
        with self.counting:
            begin = time.monotonic()
            if self.counted is None or begin > self.count_again:
                self.counted = self.count()
                end = time.monotonic()
                self.count_again = end + 10 * (end - begin)  # so counting takes a tenth of the time at most
            return self.counted

    def count(self) -> State:
        """Count the videos and segments of the index."""
        stats = self.index.stats()
        return State(
            index=str(self.index.path),
            num_videos=stats.num_videos,
            num_segments=stats.num_segments,
            duration_sec=stats.duration_sec,
            num_bytes=stats.bytes,
            last_added=stats.last_added,
            cut=str(stats.info.cut),
            search=stats.ann,
            model=self.predictor.name or "unnamed",
            abilities=self.abilities,
        )

    # Videos

    def segment(self, segment_id: str) -> Segment:
        """Return a segment by id; `NotFound` if the index does not have it."""
        try:
            return self.index.segment(segment_id)
        except ValueError as error:
            raise NotFound(str(error)) from error

    def thumbnail(self, segment_id: str) -> bytes:
        """Return the JPEG of a segment; `NotFound` if the index does not have it."""
        try:
            return self.index.thumbnail(segment_id)
        except ValueError as error:
            raise NotFound(str(error)) from error

    def open_video(self, segment: Segment) -> BinaryIO:
        """Open the file of a segment; `NotFound` if it is missing, or is not the file that was indexed.

        By now, its path may be a link, or go through one, to a file that nobody meant to show.
        """
        path = Path(segment.video)
        try:
            # Without O_NONBLOCK, opening a pipe waits until someone writes to it.
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFound(f"{path.name} is no longer where it was when it was indexed") from error
        except OSError as error:
            raise NotFound(f"{path.name} cannot be opened: {error.strerror}") from error
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode) or (state.st_size, state.st_mtime_ns) != (segment.size, segment.mtime_ns):
            os.close(descriptor)
            raise NotFound(f"{path.name} has changed since it was indexed; index its folder again")
        return os.fdopen(descriptor, "rb")

    def clip(self, segment_id: str) -> bytes:
        """Return the segment, or its first `MAX_CLIP_SEC`, as an MP4 that every browser plays."""
        segment = self.segment(segment_id)
        self.open_video(segment).close()  # only checks that it is still the indexed file
        end_sec = min(segment.end_sec, segment.start_sec + MAX_CLIP_SEC)
        hit = Hit(segment.video, segment.start_sec, end_sec, score=0.0)
        with self.reading.enter(), tempfile.TemporaryDirectory(prefix="allinone-clip-") as folder:
            clip = Path(folder, "clip.mp4")
            try:
                encode(hit, clip, probe(segment.video))
            except (VideoError, FFmpegError) as error:
                # Errors show no paths of the server.
                raise VideoError(renamed(error, segment.video, Path(segment.video).name)) from error
            return clip.read_bytes()

    def read_part(self, part: VideoPart) -> ClipFrames:
        """Return the frames of the segment or upload that a request is about."""
        if part.upload is not None:
            with self.lock:
                frames = self.uploads.get(part.upload)
            if frames is None:
                raise NotFound("this upload is no longer remembered; upload it again")
            return frames
        assert part.segment is not None
        segment = self.segment(part.segment)
        self.open_video(segment).close()  # as in `clip`
        start = segment.start_sec if part.start_sec is None else part.start_sec
        end = segment.end_sec if part.end_sec is None else part.end_sec
        with self.reading.enter():
            return self.read(Span(segment.video, start, end), Path(segment.video).name)

    def upload(self, path: Path) -> tuple[str, ClipFrames]:
        """Read the frames of an uploaded file; return its id and them."""
        with self.reading.enter():
            frames = self.read(Span(path), "the upload")
        id = uuid.uuid4().hex  # not to be guessed: whoever has it may ask about the upload
        with self.lock:
            self.uploads[id] = frames
            while len(self.uploads) > self.limits.max_uploads:
                self.uploads.popitem(last=False)  # the oldest
        return id, frames

    def read(self, span: Span, name: str) -> ClipFrames:
        """Decode the frames of a span; an error has `name` in place of the path."""
        reader = self.predictor.reader()
        try:
            frames = reader.read(span)
            start, end = bounds(span, reader.look_up(Path(str(span.video))).duration_sec)
        except VideoError as error:
            raise VideoError(renamed(error, span.video, name)) from error
        return ClipFrames(frames[None, None], segment_times(start, end, reader.num_frames))


def renamed(error: Exception, path: object, name: str) -> str:
    """Return the text of an error with `name` in place of the file's path."""
    return str(error).replace(str(path), name)


def found_moment(hit: Hit) -> FoundMoment:
    """Return a hit with the addresses of its thumbnail and video."""
    return FoundMoment(
        segment=hit.segment,
        video=hit.video,
        start_sec=hit.start_sec,
        end_sec=hit.end_sec,
        score=hit.score,
        match=hit.match,
        gone=hit.gone,
        thumbnail=f"/media/thumbnail/{hit.segment}",
        play=f"/media/video/{hit.segment}#t={hit.start_sec:.3f},{hit.end_sec:.3f}",
    )


def media_type(path: Path) -> str:
    """Return the media type by the ending, if it is of a video or picture: no file may be shown as a web page."""
    kind = ENDINGS.get(path.suffix.lower()) or mimetypes.guess_type(path.name)[0] or ""
    harmless = kind.startswith(("video/", "image/")) and "svg" not in kind  # SVG is a picture with scripts
    return kind if harmless else "application/octet-stream"
