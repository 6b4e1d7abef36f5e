"""What the page and the HTTP API stand on: an index and its model, asked by many at once and safely."""

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

from allinone.apps.search import Filters, Hit, Segment, VideoIndex
from allinone.apps.search.clips import encode
from allinone.apps.serve.limits import Gate, Limits
from allinone.apps.serve.requests import (
    About,
    Answer,
    Answers,
    Classify,
    Embed,
    Found,
    Hits,
    Likely,
    Match,
    Matched,
    Matches,
    Search,
    State,
    Vectors,
)
from allinone.data.clip_reader import Span, bounds
from allinone.questions import Question
from allinone.video import VideoError, probe
from allinone.video.sampling import segment_times

MAX_CLIP_SEC = 60

ENDINGS = {".m4v": "video/mp4", ".mts": "video/mp2t", ".m2ts": "video/mp2t", ".ogv": "video/ogg"}
"""Of videos whose kind Python's table does not have, or not everywhere."""


class NotFound(ValueError):
    """Something that a request names and the server has not, or no longer."""


@dataclass(frozen=True)
class ClipFrames:
    """The frames of a video, and their times, that the model looks at."""

    clip: UInt8[Tensor, "1 1 T C H W"]
    times_sec: list[float]


class Service:
    """Answers requests, one at a time at the model. Raises ValueError for what the user can mend, and Busy.

    Requests name segments by id, and never files. Of an upload only the frames that the model looks at are kept, in
    memory; the file is gone once they are read.
    """

    def __init__(self, index: VideoIndex, limits: Limits):
        self.index = index
        self.predictor = index.predictor
        self.limits = limits
        self.model = Gate(1, limits.max_waiting, limits.wait_sec)
        self.reading = Gate(2, limits.max_waiting, limits.wait_sec)
        self.receiving = Gate(limits.max_receiving, 0, 0)  # nobody waits, so the event loop does not
        self.uploads: OrderedDict[str, ClipFrames] = OrderedDict()
        self.lock = threading.Lock()
        self.abilities = self.predictor.model.abilities
        self.counting = threading.Lock()
        self.counted: State | None = None
        self.count_again = 0.0

    def search(self, asked: Search) -> Hits:
        where, notes = Filters(**dict(asked.where)), []
        with self.model.enter():
            if asked.like is not None:
                hits = self.index.similar(self.segment(asked.like), asked.top_k, offset=asked.offset, where=where)
            else:
                assert asked.text is not None
                notes = self.predictor.notes([asked.text])
                hits = self.index.search(asked.text, asked.top_k, asked.rerank, offset=asked.offset, where=where)
        if not hits:
            notes += self.index.left_nothing(where)
        return Hits(hits=[found(hit) for hit in hits], notes=notes)

    def answer(self, asked: Answer) -> Answers:
        return self.answers(self.predictor.question(asked.question), asked, asked.top_k)

    def classify(self, asked: Classify) -> Answers:
        return self.answers(self.predictor.question(asked.labels), asked, asked.top_k)

    def answers(self, question: Question, about: About, top_k: int) -> Answers:
        seen = self.see(about)
        with self.model.enter():
            top = question.top(seen.clip, top_k)
        answers = [Likely(answer=name, probability=p) for name, p in top]
        return Answers(answers=answers, notes=list(question.notes))

    def match(self, asked: Match) -> Matches:
        seen, token_ids = self.see(asked), self.predictor.tokenize(asked.texts)
        with self.model.enter():
            probs = self.predictor.match_all(seen.clip, token_ids)[0].sigmoid()
        matches = [Matched(text=text, probability=p) for text, p in zip(asked.texts, probs.tolist(), strict=True)]
        return Matches(matches=matches, notes=self.predictor.notes(asked.texts))

    def embed(self, asked: Embed) -> Vectors:
        if asked.texts is not None:
            with self.model.enter():
                vectors = self.predictor.embed_text(asked.texts).tolist()
            return Vectors(vectors=vectors, notes=self.predictor.notes(asked.texts))
        assert asked.video is not None
        seen = self.see(asked.video)
        with self.model.enter():
            return Vectors(vectors=self.predictor.embed_clips(seen.clip).tolist(), notes=[])

    def state(self) -> State:
        """The state of the index, which takes a while to count in a large one; kept for ten times as long."""
        with self.counting:
            begin = time.monotonic()
            if self.counted is None or begin > self.count_again:
                self.counted = self.count()
                end = time.monotonic()
                self.count_again = end + 10 * (end - begin)
            return self.counted

    def count(self) -> State:
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
        try:
            return self.index.segment(segment_id)
        except ValueError as error:
            raise NotFound(str(error)) from error

    def thumbnail(self, segment_id: str) -> bytes:
        try:
            return self.index.thumbnail(segment_id)
        except ValueError as error:
            raise NotFound(str(error)) from error

    def open_video(self, segment: Segment) -> BinaryIO:
        """Open the file of a segment; NotThere where it is gone, or is not the file that was indexed.

        Its path may be a link by now, or lead through one, to a file that nobody meant to show.
        """
        path = Path(segment.video)
        try:
            # A pipe would be waited for until someone writes to it.
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFound(f"{path.name} is no longer where it was when it was indexed") from error
        except OSError as error:
            raise NotFound(f"{path.name} cannot be opened: {error.strerror}") from error
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode) or (facts.st_size, facts.st_mtime_ns) != (segment.size, segment.mtime_ns):
            os.close(descriptor)
            raise NotFound(f"{path.name} has changed since it was indexed; index its folder again")
        return os.fdopen(descriptor, "rb")

    def clip(self, segment_id: str) -> bytes:
        """The segment as an MP4 that every browser plays, whatever its video is; of a long one the beginning."""
        segment = self.segment(segment_id)
        self.open_video(segment).close()
        end_sec = min(segment.end_sec, segment.start_sec + MAX_CLIP_SEC)
        hit = Hit(segment.video, segment.start_sec, end_sec, score=0.0)
        with self.reading.enter(), tempfile.TemporaryDirectory(prefix="allinone-clip-") as folder:
            clip = Path(folder, "clip.mp4")
            try:
                encode(hit, clip, probe(segment.video))
            except (VideoError, FFmpegError) as error:
                raise VideoError(called(error, segment.video, Path(segment.video).name)) from error
            return clip.read_bytes()

    def see(self, about: About) -> ClipFrames:
        """The frames of the segment or upload that a request is about."""
        if about.upload is not None:
            with self.lock:
                seen = self.uploads.get(about.upload)
            if seen is None:
                raise NotFound("this upload is no longer remembered; upload it again")
            return seen
        assert about.segment is not None
        segment = self.segment(about.segment)
        self.open_video(segment).close()
        start = segment.start_sec if about.start_sec is None else about.start_sec
        end = segment.end_sec if about.end_sec is None else about.end_sec
        with self.reading.enter():
            return self.read(Span(segment.video, start, end), Path(segment.video).name)

    def upload(self, path: Path) -> tuple[str, ClipFrames]:
        """Read an uploaded file, which lies at `path` for as long."""
        with self.reading.enter():
            seen = self.read(Span(path), "the upload")
        name = uuid.uuid4().hex
        with self.lock:
            self.uploads[name] = seen
            while len(self.uploads) > self.limits.max_uploads:
                self.uploads.popitem(last=False)
        return name, seen

    def read(self, span: Span, name: str) -> ClipFrames:
        """Decode the frames of a span; an error calls the file by `name`."""
        reader = self.predictor.reader()
        try:
            frames = reader.read(span)
            start, end = bounds(span, reader.look_up(Path(str(span.video))).duration_sec)
        except VideoError as error:
            raise VideoError(called(error, span.video, name)) from error
        return ClipFrames(frames[None, None], segment_times(start, end, reader.num_frames))


def called(error: Exception, path: object, name: str) -> str:
    """What is wrong with a file, which goes by another name here than its path."""
    return str(error).replace(str(path), name)


def found(hit: Hit) -> Found:
    return Found(
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
    """By the ending, where that is of a video or picture: nothing of the index may pass for a page."""
    kind = ENDINGS.get(path.suffix.lower()) or mimetypes.guess_type(path.name)[0] or ""
    harmless = kind.startswith(("video/", "image/")) and "svg" not in kind
    return kind if harmless else "application/octet-stream"
