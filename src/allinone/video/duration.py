"""When a film begins and ends on a player's clock, by its header, its index, or its last packets.

For files without an index, `packets.PacketTable` answers the same questions from all packets.
"""

from contextlib import suppress
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from allinone.video.pictures import File

_MAX_REORDERED = 32
"""Packets: H.264 and H.265 show a frame at most 16 frames after it is decoded; twice that to be safe."""

_FAR_AWAY = 1 << 60  # ticks: after the end of every file


class PictureEnd(NamedTuple):
    """Ticks of the stream: when the last frame begins (None if nothing says) and until when it is shown."""

    last: int | None
    end: int


def clock_of(stream: VideoStream) -> Fraction:
    """Return the seconds of one tick."""
    return stream.time_base or Fraction(1, 1000)


def nominal_step(stream: VideoStream) -> int:
    """Return the ticks from one frame to the next, by the header's frame rate (25 if it has none)."""
    rate = stream.average_rate or stream.guessed_rate or 25
    return max(1, round(1 / (rate * clock_of(stream))))


def player_zero(container: InputContainer, stream: VideoStream) -> Fraction:
    """Return a player's time 0, in ticks of the stream: where picture or sound begins, whichever is first.

    If sound begins a little before time 0, because its encoder needs some samples to start with, 0 it remains.
    """
    start = stream.start_time or 0
    if container.start_time is None:
        return Fraction(start)
    microsecond = Fraction(1, av.time_base) / clock_of(stream)
    zero = container.start_time * microsecond
    if zero < 0 <= start:
        return Fraction(0)
    # FFmpeg rounds the start of the container to microseconds.
    return Fraction(start) if zero > start - microsecond else zero


def indexed_end(container: InputContainer, stream: VideoStream, num_bytes: int) -> PictureEnd | None:
    """Return the end of the film in an MP4 file that holds all packets of its index; None for other files."""
    entries = stream.index_entries
    if "mp4" not in container.format.name or not len(entries) or not stream.duration:
        return None
    last, end = entries[-1], (stream.start_time or 0) + stream.duration
    if last.pos + last.size > num_bytes or not 0 <= end - last.timestamp <= 4 * stream.duration / len(entries):
        return None  # cut off, or the last frame is shown for unusually long
    decoded = [entries[row].timestamp for row in range(max(0, len(entries) - _MAX_REORDERED), len(entries))]
    steps = [after - before for before, after in pairwise(decoded)]
    if steps and max(steps) > 2 * min(steps):
        return None  # of frames far apart, the last may be shown long after it is decoded
    return PictureEnd(None, end)


def last_packets_end(container: InputContainer, stream: VideoStream, num_bytes: int) -> PictureEnd | None:
    """Return the end of the film by its last packets, or else by its header; None if neither says.

    The container may be anywhere in the file afterwards.
    """
    is_mp4 = "mp4" in container.format.name
    end = _read_last_packets(container, stream, _last_indexed(stream, num_bytes) if is_mp4 else _FAR_AWAY)
    if end is not None:
        return within_header(end, container.format.name, claimed_end(container, stream))
    if stream.duration:
        return PictureEnd(None, (stream.start_time or 0) + stream.duration)
    if container.duration:
        seconds = Fraction(container.duration, av.time_base)
        return PictureEnd(None, round(player_zero(container, stream) + seconds / clock_of(stream)))
    return None


def _last_indexed(stream: VideoStream, num_bytes: int) -> int:
    """Return when the last packet of the index that is in the file is decoded; the file may be cut off."""
    entries = stream.index_entries
    for position in range(len(entries) - 1, -1, -1):
        if entries[position].pos + entries[position].size <= num_bytes:
            return entries[position].timestamp
    return _FAR_AWAY


def _read_last_packets(container: InputContainer, stream: VideoStream, target: int) -> PictureEnd | None:
    """Return the end by the packets from the last keyframe at or before `target` on."""
    last: int | None = None
    duration = 0
    with suppress(FFmpegError):  # no keyframe is known: read on from here
        container.seek(target, stream=stream)
    with suppress(FFmpegError, IndexError):
        for packet in container.demux(stream):
            if packet.size and packet.pts is not None and not packet.is_discard and (last is None or packet.pts > last):
                last, duration = packet.pts, packet.duration or 0
    return None if last is None else PictureEnd(last, last + (duration or nominal_step(stream)))


def claimed_end(container: InputContainer, stream: VideoStream) -> int | None:
    """Return the end by the header, in ticks; None if it does not say. For Matroska and Flash: of all streams."""
    if "mp4" in container.format.name and stream.duration:
        return (stream.start_time or 0) + stream.duration
    if container.format.name.startswith(("matroska", "flv")) and container.duration:
        return round(Fraction(container.duration, av.time_base) / clock_of(stream))
    return None


def within_header(end: PictureEnd, format_name: str, claimed: int | None) -> PictureEnd:
    """Limit the end to a Matroska header's: frames there have a default duration, which the last may not fill."""
    if "matroska" in format_name and claimed is not None and end.last is not None and end.last < claimed < end.end:
        return PictureEnd(end.last, claimed)
    return end


def has_second_segment(file: File, num_bytes: int) -> bool:
    """Return whether a Matroska file goes on after its segment: recordings were joined, each with its own clock."""
    here = file.tell()
    file.seek(0)
    head = file.read(1 << 12)
    file.seek(here)
    position = 0
    for element_id in (b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"):  # EBML header, Segment
        if head[position : position + 4] != element_id or position + 5 > len(head):
            return False
        # The size is a number of variable length: leading zero bits of its first byte + 1 bytes, of which those bits
        # and the first 1 are no part (RFC 8794, section 4).
        length = 9 - head[position + 4].bit_length()
        size = int.from_bytes(head[position + 4 : position + 4 + length], "big") - (1 << 7 * length)
        if size == (1 << 7 * length) - 1:  # unknown: up to the end of the file
            return False
        position += 4 + length + size
    return position < num_bytes
