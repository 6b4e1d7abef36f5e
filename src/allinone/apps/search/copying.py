"""A part of a video copied as it is, from a keyframe on, and then decoded, to see that it plays as its source does."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import suppress
from fractions import Fraction
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Any

import av
from av.error import FFmpegError
from jaxtyping import UInt8
from torch import Tensor

from allinone.video import VideoFile, read_frames

SLACK_SEC = 0.25
"""By so much a copy may be shorter, and its sound begin later, than its packets say: codecs swallow one or two."""

MAX_DIFFERENCE = 3
"""Of a pixel of the copy to the source's: containers differ in what they say of colors, which changes the rounding."""

INTERLEAVED_SEC = 10
"""Sound that lies further than this behind its pictures in the file is not looked for."""

ROUNDING_SEC = Fraction(1, 2000)
"""A picture that begins this little after the start is the one at the start; it is never the last of a copy."""

BACK_SEC = (1, 15, 1_000_000)
"""How far before what is wanted reading begins. Sound may lie before its pictures; TS and MPEG are entered too late."""


class CopyError(Exception):
    """A copy would not play as its source does; the message says why."""


class NotFoundError(CopyError):
    """Pictures did not come; reading from an earlier point on may find them."""


def opened(path: str | Path) -> Any:
    return av.open(f"file:{path}", "r", options={"protocol_whitelist": "file"}, metadata_errors="replace")


def film_and_zero(path: str) -> tuple[int, Fraction]:
    """The index of the stream that is shown, and where its times begin on the clock of the file, in seconds."""
    with VideoFile(path) as film:
        return film.stream.index, film.zero_sec


def copy(path: str, start_sec: float, end_sec: float, to: Path, form: str) -> None:
    """Copy pictures and sound tracks, from the last keyframe at or before `start_sec` on, into a container `form`.

    Raises:
        CopyError, FFmpegError: the container does not take it, or what was written does not play as the source does.
    """
    index, zero_sec = film_and_zero(path)
    start, end = Fraction(start_sec) + zero_sec + ROUNDING_SEC, Fraction(end_sec) + zero_sec - ROUNDING_SEC
    for back_sec in BACK_SEC:
        try:
            pts, clock, sounds = copy_from(path, index, start, end, to, form, back_sec)
            break
        except NotFoundError:
            continue
    else:
        raise CopyError("its pictures were not found")
    first = pts[0] * clock
    ordered = sorted(pts)
    shown = ordered[max(0, bisect_right(ordered, math.floor(start / clock)) - 1)]
    moments = [(tick + step_of(ordered) // 2) * clock for tick in (ordered[0], shown, ordered[-1])]
    last = ordered[bisect_right(ordered, math.floor(end / clock)) - 1]
    times_sec = [start_sec, float(end - zero_sec), *(float(moment - zero_sec) for moment in moments)]
    wanted = read_frames(path, times_sec=times_sec)
    got = read_frames(to, times_sec=[float(moment - first) for moment in moments])
    expected = [float(tick * clock - zero_sec) for tick in (shown, last, ordered[0], shown, ordered[-1])]
    if any(abs(a - b) > SLACK_SEC for a, b in zip(wanted.times_sec.tolist(), expected, strict=True)):
        raise CopyError("its times are not those of the player, because the clock jumps or frames are damaged")
    if not are_alike(wanted.frames[2:], got.frames):
        raise CopyError("it does not show the pictures of the source")
    with VideoFile(to) as clip:
        if clip.length_sec() < end - first - SLACK_SEC:
            raise CopyError(f"it lasts {clip.length_sec():g} s, not {float(end - first):g} s")
    require_sounds(to, sounds)


def are_alike(source: UInt8[Tensor, "T 3 H W"], copied: UInt8[Tensor, "T 3 H2 W2"]) -> bool:
    return source.shape == copied.shape and (source.int() - copied.int()).abs().max().item() <= MAX_DIFFERENCE


def copy_from(
    path: str, index: int, start: Fraction, end: Fraction, to: Path, form: str, back_sec: int
) -> tuple[list[int], Fraction, list[tuple[float, float]]]:
    """Copy, reading from `back_sec` before what is wanted; the timestamps of the pictures, their unit, the sounds."""
    with opened(path) as source:
        rewind(source, start - back_sec)
        clock = source.streams[index].time_base
        pts = pictures_to_copy(source, source.streams[index], start, end)
    with opened(path) as source, av.open(f"file:{to}", "w", format=form) as target:
        rewind(source, pts[0] * clock - back_sec)
        return pts, clock, copy_packets(source, source.streams[index], target, pts, end)


def rewind(source: Any, sec: Fraction) -> None:
    """Go near a time of the file, or leave it at its beginning where its container knows no times."""
    if sec * av.time_base > (source.start_time or 0):
        with suppress(FFmpegError):
            source.seek(int(sec * av.time_base))


def pictures_to_copy(source: Any, video: Any, start: Fraction, end: Fraction) -> list[int]:
    """Timestamps of the packets, in the order of decoding, from the last keyframe at or before `start` on.

    They reach to the first packet that no picture before `end` needs.
    """
    start_tick, end_tick = math.floor(start / video.time_base), end / video.time_base
    pts: list[int] = []
    for packet in source.demux(video):
        if not packet.size or packet.is_discard:
            continue
        if packet.pts is None or packet.is_corrupt:
            raise CopyError("its container does not say when each picture is shown")
        if packet.is_keyframe and (not pts or packet.pts <= start_tick):
            pts = []
        elif not pts or packet.pts < pts[0]:
            continue  # shown before the keyframe, and predicted from what comes before it
        elif packet.pts > max(pts) >= end_tick:
            break
        pts.append(packet.pts)
    if not pts or pts[0] > start_tick + Fraction(1, 10) / video.time_base:
        raise NotFoundError("there is no keyframe at the start of the hit or before")
    return pts[: num_needed(pts, end_tick)]


def num_needed(pts: Sequence[int], end_tick: Fraction) -> int:
    """How many packets hold all pictures before `end_tick`, and those shown between the ones that these need."""
    count, end = 1, end_tick
    while (enough := max((i for i, shown in enumerate(pts, start=1) if shown < end), default=1)) > count:
        count, end = enough, max(pts[:enough])
    return count


def decoding_ticks(pts: Sequence[int]) -> list[int]:
    """Timestamps of decoding: they ascend, and no picture is shown before it is decoded.

    Containers have either or both, and for Matroska FFmpeg does not know those of the first packets. As encoders do,
    each is when the picture is shown that comes so many pictures earlier as the order of decoding runs ahead.
    """
    ordered = sorted(pts)
    place = {shown: number for number, shown in enumerate(ordered)}
    ahead = max(number - place[shown] for number, shown in enumerate(pts))
    first = [ordered[0] - step_of(ordered) * (ahead - number) for number in range(ahead)]
    return [*first, *ordered[: len(pts) - ahead]]


def step_of(ordered: Sequence[int]) -> int:
    """The shortest time from one picture to the next."""
    return min((after - before for before, after in pairwise(ordered)), default=1)


def copy_packets(
    source: Any, video: Any, target: Any, pts: Sequence[int], end_sec: Fraction
) -> list[tuple[float, float]]:
    """Write these pictures and all sound of their time; return when each track that has any begins and ends."""
    sounds = [stream for stream in source.streams.audio if stream.codec_context is not None]
    try:
        outputs = {s.index: target.add_stream_from_template(s, opaque=True) for s in (video, *sounds)}
    except ValueError as error:
        raise CopyError(str(error)) from error
    for stream in (video, *sounds):
        outputs[stream.index].metadata.update(stream.metadata)
        outputs[stream.index].disposition = stream.disposition
    last = max(pts)
    missing = dict(zip(pts, decoding_ticks(pts), strict=True))
    first_sec = pts[0] * video.time_base
    spans: dict[int, tuple[float, float]] = {}
    finished: set[int] = set()
    for packet in source.demux([video, *sounds]):
        if not missing and len(finished) == len(sounds):
            break
        if not packet.size:
            continue
        if packet.pts is None:
            raise CopyError("its container does not say when its sound is heard")
        shown_sec = packet.pts * packet.time_base
        if packet.stream.index == video.index:
            if shown_sec > end_sec + INTERLEAVED_SEC:
                break
            if packet.pts not in missing:
                continue
            packet.dts = missing.pop(packet.pts)
            if shown_sec < end_sec and packet.pts == last:  # it stays; a container may say otherwise or nothing
                packet.duration = round((end_sec - shown_sec) / packet.time_base)
        elif first_sec <= shown_sec < end_sec:
            start, _ = spans.get(packet.stream.index, (float(shown_sec - first_sec), 0.0))
            spans[packet.stream.index] = start, float(shown_sec - first_sec)
            packet.dts = packet.pts
        else:
            finished |= {packet.stream.index} if shown_sec >= end_sec else set()
            continue
        shift = int(first_sec / packet.time_base)
        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
        packet.stream = outputs[packet.stream.index]
        target.mux(packet)
    if missing:
        raise NotFoundError("its pictures were not found again")
    return [spans[sound.index] for sound in sounds if sound.index in spans]


def require_sounds(path: Path, spans: Sequence[tuple[float, float]]) -> None:
    """Raise CopyError unless the sound tracks decode, each from its first time to its second."""
    heard: list[tuple[float, float]] = []
    with opened(path) as clip:
        num_tracks = len(clip.streams.audio)
    for number in range(num_tracks):
        with opened(path) as clip:
            frames = [(frame.time, frame.samples / frame.sample_rate) for frame in clip.decode(audio=number)]
        if frames:  # a track without sound may be kept or not
            heard.append((frames[0][0] or 0.0, sum(length for _, length in frames)))
    for (begin, length), (start, end) in zip_longest(heard, spans, fillvalue=(0.0, 0.0)):
        if abs(begin - start) > SLACK_SEC or length < end - start - SLACK_SEC:
            raise CopyError(f"its sound decodes for {length:.1f} s from {begin:.1f} s on, not to {end:.1f} s")
