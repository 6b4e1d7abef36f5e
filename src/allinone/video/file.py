"""Read frames of a video or an image: the public functions. How it is done: `source`, `seek`, `in_order`, `pixels`."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import numpy as np
from av.error import FFmpegError
from jaxtyping import UInt8

from allinone.types import Clip
from allinone.video.damage import describe, is_cut_off, merged, missing_frames, undecoded
from allinone.video.errors import ChangedError, Doubt, WrongHeaderError
from allinone.video.in_order import Shown, last_shown, timed_frames
from allinone.video.pixels import ClipBuilder, Painter, with_square_pixels
from allinone.video.seek import frames_at, ticks_of
from allinone.video.source import TOLERANCE_SEC, VideoSource

Times = Sequence[int | float]

_LONGEST_STILL_SEC = 3600
"""A header by which the last frame is shown for longer than this is not believed."""


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """What a file claims, and what its first frame, which decodes, shows.

    Width and height are as displayed: rotated, with square pixels. The duration is the time until which the picture
    lasts, by its packets. Number of frames and rate are the header's claims, which may be missing (None) or wrong.
    `rotation` is the one that reading applies, in degrees counter-clockwise. An image has one frame and no duration.
    """

    name: str
    width: int
    height: int
    duration_sec: float | None
    num_frames: int | None
    fps: float | None
    codec: str
    rotation: int
    is_image: bool
    stream_index: int
    """The stream of the file that is read."""


def probe(source: str | Path | bytes, *, timeout_sec: int | float = 60) -> VideoInfo:
    """Describe a video or an image, given as a path or as the bytes of the file.

    Raises:
        VideoError: it cannot be opened, or no frame decodes.
    """
    with VideoSource(source, timeout_sec=timeout_sec, quickly=False) as file:
        _, first = next(timed_frames(file), (0, None))
        if first is None:
            raise file.no_frame_decodes()
        painter = Painter(file, first)
        return VideoInfo(
            name=file.name,
            width=painter.width,
            height=painter.height,
            duration_sec=file.duration_sec,
            num_frames=file.num_frames,
            fps=file.fps,
            codec=file.codec,
            rotation=painter.rotation,
            is_image=file.is_image,
            stream_index=file.stream.index,
        )


def read_frames(
    source: str | Path | bytes,
    *,
    times_sec: Times | None = None,
    indices: Sequence[int] | None = None,
    size: int | None = None,
    video_id: str | None = None,
    timeout_sec: int | float = 60,
) -> Clip:
    """Return the frames shown at `times_sec`, or the frames with these `indices` in the order of presentation.

    They come in the order requested, repeats included, as uint8 [T, 3, H, W], upright and with square pixels.
    Time 0 is a player's: where picture or sound begins, whichever is first. A time before the first frame gives the
    first, a time past the end the last that decodes. From a decoding error on, frames are skipped until the next
    keyframe.

    Args:
        source: a path, or the bytes of a file.
        size: scale each frame, while it is decoded, to this length of its short side.
        video_id: the clip's id; by default the file's name without its ending.
        timeout_sec: give up if the file gives nothing for this long, however long it takes as a whole.

    Returns:
        The frames, with the times at which each begins to be shown.

    Raises:
        VideoError: the file cannot be read, or an index is past the end.
        ValueError: both or none of `times_sec` and `indices` are given, or they make no sense.
    """
    with VideoFile(source, timeout_sec=timeout_sec) as file:
        clip = file.read(times_sec=times_sec, indices=indices, size=size)
        return clip if video_id is None else replace(clip, video_id=video_id)


class VideoFile(VideoSource):
    """A file that is opened once, to be looked at and then read; nothing is decoded before it is needed."""

    @cached_property
    def short_side(self) -> int | None:
        """Of the frames as displayed, in pixels; None if the header does not give their size."""
        return min(with_square_pixels(self, self.width, self.height)) or None

    def length_sec(self, *, decodable: bool = False, complete: bool = False) -> float:
        """Return how long the picture lasts, in seconds; 0 for an image, or if nothing says.

        Args:
            decodable: if the last frames do not decode, stop at the end of the last one that does.
            complete: insist that nothing is missing. All packets are read, and three frames are decoded.

        Raises:
            VideoError: with `complete`, if frames are missing; with either, if no frame decodes.
        """
        claimed, fps = self.duration_sec or 0.0, self.fps
        if complete:
            self._require_complete(claimed)
        if not claimed or not decodable:
            return claimed
        # Where frames at the end do not decode, the last that does is shown for all times after it.
        # Small, because only its time counts.
        shown = self.read(times_sec=[claimed], size=16).times_sec[-1].item()
        if claimed - shown <= longest_still_sec(claimed, fps):
            return claimed
        # If it is the last by the packets too, it is rightly shown for that long, as in screen recordings.
        last = self.last_sec
        is_last = last is not None and shown > last - TOLERANCE_SEC and claimed - last < _LONGEST_STILL_SEC
        return claimed if is_last else shown + 1 / (fps or 25)

    def _require_complete(self, duration_sec: float) -> None:
        gaps = self.missing()
        if gaps:
            raise self.error(describe(gaps, duration_sec))
        if self.is_image:
            self.file.seek(0)
            if is_cut_off(self.file.read()):
                raise self.error("damaged: the end of the picture is not there")

    def missing(self) -> list[tuple[float, float]]:
        """Return from when to when frames are missing, in seconds.

        All packets are read, and frames decoded at the beginning, in the middle and at the end.
        """
        duration_sec = self.duration_sec or 0.0
        requested = [0.0, duration_sec / 2, duration_sec]
        # Small, because only the times count.
        shown = self.read(times_sec=requested, size=64).times_sec.tolist()
        if self.pictures or self.is_image:
            return []
        table = self.whole_table(inspect=True)
        # Frames without packets, then packets without frames: only between each moment and the frame shown at it,
        # because nothing else was decoded.
        gaps = missing_frames(table, self.num_bytes)
        for requested_sec, shown_sec in zip(requested, shown, strict=True):
            frame = round(self.zero + Fraction(shown_sec) / self.time_base)
            gaps += [gap for gap in undecoded(table, [frame], until=self.tick(requested_sec)) if gap[0] > frame]
        return [(self.seconds(begin), self.seconds(end)) for begin, end in merged(gaps)]

    def read(
        self,
        *,
        times_sec: Times | None = None,
        indices: Sequence[int] | None = None,
        size: int | None = None,
    ) -> Clip:
        """Return frames as `read_frames` does."""
        # Requests that make no sense are refused before anything is decoded.
        keys = times_sec if indices is None else indices
        if keys is None or (times_sec is not None and indices is not None):
            raise ValueError("give times_sec or indices, and not both")
        if len(keys) == 0:
            raise ValueError("no frame asked for: the list of times or indices is empty")
        if not all(math.isfinite(key) for key in keys) or (indices is not None and min(indices) < 0):
            raise ValueError(f"times are finite numbers of seconds, indices count from 0; got {list(keys)}")
        if size is not None and size < 1:
            raise ValueError(f"size is the short side in pixels, 1 or more; got {size}")
        # From the beginning only where seeking is impossible or may give other frames.
        return self._read_sparse(times_sec, indices, size) or self._read_in_order(times_sec, indices, size)

    def _read_sparse(self, times_sec: Times | None, indices: Sequence[int] | None, size: int | None) -> Clip | None:
        """Read by seeking; None if that is impossible, of no use, or in doubt."""
        if not self.is_seekable:
            return None
        if indices is not None and (self.table or set(indices) == set(range(max(indices) + 1))):
            return None  # a seek saves nothing where all frames up to one are requested
        try:
            ticks = ticks_of(self, indices or ()) if times_sec is None else [self.tick(t) for t in times_sec]
            builder = ClipBuilder(self, ticks, size)
            for shown in frames_at(self, sorted(set(ticks))):
                builder.put(shown)
            return None if builder.num_missing else builder.clip()
        except WrongHeaderError:  # once, since a reopened file is no longer quick
            self.reopen()
            return self._read_sparse(times_sec, indices, size)
        except (Doubt, ChangedError, FFmpegError):
            return None

    def _read_in_order(self, times_sec: Times | None, indices: Sequence[int] | None, size: int | None) -> Clip:
        if self.is_quick or not self.is_rewound:  # a quick header may be wrong, which only probing shows
            self.reopen()
        if times_sec is not None:
            ticks = [self.tick(t) for t in times_sec]
            builder = ClipBuilder(self, ticks, size)
            for shown in last_shown(timed_frames(self), sorted(set(ticks))):
                builder.put(shown)
        else:
            assert indices is not None
            builder, last, num_frames = ClipBuilder(self, indices, size), max(indices), 0
            for index, (tick, frame) in enumerate(timed_frames(self)):
                num_frames = index + 1
                if index in builder.positions:
                    builder.put(Shown(frame, tick, [index]))
                if index == last:
                    break
            if 0 < num_frames <= last:
                raise self.error(f"frame {last} asked for, but {num_frames} decode (they count from 0)")
        if builder.painter is None:
            raise self.no_frame_decodes()
        return builder.clip()


class FrameStream(VideoSource):
    """Every frame that decodes, in order, as (time in seconds, upright pixels [H, W, 3]); one at a time is held.

    A short side above `max_short_side` is scaled down to it. All packets are read first, to know which are missing.
    """

    def __init__(
        self,
        source: str | Path | bytes,
        *,
        max_short_side: int | None = None,
        timeout_sec: int | float = 60,
        on_progress: Callable[[], object] = lambda: None,
    ):
        super().__init__(source, timeout_sec=timeout_sec, quickly=False, on_progress=on_progress)
        self.max_short_side = max_short_side
        _ = self.duration_sec  # before the packets are read: finding it may seek
        self.packet_table = None if self.pictures else self.whole_table()
        self.ticks: list[int] = []

    def __iter__(self) -> Iterator[tuple[float, UInt8[np.ndarray, "H W 3"]]]:
        painter: Painter | None = None
        for tick, frame in timed_frames(self):
            self.ticks.append(tick)
            if painter is None:
                painter = Painter(self, frame, self.max_short_side, enlarge=False)
            pixels = np.empty((painter.height, painter.width, 3), np.uint8)
            painter.draw(frame, pixels.transpose(2, 0, 1))
            yield self.seconds(tick), pixels
        if painter is None:
            raise self.no_frame_decodes()

    def describe_damage(self) -> str | None:
        """Return, after the last frame, what did not decode; None if everything did."""
        if self.packet_table is None:
            return self.damage
        table = self.packet_table
        gaps = merged(missing_frames(table, self.num_bytes) + undecoded(table, self.ticks))
        if not gaps:
            return self.damage
        text = describe([(self.seconds(begin), self.seconds(end)) for begin, end in gaps], self.duration_sec or 0.0)
        return f"{text}: {self.damage}" if self.damage else text


def longest_still_sec(duration_sec: float, fps: float | None) -> float:
    """Return for how long a frame may be shown; more is a sign that the frames after it do not decode."""
    return max(1.0, duration_sec / 10, 2 / (fps or 25))
