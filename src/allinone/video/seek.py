"""Sparse reading: the frames that reading in order would show at some moments, without decoding the rest.

Decoding starts at the keyframe before a moment and skips frames that no other frame needs. A stream of packets, in the
order of the file (P is predicted from the frame before, B from both neighbors), and the frame wanted at tick 5:

    packet           I     P     B     B     P     B     I     P
    dts, decoded at  0     1     2     3     4     5     6     7      ascends
    pts, shown at    1     4     2     3     6     5     7     8      never before its dts
    keyframe         *                                   *
                     ^ seek      ^     ^ skip            ^ dts > 5: no later frame is shown at 5,
                                                   ^ so the last pts <= 5 is wanted

Everything that this relies on is checked while reading: that keyframes are keyframes, that timestamps exist, ascend,
and differ, that nothing is decoded in error. At the first `Doubt`, the caller reads in order instead.
"""

import bisect
import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise

import av

from allinone.video.errors import Doubt
from allinone.video.in_order import Shown, Timed, last_shown
from allinone.video.packets import PacketTable
from allinone.video.source import VideoSource

_SKIPS_FRAMES = ("h264", "vp9")
"""Codecs in which frames that are no reference may be skipped: AV1 gave wrong frames in 16 of 40 trials."""


def frames_at(source: VideoSource, ticks: Sequence[int]) -> Iterator[Shown]:
    """Return the frames shown at ticks (ascending), each once with all ticks that it is shown at.

    Raises:
        Doubt: what comes may differ from reading in order; so may what came before.
        ChangedError: the file's packets are not those of its table.
        FFmpegError: something does not decode.
    """
    if source.is_matroska:  # its index is at the end of the file, and FFmpeg reads it at the first seek
        source.seek(ticks[-1])
    requested: dict[int, list[int]] = {}
    for tick in ticks:  # ticks before the start share its frame
        requested.setdefault(max(tick, source.start), []).append(tick)
    remaining = deque(requested)
    while remaining:
        packets, group = _enter(source, remaining)
        decode = _decode_references if source.codec in _SKIPS_FRAMES else _decode_all
        for shown in decode(source, packets, group):
            if shown.frame.is_corrupt:
                raise Doubt
            yield shown._replace(keys=[tick for key in shown.keys for tick in requested[key]])


def ticks_of(source: VideoSource, indices: Sequence[int]) -> list[int]:
    """Return the timestamps of frames by index, from a pass over the packets that decodes nothing."""
    ticks: list[int] = []
    for packet in source.packets():
        if packet.size and not packet.is_discard:
            if packet.pts is None or packet.is_corrupt:
                raise Doubt
            ticks.append(packet.pts)
    ticks.sort()
    # Two packets of one time may be halves of a frame (interlaced video): then packets are no frames.
    if max(indices) >= len(ticks) or any(a == b for a, b in pairwise(ticks)):
        raise Doubt
    return [ticks[index] for index in indices]


# Which keyframe to start from.


def _enter(source: VideoSource, remaining: deque[int]) -> tuple[Iterator[av.Packet], list[int]]:
    """Take from `remaining` the ticks that one keyframe serves; return the packets from that keyframe on, and these."""
    if source.table:
        return _enter_by_table(source, source.table, remaining)
    return _enter_by_index(source, remaining)


def _enter_by_table(
    source: VideoSource, table: PacketTable, remaining: deque[int]
) -> tuple[Iterator[av.Packet], list[int]]:
    index = table.keyframe_before(remaining[0])
    if index < 0:
        raise Doubt  # no keyframe is shown before the tick
    group = [remaining.popleft()]
    while remaining and table.keyframe_before(remaining[0]) == index:
        group.append(remaining.popleft())
    source.is_rewound = False
    source.decoder.flush_buffers()
    return source.reader.packets_from(table.keyframes[index]), group


def _enter_by_index(source: VideoSource, remaining: deque[int]) -> tuple[Iterator[av.Packet], list[int]]:
    """An index has decoding times, and a keyframe is decoded before it is shown.

    So the keyframe that the index gives for a tick may be shown after it: then the one before it is right. (For MP4,
    FFmpeg's own seeking knows that.)
    """
    entries = source.stream.index_entries
    tick = remaining.popleft()
    entry = first_entry = entries.search_timestamp(tick)  # -1: none before the tick
    target = tick
    while True:
        if not (source.is_rewound and entry == 0):  # else it is at the first keyframe already
            source.seek(target)
        packets = source.packets()
        first = next(packets, None)
        if first is None or not first.is_keyframe or first.pts is None:
            raise Doubt  # the index does not lead to a keyframe
        if first.pts <= tick:
            break
        if entry <= 0:
            raise Doubt  # even the first keyframe is shown after the tick
        entry = entries.search_timestamp(entries[entry].timestamp - 1)
        target = entries[entry].timestamp if entry >= 0 else source.start
    # Later ticks with the same entry begin at the same keyframe, unless this one needed the keyframe before it.
    stepped_back = first_entry >= 0 and first.dts is not None and first.dts < entries[first_entry].timestamp
    group = [tick]
    while remaining and not stepped_back and entries.search_timestamp(remaining[0]) == first_entry:
        group.append(remaining.popleft())
    return chain([first], packets), group


# Decoding from there.


def _decode_all(source: VideoSource, packets: Iterator[av.Packet], ticks: list[int]) -> Iterator[Shown]:
    """Decode every frame from the keyframe on."""
    return last_shown(_frames_from_keyframe(source, packets), ticks)


def _frames_from_keyframe(source: VideoSource, packets: Iterator[av.Packet]) -> Iterator[Timed]:
    key_pts: int | None = None
    last: int | None = None
    for packet in packets:
        key_pts = packet.pts if key_pts is None else key_pts
        for frame in source.decoder.decode(packet if packet.size else None):
            if frame.pts is None or key_pts is None:
                raise Doubt
            if frame.pts < key_pts:  # shown before the keyframe, and predicted from frames that were not decoded
                continue
            if last is None and not (frame.pts == key_pts and frame.key_frame):
                raise Doubt  # the first frame is not the keyframe, or the decoder does not take it for one
            if last is not None and frame.pts <= last:
                raise Doubt  # times do not ascend
            last = frame.pts
            yield last, frame


def _decode_references(source: VideoSource, packets: Iterator[av.Packet], ticks: list[int]) -> Iterator[Shown]:
    """Decode only the wanted frames and those that other frames are predicted from (H.264 and VP9)."""
    pending: dict[int, list[int]] = {}  # timestamp of a frame: the ticks that it is shown at
    key_pts: int | None = None
    key_shown = False
    decoder = source.decoder
    try:
        for packet, answers in chain(resolve(packets, ticks), [(None, [])]):  # None: give the frames that it holds
            if packet is not None:
                key_pts = packet.pts if key_pts is None else key_pts
                if answers:
                    assert packet.pts is not None
                    pending[packet.pts] = answers
                decoder.skip_frame = "DEFAULT" if answers else "NONREF"
            for frame in decoder.decode(packet):
                if frame.pts == key_pts:
                    key_shown = frame.key_frame
                if frame.pts in pending:
                    yield Shown(frame, frame.pts, pending.pop(frame.pts))
    finally:
        decoder.skip_frame = "DEFAULT"
    if pending or not key_shown:
        raise Doubt  # a wanted frame did not come, or the decoder does not take the keyframe for one


def resolve(packets: Iterable[av.Packet], ticks: list[int]) -> Iterator[tuple[av.Packet, list[int]]]:
    """Return packets in decoding order, each with the ticks that its frame is shown at.

    A packet is held back until that is certain: no packet is shown before it is decoded, so when one is decoded after
    a tick, the frame shown at the tick is among those seen. Ends when all ticks (ascending) are resolved.
    """
    open_ticks = list(ticks)  # not resolved yet
    seen: list[int] = []  # timestamps of all packets so far, ascending
    held: deque[av.Packet] = deque()
    now: int | float = -math.inf  # the time at which the latest packet is decoded
    for packet in packets:
        if packet.size:
            pts, now = _checked_times(packet, now)
            if not packet.is_discard:
                index = bisect.bisect_left(seen, pts)
                if seen[index : index + 1] == [pts]:
                    raise Doubt  # two frames at one time
                seen.insert(index, pts)
            held.append(packet)
        else:
            now = math.inf  # the end of the file: everything is seen
        while held and open_ticks:
            begin, end = _ticks_of_frame(held[0], seen, open_ticks)
            if begin < end and now <= open_ticks[end - 1]:
                break  # a packet to come may be shown between this frame and that tick
            yield held.popleft(), open_ticks[begin:end]
            del open_ticks[begin:end]
        if not open_ticks:
            return


def _checked_times(packet: av.Packet, now: int | float) -> tuple[int, int | float]:
    """Return when a packet is shown and decoded; `Doubt` if packets are not in that order or one is shown before it."""
    # Matroska stores no decoding times, and FFmpeg does not know those of the first packets.
    decoded = now if packet.dts is None else packet.dts
    if packet.pts is None or packet.pts < decoded or decoded < now:
        raise Doubt
    return packet.pts, decoded


def _ticks_of_frame(packet: av.Packet, seen: list[int], open_ticks: list[int]) -> tuple[int, int]:
    """Return the range in `open_ticks` from the packet's frame to the next frame seen so far."""
    if packet.is_discard or packet.pts is None:  # decoded, but not shown
        return 0, 0
    after = bisect.bisect_right(seen, packet.pts)
    begin = bisect.bisect_left(open_ticks, packet.pts)
    end = bisect.bisect_left(open_ticks, seen[after]) if after < len(seen) else len(open_ticks)
    return begin, end
