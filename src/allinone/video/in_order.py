"""Reading a video from its beginning, in order: always right, and as slow as decoding everything before a frame."""

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from typing import NamedTuple

import av
from av.error import FFmpegError

from allinone.video.duration import nominal_step
from allinone.video.errors import ChangedError, DamagedError
from allinone.video.pictures import Pictures
from allinone.video.source import VideoSource, short_cause

Timed = tuple[int, av.VideoFrame]


class Shown(NamedTuple):
    """A decoded frame, its timestamp, and the requested ticks (or indices) that resolve to it."""

    frame: av.VideoFrame
    tick: int
    keys: list[int]


def last_shown(timed: Iterable[Timed], ticks: list[int]) -> Iterator[Shown]:
    """Return, for ascending ticks, the last frame at or before each (the first frame, for earlier ones)."""
    remaining = deque(ticks)
    last: Timed | None = None
    for tick, frame in timed:
        # A frame is shown until the next one begins, so the next has to be seen first.
        if last:
            keys = []
            while remaining and remaining[0] < tick:
                keys.append(remaining.popleft())
            if keys:
                yield Shown(last[1], last[0], keys)
            if not remaining:
                return
        last = tick, frame
    if last:
        yield Shown(last[1], last[0], list(remaining))


def timed_frames(source: VideoSource) -> Iterator[Timed]:
    """Return every frame with its timestamp; these ascend.

    A missing timestamp follows the one before at the frame rate, and a jump back counts as no progress. AVI stores no
    presentation times, and FFmpeg's guesses jump to and fro: the n-th frame shown takes the n-th decoding time.
    """
    step = nominal_step(source.stream)
    tick: int | None = None
    delay: int | None = None
    decoding_times: deque[int] = deque(maxlen=1000)  # of the packets that have given no frame yet
    for frame in frames_in_order(source, decoding_times):
        pts = frame.pts
        if source.is_avi and decoding_times and pts is not None:
            decoded = decoding_times.popleft()
            # FFmpeg's times are late by a constant, which the first frame gives.
            delay = pts - decoded if delay is None else delay
            pts = decoded + delay
        if pts is None:
            tick = source.start if tick is None else tick + step
        else:
            tick = pts if tick is None else max(tick, pts)
        yield tick, frame


def frames_in_order(source: VideoSource, decoding_times: deque[int]) -> Iterator[av.VideoFrame]:
    """Return every frame that decodes, from the first keyframe on; all of them if no packet is marked as one.

    What comes before that keyframe is predicted from frames that the file does not hold.
    """
    if source.pictures:
        yield from _frames_of_pictures(source, source.pictures)
        return
    has_keyframe = yield from _frames_of_packets(source, decoding_times, from_keyframe=True)
    if not has_keyframe:
        source.reopen()
        yield from _frames_of_packets(source, decoding_times, from_keyframe=False)


def _frames_of_pictures(source: VideoSource, pictures: Pictures) -> Iterator[av.VideoFrame]:
    source.is_rewound = False
    try:
        for frame in pictures.frames():
            source.check_progress()
            yield frame
    except DamagedError as error:
        source.damage = str(error)


def _frames_of_packets(
    source: VideoSource, decoding_times: deque[int], from_keyframe: bool
) -> Generator[av.VideoFrame, None, bool]:
    """Decode packet by packet; after a decoding error, go on from the next keyframe. Returns if there was a keyframe.

    `source.damage` keeps the last error.
    """
    has_keyframe = not from_keyframe
    needs_keyframe = from_keyframe  # packets are skipped until one comes
    first_shown: int | None = None  # frames shown before the first keyframe may be decoded after it, and are damaged
    for packet in _packets_until_damage(source):
        if packet.size:
            if packet.is_keyframe and not has_keyframe:
                has_keyframe, first_shown = True, packet.pts
            if needs_keyframe and not packet.is_keyframe:
                continue
            if packet.dts is not None:
                decoding_times.append(packet.dts)
        try:
            for frame in source.decoder.decode(packet if packet.size else None):
                # In AVI files `pts` is a guess, by which no frame is left out.
                if first_shown is None or frame.pts is None or frame.pts >= first_shown or source.is_avi:
                    yield frame
            needs_keyframe = False
        except FFmpegError as error:
            source.damage = short_cause(error)
            source.decoder.flush_buffers()
            decoding_times.clear()
            needs_keyframe = True
    return has_keyframe


def _packets_until_damage(source: VideoSource) -> Iterator[av.Packet]:
    try:
        yield from source.packets()
    except FFmpegError as error:
        source.damage = short_cause(error)
        yield av.Packet()  # the decoder may still hold good frames
    except ChangedError as error:
        raise source.error("it changed while it was read") from error
