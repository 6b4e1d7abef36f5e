"""The packets of a video file that has no index of its own, read once without decoding: a table to seek by.

MPEG transport and program streams, Flash, fragmented MP4 and others hold packets and no list of them. Demuxing the file
once gives that list: time, duration, size and position of every packet, on one clock that runs on where the file's own
starts again or jumps. Tables of files on disk are kept in memory, because a film is read window by window.
"""

import bisect
import math
import threading
from array import array
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from itertools import chain, islice, pairwise

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.format import Flags
from av.video.stream import VideoStream
from jaxtyping import Bool, Int

from allinone.video.duration import PictureEnd, claimed_end, within_header

JUMP_SEC = 10
"""A clock that goes on by more than this between neighboring packets has jumped, unless sound or bytes fill the time
between (the `ffmpeg` program does the same: `-dts_delta_threshold`)."""

MAX_CACHED_ROWS = 4_000_000
"""Rows of all tables in memory: 37 hours at 30 frames a second, 70 bytes each."""

UNKNOWN = np.iinfo(np.int64).min
_AVI_CHUNK_HEADER = 8  # bytes between the position of a chunk and its content
_MAX_GUESSED = 3  # packets in a row whose times are guessed wrongly
_NEAR_ROWS = 50  # so many packets are read over in less time than a seek takes
_MAX_UNKNOWN = 500  # packets after a seek of which none is known
WRAP = 1 << 33
"""Clocks of MPEG start again at 0 after so many ticks (26.5 hours)."""


class ChangedError(Exception):
    """The packets of the file are not those of its table."""


@dataclass(frozen=True)
class Packets:
    """Packets of one stream, in the order of the file. Times are in ticks; UNKNOWN where the file gives none."""

    pts: Int[np.ndarray, " N"]
    dts: Int[np.ndarray, " N"]
    duration: Int[np.ndarray, " N"]
    size: Int[np.ndarray, " N"]
    position: Int[np.ndarray, " N"]
    is_key: Bool[np.ndarray, " N"]
    is_hidden: Bool[np.ndarray, " N"]
    is_torn: Bool[np.ndarray, " N"]
    """By the container: something before or in the packet is missing, which is so where recordings are joined, too."""
    is_broken: Bool[np.ndarray, " N"]
    """It cannot be a frame of its codec; where packets were inspected."""
    order: Int[np.ndarray, " N"]
    """Position among the packets of all streams."""

    @classmethod
    def of(cls, rows: "array[int]") -> "Packets":
        pts, dts, duration, size, position, *flags, order = np.array(rows, np.int64).reshape(-1, 10).T.copy()
        is_key, is_hidden, is_torn, is_broken = (flag.astype(bool) for flag in flags)
        return cls(pts, dts, duration, size, position, is_key, is_hidden, is_torn, is_broken, order)

    def __len__(self) -> int:
        return len(self.pts)

    @property
    def clock(self) -> Int[np.ndarray, " N"]:
        """Times that ascend from packet to packet, where the file gives them."""
        return np.where(self.dts == UNKNOWN, self.pts, self.dts)


@dataclass(frozen=True)
class PacketTable:
    """The packets of the picture and of the first sound, on one clock in ticks of the picture's stream."""

    picture: Packets
    sound: Packets
    time_base: Fraction
    nominal_step: int
    """From one frame to the next, by the frame rate of the header."""
    format: str
    is_listed: bool
    """Whether an index of the file names all packets, and until when each is shown."""
    num_claimed: int
    """Number of frames by the header; 0 where it does not say."""
    claimed_end: int | None
    """The end by the header; None where it does not say."""
    last_end: int
    """The latest end among the last packets of the streams."""
    lost_times: Int[np.ndarray, " K"] | None = None
    """When packets are decoded that the index of an AVI file lists and that were not met; None for other formats.

    Frames that are as the one before are left out of AVI files and are not listed.
    """

    @classmethod
    def read(
        cls,
        container: InputContainer,
        stream: VideoStream,
        on_packet: Callable[[], object],
        is_broken: Callable[[av.Packet], bool] | None = None,
    ) -> "PacketTable":
        """Demux a file that was just opened, up to its end or to where it cannot be read on.

        `on_packet` is called at each packet, and `is_broken` tells which packets of the picture cannot be frames.
        """
        sound_stream = next(iter(container.streams.audio), None)
        time_base = stream.time_base or Fraction(1, 1000)
        rows = {stream.index: array("q")}
        if sound_stream is not None:
            rows[sound_stream.index] = array("q")
        order = 0
        last_packets: dict[int, av.Packet] = {}
        try:
            for packet in container.demux():
                on_packet()
                order += 1
                size = packet.size
                if not size:
                    continue
                last_packets[packet.stream_index] = packet
                if packet.stream_index not in rows:
                    continue
                pts, dts, position = packet.pts, packet.dts, packet.pos
                rows[packet.stream_index].extend((
                    UNKNOWN if pts is None else pts,
                    UNKNOWN if dts is None else dts,
                    packet.duration or 0,
                    size,
                    -1 if position is None else position,
                    packet.is_keyframe,
                    packet.is_discard,
                    packet.is_corrupt,
                    is_broken is not None and packet.stream_index == stream.index and is_broken(packet),
                    order,
                ))  # fmt: skip
        except (FFmpegError, IndexError):  # IndexError is PyAV's, where a new stream begins half-way through the file
            pass
        picture = Packets.of(rows[stream.index])
        sound = Packets.of(array("q") if sound_stream is None else rows[sound_stream.index])
        if sound_stream is not None and sound_stream.time_base:
            sound = _in_ticks(sound, sound_stream.time_base / time_base)
        rate = stream.average_rate or stream.guessed_rate or 25
        step, form = max(1, round(1 / (rate * time_base))), container.format.name
        is_listed = "mp4" in form and 0 < stream.frames <= len(stream.index_entries)
        ends = [((packet.pts or 0) + (packet.duration or 0)) * packet.time_base for packet in last_packets.values()]
        claimed = claimed_end(container, stream)
        table = cls(
            picture,
            sound,
            time_base,
            step,
            form,
            is_listed,
            stream.frames,
            claimed,
            round(max(ends, default=0) / time_base),
        )
        if container.format.name == "avi":
            return table._by_index(stream)
        may_jump = bool(container.format.flags & Flags.ts_discont.value)
        may_start_again = may_jump or form.startswith(("flv", "matroska"))
        return table._on_one_clock(may_jump) if may_start_again else table

    def _on_one_clock(self, may_jump: bool) -> "PacketTable":
        """Let the clock run on where it starts again, wraps around or, in some formats, jumps."""
        given, second = self.picture.clock, round(1 / self.time_base)
        longest = JUMP_SEC * second if may_jump else math.inf  # other formats mean what they say
        if len(given) < 2 or (given == UNKNOWN).any():
            return self
        if self.format.startswith("matroska"):  # it has no times of decoding; FFmpeg guesses them
            given = _decoding_times(self.picture.pts, second // 2)
        clock = given.copy()
        usual = self.picture.duration.copy()
        usual[usual <= 0] = self.nominal_step
        if self.time_base == Fraction(1, 90_000):
            steps = (np.diff(clock) + WRAP // 2) % WRAP - WRAP // 2
            clock = clock[0] + np.concatenate([[0], np.cumsum(steps)])
        wrapped = clock - given
        _smooth(clock, usual)
        steps = np.diff(clock)
        for row in np.flatnonzero((steps < 0) | (steps > longest)).tolist():
            if steps[row] < 0 or not self._is_filled(row, int(given[row]), int(steps[row])):
                steps[row] = usual[row]
        on_one_clock = clock[0] + np.concatenate([[0], np.cumsum(steps)])
        # Times of showing move as far as those of decoding; sound moves with the picture that precedes it in the file.
        shift = on_one_clock - clock + wrapped
        picture = _moved(self.picture, shift)
        # Where a packet gives no time of showing, FFmpeg takes the time at which the next is decoded, across the jump.
        delay = picture.pts - on_one_clock
        lost = (picture.pts != UNKNOWN) & ((delay < 0) | (delay > longest))
        picture.pts[lost] = on_one_clock[lost] + int(np.median(delay))
        before = np.searchsorted(self.picture.order, self.sound.order).clip(1) - 1
        return replace(self, picture=replace(picture, dts=on_one_clock), sound=_moved(self.sound, shift[before]))

    def _by_index(self, stream: VideoStream) -> "PacketTable":
        """Take the times of an AVI file from its index, which knows how many frames were where damage is now.

        It has no times of showing. FFmpeg takes, for H.264, those of the next packet, which is far off where frames are
        left out: with B-frames they are one step after those of decoding, and without them the same.
        """
        times = {entry.pos + _AVI_CHUNK_HEADER: entry.timestamp for entry in stream.index_entries}
        shift, late = np.zeros(len(self.picture), np.int64), 0
        for row, (position, dts) in enumerate(zip(self.picture.position, self.picture.dts, strict=True)):
            time = times.get(int(position))
            late = late if time is None or dts == UNKNOWN else time - int(dts)
            shift[row] = late
        picture = _moved(self.picture, shift)
        if stream.codec_context.name == "h264" and len(picture):
            picture = replace(picture, pts=picture.dts)
            if stream.codec_context.has_b_frames:
                picture = replace(picture, pts=picture.dts + replace(self, picture=picture).step)
        listed = np.fromiter(times.values(), np.int64)
        return replace(self, picture=picture, lost_times=np.setdiff1d(listed, picture.dts))

    def _is_filled(self, row: int, begin: int, step: int) -> bool:
        """Whether there is sound, or bytes that no packet holds, for half of the time after a packet of the picture."""
        clock = self.sound.clock
        if self.sound.duration[(clock >= begin) & (clock < begin + step)].sum() * 2 > step:
            return True
        seconds = len(self.picture) * float(np.median(self.picture.duration) * self.time_base)
        bytes_per_sec = (self.picture.size.sum() + self.sound.size.sum()) / max(seconds, 1e-3)
        return self.lost_bytes(row) * 2 > float(bytes_per_sec) * step * float(self.time_base)

    def _sound_between(self, row: int) -> slice:
        """Packets of the sound that lie in the file after this packet of the picture and before the next."""
        return slice(*np.searchsorted(self.sound.order, self.picture.order[row : row + 2]).tolist())

    def lost_bytes(self, row: int) -> int:
        """Bytes between this packet of the picture and the next that belong to no packet of picture or sound."""
        begin, end = self.picture.position[row], self.picture.position[row + 1]
        if begin < 0 or end < 0:  # program streams give the position of the first packet in each pack
            known = np.flatnonzero(self.picture.position >= 0)
            first, last = known[known <= row], known[known > row]
            if not len(first) or not len(last):
                return 0
            begin, end = self.picture.position[first[-1]], self.picture.position[last[0]]
            held = self.picture.size[first[-1] : last[0]].sum()
        else:
            held = self.picture.size[row]
        between = (self.sound.position >= begin) & (self.sound.position < end)
        return max(0, int(end - begin - held - self.sound.size[between].sum()))

    @cached_property
    def is_timed(self) -> bool:
        """Whether every packet says when it is decoded and shown, and decoding can begin at one."""
        known = not (self.picture.pts == UNKNOWN).any() and not (self.picture.dts == UNKNOWN).any()
        return known and bool(self.picture.is_key.any())

    @cached_property
    def is_in_order(self) -> bool:
        """Whether frames are shown in the order of decoding."""
        return bool((self.picture.pts == self.picture.dts).all())

    @cached_property
    def keys(self) -> list[int]:
        """Rows of the keyframes."""
        return np.flatnonzero(self.picture.is_key).tolist()

    @cached_property
    def key_times(self) -> list[int]:
        """When the keyframes are shown; a later one that is shown no later serves for both."""
        return np.maximum.accumulate(self.picture.pts[self.keys]).tolist() if self.keys else []

    @cached_property
    def first_row(self) -> int:
        """Where decoding begins: what comes before the first keyframe is predicted from what the file does not hold."""
        return self.keys[0] if self.keys else 0

    @cached_property
    def start(self) -> int:
        """When the first frame is shown."""
        pts = self.picture.pts[self.first_row :]
        pts = pts[pts != UNKNOWN]
        if not len(pts):
            return 0
        return int(pts[0] if self.keys else pts.min())

    @cached_property
    def zero(self) -> int:
        """The time 0 of players: where picture or sound begins, whichever is first.

        Sound that ends long before the picture begins has another clock and does not count.
        """
        known = self.picture.pts[:32][self.picture.pts[:32] != UNKNOWN]
        first_picture = int(known.min()) if len(known) else 0
        heard = self.sound.pts[self.sound.pts != UNKNOWN]
        if not len(heard):
            return first_picture
        ahead = heard[: max(1, self._sound_between(0).start)]
        joined = abs(int(ahead[-1]) - first_picture) * self.time_base <= JUMP_SEC
        return min(first_picture, int(ahead[0])) if joined else first_picture

    @cached_property
    def end(self) -> PictureEnd | None:
        """The end of the last frame; where packets have no times, of as many frames as there are packets."""
        if not len(self.picture):
            return None
        shown = np.where(self.picture.is_hidden, UNKNOWN, self.picture.pts)
        last = int(shown.argmax())
        if shown[last] == UNKNOWN:
            return PictureEnd(None, len(shown) * self.step)
        usual = self.nominal_step if self.format == "avi" else self.step
        end = int(shown[last]) + (int(self.picture.duration[last]) or usual)
        return within_header(PictureEnd(int(shown[last]), end), self.format, self.claimed_end)

    @cached_property
    def step(self) -> int:
        """From one frame to the next, as a rule."""
        pts = np.unique(self.picture.pts[self.picture.pts != UNKNOWN])
        return int(np.median(np.diff(pts))) if len(pts) > 1 else self.nominal_step

    def key_before(self, tick: int) -> int:
        """The index, in `keys`, of the last keyframe that is shown at or before a time; -1 where there is none."""
        return bisect.bisect_right(self.key_times, tick) - 1

    def timed(self, packets: Iterable[av.Packet], row: int = 0) -> Iterator[av.Packet]:
        """Packets that begin with this row, with their times on the one clock; the last is empty."""
        picture, end = self.picture, len(self.picture)
        for packet in packets:
            if packet.size:
                if row == end or packet.size != picture.size[row]:
                    raise ChangedError
                packet.pts = _known(picture.pts[row])
                packet.dts = _known(picture.dts[row])
                row += 1
            yield packet


def _known(time: np.int64) -> int | None:
    return None if time == UNKNOWN else int(time)


def _in_ticks(packets: Packets, ratio: Fraction) -> Packets:
    def scaled(times: np.ndarray) -> np.ndarray:
        return np.where(times == UNKNOWN, UNKNOWN, times * ratio.numerator // ratio.denominator)

    return replace(packets, pts=scaled(packets.pts), dts=scaled(packets.dts), duration=scaled(packets.duration))


def _decoding_times(pts: Int[np.ndarray, " N"], tolerance: int) -> Int[np.ndarray, " N"]:
    """Times of decoding from those of showing, recording by recording: in order, and none after its time of showing.

    A recording ends where a time is `tolerance` before the latest one so far.
    """
    edges, latest = [0], int(pts[0])
    for row, time in enumerate(pts.tolist()):
        if time < latest - tolerance:
            edges.append(row)
            latest = time
        latest = max(latest, time)
    times = np.empty_like(pts)
    for begin, end in pairwise([*edges, len(pts)]):
        ordered = np.sort(pts[begin:end])
        times[begin:end] = ordered - (ordered - pts[begin:end]).max()
    return times


def _smooth(clock: Int[np.ndarray, " N"], usual: Int[np.ndarray, " N"]) -> None:
    """Correct, in place, single times that are out of line: FFmpeg guesses those that a damaged file does not give."""
    for row in np.flatnonzero(np.diff(clock) < 0).tolist():
        if clock[row + 1] >= clock[row]:  # corrected with one before
            continue
        # Either the last few were too late, and the time after them fits to the one before them ...
        for first in range(row, max(0, row - _MAX_GUESSED), -1):
            between = clock[row + 1] - clock[first - 1]
            if clock[first] - clock[first - 1] > 1.5 * usual[row] and 0 < between <= 2 * (row + 2 - first) * usual[row]:
                clock[first : row + 1] = np.linspace(clock[first - 1], clock[row + 1], row + 3 - first)[1:-1]
                break
        else:  # ... or the next few are too early.
            for after in range(row + 2, min(len(clock), row + 2 + _MAX_GUESSED)):
                between = clock[after] - clock[row]
                if (
                    clock[after] - clock[after - 1] > 1.5 * usual[row]
                    and 0 <= between <= 2 * (after - row) * usual[row]
                ):
                    clock[row + 1 : after] = np.linspace(clock[row], clock[after], after - row + 1)[1:-1]
                    break


def _moved(packets: Packets, shift: Int[np.ndarray, " N"]) -> Packets:
    def moved(times: np.ndarray) -> np.ndarray:
        return np.where(times == UNKNOWN, UNKNOWN, times + shift)

    return replace(packets, pts=moved(packets.pts), dts=moved(packets.dts))


class RowReader:
    """The packets of an open file from any row of its table on."""

    def __init__(self, table: PacketTable, container: InputContainer, stream: VideoStream):
        self.table = table
        self.container = container
        self.stream = stream
        self.demuxed: Iterator[av.Packet] = iter(())
        self.row = len(table.picture)
        """The row that `demuxed` gives next."""

    def packets_from(self, row: int) -> Iterator[av.Packet]:
        """Raises ChangedError where the file does not give the packets of its table."""
        if not 0 <= row - self.row <= _NEAR_ROWS:
            self._seek(row)
        for packet in self.table.timed(self.demuxed, self.row):
            self.row += bool(packet.size)
            if self.row > row or not packet.size:
                yield packet

    def _seek(self, row: int) -> None:
        """Go to a row, or to one shortly before it."""
        picture = self.table.picture
        if not self.container.format.flags & Flags.no_byte_seek.value:
            # The first packets after a jump to a byte may be torn, and program streams give few positions: where the
            # row is not met, begin earlier and earlier.
            known = np.flatnonzero(picture.position[: row + 1] >= 0)
            for back in (1, 3, 9, 27, 81):
                if back <= len(known):
                    self.container.seek(int(picture.position[known[-back]]), unsupported_byte_offset=True)
                    if self._align(row):
                        return
        else:
            self.container.seek(int(picture.dts[row]), stream=self.stream)
            if self._align(row):
                return
        raise ChangedError

    def _align(self, last: int) -> bool:
        """Read on until a packet is known by its position and size; whether that is at or before the row `last`."""
        picture = self.table.picture
        self.demuxed = self.container.demux(self.stream)
        for packet in islice(self.demuxed, _MAX_UNKNOWN):
            if not packet.size:
                return False
            if packet.pos is not None:
                rows = np.flatnonzero((picture.position == packet.pos) & (picture.size == packet.size))
                if len(rows) == 1:
                    self.row = int(rows[0])
                    self.demuxed = chain([packet], self.demuxed)
                    return self.row <= last
        return False


class TableCache:
    """Tables of the files that were read last, by whatever identifies a file and its state."""

    def __init__(self, max_rows: int = MAX_CACHED_ROWS):
        self.max_rows = max_rows
        self.tables: OrderedDict[Hashable, PacketTable] = OrderedDict()
        self.lock = threading.Lock()

    def get(self, key: Hashable, read: Callable[[], PacketTable]) -> PacketTable:
        with self.lock:
            if key in self.tables:
                self.tables.move_to_end(key)
                return self.tables[key]
        table = read()
        with self.lock:
            self.tables[key] = table
            while (
                len(self.tables) > 1
                and sum(len(t.picture) + len(t.sound) for t in self.tables.values()) > self.max_rows
            ):
                self.tables.popitem(last=False)
        return table


TABLES = TableCache()
