"""Hits cut out of their videos: copied from keyframe on, which loses nothing, or encoded anew to the frame."""

import os
import re
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError

from allinone.search.hits import Hit
from allinone.video.decode import VideoError, probe, read_frames

CONTAINERS = {".mp4", ".m4v", ".mov", ".webm", ".mkv"}
"""What is copied stays in its container if it is one of these, and goes into Matroska, which takes all, otherwise."""

FRAMES_AT_ONCE = 32


def save_clips(hits: Sequence[Hit], folder: str | Path, *, exact: bool = False) -> list[Path | VideoError]:
    """Write each hit as a file of its own into `folder`; for one whose video cannot be read, the error is in its place.

    Without `exact`, picture and sound are copied as they are, from the last keyframe before the hit on. With it they
    are encoded anew (H.264 and AAC) and begin and end with the hit.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    saved: list[Path | VideoError] = []
    for number, hit in enumerate(hits, start=1):
        suffix = Path(hit.video).suffix.lower()
        suffix = ".mp4" if exact else suffix if suffix in CONTAINERS else ".mkv"
        path = folder / f"{clip_name(number, hit)}{suffix}"
        unfinished = folder / f".{uuid.uuid4().hex}{suffix}"
        try:
            (encode if exact else copy)(hit, unfinished)
            os.replace(unfinished, path)
            saved.append(path)
        except (FFmpegError, OSError) as error:
            saved.append(VideoError(f"{hit.video}: no clip made: {error}"))
        except VideoError as error:
            saved.append(error)
        finally:
            unfinished.unlink(missing_ok=True)
    return saved


def clip_name(number: int, hit: Hit) -> str:
    """Number, name and time, of characters that are safe in a file name everywhere."""
    stem = re.sub(r"[^\w-]+", "_", Path(hit.video).stem)[:40].strip("_")
    return f"{number:03}_{stem}_{hit.start_sec:.1f}-{hit.end_sec:.1f}s"


def opened(hit: Hit) -> tuple[Any, Any]:
    """The file, and which of its streams is the film; VideoError, with the reason, for what is no video."""
    index = probe(hit.video).stream_index
    source = av.open(f"file:{hit.video}", "r", options={"protocol_whitelist": "file"}, metadata_errors="replace")
    return source, source.streams[index]


def copy(hit: Hit, path: Path) -> None:
    source, video = opened(hit)
    with source, av.open(str(path), "w") as target:
        streams = [video, *source.streams.audio[:1]]
        try:
            outputs = {stream.index: target.add_stream_from_template(stream) for stream in streams}
        except ValueError as error:
            raise VideoError(f"{hit.video}: cannot be copied ({error}); have it encoded anew (exact)") from error
        begin = av.time_base * (hit.start_sec + float((video.start_time or 0) * video.time_base))
        end = begin + av.time_base * (hit.end_sec - hit.start_sec)
        if hit.start_sec > 0:
            source.seek(int(begin))
        first_sec: Fraction | None = None
        finished: set[int] = set()
        for packet in source.demux(streams):
            if packet.dts is None or packet.pts is None or packet.stream.index in finished:
                continue
            if packet.dts * packet.time_base * av.time_base >= end:
                finished.add(packet.stream.index)
                if len(finished) == len(streams):
                    break
                continue
            if first_sec is None:
                if packet.stream is not video:
                    continue  # sound from before the keyframe
                first_sec = packet.pts * packet.time_base
            shift = int(first_sec / packet.time_base)
            packet.dts, packet.pts = packet.dts - shift, packet.pts - shift
            if packet.pts < 0:
                continue
            packet.stream = outputs[packet.stream.index]
            target.mux(packet)
        if first_sec is None:
            raise VideoError(f"{hit.video}: no clip made: nothing to copy from {hit.start_sec:g} s on")


def encode(hit: Hit, path: Path) -> None:
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    fps = Fraction(min(probe(hit.video).fps or 25, 120)).limit_denominator(1001)
    source, film = opened(hit)
    with source, av.open(str(path), "w") as target:
        video: Any = None
        sound = source.streams.audio[0] if source.streams.audio else None
        audio: Any = target.add_stream("aac", rate=sound.rate) if sound is not None else None
        for frame in pictures(hit, float(fps)):
            height, width = frame.shape[0] // 2 * 2, frame.shape[1] // 2 * 2
            if video is None:
                video = target.add_stream(codec, rate=fps, options={"crf": "18", "preset": "veryfast"})
                video.width, video.height, video.pix_fmt = width, height, "yuv420p"
            target.mux(video.encode(av.VideoFrame.from_ndarray(frame[:height, :width].copy(), format="rgb24")))
        target.mux(video.encode(None))
        if sound is not None:
            for frame in samples(source, film, sound, hit):
                target.mux(audio.encode(frame))
            target.mux(audio.encode(None))


def pictures(hit: Hit, fps: float) -> Iterator[np.ndarray]:
    """The frames of the hit at an even rate, upright, [H, W, RGB]."""
    count = max(1, round((hit.end_sec - hit.start_sec) * fps))
    times = hit.start_sec + (np.arange(count) + 0.5) / fps
    for part in np.split(times, range(FRAMES_AT_ONCE, count, FRAMES_AT_ONCE)):
        for frame in read_frames(hit.video, times_sec=part.tolist()).frames:
            yield frame.permute(1, 2, 0).numpy()


def samples(source: Any, film: Any, sound: Any, hit: Hit) -> Iterator[Any]:
    """The sound of the hit, from its beginning on."""
    zero = float((film.start_time or 0) * film.time_base)
    begin, end = hit.start_sec + zero, hit.end_sec + zero
    if hit.start_sec > 0:
        source.seek(int(begin * av.time_base))
    resampler = av.AudioResampler(format="fltp", layout="stereo", rate=sound.rate)
    written = 0
    for frame in heard(source, sound):
        if frame.time is None or frame.time + frame.samples / frame.sample_rate <= begin:
            continue
        if frame.time >= end:
            break
        for part in resampler.resample(frame):
            part.pts, part.time_base = written, Fraction(1, sound.rate)
            written += part.samples
            yield part


def heard(source: Any, sound: Any) -> Iterator[Any]:
    """The sound that decodes; after a seek its first packets may be torn."""
    for packet in source.demux(sound):
        with suppress(FFmpegError):
            yield from packet.decode()
