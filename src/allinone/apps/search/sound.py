"""The sound of a part of a video, resampled for an encoder and in step with the pictures."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.audio.resampler import AudioResampler
from av.error import FFmpegError
from jaxtyping import Float32

from allinone.apps.search.copying import opened, rewind
from allinone.video import VideoFile
from allinone.video.packets import PacketTable

SOUND_RATE = 48_000
"""Samples per second, whatever the source has: AAC refuses 192,000 and 7,350, and every player supports this one."""

JITTER = SOUND_RATE // 50
"""Samples (20 ms) by which a timestamp may differ from the end of the sound before, without a gap: containers round."""

MAX_CHANNELS = 8
"""FFmpeg cannot mix more channels (as film cameras record) or ambisonics to stereo: the first two are taken."""

CLOCKS_JUMP = ("mpegts", "mpeg")
"""Containers with a clock that may start again, for example between two joined recordings; reading can begin at any
byte."""

Samples = Float32[np.ndarray, "2 N"]


def has_sound(path: str) -> bool:
    """Return whether there is a sound track of a known codec."""
    with opened(path) as source:
        return any(stream.codec_context is not None for stream in source.streams.audio)


def sound_between(path: str, start_sec: float, end_sec: float) -> Iterator[av.AudioFrame]:
    """Yield the sound of the track that players choose, in stereo, from `start_sec` to `end_sec`.

    Missing sound is silence, so that the rest stays in step with the pictures if it begins late, ends early, or has
    gaps.
    """
    num_samples = 0
    for samples in timeline(path, start_sec, round((end_sec - start_sec) * SOUND_RATE)):
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, num_samples, Fraction(1, SOUND_RATE)
        num_samples += frame.samples
        yield frame


def timeline(path: str, start_sec: float, total: int) -> Iterator[Samples]:
    """Yield `total` samples from `start_sec` on, each at its time, with silence between them."""
    written = 0
    for time_sec, samples in heard(path, start_sec):
        begin = round((time_sec - start_sec) * SOUND_RATE)  # negative before the start of the part
        if written and abs(begin - written) <= JITTER:
            begin = written
        # Fill the gap before it, skip the part of it that was written already, and stop at the end.
        end = min(total, begin + samples.shape[1])
        yield from silence(min(begin, total) - written)
        if end > max(begin, written):
            yield samples[:, max(0, written - begin) : end - begin]
        written = max(written, min(begin, total), end)
        if written == total:
            return
    yield from silence(total - written)


def silence(num_samples: int) -> Iterator[Samples]:
    """Yield zeros, at most a second at a time."""
    for begin in range(0, num_samples, SOUND_RATE):
        yield np.zeros((2, min(SOUND_RATE, num_samples - begin)), np.float32)


def heard(path: str, start_sec: float) -> Iterator[tuple[float, Samples]]:
    """Yield the sound that decodes, from a second before `start_sec` on, with the time at which it is heard."""
    with VideoFile(path) as film:
        index, table, zero_sec = film.stream.index, film.table, float(film.zero_sec)
    with opened(path) as source:
        first = source.streams.audio[0]
        # `best` is None if sound begins so late in the file that nothing is known of it yet.
        sound = source.streams.best("audio", related=source.streams[index]) or first
        if table is not None and source.format.name in CLOCKS_JUMP and sound.index == first.index:
            packets = packets_by_table(source, sound, table, start_sec + zero_sec - 1)
        else:
            rewind(source, Fraction(start_sec + zero_sec - 1))
            packets = source.demux(sound)
        resampler, form = None, None
        for frame in decoded(packets):
            if len(frame.layout.channels) > MAX_CHANNELS or frame.layout.name.startswith("ambisonic"):
                frame = first_two_channels(frame)
            # A stream may change its format, for example at a commercial break.
            if form != (form := (frame.format.name, frame.layout.name, frame.sample_rate)) or resampler is None:
                resampler = AudioResampler(format="fltp", layout="stereo", rate=SOUND_RATE)
            for part in resampler.resample(frame):
                if part.time is not None:
                    yield part.time - zero_sec, part.to_ndarray()


def packets_by_table(source: Any, sound: Any, table: PacketTable, from_sec: float) -> Iterator[av.Packet]:
    """Yield packets of the first sound track with the times of the table, which ascend where the file's clock jumps."""
    rows = table.sound
    begin = int(np.searchsorted(rows.pts, from_sec / table.time_base))
    # Seek by byte, to the last packet before with a known position: seeking by time needs a clock without jumps.
    known = np.flatnonzero(rows.position[:begin] >= 0)
    row = 0  # of the next packet in the table; None until the first packet after seeking is found in it
    if len(known):
        source.seek(int(rows.position[known[-1]]), unsupported_byte_offset=True)
        row = None
    for packet in source.demux(sound):
        if packet.size and row is None and packet.pos is not None:
            same = np.flatnonzero((rows.position == packet.pos) & (rows.size == packet.size))
            row = int(same[0]) if len(same) == 1 else None
        if packet.size and row is not None and row < len(rows):
            packet.pts = round(rows.pts[row] * table.time_base / packet.time_base)
            row += 1
            yield packet


def first_two_channels(frame: av.AudioFrame) -> av.AudioFrame:
    """Return the first two channels of a frame as stereo."""
    samples: Any = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, len(frame.layout.channels)).T
    stereo = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[:2]), frame.format.planar.name, "stereo")
    stereo.sample_rate, stereo.pts, stereo.time_base = frame.sample_rate, frame.pts, frame.time_base
    return stereo


def decoded(packets: Iterable[av.Packet]) -> Iterator[av.AudioFrame]:
    for packet in packets:
        with suppress(FFmpegError):  # after a seek, the first packets may be incomplete
            yield from packet.decode()
