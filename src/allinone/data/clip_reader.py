"""From a part of a video to a clip for a model: sample times, read frames, crop and scale."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from zlib import crc32

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from allinone.data.cache import FrameCache, decoding_size
from allinone.data.example import Example, Region
from allinone.video import VideoError, VideoFile, read_frames
from allinone.video.sampling import segment_times
from allinone.video.tint import tint
from allinone.video.transforms import Transform

Control = Literal["none", "blind", "single_frame", "shuffle_frames"]
"""What a model does not get, to see how much of its score needs it: the frames, all but one of them, or their order."""

GRAY = (124, 116, 104)
"""ImageNet's mean color, the input of a blind model."""


@dataclass(frozen=True)
class Span:
    """A part of a video (or image) file, given by path or as its bytes; by default the whole file.

    Several images make a clip, in their order. `regions` are tinted.
    """

    video: str | Path | bytes | tuple[Path, ...]
    start_sec: float | None = None
    end_sec: float | None = None
    regions: tuple[Region, ...] = ()

    @classmethod
    def of(cls, source: "str | Path | bytes | Span | Example") -> "Span":
        """Return the span of a file or of an example; a span as it is."""
        if isinstance(source, Example):
            return cls(source.video, source.start_sec, source.end_sec, source.regions)
        return source if isinstance(source, Span) else cls(source)

    @property
    def file(self) -> Path | bytes | tuple[Path, ...]:
        return Path(self.video) if isinstance(self.video, str) else self.video


@dataclass(frozen=True)
class VideoMeta:
    """Properties of a video that sampling needs. `size` is the short side to decode at; None for no scaling."""

    duration_sec: float
    size: int | None


class ClipReader:
    """Reads the `num_frames` frames of a span, transformed; an image is a clip of one frame, repeated.

    Remembers the length of videos. With a `cache`, small videos are decoded once and kept. With a `control` it returns
    gray frames (`blind`; nothing is read), only the middle frame, or the frames in another order.
    """

    def __init__(
        self, num_frames: int, transform: Transform, cache: FrameCache | None = None, control: Control = "none"
    ):
        self.num_frames = num_frames
        self.transform = transform
        self.cache = cache
        self.control: Control = control
        self.facts: dict[Path, VideoMeta] = {}

    def read(
        self, span: Span, rng: np.random.Generator | None = None, view: int = 0, num_views: int = 1
    ) -> UInt8[Tensor, "T C H W"]:
        """Read a clip: with an `rng`, random times and augmentations (training); without, the middle of each segment.

        Raises:
            VideoError: the video cannot be read.
        """
        num_frames, side = self.num_frames, self.transform.config.crop
        if self.control == "blind":
            return torch.tensor(GRAY, dtype=torch.uint8)[:, None, None].expand(num_frames, 3, side, side).contiguous()
        shots = [
            tint(frames, [(region.polygons, region.color) for region in span.regions])
            for frames in self.shots(span, 1 if self.control == "single_frame" else num_frames, rng, view, num_views)
        ]
        # All shots of a clip get generators of the same seed, so that they are cropped and flipped alike.
        is_random = rng is not None and self.transform.config.is_random
        seed = int(rng.integers(2**63)) if rng is not None and is_random else 0
        generators = (torch.Generator().manual_seed(seed) if is_random else None for _ in shots)
        clip = torch.cat([self.transform(shot, generator) for shot, generator in zip(shots, generators, strict=True)])
        if self.control == "single_frame":
            return clip.expand(num_frames, -1, -1, -1).contiguous()
        return clip[shuffled(num_frames, span, rng)] if self.control == "shuffle_frames" else clip

    def shots(
        self, span: Span, num_frames: int, rng: np.random.Generator | None, view: int, num_views: int
    ) -> list[UInt8[Tensor, "_ C H W"]]:
        """Return the frames as they were decoded: in one tensor if they have one size, or else one by one."""
        video = span.file
        # Images of one clip may have different sizes, so each is read, and later transformed, by itself.
        if isinstance(video, tuple):
            # Times are in images here: a moment between 1 and 2 is image 1.
            moments = segment_times(0, len(video), num_frames, rng, view, num_views)
            size = self.transform.config.resize
            return [read_frames(video[int(moment)], times_sec=[0.0], size=size).frames for moment in moments]
        whole = self.cache.get(video) if self.cache and isinstance(video, Path) else None
        if whole:
            start, end = bounds(span, whole.duration_sec)
            return [whole.at(segment_times(start, end, num_frames, rng, view, num_views))]
        # Lengths are remembered by path; bytes have none.
        known = self.facts.get(video) if isinstance(video, Path) else None
        # Opened once, for its length and its frames: opening it twice took 30 % more time (docs/performance.md).
        with VideoFile(video) as file:
            facts = known or self.measure(file)
            if isinstance(video, Path):
                self.facts[video] = facts
            start, end = bounds(span, facts.duration_sec)
            times = segment_times(start, end, num_frames, rng, view, num_views)
            return [file.read(times_sec=times, size=facts.size).frames]

    def look_up(self, video: Path) -> VideoMeta:
        """Return the properties of a video to cut into parts; its length ends with the last decodable frame."""
        if video not in self.facts:
            with VideoFile(video) as file:
                self.facts[video] = self.measure(file, until_last_decodable=True)
        return self.facts[video]

    def measure(self, file: VideoFile, until_last_decodable: bool = False) -> VideoMeta:
        """Return the properties of an open file; the duration of an image is 0."""
        side, resize = file.short_side, self.transform.config.resize
        if side is None:
            side = min(file.read(times_sec=[0]).frames.shape[-2:])
        return VideoMeta(file.length_sec(decodable=until_last_decodable), decoding_size(side, resize))


def bounds(span: Span, duration_sec: float) -> tuple[float, float]:
    """Return start and end of a span in a video of this length. An image has no time: every span is the image."""
    start, end = span.start_sec or 0.0, duration_sec if span.end_sec is None else span.end_sec
    if duration_sec == 0:
        return 0.0, 0.0
    if start >= duration_sec:
        name = "<bytes>" if isinstance(span.video, bytes) else span.video
        raise VideoError(f"{name}: the span begins at {start:g} s, but the video ends at {duration_sec:g} s")
    return start, min(end, duration_sec)


def shuffled(num_frames: int, span: Span, rng: np.random.Generator | None) -> Int[Tensor, " T"]:
    """Return a permutation of the frames that is not the identity; without an `rng` it depends only on the span."""
    if rng is None:
        # From the name and not the path: the same order on every machine.
        rng = np.random.default_rng(crc32(repr((span.start_sec, span.end_sec)).encode() + name_of(span).encode()))
    order = rng.permutation(num_frames)
    # The identity would make this control useless.
    while num_frames > 1 and (order == np.arange(num_frames)).all():
        order = rng.permutation(num_frames)
    return torch.from_numpy(order)


def name_of(span: Span) -> str:
    """Return the file name of a span, without its folder."""
    if isinstance(span.video, bytes):
        return f"<{crc32(span.video)}>"
    return "+".join(path.name for path in span.video) if isinstance(span.video, tuple) else Path(span.video).name


def unique_clips(examples: Iterable[Example]) -> tuple[list[Example], list[int]]:
    """Return the first example of each clip (each `video_id`), and the index of the clip of every example."""
    index_of: dict[str, int] = {}
    firsts: list[Example] = []
    clips: list[int] = []
    for example in examples:
        if example.video_id not in index_of:
            index_of[example.video_id] = len(firsts)
            firsts.append(example)
        clips.append(index_of[example.video_id])
    return firsts, clips
