"""Save hits as video files: copied if the copy plays as its source does, or else encoded."""

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
"""Containers for copies, by ending. Files with other endings are copied into Matroska, which takes every codec."""

MIN_FPS, MAX_FPS = 10, 120
"""Limits for encoded clips: a screen recording may claim a frame in 20 s, a Matroska file 1,000 frames a second."""

CLOCK = 90_000
"""Ticks per second of encoded pictures: divisible by the usual frame rates, and what MPEG uses."""

BYTES_AT_ONCE = 128 * 1024 * 1024
"""Memory for decoded frames while a clip is encoded."""


def save_clips(hits: Sequence[Hit], folder: str | Path, *, exact: bool = False) -> list[Path | VideoError]:
    """Write each hit as a file into `folder`; return the paths, with an error in place of a hit that cannot be read.

    Without `exact`, pictures and sound tracks are copied from the last keyframe before the hit. Each copy is decoded:
    if it does not show the pictures of the source at their times, or its sound does not decode, the hit is encoded.
    With `exact`, every hit is encoded as H.264 and AAC in an MP4 that begins and ends with the hit. A photo is copied
    in either case. Existing files are replaced.

    Raises:
        OSError: the disk is full.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    saved: list[Path | VideoError] = []
    for rank, hit in enumerate(hits, start=1):
        try:
            saved.append(save_clip(hit, folder, clip_name(rank, hit), exact=exact))
        except (FFmpegError, OSError) as error:
            if error.errno in FULL:
                raise
            saved.append(VideoError(f"{hit.video}: no clip made: {error}"))
        except VideoError as error:
            saved.append(error)
    return saved


def save_clip(hit: Hit, folder: Path, name: str, *, exact: bool) -> Path:
    """Write one hit, and return the path: `name` with the ending of its container."""
    info = probe(hit.video)  # raises VideoError if it is not a video
    # 1. A photo is copied as it is.
    if info.is_image:
        path = folder / f"{name}{Path(hit.video).suffix.lower()}"
        with whole_file(path) as unfinished:
            shutil.copyfile(hit.video, unfinished)
        return path
    # 2. The file may have changed since it was indexed: a clip ends with its video.
    if info.duration_sec is not None:
        if hit.start_sec >= info.duration_sec:
            raise VideoError(f"{hit.video}: no clip from {hit.start_sec:g} s: it ends at {info.duration_sec:g} s")
        hit = replace(hit, end_sec=min(hit.end_sec, info.duration_sec))
    # 3. Copy the packets: into the container of the source, else into Matroska, which takes every codec.
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
    # 4. Encode, if it has to be exact or no copy played as the source does.
    path = folder / f"{name}.mp4"
    with whole_file(path) as unfinished:
        encode(hit, unfinished, info)
    return path


def clip_name(rank: int, hit: Hit) -> str:
    """Return rank, name and time (a photo has none) in characters that every file system accepts."""
    stem = re.sub(r"[^\w-]+", "_", Path(hit.video).stem)[:40].strip("_")
    return f"{rank:03}_{stem}" + (f"_{hit.start_sec:.1f}-{hit.end_sec:.1f}s" if hit.end_sec else "")


def encode(hit: Hit, path: Path, info: VideoInfo) -> None:
    """Encode the pictures and the sound from the hit's start to its end as an MP4."""
    rate = frame_rate(info.fps)
    frames = frames_between(hit, rate, info)
    first = next(frames)
    with av.open(f"file:{path}", "w", format="mp4") as target:
        # A keyframe every two seconds.
        video = add_stream(target, first.height, first.width, rate, gop=round(2 * rate), crf=18)
        video.codec_context.time_base = Fraction(1, CLOCK)
        video.codec_context.max_b_frames = 0  # so that the last packet is the last picture: see below
        tracks: list[Iterable[Any]] = [((video, frame) for frame in chain([first], frames))]
        if has_sound(hit.video):
            audio = target.add_stream("aac", rate=SOUND_RATE, layout="stereo")
            tracks.append((audio, part) for part in sound_between(hit.video, hit.start_sec, hit.end_sec))
        # In order of time, so that players find sound and pictures of a moment close to each other.
        for stream, frame in heapq.merge(*tracks, key=lambda timed: timed[1].time):
            target.mux(stream.encode(frame))
        for packet in video.encode(None):
            # Until the end of the hit. Of all packets, only the duration of the last one has an effect.
            packet.duration = round((hit.end_sec - hit.start_sec) * CLOCK) - (packet.pts or 0)
            target.mux(packet)
        for audio in target.streams.audio:
            target.mux(audio.encode(None))


def frame_rate(fps: float | None) -> Fraction:
    """Return the rate of the video; if it is low, a multiple, so that frames are still shown at their times."""
    # 1001: rates such as 30000/1001 stay exact.
    rate = Fraction(min(fps or 25, MAX_FPS)).limit_denominator(1001) or Fraction(1, 1001)
    return rate * max(1, math.ceil(MIN_FPS / rate))


def frames_between(hit: Hit, rate: Fraction, info: VideoInfo) -> Iterator[av.VideoFrame]:
    """Yield the picture shown at the hit's start and every 1 / `rate` seconds after it, upright.

    A picture has its time in the source, so that it is in step with the sound; while it stays, it is repeated.
    """
    count = max(1, round((hit.end_sec - hit.start_sec) * rate))
    at_once = max(1, min(32, BYTES_AT_ONCE // (3 * info.width * info.height)))  # 3 bytes a pixel
    previous_sec = last_tick = None
    for indices in np.split(np.arange(count), range(at_once, count, at_once)):
        clip = read_frames(hit.video, times_sec=(hit.start_sec + indices / float(rate)).tolist())
        for index, shown_sec, pixels in zip(indices.tolist(), clip.times_sec.tolist(), clip.frames, strict=True):
            tick, end = round(index * CLOCK / rate), round((index + 1) * CLOCK / rate)
            if shown_sec != previous_sec:  # a new picture: at its own time, which is at or before this one
                tick = min(tick, max(0, round((shown_sec - hit.start_sec) * CLOCK)))
            # Times must ascend, whatever was rounded.
            previous_sec, last_tick = shown_sec, tick if last_tick is None else max(tick, last_tick + 1)
            frame = av.VideoFrame.from_ndarray(even_sides(pixels.permute(1, 2, 0).numpy()), format="rgb24")
            frame.pts, frame.duration, frame.time_base = last_tick, end - last_tick, Fraction(1, CLOCK)
            yield frame
