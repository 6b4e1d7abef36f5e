"""Hits saved as files of their own: copied where the copy plays as its source does, encoded anew elsewhere."""

import heapq
import logging
import math
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError

from allinone.apps.search.copying import CopyError, copy
from allinone.apps.search.hits import Hit
from allinone.apps.search.sound import SOUND_RATE, has_sound, sound_between
from allinone.files.faults import FULL
from allinone.files.whole import whole_file
from allinone.video import VideoError, VideoInfo, probe, read_frames
from allinone.video.encode import add_stream, even_sides

log = logging.getLogger(__name__)

FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".webm": "webm", ".mkv": "matroska"}
"""What is copied stays in its container if its file ends so; elsewhere it goes into Matroska, which takes all."""

MIN_FPS, MAX_FPS = 10, 120
"""Of what is encoded. A recording of a screen may claim a frame in 20 s, a Matroska file a thousand frames a second."""

CLOCK = 90_000
"""Ticks a second of encoded pictures."""

BYTES_AT_ONCE = 128 * 1024 * 1024
"""Decoded frames held at a time while a clip is encoded."""


def save_clips(hits: Sequence[Hit], folder: str | Path, *, exact: bool = False) -> list[Path | VideoError]:
    """Write each hit as a file of its own into `folder`; for one whose video cannot be read, the error is in its place.

    Without `exact`, pictures and sound tracks are copied as they are, from the last keyframe before the hit on. A copy
    is decoded before it is kept: where it does not show the pictures of the source at their times, or its sound does
    not decode, the hit is encoded. With `exact` every hit is encoded: H.264 and AAC in an MP4 that begins and ends
    with the hit. A photo is copied as it is. A file of the same name is replaced.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    saved: list[Path | VideoError] = []
    for number, hit in enumerate(hits, start=1):
        try:
            saved.append(save_clip(hit, folder, clip_name(number, hit), exact=exact))
        except (FFmpegError, OSError) as error:
            if error.errno in FULL:
                raise
            saved.append(VideoError(f"{hit.video}: no clip made: {error}"))
        except VideoError as error:
            saved.append(error)
    return saved


def save_clip(hit: Hit, folder: Path, name: str, *, exact: bool) -> Path:
    info = probe(hit.video)  # refuses, with its reason, what is no video
    if info.is_image:
        path = folder / f"{name}{Path(hit.video).suffix.lower()}"
        with whole_file(path) as unfinished:
            shutil.copyfile(hit.video, unfinished)
        return path
    if info.duration_sec is not None:
        if hit.start_sec >= info.duration_sec:
            raise VideoError(f"{hit.video}: no clip from {hit.start_sec:g} s on: it ends at {info.duration_sec:g} s")
        hit = replace(hit, end_sec=min(hit.end_sec, info.duration_sec))
    if not exact:
        own = Path(hit.video).suffix.lower()
        for suffix in (own, ".mkv") if own in FORMATS and own != ".mkv" else (".mkv",):
            path = folder / f"{name}{suffix}"
            try:
                with whole_file(path) as unfinished:
                    copy(hit.video, hit.start_sec, hit.end_sec, unfinished, FORMATS[suffix])
                return path
            except (CopyError, FFmpegError) as error:
                log.info("%s: not copied into %s: %s", hit.video, suffix, error)
    path = folder / f"{name}.mp4"
    with whole_file(path) as unfinished:
        encode(hit, unfinished, info)
    return path


def clip_name(number: int, hit: Hit) -> str:
    """Number, name and time (which a photo has not), of characters that are safe in a file name everywhere."""
    stem = re.sub(r"[^\w-]+", "_", Path(hit.video).stem)[:40].strip("_")
    return f"{number:03}_{stem}" + (f"_{hit.start_sec:.1f}-{hit.end_sec:.1f}s" if hit.end_sec else "")


def encode(hit: Hit, path: Path, info: VideoInfo) -> None:
    """Write what is shown and heard from the hit's start to its end."""
    rate = frame_rate(info.fps)
    frames = frames_between(hit, rate, info)
    first = next(frames)
    with av.open(f"file:{path}", "w", format="mp4") as target:
        video = add_stream(target, first.height, first.width, rate, gop=round(2 * rate), crf=18)
        video.codec_context.time_base = Fraction(1, CLOCK)
        video.codec_context.max_b_frames = 0  # or the frame that is written last would not be the one shown last
        tracks: list[Iterable[Any]] = [((video, frame) for frame in chain([first], frames))]
        if has_sound(hit.video):
            audio = target.add_stream("aac", rate=SOUND_RATE, layout="stereo")
            tracks.append((audio, part) for part in sound_between(hit.video, hit.start_sec, hit.end_sec))
        for stream, frame in heapq.merge(*tracks, key=lambda timed: timed[1].time):
            target.mux(stream.encode(frame))
        for packet in video.encode(None):
            packet.duration = round((hit.end_sec - hit.start_sec) * CLOCK) - (packet.pts or 0)  # the last one's counts
            target.mux(packet)
        for audio in target.streams.audio:
            target.mux(audio.encode(None))


def frame_rate(fps: float | None) -> Fraction:
    """The rate of the video, or a multiple of it where it is low, so that its frames still stand at their times."""
    rate = Fraction(min(fps or 25, MAX_FPS)).limit_denominator(1001) or Fraction(1, 1001)
    return rate * max(1, math.ceil(MIN_FPS / rate))


def frames_between(hit: Hit, rate: Fraction, info: VideoInfo) -> Iterator[av.VideoFrame]:
    """What is shown at the start of the hit and every 1 / `rate` seconds from there on, upright.

    Each frame is timed as in the source, so that it is in step with the sound; one that stays is repeated.
    """
    count = max(1, round((hit.end_sec - hit.start_sec) * rate))
    at_once = max(1, min(32, BYTES_AT_ONCE // (3 * info.width * info.height)))
    before = last = None
    for numbers in np.split(np.arange(count), range(at_once, count, at_once)):
        clip = read_frames(hit.video, times_sec=(hit.start_sec + numbers / float(rate)).tolist())
        for number, shown_sec, pixels in zip(numbers.tolist(), clip.times_sec.tolist(), clip.frames, strict=True):
            tick, end = round(number * CLOCK / rate), round((number + 1) * CLOCK / rate)
            if shown_sec != before:
                tick = min(tick, max(0, round((shown_sec - hit.start_sec) * CLOCK)))
            before, last = shown_sec, tick if last is None else max(tick, last + 1)
            frame = av.VideoFrame.from_ndarray(even_sides(pixels.permute(1, 2, 0).numpy()), format="rgb24")
            frame.pts, frame.duration, frame.time_base = last, end - last, Fraction(1, CLOCK)
            yield frame
