"""Copy a part of a video without encoding it, from a keyframe on, and decode the copy to check how it plays.

The check is needed: which copies go wrong depends on codec, container and file (open groups of pictures, no decoding
times, edit lists, ...), and no list of these is complete.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
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
"""A copy may be this much shorter, and its sound begin this much later, than its packets say: codecs may drop one or
two frames."""

MAX_DIFFERENCE = 3
"""Between pixels of the copy and of the source. Containers describe colors differently, which changes the rounding."""

INTERLEAVED_SEC = 10
"""Reading for sound ends when pictures of the file are this far after the end of the copy."""

ROUNDING_SEC = Fraction(1, 2000)
"""A picture that begins at most this much after the start is the one at the start, and none of the end."""

BACK_SEC = (1, 15, 1_000_000)
"""How far before the start reading begins, tried in turn: sound may precede its pictures in the file, and in MPEG
streams seeking may arrive too late."""


class CopyError(Exception):
    """A copy would not play as its source does; the message says why."""


class NotFoundError(CopyError):
    """Pictures were not found; reading from an earlier point may find them."""


def opened(path: str | Path) -> Any:
    """Open a local file; playlists may not make FFmpeg open others or the network."""
    return av.open(f"file:{path}", "r", options={"protocol_whitelist": "file"}, metadata_errors="replace")


def film_and_zero(path: str) -> tuple[int, Fraction]:
    """Return the index of the stream that players show, and the time in the file, in seconds, that is 0 for them."""
    with VideoFile(path) as film:
        return film.stream.index, film.zero_sec


def copy(path: str, start_sec: float, end_sec: float, to: Path, form: str) -> None:
    """Copy pictures and sound tracks, from the last keyframe at or before `start_sec`, into a container `form`.

    Raises:
        CopyError, FFmpegError: the container does not accept the streams, or the copy does not play as the source does.
    """
    index, zero_sec = film_and_zero(path)
    # On the clock of the file, and exact: floats would move pictures at the bounds in or out.
    start, end = Fraction(start_sec) + zero_sec + ROUNDING_SEC, Fraction(end_sec) + zero_sec - ROUNDING_SEC
    # 1. Copy, and begin reading earlier if the pictures were not found.
    for back_sec in BACK_SEC:
        try:
            pts, clock, sounds = copy_from(path, index, start, end, to, form, back_sec)
            break
        except NotFoundError:
            continue
    else:
        raise CopyError("its pictures were not found")
    # Compare the pictures that are shown first, at the start of the hit, and last. Times of the source count from its
    # zero, those of the copy from its first packet. Half a step after its start, a picture is surely the one shown.
    first_sec, ordered = pts[0] * clock, sorted(pts)
    at_start = ordered[max(0, bisect_right(ordered, math.floor(start / clock)) - 1)]
    moments = [(tick + step_of(ordered) // 2) * clock for tick in (ordered[0], at_start, ordered[-1])]
    at_end = ordered[bisect_right(ordered, math.floor(end / clock)) - 1]
    times_sec = [start_sec, float(end - zero_sec), *(float(moment - zero_sec) for moment in moments)]
    # 2. The source's own decoder must agree with the packets on when these pictures are shown.
    in_source = read_frames(path, times_sec=times_sec)
    in_copy = read_frames(to, times_sec=[float(moment - first_sec) for moment in moments])
    expected = [float(tick * clock - zero_sec) for tick in (at_start, at_end, ordered[0], at_start, ordered[-1])]
    if any(abs(a - b) > SLACK_SEC for a, b in zip(in_source.times_sec.tolist(), expected, strict=True)):
        raise CopyError("its times are not those of the player, because the clock jumps or frames are damaged")
    # 3. The copy must show them, last as long, and its sound must decode.
    if not are_alike(in_source.frames[2:], in_copy.frames):
        raise CopyError("it does not show the pictures of the source")
    with VideoFile(to) as clip:
        if clip.length_sec() < end - first_sec - SLACK_SEC:
            raise CopyError(f"it lasts {clip.length_sec():g} s, not {float(end - first_sec):g} s")
    require_sounds(to, sounds)


def are_alike(source: UInt8[Tensor, "T 3 H W"], copied: UInt8[Tensor, "T 3 H2 W2"]) -> bool:
    """Return whether no pixel differs by more than `MAX_DIFFERENCE`."""
    return source.shape == copied.shape and (source.int() - copied.int()).abs().max().item() <= MAX_DIFFERENCE


def copy_from(
    path: str, index: int, start: Fraction, end: Fraction, to: Path, form: str, back_sec: int
) -> tuple[list[int], Fraction, list[tuple[float, float]]]:
    """Copy, reading from `back_sec` before the start; return the pictures' timestamps, their unit, and the sounds.

    A sound is the time at which a track begins and ends, counted from the first picture.
    """
    with opened(path) as source:
        rewind(source, start - back_sec)
        clock = source.streams[index].time_base
        pts = pictures_to_copy(source, source.streams[index], start, end)
    with opened(path) as source, av.open(f"file:{to}", "w", format=form) as target:
        rewind(source, pts[0] * clock - back_sec)
        return pts, clock, copy_packets(source, source.streams[index], target, pts, end)


def rewind(source: Any, sec: Fraction) -> None:
    """Seek to a keyframe near a time of the file; stay at its beginning if the container cannot seek."""
    if sec * av.time_base > (source.start_time or 0):
        with suppress(FFmpegError):
            source.seek(int(sec * av.time_base))


def pictures_to_copy(source: Any, video: Any, start: Fraction, end: Fraction) -> list[int]:
    """Return the timestamps of the packets to copy, in decoding order.

    They begin with the last keyframe at or before `start`, and end before the first packet that no picture before
    `end` needs.
    """
    start_tick, end_tick = math.floor(start / video.time_base), end / video.time_base
    pts: list[int] = []
    for packet in source.demux(video):
        if not packet.size or packet.is_discard:
            continue
        if packet.pts is None or packet.is_corrupt:  # AVI with B-frames, for example; or torn packets
            raise CopyError("its container does not say when each picture is shown")
        if packet.is_keyframe and (not pts or packet.pts <= start_tick):
            pts = []  # a later keyframe that is still early enough: begin here
        elif not pts or packet.pts < pts[0]:
            continue  # shown before the keyframe, and predicted from pictures before it
        elif packet.pts > max(pts) >= end_tick:
            break  # shown after a picture at or after the end, so the pictures before the end are complete
        pts.append(packet.pts)
    if not pts or pts[0] > start_tick + Fraction(1, 10) / video.time_base:
        raise NotFoundError("there is no keyframe at the start of the hit or before")
    return pts[: num_needed(pts, end_tick)]


def num_needed(pts: Sequence[int], end_tick: Fraction) -> int:
    """Return how many of the packets are needed for all pictures before `end_tick`.

    Packets up to the last such picture are needed; they may hold pictures that are shown later, and then everything
    shown before these is needed too, so that the copy has no gap.
    """
    count, end = 1, end_tick
    while (enough := max((i for i, shown in enumerate(pts, start=1) if shown < end), default=1)) > count:
        count, end = enough, max(pts[:enough])
    return count


def decoding_ticks(pts: Sequence[int]) -> list[int]:
    """Return decoding timestamps (dts) for presentation timestamps: ascending, and none later than its pts.

    They are computed because some containers have only one of the two, and FFmpeg does not know the first ones of
    Matroska. As in encoders, the dts of packet i is the pts that is shown i - `ahead`th, where `ahead` is the largest
    number of places that a packet comes after its place in the order of showing.
    """
    ordered = sorted(pts)
    rank = {shown: index for index, shown in enumerate(ordered)}
    ahead = max(index - rank[shown] for index, shown in enumerate(pts))
    first = [ordered[0] - step_of(ordered) * (ahead - index) for index in range(ahead)]
    return [*first, *ordered[: len(pts) - ahead]]


def step_of(ordered: Sequence[int]) -> int:
    """Return the shortest time from one picture to the next."""
    return min((after - before for before, after in pairwise(ordered)), default=1)


def copy_packets(
    source: Any, video: Any, target: Any, pts: Sequence[int], end_sec: Fraction
) -> list[tuple[float, float]]:
    """Write these pictures and all sound of their time; return when each track with sound begins and ends."""
    sounds = [stream for stream in source.streams.audio if stream.codec_context is not None]
    outputs = add_streams(target, [video, *sounds])
    first_sec = pts[0] * video.time_base
    spans: dict[int, tuple[float, float]] = {}
    for packet in packets_to_copy(source, video, sounds, pts, end_sec):
        index = packet.stream.index
        if index != video.index:
            heard_sec = float(packet.pts * packet.time_base - first_sec)
            spans[index] = spans.get(index, (heard_sec, 0.0))[0], heard_sec
        # In the copy, times count from its first picture.
        shift = int(first_sec / packet.time_base)
        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
        packet.stream = outputs[index]
        target.mux(packet)
    return [spans[sound.index] for sound in sounds if sound.index in spans]


def packets_to_copy(
    source: Any, video: Any, sounds: Sequence[Any], pts: Sequence[int], end_sec: Fraction
) -> Iterator[Any]:
    """Yield the packets of these pictures and of all sound of their time, with decoding timestamps.

    The source is read from before the start, and its streams are interleaved: pictures are recognized by their
    timestamps, sound by its time. Reading ends when all pictures are found and each sound track is past the end.
    """
    first_sec, last = pts[0] * video.time_base, max(pts)
    missing = dict(zip(pts, decoding_ticks(pts), strict=True))
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
            if packet.pts in missing:
                packet.dts = missing.pop(packet.pts)
                if shown_sec < end_sec and packet.pts == last:  # it stays until the end, whatever its container says
                    packet.duration = round((end_sec - shown_sec) / packet.time_base)
                yield packet
        elif shown_sec >= end_sec:
            finished.add(packet.stream.index)
        elif shown_sec >= first_sec:  # sound, which is never reordered: it is decoded as it is heard
            packet.dts = packet.pts
            yield packet
    if missing:
        raise NotFoundError("its pictures were not found again")


def add_streams(target: Any, streams: Sequence[Any]) -> dict[int, Any]:
    """Add streams like these to a container, with languages and flags; return them by the index of the original."""
    try:
        # ValueError: the container does not take the codec.
        outputs = {stream.index: target.add_stream_from_template(stream, opaque=True) for stream in streams}
    except ValueError as error:
        raise CopyError(str(error)) from error
    for stream in streams:
        outputs[stream.index].metadata.update(stream.metadata)
        outputs[stream.index].disposition = stream.disposition
    return outputs


def require_sounds(path: Path, spans: Sequence[tuple[float, float]]) -> None:
    """Raise CopyError unless each sound track decodes from its start to its end."""
    heard: list[tuple[float, float]] = []
    with opened(path) as clip:
        num_tracks = len(clip.streams.audio)
    for track in range(num_tracks):
        with opened(path) as clip:
            frames = [(frame.time, frame.samples / frame.sample_rate) for frame in clip.decode(audio=track)]
        if frames:  # a track without sound may be kept or not
            heard.append((frames[0][0] or 0.0, sum(length for _, length in frames)))
    for (begin, length), (start, end) in zip_longest(heard, spans, fillvalue=(0.0, 0.0)):
        if abs(begin - start) > SLACK_SEC or length < end - start - SLACK_SEC:
            raise CopyError(f"its sound decodes for {length:.1f} s from {begin:.1f} s on, not to {end:.1f} s")
