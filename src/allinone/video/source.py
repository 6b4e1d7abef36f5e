"""An open video file: refuse what cannot be read, and describe the rest by its header, its index or its packets.

All times inside `allinone.video` are integer ticks of the video stream's clock (`time_base` seconds each); `tick` and
`seconds` convert to and from a player's clock, which begins at `zero`.
"""

import io
import math
import os
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import av
from av.container import InputContainer
from av.error import FFmpegError

from allinone.files.shards import find_packed
from allinone.video.damage import inspector
from allinone.video.duration import (
    PictureEnd,
    clock_of,
    has_second_segment,
    indexed_end,
    last_packets_end,
    player_zero,
)
from allinone.video.errors import UnreadableError, VideoError
from allinone.video.packets import PacketTable
from allinone.video.pictures import BRANDS, File, Pictures, exif_orientation, in_pieces, open_animation, open_photo
from allinone.video.streams import alpha_decoder, open_film
from allinone.video.tables import TABLES, RowReader, read_table

MAX_PIXELS = 8192 * 8192
"""Larger frames are refused before anything is allocated for them."""

TOLERANCE_SEC = 0.0005
"""A time this little before a frame's means that frame: decimals get rounded."""

_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD")
"""First bytes of files that FFmpeg would follow to other files, and into the network."""

Opened = TypeVar("Opened", bound="VideoSource")


class VideoSource:
    """An open file: its packets and what it claims, on the clock of its video stream.

    `quickly` opens an MP4 by its header only, without decoding a frame: 0.5 to 7 ms less. The shape of its pixels may
    then be known only with the first frame. A source that is reopened is no longer quick.

    Public state, set by each `open`: `container`, `stream`, `decoder` (FFmpeg's); `pictures` (where Pillow decodes
    instead); `table` (where packets were listed because the file has no index); `start` (tick of the first frame) and
    `zero` (tick of a player's time 0); `is_seekable` (whether `seek.py` may be used); `is_rewound` (nothing was read
    since it was opened); `damage` (the last decoding error).
    """

    def __init__(
        self,
        source: str | Path | bytes,
        *,
        timeout_sec: int | float = 60,
        quickly: bool = True,
        on_progress: Callable[[], object] = lambda: None,
    ):
        self.source = source
        self.name, self.stem = ("<bytes>", "<bytes>") if isinstance(source, bytes) else (str(source), Path(source).stem)
        self.timeout_sec = timeout_sec
        self.on_progress = on_progress
        self.last_progress = time.monotonic()
        self.table: PacketTable | None = None
        self.file: File = io.BytesIO()
        self.container: InputContainer | None = None
        self.open(quickly)

    def __enter__(self: Opened) -> Opened:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.close()
        # What nobody has handled gets the name of the file.
        if isinstance(error, FFmpegError):
            raise self.error(short_cause(error)) from error

    def error(self, cause: str) -> VideoError:
        """Return an error that names the file."""
        return VideoError(f"{self.name}: {cause}")

    def no_frame_decodes(self) -> VideoError:
        """Return the error for a file without a frame; its cause is the last decoding error."""
        cause = self.damage or "the video stream has no pictures in it"
        if not self.width * self.height:
            cause += f" (its header gives no frame size, or one above {MAX_PIXELS} pixels)"
        return self.error(f"no frame decodes: {cause}")

    def check_progress(self) -> None:
        """Note that the file gave something; raise `VideoError` if it took longer than the timeout."""
        now = time.monotonic()
        if now - self.last_progress > self.timeout_sec:
            raise self.error(f"still reading after {self.timeout_sec:g} s; given up (timeout_sec)")
        self.last_progress = now
        self.on_progress()

    # Opening.

    def open(self, quickly: bool) -> None:
        """Open the file at its first packet. Raises `VideoError` if it cannot be a video or an image."""
        self.damage: str | None = None
        self.file = self._open_file()
        try:
            self.num_bytes = self.file.seek(0, io.SEEK_END)
            self.file.seek(0)
            head = self.file.read(16)
            if not head:
                raise self.error("the file is empty")
            if head.startswith(_PLAYLISTS):
                raise self.error("a playlist, no video: give the files it names")
            self.is_quick = quickly and head[4:8] == b"ftyp"  # MP4, MOV or HEIF
            self._open_stream()
            # A GIF is read in order, because its frames are painted over each other.
            is_listed = self.has_index or self.pictures or self.is_image or self.format == "gif"
            if self.table is None and not is_listed:
                self.table = self._packet_table()
                if not self.is_rewound:  # the packets were read just now
                    self._open_stream()
            if self.table is not None:
                self._use_table(self.table)
        except FFmpegError as error:
            self.close()
            self.check_progress()
            raise self.error(f"not a readable video or image: {short_cause(error)}") from error
        except UnreadableError as error:
            self.close()
            raise self.error(str(error)) from error
        except BaseException:
            self.close()
            raise

    def reopen(self) -> None:
        """Go back to the first packet with a fresh decoder, with the header checked against the packets."""
        self.close()
        self.open(quickly=False)

    def close(self) -> None:
        if self.container:
            self.container.close()
        self.file.close()

    def _open_file(self) -> File:
        self.is_on_disk = False
        if isinstance(self.source, bytes):
            return io.BytesIO(self.source)
        path = Path(self.source)
        # A file on disk comes before one of the same name in a shard.
        self.is_on_disk = path.is_file()
        packed = None if self.is_on_disk else find_packed(path)
        if not self.is_on_disk and not packed:
            raise self.error("is no file" if path.exists() else "no such file")
        try:
            return packed.open() if packed else path.open("rb")
        except OSError as error:
            raise self.error(short_cause(error)) from error

    def _open_container(self, quickly: bool) -> InputContainer:
        self.file.seek(0)
        # "file:" keeps names such as "concat:x" from being commands; nothing may reach beyond local files.
        name = f"file:{self.source}" if self.is_on_disk else self.file
        options = {"protocol_whitelist": "file", "max_pixels": str(MAX_PIXELS), "pattern_type": "none"}
        options["resync_size"] = str(1 << 30)  # MPEG-TS: read on after up to 1 GB of damage
        if quickly:
            # Too little is probed for FFmpeg to decode a frame.
            options |= {"skip_frame": "all", "probesize": "32"}
        return av.open(name, "r", options=options, metadata_errors="replace", timeout=float(self.timeout_sec))

    def _open_stream(self) -> None:
        """Choose stream and decoder, and take over what the header says."""
        if self.container:
            self.container.close()
        self.pictures: Pictures | None = open_animation(self.file)
        self.container, self.stream = open_film(self._open_container, self.is_quick)
        self.is_rewound = True
        if self.stream.codec_context is None:
            raise self.error("no decoder for its video codec")
        self.codec = self.stream.codec_context.codec.canonical_name
        self.format: str = self.container.format.name
        self.decoder = alpha_decoder(self.stream) or self.stream.codec_context
        self.decoder.thread_count = 1  # more threads only decode ahead of the few frames that are requested
        self.decoder.options = {"max_pixels": str(MAX_PIXELS)}

        is_heif = self.container.metadata.get("major_brand") in BRANDS
        if is_heif and in_pieces(self.stream, self.container.streams.video):
            self.pictures = open_photo(self.file, self.stream)
        self.durations_ms = self.pictures.durations_ms if self.pictures else None
        shape = self.pictures or self.stream
        self.width, self.height = shape.width, shape.height  # 0 if the header does not say
        if self.width * self.height > MAX_PIXELS:
            raise self.error(f"frames of {self.width} x {self.height} pixels; at most {MAX_PIXELS} pixels are read")
        is_photo = self.stream.frames <= 1 if is_heif else self._is_photo_format()
        self.is_image = is_photo and self.durations_ms is None
        self.orientation = exif_orientation(self.file, self.codec) if is_photo else None
        self._set_clock(self.container)

    def _set_clock(self, container: InputContainer) -> None:
        if self.pictures:  # timed in milliseconds by Pillow
            self.time_base, self.start, self.zero = Fraction(1, 1000), 0, Fraction(0)
        else:
            self.time_base, self.start = clock_of(self.stream), self.stream.start_time or 0
            self.zero = player_zero(container, self.stream)
        self.has_index = self._find_index()
        self.is_seekable = self.has_index and not self.pictures and self._knows_keyframes

    def _is_photo_format(self) -> bool:
        # A film of JPEGs one after another begins like a photo, and only its name differs.
        if not isinstance(self.source, bytes) and Path(self.source).suffix.lower() in (".mjpeg", ".mjpg"):
            return False
        one_gif = self.format == "gif" and self.stream.frames == 1
        return self.format.endswith("_pipe") or self.format in ("image2", "ico") or one_gif

    @property
    def is_avi(self) -> bool:
        return self.format == "avi"

    @property
    def is_matroska(self) -> bool:
        return "matroska" in self.format

    def _find_index(self) -> bool:
        """Return whether FFmpeg's index leads to every keyframe."""
        if self.is_matroska:
            is_complete = not has_second_segment(self.file, self.num_bytes)
        else:  # of a fragmented MP4 the index names only the first fragment
            is_complete = "mp4" in self.format and 0 < self.stream.frames <= len(self.stream.index_entries)
        return is_complete and self.stream.start_time is not None

    @property
    def _knows_keyframes(self) -> bool:
        """libvpx, which decodes films with transparency, does not say which frames are keyframes."""
        return self.decoder is self.stream.codec_context

    # The table of packets.

    def _packet_table(self) -> PacketTable:
        """From memory, or by reading through the file that was just opened."""
        if not self.is_on_disk:
            return self._read_table()
        state = os.fstat(self.file.fileno())
        key = (os.path.abspath(str(self.source)), state.st_size, state.st_mtime_ns, self.stream.index)
        return TABLES.get(key, self._read_table)

    def _read_table(self, inspect: bool = False) -> PacketTable:
        is_broken = inspector(self.stream) if inspect else None
        return read_table(self.demuxer(), self.stream, self.check_progress, is_broken)

    def _use_table(self, table: PacketTable) -> None:
        assert self.container
        self.is_seekable = table.is_timed and self._knows_keyframes
        if self.is_avi:
            # It has no presentation times; FFmpeg's guesses are right where frames are shown in decoding order.
            in_order = table.is_in_order and not self.decoder.has_b_frames and self.codec != "h264"
            self.is_seekable = self.is_seekable and in_order
        else:
            self.start, self.zero = table.start, Fraction(table.zero)
        self.reader = RowReader(table, self.container, self.stream)

    def whole_table(self, inspect: bool = False) -> PacketTable:
        """Read the packets of the whole file, also where it has an index; it is reopened afterwards."""
        self.reopen()
        table = self._read_table(inspect)
        self.reopen()
        return table

    # What the file claims.

    @property
    def num_frames(self) -> int | None:
        """By the header; None if it does not say."""
        if self.durations_ms is not None:
            return len(self.durations_ms)
        return 1 if self.is_image else self.stream.frames or None

    @cached_property
    def fps(self) -> float | None:
        """By the header; None if it does not say, and for an image."""
        if self.durations_ms is not None:
            return len(self.durations_ms) / (sum(self.durations_ms) / 1000) if sum(self.durations_ms) else None
        rate = None if self.is_image else self.stream.average_rate
        return float(rate) if rate else None

    @cached_property
    def duration_sec(self) -> float | None:
        """Until when the picture lasts, by its packets, on a player's clock; None for an image and if nothing says."""
        if self.is_image:
            return None
        if self.durations_ms is not None:
            return sum(self.durations_ms) / 1000 or None
        if self.end is None:
            return None
        # Of an animated AVIF the end is a tick of its stream, though its pictures are timed in milliseconds.
        return float((self.end.end - self.zero) * clock_of(self.stream))

    @cached_property
    def end(self) -> PictureEnd | None:
        """When the picture ends, by the cheapest of: the table of packets, the index, the last packets, the header."""
        if self.table:
            end = self.table.end
            if end is None or end.last is None or not self.is_avi:
                return end
            late = self.table.start - self.start  # by as much as FFmpeg's guessed presentation times
            return PictureEnd(end.last - late, end.end - late)
        assert self.container
        return indexed_end(self.container, self.stream, self.num_bytes) or self._last_packets_end()

    def _last_packets_end(self) -> PictureEnd | None:
        return last_packets_end(self.demuxer(), self.stream, self.num_bytes)

    @property
    def last_sec(self) -> float | None:
        """When the last frame begins, by its packet."""
        end = self.end
        if end and end.last is None and not self.table:
            end = self._last_packets_end()
        return self.seconds(end.last) if end and end.last is not None else None

    # Times and packets.

    def tick(self, time_sec: int | float) -> int:
        """Return the last tick at or before a player's time."""
        return math.floor(self.zero + Fraction(time_sec + TOLERANCE_SEC) / self.time_base)

    def seconds(self, tick: int) -> float:
        """Return a tick on a player's clock."""
        return float((tick - self.zero) * self.time_base)

    @property
    def zero_sec(self) -> Fraction:
        """A player's time 0 on the clock of the file, in seconds."""
        return self.zero * self.time_base

    def demuxer(self) -> InputContainer:
        """Return the container to read or seek in; afterwards it is no longer at the first packet."""
        assert self.container
        self.is_rewound = False
        return self.container

    def seek(self, tick: int) -> None:
        """Go to the keyframe at or before a decoding time, as the file's index has it."""
        self.demuxer().seek(tick, stream=self.stream)

    def packets(self) -> Iterator[av.Packet]:
        """Return the packets from here on; the last is empty and makes the decoder return the frames that it holds."""
        return self._checked(self.demuxer().demux(self.stream))

    def _checked(self, packets: Iterator[Any]) -> Iterator[av.Packet]:
        try:
            for packet in self.table.timed(packets) if self.table else packets:
                self.check_progress()
                yield packet
        except IndexError:  # PyAV, at the end of a file in which another stream begins half-way
            yield av.Packet()


def short_cause(error: OSError | FFmpegError) -> str:
    """Return the first line of an error's text."""
    return (error.strerror or str(error)).strip().splitlines()[0][:200]
