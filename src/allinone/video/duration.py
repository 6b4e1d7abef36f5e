"""When a film begins and ends on the clock of players, where the header or an index of the file tells it.

For files without an index, `packets.py` has the same answers from all packets.
"""

import os
from contextlib import suppress
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from allinone.video.webp import File

_MAX_REORDERED = 32
"""Packets: H.264 and H.265 show a frame at most 16 frames after it is decoded."""

_FAR_AWAY = 1 << 60  # ticks: behind the end of every file


class PictureEnd(NamedTuple):
    """Ticks of the stream: when the last frame begins (None where nothing tells) and until when it is shown."""

    last: int | None
    end: int


def player_zero(container: InputContainer, stream: VideoStream) -> Fraction:
    """Time 0 of players, in ticks of the stream: where its picture or the sound begins, whichever is first.

    Where sound begins a little before time 0, because its encoder needs some samples to start with, 0 it remains.
    """
    time_base = stream.time_base or Fraction(1, 1000)
    start = stream.start_time or 0
    if container.start_time is None:
        return Fraction(start)
    zero = Fraction(container.start_time, av.time_base) / time_base
    if zero < 0 <= start:
        return Fraction(0)
    # FFmpeg rounds the start of the container to microseconds.
    rounding = Fraction(1, av.time_base) / time_base
    return Fraction(start) if zero > start - rounding else zero


def indexed_end(container: InputContainer, stream: VideoStream, file: File) -> PictureEnd | None:
    """The end of the film in an MP4 file whose index names packets that are all there; None for other files."""
    entries = stream.index_entries
    if "mp4" not in container.format.name or not len(entries) or not stream.duration:
        return None
    last, end = entries[-1], (stream.start_time or 0) + stream.duration
    if last.pos + last.size > file_size(file) or not 0 <= end - last.timestamp <= 4 * stream.duration / len(entries):
        return None  # cut off, or the last frame stands unusually long
    decoded = [entries[row].timestamp for row in range(max(0, len(entries) - _MAX_REORDERED), len(entries))]
    steps = [after - before for before, after in pairwise(decoded)]
    if steps and max(steps) > 2 * min(steps):
        return None  # of frames far apart, the last may be shown long after it is decoded
    return PictureEnd(None, end)


def last_packets_end(container: InputContainer, stream: VideoStream, file: File) -> PictureEnd | None:
    """The end of the film by its last packets, or else by its header; None where nothing tells.

    The container may be anywhere in the file afterwards.
    """
    is_mp4 = "mp4" in container.format.name
    found = _last_packets(container, stream, _last_indexed(stream, file) if is_mp4 else _FAR_AWAY)
    if found is not None:
        return within_header(found, container.format.name, claimed_end(container, stream))
    if stream.duration:
        return PictureEnd(None, (stream.start_time or 0) + stream.duration)
    if container.duration:
        seconds = Fraction(container.duration, av.time_base)
        return PictureEnd(
            None, round(player_zero(container, stream) + seconds / (stream.time_base or Fraction(1, 1000)))
        )
    return None


def _last_indexed(stream: VideoStream, file: File) -> int:
    """When the last packet of an index is decoded that is in the file, which may be cut off."""
    size, entries = file_size(file), stream.index_entries
    for position in range(len(entries) - 1, -1, -1):
        if entries[position].pos + entries[position].size <= size:
            return entries[position].timestamp
    return _FAR_AWAY


def _last_packets(container: InputContainer, stream: VideoStream, target: int) -> PictureEnd | None:
    """The end by the packets from the last keyframe at or before `target` on."""
    last: int | None = None
    duration = 0
    with suppress(FFmpegError):  # no keyframe is known: on from here
        container.seek(target, stream=stream)
    try:
        for packet in container.demux(stream):
            if packet.size and packet.pts is not None and not packet.is_discard and (last is None or packet.pts > last):
                last, duration = packet.pts, packet.duration or 0
    except (FFmpegError, IndexError):
        pass
    if last is None:
        return None
    rate = stream.average_rate or stream.guessed_rate or 25
    return PictureEnd(last, last + (duration or round(1 / (rate * (stream.time_base or Fraction(1, 1000))))))


def claimed_end(container: InputContainer, stream: VideoStream) -> int | None:
    """The end by the header, in ticks of the stream; None where it does not say. Matroska and Flash: of all streams."""
    if "mp4" in container.format.name and stream.duration:
        return (stream.start_time or 0) + stream.duration
    if container.format.name.startswith(("matroska", "flv")) and container.duration:
        return round(Fraction(container.duration, av.time_base) / (stream.time_base or Fraction(1, 1000)))
    return None


def within_header(end: PictureEnd, format_name: str, claimed: int | None) -> PictureEnd:
    """The end, not after that of a Matroska header: its frames have a default duration, also the last one."""
    if "matroska" in format_name and claimed is not None and end.last is not None and end.last < claimed < end.end:
        return PictureEnd(end.last, claimed)
    return end


def file_size(file: File) -> int:
    here = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(here)
    return size


def more_behind_segment(file: File) -> bool:
    """Whether a Matroska file goes on where its segment ends: recordings were joined, each with its own clock."""
    here = file.tell()
    file.seek(0)
    head = file.read(1 << 12)
    file.seek(here)
    place = 0
    for name in (b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"):  # EBML header, Segment
        if head[place : place + 4] != name or place + 5 > len(head):
            return False
        # The number of leading zero bits of the first byte tells of how many bytes the size is made.
        length = 9 - head[place + 4].bit_length()
        size = int.from_bytes(head[place + 4 : place + 4 + length], "big") - (1 << 7 * length)
        if size == (1 << 7 * length) - 1:  # not known
            return False
        place += 4 + length + size
    return place < file_size(file)
