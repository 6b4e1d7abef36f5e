"""A part of a video to the frames that a model takes: choose the moments, read them, cut and scale."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from allinone.data.cache import FrameCache, decoding_size
from allinone.data.example import Example
from allinone.video.decode import VideoError, probe, read_frames
from allinone.video.sampling import segment_times
from allinone.video.transforms import Transform


@dataclass(frozen=True)
class Span:
    """A video (or image) file, by path or as its bytes, and the part of it that is meant: by default, the whole."""

    video: str | Path | bytes
    start_sec: float | None = None
    end_sec: float | None = None

    @classmethod
    def of(cls, source: "str | Path | bytes | Span | Example") -> "Span":
        """The span that is meant by a file, by an example, or by itself."""
        if isinstance(source, Example):
            return cls(source.video, source.start_sec, source.end_sec)
        return source if isinstance(source, Span) else cls(source)

    @property
    def file(self) -> Path | bytes:
        return self.video if isinstance(self.video, bytes) else Path(self.video)


@dataclass(frozen=True)
class Facts:
    """What must be known of a video before frames are chosen. `size` is the short side to decode at, None as it is."""

    duration_sec: float
    size: int | None


class ClipReader:
    """Reads the `num_frames` frames of a span, transformed; an image is a clip of one frame, repeated.

    Remembers how long videos are. With a `cache`, small videos are decoded once and then kept whole.
    """

    def __init__(self, num_frames: int, transform: Transform, cache: FrameCache | None = None):
        self.num_frames = num_frames
        self.transform = transform
        self.cache = cache
        self.facts: dict[Path, Facts] = {}

    def read(
        self, span: Span, rng: np.random.Generator | None = None, view: int = 0, num_views: int = 1
    ) -> UInt8[Tensor, "T C H W"]:
        """With an `rng`, random moments and augmentations (training); without, the middle of each segment.

        Raises VideoError where the video cannot be read.
        """
        video = span.file
        whole = self.cache.get(video) if self.cache and isinstance(video, Path) else None
        if whole:
            start, end = bounds(span, whole.duration_sec)
            frames = whole.at(segment_times(start, end, self.num_frames, rng, view, num_views))
        else:
            facts = self.look_up(video)
            start, end = bounds(span, facts.duration_sec)
            times = segment_times(start, end, self.num_frames, rng, view, num_views)
            frames = read_frames(video, times_sec=times, size=facts.size).frames
        if rng is None or not self.transform.config.is_random:
            return self.transform(frames)
        return self.transform(frames, torch.Generator().manual_seed(int(rng.integers(2**63))))

    def look_up(self, video: Path | bytes) -> Facts:
        if isinstance(video, bytes):
            return self.measure(video)
        if video not in self.facts:
            self.facts[video] = self.measure(video)
        return self.facts[video]

    def measure(self, video: Path | bytes) -> Facts:
        """Where the header tells no duration, up to the end of the last frame that decodes; 0 for an image."""
        info = probe(video)
        size = decoding_size(info, self.transform.config.resize)
        if info.is_image or info.duration_sec:
            return Facts(info.duration_sec or 0.0, size)
        last = read_frames(video, times_sec=[1e6], size=16).times_sec[-1].item()
        return Facts(last + 1 / (info.fps or 25), size)


def bounds(span: Span, duration_sec: float) -> tuple[float, float]:
    """Where the span begins and ends in a video of this length. An image has no time: every span of it is the image."""
    start, end = span.start_sec or 0.0, duration_sec if span.end_sec is None else span.end_sec
    if duration_sec == 0:
        return 0.0, 0.0
    if start >= duration_sec:
        name = "<bytes>" if isinstance(span.video, bytes) else span.video
        raise VideoError(f"{name}: a span that begins at {start:g} s, but the video ends at {duration_sec:g} s")
    return start, min(end, duration_sec)


def unique_clips(examples: Iterable[Example]) -> tuple[list[Example], list[int]]:
    """The first example of each clip (each `video_id`), and for every example the number of its clip among these."""
    number: dict[str, int] = {}
    firsts: list[Example] = []
    clips: list[int] = []
    for example in examples:
        if example.video_id not in number:
            number[example.video_id] = len(firsts)
            firsts.append(example)
        clips.append(number[example.video_id])
    return firsts, clips
