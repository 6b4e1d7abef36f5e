"""Reading a file's table of packets, keeping it in memory, and reading packets from any row of it on."""

import threading
from array import array
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import chain, islice

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.format import Flags
from av.video.stream import VideoStream

from allinone.video.clock import on_one_clock
from allinone.video.duration import claimed_end, clock_of, nominal_step
from allinone.video.errors import ChangedError
from allinone.video.packets import UNKNOWN, Packets, PacketTable

MAX_CACHED_ROWS = 4_000_000
"""Rows of all tables in memory: 37 hours at 30 frames a second, 70 bytes each."""

_NEAR_ROWS = 50
"""Reading over this many packets takes less time than a seek."""

_MAX_UNKNOWN = 500
"""Give up a seek if none of this many packets after it is in the table."""

_BACK_ROWS = (1, 3, 9, 27, 81)
"""Where to seek to, in packets before the wanted one: the first packets after a jump to a byte may be torn, and program
streams give few positions, so it may take several."""


def read_table(
    container: InputContainer,
    stream: VideoStream,
    on_packet: Callable[[], object],
    is_broken: Callable[[av.Packet], bool] | None = None,
) -> PacketTable:
    """List the packets of a file that was just opened, up to its end or to where it cannot be read on.

    `on_packet` is called at each packet; `is_broken` says which packets of the picture cannot be frames.
    """
    sound_stream = next(iter(container.streams.audio), None)
    picture_rows, sound_rows = array("q"), array("q")
    rows_of = {stream.index: picture_rows} | ({sound_stream.index: sound_rows} if sound_stream is not None else {})
    last_packets: dict[int, av.Packet] = {}
    with suppress(FFmpegError, IndexError):  # IndexError is PyAV's, where a new stream begins half-way
        for order, packet in enumerate(container.demux(), start=1):
            on_packet()
            if not packet.size:
                continue
            last_packets[packet.stream_index] = packet
            rows = rows_of.get(packet.stream_index)
            if rows is not None:
                rows.extend(_row_of(packet, order, is_broken if rows is picture_rows else None))
    picture, sound = _packets(picture_rows), _packets(sound_rows)
    clock = clock_of(stream)
    if sound_stream is not None and sound_stream.time_base:
        ratio = sound_stream.time_base / clock

        def in_ticks(times: np.ndarray) -> np.ndarray:
            return times * ratio.numerator // ratio.denominator

        sound = replace(sound.with_times(in_ticks), duration=in_ticks(sound.duration))
    ends = [((packet.pts or 0) + (packet.duration or 0)) * packet.time_base for packet in last_packets.values()]
    table = PacketTable(
        picture,
        sound,
        clock,
        nominal_step(stream),
        container.format.name,
        is_listed="mp4" in container.format.name and 0 < stream.frames <= len(stream.index_entries),
        num_claimed=stream.frames,
        claimed_end=claimed_end(container, stream),
        last_end=round(max(ends, default=0) / clock),
    )
    return on_one_clock(table, container, stream)


def _row_of(packet: av.Packet, order: int, is_broken: Callable[[av.Packet], bool] | None) -> tuple[int, ...]:
    """Return the fields of `Packets`, in their order."""
    pts, dts, position = packet.pts, packet.dts, packet.pos
    return (
        UNKNOWN if pts is None else pts,
        UNKNOWN if dts is None else dts,
        packet.duration or 0,
        packet.size,
        -1 if position is None else position,
        packet.is_keyframe,
        packet.is_discard,
        packet.is_corrupt,
        is_broken is not None and is_broken(packet),
        order,
    )


def _packets(rows: "array[int]") -> Packets:
    # Ten columns as in `_row_of`, copied so that each is contiguous.
    pts, dts, duration, size, position, *flags, order = np.array(rows, np.int64).reshape(-1, 10).T.copy()
    is_keyframe, is_hidden, is_torn, is_broken = (flag.astype(bool) for flag in flags)
    return Packets(pts, dts, duration, size, position, is_keyframe, is_hidden, is_torn, is_broken, order)


class RowReader:
    """Reads the packets of an open file from any row of its table on.

    Packets are known by position and size, so a seek that went elsewhere is noticed.
    """

    def __init__(self, table: PacketTable, container: InputContainer, stream: VideoStream):
        self.table = table
        self.container = container
        self.stream = stream
        self.demuxed: Iterator[av.Packet] = iter(())
        # Nothing was read yet, so the first read seeks.
        self.row = len(table.picture)
        """The row that `demuxed` gives next."""

    def packets_from(self, row: int) -> Iterator[av.Packet]:
        """Return the packets from a row on. Raises `ChangedError` if the file does not give those of its table."""
        if not 0 <= row - self.row <= _NEAR_ROWS:
            self._seek(row)
        for packet in self.table.timed(self.demuxed, self.row):
            self.row += bool(packet.size)  # the empty packet at the end has no row
            if self.row > row or not packet.size:
                yield packet

    def _seek(self, row: int) -> None:
        """Go to a row, or to one shortly before it."""
        picture = self.table.picture
        if self.container.format.flags & Flags.no_byte_seek.value:  # fragmented MP4: FFmpeg seeks by its fragments
            self.container.seek(int(picture.dts[row]), stream=self.stream)
            if self._align(row):
                return
        else:
            known = np.flatnonzero(picture.position[: row + 1] >= 0)
            for back in _BACK_ROWS:
                if back <= len(known):
                    self.container.seek(int(picture.position[known[-back]]), unsupported_byte_offset=True)
                    if self._align(row):
                        return
        raise ChangedError

    def _align(self, last: int) -> bool:
        """Read on until a packet is in the table; return whether it is at or before the row `last`."""
        picture = self.table.picture
        self.demuxed = self.container.demux(self.stream)
        # Sizes repeat, and program streams give many packets no position: only a packet with both is known for sure.
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
    """Tables of the files that were read last; the key identifies a file and its state. A film is read in windows."""

    def __init__(self, max_rows: int = MAX_CACHED_ROWS):
        self.max_rows = max_rows
        self.tables: OrderedDict[Hashable, PacketTable] = OrderedDict()
        self.lock = threading.Lock()

    def get(self, key: Hashable, read: Callable[[], PacketTable]) -> PacketTable:
        """Return the table of a key; if it is not in memory, `read` it, and drop the least recently used ones."""
        with self.lock:
            if key in self.tables:
                self.tables.move_to_end(key)
                return self.tables[key]
        table = read()  # without the lock: it may take seconds
        with self.lock:
            self.tables[key] = table
            while len(self.tables) > 1 and self._num_rows() > self.max_rows:
                self.tables.popitem(last=False)
        return table

    def _num_rows(self) -> int:
        return sum(len(table.picture) + len(table.sound) for table in self.tables.values())


TABLES = TableCache()
