"""A video file and moments in it -> frames: exactly those that reading in order would show, without decoding the rest.

Where container and codec allow it, decoding starts at the keyframe before a wanted frame and leaves out frames that
no other frame needs. Timestamps, key flags and decoding errors are checked on the way, and at the first doubt the
file is read again from its beginning, in order. Only wanted frames are turned into pixels and kept.
"""

import bisect
import io
import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import torch
from av.container import InputContainer
from av.error import FFmpegError
from av.video.reformatter import VideoReformatter

from allinone.files.shards import find_packed
from allinone.types import Clip
from allinone.video.color import HDR, hdr_pixels, may_be_transparent, over_white
from allinone.video.damage import describe, inspector, merged, missing_frames, undecoded
from allinone.video.duration import (
    PictureEnd,
    file_size,
    indexed_end,
    last_packets_end,
    more_behind_segment,
    player_zero,
)
from allinone.video.exif import Matrix, exif_orientation
from allinone.video.packets import TABLES, ChangedError, PacketTable, RowReader
from allinone.video.pictures import BRANDS, Photo, UnreadableError, in_pieces, open_photo
from allinone.video.streams import NoFilm, alpha_decoder, open_film
from allinone.video.webp import Animation, DamagedError, File, open_animation

MAX_PIXELS = 8192 * 8192
"""Larger frames are refused before anything is allocated for them."""

TOLERANCE_SEC = 0.0005  # a time this little before a frame's own means that frame: decimals get rounded
_LONGEST_STILL_SEC = 3600  # a header that has the last frame stand for longer is not believed
_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD")  # FFmpeg would follow them, to the network as well
_WORST_PIXEL_ASPECT = 8  # pixels longer than this are a mistake in the header


class VideoError(ValueError):
    """A video that cannot be read; the message names the file and the cause."""


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """What a file says about itself; its first frame decodes.

    Width and height are as displayed: after rotation, with square pixels. The duration is the time until which the
    picture lasts, by its packets. Number of frames and rate are the header's claims, which may be missing (None) and
    need not be true. `rotation` is the one that reading applies, in degrees counter-clockwise. A file that `is_image`
    has one frame and no duration.
    """

    name: str
    width: int
    height: int
    duration_sec: float | None
    num_frames: int | None
    fps: float | None
    codec: str
    rotation: int
    is_image: bool
    stream_index: int
    """Which stream of the file is read."""


def longest_still_sec(duration_sec: float, fps: float | None) -> float:
    """A frame that stands for longer is a sign that others do not decode."""
    return max(1.0, duration_sec / 10, 2 / (fps or 25))


def probe(source: str | Path | bytes, *, timeout_sec: int | float = 60) -> VideoInfo:
    """Describe a video or an image, given as a path or as the bytes of the file; VideoError where no frame decodes."""
    with _Video(source, timeout_sec) as video:
        first = next(video.frames(), None)
        if first is None:
            raise video.no_frame_decodes()
        layout = _Layout.of(first, video, size=None)
        return VideoInfo(
            name=video.name,
            width=layout.width,
            height=layout.height,
            duration_sec=video.duration_sec,
            num_frames=1 if video.is_image else video.num_frames,
            fps=None if video.is_image else video.fps,
            codec=video.codec,
            rotation=layout.rotation,
            is_image=video.is_image,
            stream_index=video.stream.index,
        )


def read_frames(
    source: str | Path | bytes,
    *,
    times_sec: Sequence[int | float] | None = None,
    indices: Sequence[int] | None = None,
    size: int | None = None,
    video_id: str | None = None,
    timeout_sec: int | float = 60,
) -> Clip:
    """The frames shown at `times_sec`, or the frames numbered `indices` in the order of showing.

    They come in the order asked for, repeats included, as uint8 [T, 3, H, W], upright and with square pixels; `size`
    scales each, as it is decoded, to that length of its short side. Time 0 is that of players: where picture or sound
    begins, whichever is first. A time before the first frame gives the first, a time past the end the last that
    decodes; an index past the end is an error. From a decoding error on, frames are left out until the next keyframe.
    The clip's times are the frames' own; its id is the name of the file without its ending, unless one is given.
    Reading is given up where for `timeout_sec` the file gives nothing, however long it takes as a whole.
    """
    with VideoFile(source, timeout_sec=timeout_sec) as file:
        clip = file.read(times_sec=times_sec, indices=indices, size=size)
        return clip if video_id is None else replace(clip, video_id=video_id)


class VideoFile:
    """A file that is opened once, to be looked at and then read.

    What it says of itself is what `VideoInfo` says; nothing was decoded for it. `short_side`, of the frames as
    displayed, is None where the header does not give it.
    """

    def __init__(
        self,
        source: str | Path | bytes,
        *,
        timeout_sec: int | float = 60,
        on_progress: Callable[[], object] = lambda: None,
    ):
        self.video = _Video(source, timeout_sec, quickly=True, on_progress=on_progress)
        self.is_image = self.video.is_image
        self.fps = None if self.is_image else self.video.fps
        sides = _with_square_pixels(self.video, self.video.width, self.video.height)
        self.short_side = min(sides) or None

    @cached_property
    def duration_sec(self) -> float | None:
        """Until when the picture lasts, by its packets."""
        return self.video.duration_sec

    @cached_property
    def decodable_sec(self) -> float | None:
        """The duration; where the last frames do not decode, until the end of the last one that does."""
        claimed = self.duration_sec
        if not claimed:
            return claimed
        shown = self.read(times_sec=[claimed], size=16).times_sec[-1].item()
        if claimed - shown <= longest_still_sec(claimed, self.fps):
            return claimed
        last = self.video.last_sec
        is_last = last is not None and shown > last - TOLERANCE_SEC and claimed - last < _LONGEST_STILL_SEC
        return claimed if is_last else shown + 1 / (self.fps or 25)

    def missing(self) -> list[tuple[float, float]]:
        """From when to when frames are missing, in seconds.

        All packets are read, and frames decoded at the beginning, in the middle and at the end: VideoError where no
        frame decodes.
        """
        video, duration_sec = self.video, self.duration_sec or 0.0
        asked = [0.0, duration_sec / 2, duration_sec]
        shown = self.read(times_sec=asked, size=64).times_sec.tolist()
        if video.pictures or self.is_image:
            return []
        table = video.whole_table(inspect=True)
        gaps = missing_frames(table, file_size(video.file))
        for wanted_sec, shown_sec in zip(asked, shown, strict=True):
            frame = round(video.zero + Fraction(shown_sec) / video.time_base)
            gaps += [gap for gap in undecoded(table, [frame], until=video.tick(wanted_sec)) if gap[0] > frame]
        return [(video.seconds(begin), video.seconds(end)) for begin, end in merged(gaps)]

    def __enter__(self) -> "VideoFile":
        return self

    def __exit__(self, *error: Any) -> None:
        self.video.__exit__(*error)

    def read(
        self,
        *,
        times_sec: Sequence[int | float] | None = None,
        indices: Sequence[int] | None = None,
        size: int | None = None,
    ) -> Clip:
        """Frames as `read_frames` gives them."""
        keys = times_sec if indices is None else indices
        if keys is None or (times_sec is not None and indices is not None):
            raise ValueError("give times_sec or indices, and not both")
        if len(keys) == 0:
            raise ValueError("no frame asked for: the list of times or indices is empty")
        if not all(math.isfinite(key) for key in keys) or (indices is not None and min(indices) < 0):
            raise ValueError(f"times are finite numbers of seconds, indices count from 0; got {list(keys)}")
        if size is not None and size < 1:
            raise ValueError(f"size is the short side in pixels, 1 or more; got {size}")

        video = self.video
        clip = _read_sparse(video, times_sec, indices, size) or _read_in_order(video, times_sec, indices, size)
        return Clip(*clip, video.stem)


class FrameStream:
    """Every frame that decodes, in order, as (time in seconds, upright pixels [H, W, 3]); one at a time is held.

    A short side above `short_side` is scaled down to it. `duration_sec` and `fps` are as in `VideoInfo`. `damage`
    tells, when the last frame is out, what did not decode (None: nothing was seen).
    """

    def __init__(
        self,
        source: str | Path | bytes,
        *,
        short_side: int | None = None,
        timeout_sec: int | float = 60,
        on_progress: Callable[[], object] = lambda: None,
    ):
        self.short_side = short_side
        self.video = _Video(source, timeout_sec, on_progress=on_progress)
        self.duration_sec, self.fps = self.video.duration_sec, self.video.fps
        self.table = None if self.video.pictures else self.video.whole_table()
        self.ticks: list[int] = []

    def __enter__(self) -> "FrameStream":
        return self

    def __exit__(self, *error: Any) -> None:
        self.video.__exit__(*error)

    @property
    def damage(self) -> str | None:
        video = self.video
        if self.table is None:
            return video.damage
        gaps = merged(missing_frames(self.table, file_size(video.file)) + undecoded(self.table, self.ticks))
        if not gaps:
            return video.damage
        told = describe([(video.seconds(begin), video.seconds(end)) for begin, end in gaps], self.duration_sec or 0.0)
        return f"{told}: {video.damage}" if video.damage else told

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        painter: _Painter | None = None
        for tick, frame in self.video.timed_frames():
            self.ticks.append(tick)
            if painter is None:
                as_it_is = _Layout.of(frame, self.video, size=None)
                short = min(as_it_is.width, as_it_is.height)
                painter = _Painter(self.video, frame, None if self.short_side is None else min(self.short_side, short))
            pixels = np.empty((painter.layout.height, painter.layout.width, 3), np.uint8)
            painter.draw(frame, pixels.transpose(2, 0, 1))
            yield self.video.seconds(tick), pixels
        if painter is None:
            raise self.video.no_frame_decodes()


Pixels = tuple[torch.Tensor, torch.Tensor]  # frames and times_sec of a clip


def _read_sparse(
    video: "_Video", times_sec: Sequence[int | float] | None, indices: Sequence[int] | None, size: int | None
) -> Pixels | None:
    """By seeking; None (with the file open anew) where that is impossible, of no use, or in doubt."""
    if not video.seekable or (indices is not None and (video.table or set(indices) == set(range(max(indices) + 1)))):
        return None  # a seek saves nothing where all frames up to one are asked for
    try:
        ticks = [video.tick(t) for t in times_sec] if times_sec is not None else video.ticks_of(indices or ())
        pictures = _Pictures(video, ticks, size)
        for shown in video.sparse(sorted(set(ticks))):
            pictures.put(shown)
        if pictures.num_filled < len(ticks):
            raise _Doubt
        return pictures.pixels()
    except _WrongHeader:
        video.reopen()
        return _read_sparse(video, times_sec, indices, size)
    except (_Doubt, ChangedError, FFmpegError):
        video.untouched = False
        return None


def _read_in_order(
    video: "_Video", times_sec: Sequence[int | float] | None, indices: Sequence[int] | None, size: int | None
) -> Pixels:
    if video.is_quick or not video.untouched:
        video.reopen()
    keys = [video.tick(t) for t in times_sec] if times_sec is not None else list(indices or ())
    pictures = _Pictures(video, keys, size)
    if times_sec is not None:
        for shown in _last_shown(video.timed_frames(), sorted(set(keys))):
            pictures.put(shown)
    else:
        num_frames = 0
        for num_frames, (tick, frame) in enumerate(video.timed_frames(), start=1):
            if num_frames - 1 in pictures.rows:
                pictures.put(_Shown(frame, tick, [num_frames - 1]))
            if num_frames > max(keys):
                break
        if 0 < num_frames <= max(keys):
            raise video.error(f"frame {max(keys)} asked for, but {num_frames} decode (they count from 0)")
    if not pictures.started:
        raise video.no_frame_decodes()
    return pictures.pixels()


class _Doubt(Exception):
    """What seeking gave may differ from what reading in order gives."""


class _WrongHeader(Exception):
    """Frames have another size than the header of a file that was opened quickly has it."""


class _Shown(NamedTuple):
    """A decoded frame, its timestamp, and which of the wanted ticks (or indices) it answers."""

    frame: av.VideoFrame
    tick: int
    answers: list[int]


def _last_shown(timed: Iterable[tuple[int, av.VideoFrame]], ticks: list[int]) -> Iterator[_Shown]:
    """For each tick, in ascending order, the last frame at or before it (the first frame, for earlier ones)."""
    ahead = deque(ticks)
    last: tuple[int, av.VideoFrame] | None = None
    for tick, frame in timed:
        if last:
            answers = []
            while ahead and ahead[0] < tick:
                answers.append(ahead.popleft())
            if answers:
                yield _Shown(last[1], last[0], answers)
            if not ahead:
                return
        last = tick, frame
    if last:
        yield _Shown(last[1], last[0], list(ahead))


class _Video:
    """An open file: its packets and frames, in ticks of the video stream's clock.

    Opened `quickly`, it is described by the header alone where that is an MP4's, and by no decoded frame: 0.5 to 7 ms
    less. The shape of its pixels may then show with the first frame. Opened again, it is not quick any more.
    """

    def __init__(
        self,
        source: str | Path | bytes,
        timeout_sec: int | float,
        quickly: bool = False,
        on_progress: Callable[[], object] = lambda: None,
    ):
        self.on_progress = on_progress
        self.source = source
        self.name, self.stem = ("<bytes>", "<bytes>") if isinstance(source, bytes) else (str(source), Path(source).stem)
        self.timeout_sec = timeout_sec
        self.progress = time.monotonic()
        self.table: PacketTable | None = None
        self.file: File = io.BytesIO()
        self.container: InputContainer | None = None
        self.open(quickly)

    def __enter__(self) -> "_Video":
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.close()
        if isinstance(error, FFmpegError):
            raise self.error(_cause(error)) from error

    def error(self, cause: str) -> VideoError:
        return VideoError(f"{self.name}: {cause}")

    def no_frame_decodes(self) -> VideoError:
        cause = self.damage or "the video stream has no pictures in it"
        if not self.width * self.height:
            cause += f" (its header gives no frame size, or one above {MAX_PIXELS} pixels)"
        return self.error(f"no frame decodes: {cause}")

    def close(self) -> None:
        if self.container:
            self.container.close()
        self.file.close()

    def reopen(self) -> None:
        self.close()
        self.open(quickly=False)

    def open(self, quickly: bool) -> None:
        self.damage: str | None = None
        self.untouched = True  # at the first packet, with a fresh decoder
        self.sent: deque[int] = deque(maxlen=1000)  # times of decoding of the packets that have given no frame yet
        if isinstance(self.source, bytes):
            self.file = io.BytesIO(self.source)
            self.is_open_file = True
        else:
            path = Path(self.source)
            on_disk = path.is_file()
            packed = None if on_disk else find_packed(path)
            if not on_disk and not packed:
                raise self.error("is no file" if path.exists() else "no such file")
            self.is_open_file = packed is not None
            try:
                self.file = packed.open() if packed else path.open("rb")
            except OSError as error:
                raise self.error(_cause(error)) from error
        try:
            head = self.file.read(16)
            if not head:
                raise self.error("the file is empty")
            if head.startswith(_PLAYLISTS):
                raise self.error("a playlist, no video: give the files it names")
            self.is_quick = quickly and head[4:8] == b"ftyp"
            self._open_stream()
            if self.wants_table and self.table is None:
                self.table = self._packet_table()
                if self.untouched:
                    self._use_table(self.table)
                elif self.container:
                    self.container.close()
                    self._open_stream()
                    self.untouched = True
        except FFmpegError as error:
            self.close()
            self.check_time()
            raise self.error(f"not a readable video or image: {_cause(error)}") from error
        except BaseException:
            self.close()
            raise

    def _open_container(self, quickly: bool) -> InputContainer:
        self.file.seek(0)
        # "file:" keeps names such as "concat:x" from meaning something; nothing may reach beyond local files.
        name = self.file if self.is_open_file else f"file:{self.source}"
        options = {"protocol_whitelist": "file", "max_pixels": str(MAX_PIXELS), "pattern_type": "none"}
        options["resync_size"] = str(1 << 30)  # MPEG-TS: bytes of damage after which reading goes on
        if quickly:
            options |= {"skip_frame": "all", "probesize": "32"}
        return av.open(name, "r", options=options, metadata_errors="replace", timeout=float(self.timeout_sec))

    def _open_stream(self) -> None:
        self.pictures: Animation | Photo | None = open_animation(self.file)
        try:
            self.container, self.stream = open_film(self._open_container, self.is_quick)
        except NoFilm as error:
            raise self.error(str(error)) from error
        container, stream = self.container, self.stream
        if stream.codec_context is None:
            raise self.error("no decoder for its video codec")
        self.codec = stream.codec_context.codec.canonical_name
        self.decoder = alpha_decoder(stream) or stream.codec_context
        self.decoder.thread_count = 1
        self.decoder.options = {"max_pixels": str(MAX_PIXELS)}
        is_heif = container.metadata.get("major_brand") in BRANDS
        if is_heif and in_pieces(stream, container.streams.video):
            try:
                self.pictures = open_photo(self.file, stream)
            except UnreadableError as error:
                raise self.error(str(error)) from error
        self.width, self.height = stream.width, stream.height
        self.time_base = stream.time_base or Fraction(1, 1000)
        self.start = stream.start_time or 0
        if self.pictures:
            self.width, self.height = self.pictures.width, self.pictures.height
            self.time_base, self.start = Fraction(1, 1000), 0
        if self.width * self.height > MAX_PIXELS:
            raise self.error(f"frames of {self.width} x {self.height} pixels; at most {MAX_PIXELS} pixels are read")
        form = container.format.name
        photo = form.endswith("_pipe") or form in ("image2", "ico") or (form == "gif" and stream.frames == 1)
        # A film of JPEGs one after another begins like a photo.
        photo = photo and (
            isinstance(self.source, bytes) or Path(self.source).suffix.lower() not in (".mjpeg", ".mjpg")
        )
        photo = photo or (is_heif and stream.frames <= 1)
        self.is_image = photo and not isinstance(self.pictures, Animation)
        self.orientation = exif_orientation(self.file, self.codec) if photo else None
        self.is_avi = form == "avi"
        self.matroska = "matroska" in form
        complete = "mp4" in form and 0 < stream.frames <= len(stream.index_entries)
        has_index = complete or (self.matroska and not more_behind_segment(self.file))
        has_index = has_index and stream.start_time is not None
        # A GIF is read in order: its frames are painted over one another.
        self.wants_table = not (has_index or self.pictures or self.is_image or form == "gif")
        self.seekable = has_index and not self.pictures
        self.zero = Fraction(0) if self.pictures else player_zero(container, stream)
        if self.table:
            self._use_table(self.table)
        if self.decoder is not stream.codec_context:  # libvpx does not tell keyframes
            self.seekable = False

    def _use_table(self, table: PacketTable) -> None:
        assert self.container
        self.seekable = table.is_timed
        if self.is_avi:
            # It has no times of showing; those guessed for it are right where frames are shown as they are decoded.
            in_order = table.is_in_order and not self.decoder.has_b_frames and self.codec != "h264"
            self.seekable = self.seekable and in_order
        else:
            self.start, self.zero = table.start, Fraction(table.zero)
        self.reader = RowReader(table, self.container, self.stream)

    def _packet_table(self) -> PacketTable:
        """From memory, or by reading through the file that was just opened."""

        def read() -> PacketTable:
            assert self.container
            self.untouched = False
            return PacketTable.read(self.container, self.stream, self.check_time)

        if isinstance(self.source, bytes) or self.is_open_file:
            return read()
        state = os.fstat(self.file.fileno())
        return TABLES.get((os.path.abspath(self.source), state.st_size, state.st_mtime_ns, self.stream.index), read)

    def whole_table(self, inspect: bool = False) -> PacketTable:
        """The packets of the whole file, whether or not it has an index; it is open anew afterwards."""
        self.reopen()
        assert self.container
        is_broken = inspector(self.stream) if inspect else None
        table = PacketTable.read(self.container, self.stream, self.check_time, is_broken)
        self.reopen()
        return table

    @property
    def num_frames(self) -> int | None:
        if isinstance(self.pictures, Animation):
            return len(self.pictures.durations_ms())
        return self.stream.frames or None

    @property
    def fps(self) -> float | None:
        if isinstance(self.pictures, Animation):
            durations = self.pictures.durations_ms()
            return len(durations) / (sum(durations) / 1000) if sum(durations) else None
        return float(self.stream.average_rate) if self.stream.average_rate else None

    @property
    def duration_sec(self) -> float | None:
        """Until when the picture lasts, on the clock of players; None for an image."""
        if self.is_image:
            return None
        if isinstance(self.pictures, Animation):
            return sum(self.pictures.durations_ms()) / 1000 or None
        if self.end is None:
            return None
        return float((self.end.end - self.zero) * (self.stream.time_base or self.time_base))

    @cached_property
    def end(self) -> PictureEnd | None:
        if self.table:
            end = self.table.end
            if not (self.is_avi and end and end.last is not None):
                return end
            ahead = self.table.start - self.start  # guessed times of showing are late by as much
            return PictureEnd(end.last - ahead, end.end - ahead)
        assert self.container
        end = indexed_end(self.container, self.stream, self.file)
        if end is None:
            self.untouched = False
            end = last_packets_end(self.container, self.stream, self.file)
        return end

    @property
    def last_sec(self) -> float | None:
        """When the last frame begins, by its packet."""
        end = self.end
        if end and end.last is None and self.container and not self.table:
            self.untouched = False
            end = last_packets_end(self.container, self.stream, self.file)
        return self.seconds(end.last) if end and end.last is not None else None

    def tick(self, time_sec: int | float) -> int:
        return math.floor(self.zero + Fraction(time_sec + TOLERANCE_SEC) / self.time_base)

    def seconds(self, tick: int) -> float:
        return float((tick - self.zero) * self.time_base)

    def packets(self) -> Iterator[av.Packet]:
        """Packets from here on; the last is empty and makes the decoder give what it holds."""
        assert self.container
        try:
            packets = self.container.demux(self.stream)
            for packet in self.table.timed(packets) if self.table else packets:
                self.check_time()
                yield packet
        except IndexError:  # PyAV, at the end of a file in which a new stream began half-way
            yield av.Packet()

    def check_time(self) -> None:
        """Note progress; VideoError where there was none for too long."""
        now = time.monotonic()
        if now - self.progress > self.timeout_sec:
            raise self.error(f"still reading after {self.timeout_sec:g} s; given up (timeout_sec)")
        self.progress = now
        self.on_progress()

    def frames(self) -> Iterator[av.VideoFrame]:
        """Every frame that decodes, in order, from the first keyframe on.

        What comes before it is predicted from frames that the file does not hold. After an error it goes on from the
        next keyframe. Where no packet is marked as a keyframe, all are decoded.
        """
        if self.pictures:
            self.untouched = False
            yield from self._picture_frames(self.pictures)
            return
        yield from self._frames(from_keyframe=True)
        if not self.has_keyframe:
            self.reopen()
            yield from self._frames(from_keyframe=False)

    def _frames(self, from_keyframe: bool) -> Iterator[av.VideoFrame]:
        self.untouched = False
        self.has_keyframe = not from_keyframe
        first_shown: int | None = None  # frames that precede the first keyframe are decoded after it, and damaged
        lost = from_keyframe
        packets = self.packets()
        while True:
            try:
                packet = next(packets, None)
            except FFmpegError as error:  # the container ends in damage: what the decoder holds is still good
                self.damage = _cause(error)
                packet = av.Packet()
                packets = iter(())
            except ChangedError as error:
                raise self.error("it changed while it was read") from error
            if packet is None:
                return
            if packet.size and packet.is_keyframe and not self.has_keyframe:
                self.has_keyframe, first_shown = True, packet.pts
            if lost and packet.size and not packet.is_keyframe:
                continue
            if packet.size and packet.dts is not None:
                self.sent.append(packet.dts)
            try:
                for frame in self.decoder.decode(packet if packet.size else None):
                    if first_shown is None or frame.pts is None or frame.pts >= first_shown or self.is_avi:
                        yield frame
                lost = False
            except FFmpegError as error:
                self.damage = _cause(error)
                self.decoder.flush_buffers()
                self.sent.clear()
                lost = True

    def _picture_frames(self, pictures: Animation | Photo) -> Iterator[av.VideoFrame]:
        frames = pictures.frames()
        while True:
            self.check_time()
            try:
                yield next(frames)
            except StopIteration:
                return
            except DamagedError as error:
                self.damage = str(error)
                return

    def timed_frames(self) -> Iterator[tuple[int, av.VideoFrame]]:
        """Every frame with its timestamp; these ascend.

        A missing one follows at the frame rate, and a jump back counts as standing still. AVI knows no times of
        showing, and those guessed for it jump to and fro: the n-th frame shown takes the n-th time of decoding.
        """
        rate = self.stream.average_rate or self.stream.guessed_rate or 25
        step = max(1, round(1 / (rate * self.time_base)))
        tick: int | None = None
        delay: int | None = None
        for frame in self.frames():
            pts = frame.pts
            if self.is_avi and self.sent and pts is not None:
                decoded = self.sent.popleft()
                delay = pts - decoded if delay is None else delay
                pts = decoded + delay
            if pts is None:
                tick = self.start if tick is None else tick + step
            else:
                tick = pts if tick is None else max(tick, pts)
            yield tick, frame

    def ticks_of(self, indices: Sequence[int]) -> list[int]:
        """Timestamps of frames by number, from a pass over the packets that decodes nothing."""
        ticks: list[int] = []
        self.untouched = False
        for packet in self.packets():
            if packet.size and not packet.is_discard:
                if packet.pts is None or packet.is_corrupt:
                    raise _Doubt
                ticks.append(packet.pts)
        ticks.sort()
        if max(indices) >= len(ticks) or any(a == b for a, b in pairwise(ticks)):
            raise _Doubt
        return [ticks[i] for i in indices]

    def sparse(self, ticks: list[int]) -> Iterator[_Shown]:
        """The frames shown at ascending ticks, decoding from the keyframe before each."""
        assert self.container
        if self.matroska:  # reads the index, which lies at the end of the file
            self._seek(ticks[-1])
        asked: dict[int, list[int]] = {}
        for tick in ticks:  # those before the start share its frame
            asked.setdefault(max(tick, self.start), []).append(tick)
        todo = deque(asked)
        while todo:
            packets, group = self._enter(todo)
            read = self._read_references if self.codec in ("h264", "vp9") else self._read_all
            for shown in read(packets, group):
                if shown.frame.is_corrupt:
                    raise _Doubt
                yield shown._replace(answers=[tick for start in shown.answers for tick in asked[start]])

    def _seek(self, tick: int) -> None:
        assert self.container
        self.container.seek(tick, stream=self.stream)
        self.untouched = False

    def _enter(self, todo: deque[int]) -> tuple[Iterator[av.Packet], list[int]]:
        """Take from `todo` the ticks that one keyframe serves; packets from that keyframe on.

        The index has times of decoding, and a keyframe is decoded before it is shown: where the keyframe found is
        shown after the tick, the one before it is right. (For MP4, FFmpeg's seeking knows that by itself.)
        """
        if self.table:
            return self._enter_by_table(self.table, todo)
        entries = self.stream.index_entries
        tick = todo.popleft()
        key = found = entries.search_timestamp(tick)
        target = tick
        while True:
            if not (self.untouched and key == 0):
                self._seek(target)
            self.untouched = False
            packets = self.packets()
            first = next(packets, None)
            if first is None or not first.is_keyframe or first.pts is None:
                raise _Doubt
            if first.pts <= tick:
                break
            if key <= 0:
                raise _Doubt
            key = entries.search_timestamp(entries[key].timestamp - 1)
            target = entries[key].timestamp if key >= 0 else self.start
        group = [tick]
        stepped_back = found >= 0 and first.dts is not None and first.dts < entries[found].timestamp
        while todo and not stepped_back and entries.search_timestamp(todo[0]) == found:
            group.append(todo.popleft())
        return chain([first], packets), group

    def _enter_by_table(self, table: PacketTable, todo: deque[int]) -> tuple[Iterator[av.Packet], list[int]]:
        key = table.key_before(todo[0])
        if key < 0:
            raise _Doubt
        group = [todo.popleft()]
        while todo and table.key_before(todo[0]) == key:
            group.append(todo.popleft())
        self.untouched = False
        self.decoder.flush_buffers()
        return self.reader.packets_from(table.keys[key]), group

    def _read_references(self, packets: Iterator[av.Packet], ticks: list[int]) -> Iterator[_Shown]:
        """Decode wanted frames and those that others are predicted from: safe for H.264 and VP9."""
        wanted: dict[int, list[int]] = {}
        key: int | None = None
        key_shown = False
        decoder = self.decoder
        try:
            for packet in chain(_marked(packets, ticks), [None]):
                if packet:
                    packet, answers = packet
                    key = packet.pts if key is None else key
                    if answers:
                        assert packet.pts is not None
                        wanted[packet.pts] = answers
                    decoder.skip_frame = "DEFAULT" if answers else "NONREF"
                for frame in decoder.decode(packet):
                    if frame.pts == key:
                        key_shown = frame.key_frame
                    if frame.pts in wanted:
                        yield _Shown(frame, frame.pts, wanted.pop(frame.pts))
        finally:
            decoder.skip_frame = "DEFAULT"
        if wanted or not key_shown:
            raise _Doubt

    def _read_all(self, packets: Iterator[av.Packet], ticks: list[int]) -> Iterator[_Shown]:
        """Decode every frame from the keyframe on."""

        def timed() -> Iterator[tuple[int, av.VideoFrame]]:
            key: int | None = None
            last: int | None = None
            for packet in packets:
                key = packet.pts if key is None else key
                for frame in self.decoder.decode(packet if packet.size else None):
                    if frame.pts is None or key is None or (last is None and frame.pts == key and not frame.key_frame):
                        raise _Doubt
                    if frame.pts < key:  # shown before the keyframe, predicted from what was not decoded
                        continue
                    if frame.pts <= (key - 1 if last is None else last) or (last is None and frame.pts != key):
                        raise _Doubt
                    last = frame.pts
                    yield last, frame

        yield from _last_shown(timed(), ticks)


def _marked(packets: Iterable[av.Packet], ticks: list[int]) -> Iterator[tuple[av.Packet, list[int]]]:
    """Packets in the order of decoding, each with the ticks that its frame answers; ends when all are answered.

    The frame wanted at a tick is the last one shown at or before it. No packet is shown before it is decoded, so
    once a packet is decoded after the tick, the answer is among those seen.
    """
    open_ticks = list(ticks)
    waiting: deque[av.Packet] = deque()
    shown: list[int] = []
    now = -math.inf

    def answers(tick: int) -> list[int] | None:
        """The open ticks that the frame shown at `tick` answers; None while a frame to come may answer them."""
        after = bisect.bisect_right(shown, tick)
        begin = bisect.bisect_left(open_ticks, tick)
        end = bisect.bisect_left(open_ticks, shown[after]) if after < len(shown) else len(open_ticks)
        if begin < end and now <= open_ticks[end - 1]:
            return None
        found = open_ticks[begin:end]
        del open_ticks[begin:end]
        return found

    for packet in packets:
        if packet.size:
            decoded = now if packet.dts is None else packet.dts  # Matroska has no such times: the first are unknown
            if packet.pts is None or packet.pts < decoded or decoded < now:
                raise _Doubt
            now = decoded
            if not packet.is_discard:
                place = bisect.bisect_left(shown, packet.pts)
                if shown[place : place + 1] == [packet.pts]:
                    raise _Doubt
                shown.insert(place, packet.pts)
            waiting.append(packet)
        else:
            now = math.inf
        while waiting and open_ticks:
            head = waiting[0]
            found = [] if head.is_discard or head.pts is None else answers(head.pts)
            if found is None:
                break
            yield waiting.popleft(), found
        if not open_ticks:
            return


def _with_square_pixels(video: _Video, width: int, height: int) -> tuple[int, int]:
    known = None if video.pictures else video.stream.sample_aspect_ratio or video.decoder.sample_aspect_ratio
    aspect = known or Fraction(1)
    if 1 < aspect <= _WORST_PIXEL_ASPECT:
        return round(width * aspect), height
    if Fraction(1, _WORST_PIXEL_ASPECT) <= aspect < 1:
        return width, round(height / aspect)
    return width, height


@dataclass(frozen=True)
class _Layout:
    """How decoded pixels become upright ones: scaled to `scaled_*`, perhaps transposed, perhaps mirrored."""

    scaled_width: int
    scaled_height: int
    transpose: bool
    mirror_x: bool
    mirror_y: bool

    @property
    def rotation(self) -> int:
        """Degrees counter-clockwise."""
        if self.transpose:
            return 90 if self.mirror_y else -90
        return 180 if self.mirror_x and self.mirror_y else 0

    @property
    def width(self) -> int:
        return self.scaled_height if self.transpose else self.scaled_width

    @property
    def height(self) -> int:
        return self.scaled_width if self.transpose else self.scaled_height

    @classmethod
    def of(cls, frame: av.VideoFrame, video: _Video, size: int | None) -> "_Layout":
        width, height = _with_square_pixels(video, video.width or frame.width, video.height or frame.height)
        if size is not None:
            short = min(width, height)
            width, height = round(width * size / short), round(height * size / short)
        if width * height > MAX_PIXELS:
            asked = "" if size is None else f" at size {size}"
            raise video.error(f"frames of {width} x {height} pixels{asked}; at most {MAX_PIXELS} pixels are read")
        a, b, c, d = video.orientation or _display_matrix(frame)
        transpose = abs(b) > abs(a) and abs(c) > abs(d)
        if not transpose and not (abs(a) > abs(b) and abs(d) > abs(c)):  # broken, or 45 degrees: no rotation
            a, b, c, d = 1, 0, 0, 1
        return cls(width, height, transpose, a + c < 0, b + d < 0)


class _Painter:
    """Turns decoded frames into upright pixels, all of the size that the first one has."""

    def __init__(self, video: _Video, first: av.VideoFrame, size: int | None):
        self.video = video
        self.layout = _Layout.of(first, video, size)
        self.reformatter = VideoReformatter()

    def draw(self, frame: av.VideoFrame, onto: np.ndarray) -> None:
        layout = self.layout
        if frame.width * frame.height > MAX_PIXELS:
            raise self.video.error(f"a frame of {frame.width} x {frame.height}; at most {MAX_PIXELS} pixels are read")
        width, height = layout.scaled_width, layout.scaled_height
        if may_be_transparent(frame.format.name):  # before scaling, which would mix hidden colors with seen ones
            frame = over_white(frame)
        if frame.color_trc in HDR:
            pixels = hdr_pixels(frame, width, height, self.reformatter)
        else:
            # rgb24, since swscale leaves columns of planar RGB (gbrp) unwritten where the width is no multiple of 16.
            plane = self.reformatter.reformat(frame, width, height, "rgb24", threads=1).planes[0]
            pixels = np.asarray(memoryview(plane)).reshape(height, plane.line_size)[:, : 3 * width]
            pixels = pixels.reshape(height, width, 3)
        pixels = pixels.transpose(2, 0, 1)
        pixels = pixels.swapaxes(1, 2) if layout.transpose else pixels
        onto[:] = pixels[:, :: -1 if layout.mirror_y else 1, :: -1 if layout.mirror_x else 1]


class _Pictures:
    """The clip in the making: each frame goes, as it is decoded, to the rows that asked for it."""

    def __init__(self, video: _Video, keys: Sequence[int], size: int | None):
        self.video = video
        self.size = size
        self.rows: dict[int, list[int]] = {}
        for row, key in enumerate(keys):
            self.rows.setdefault(key, []).append(row)
        self.num_frames = len(keys)
        self.started = False
        self.num_filled = 0

    def put(self, shown: _Shown) -> None:
        if not self.started:
            if self.video.is_quick and (shown.frame.width, shown.frame.height) != (self.video.width, self.video.height):
                raise _WrongHeader
            self.started = True
            self.painter = _Painter(self.video, shown.frame, self.size)
            shape = (self.num_frames, self.painter.layout.height, self.painter.layout.width, 3)
            self.frames = np.empty(shape, np.uint8).transpose(0, 3, 1, 2)  # as swscale and torch's resizing have them
            self.times_sec = np.empty(self.num_frames)
        first, *others = [row for key in shown.answers for row in self.rows[key]]
        self.painter.draw(shown.frame, self.frames[first])
        for row in others:
            self.frames[row] = self.frames[first]
        self.times_sec[[first, *others]] = self.video.seconds(shown.tick)
        self.num_filled += 1 + len(others)

    def pixels(self) -> Pixels:
        assert self.num_filled == self.num_frames
        return torch.from_numpy(self.frames), torch.from_numpy(self.times_sec)


def _display_matrix(frame: av.VideoFrame) -> Matrix:
    try:
        data = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV knows not every kind of side data; the rotation it always knows
        data = None
    if data is not None:
        a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
        return a, b, c, d
    turn = math.radians(frame.rotation if abs(frame.rotation) <= 360 else 0)  # FFmpeg's answer to a broken matrix
    return math.cos(turn), -math.sin(turn), math.sin(turn), math.cos(turn)


def _cause(error: OSError | FFmpegError) -> str:
    return (error.strerror or str(error)).strip().splitlines()[0][:200]
