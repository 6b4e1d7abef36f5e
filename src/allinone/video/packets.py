"""The packets of a video file, listed without decoding: what a file without an index is searched by.

MPEG transport and program streams, Flash, fragmented MP4 and others hold packets and no list of them. `tables` reads
such a file once and keeps its list; `clock` makes its times run on; `damage` finds missing frames in it.
"""

import bisect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property

import av
import numpy as np
from jaxtyping import Bool, Int

from allinone.video.duration import PictureEnd, within_header
from allinone.video.errors import ChangedError

UNKNOWN = np.iinfo(np.int64).min

JUMP_SEC = 10
"""A clock that goes on by more than this between neighboring packets has jumped, unless sound or bytes fill the time
between (the `ffmpeg` program does the same: `-dts_delta_threshold`)."""


@dataclass(frozen=True)
class Packets:
    """Packets of one stream, in the order of the file. Times are in ticks; UNKNOWN where the file gives none."""

    pts: Int[np.ndarray, " N"]
    dts: Int[np.ndarray, " N"]
    duration: Int[np.ndarray, " N"]
    size: Int[np.ndarray, " N"]
    position: Int[np.ndarray, " N"]
    """In bytes from the beginning of the file; -1 if unknown."""
    is_keyframe: Bool[np.ndarray, " N"]
    is_hidden: Bool[np.ndarray, " N"]
    is_torn: Bool[np.ndarray, " N"]
    """The container says that something before or in the packet is missing; also where recordings are joined."""
    is_broken: Bool[np.ndarray, " N"]
    """It cannot be a frame of its codec; only if packets were inspected."""
    order: Int[np.ndarray, " N"]
    """Position among the packets of all streams."""

    def __len__(self) -> int:
        return len(self.pts)

    @property
    def clock(self) -> Int[np.ndarray, " N"]:
        """Times that ascend from packet to packet, where the file gives them."""
        return np.where(self.dts == UNKNOWN, self.pts, self.dts)

    def with_times(self, change: Callable[[np.ndarray], np.ndarray]) -> "Packets":
        """Return the packets with other times; unknown ones remain unknown."""
        pts, dts = (np.where(times == UNKNOWN, UNKNOWN, change(times)) for times in (self.pts, self.dts))
        return replace(self, pts=pts, dts=dts)

    def moved(self, shift: Int[np.ndarray, " N"]) -> "Packets":
        """Return the packets with each time later by its shift; unknown ones remain unknown."""
        return self.with_times(lambda times: times + shift)


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
    """Number of frames by the header; 0 if it does not say."""
    claimed_end: int | None
    """The end by the header; None if it does not say."""
    last_end: int
    """The latest end among the last packets of the streams."""
    lost_times: Int[np.ndarray, " K"] | None = None
    """When packets are decoded that the index of an AVI file lists and that were not met; None for other formats.

    Frames that equal the one before are left out of AVI files and are not listed.
    """

    def is_filled(self, row: int, begin: int, step: int) -> bool:
        """Return whether sound, or bytes that no packet holds, fill half of the time after a packet of the picture."""
        clock = self.sound.clock
        if self.sound.duration[(clock >= begin) & (clock < begin + step)].sum() * 2 > step:
            return True
        # Without sound: bytes, compared with the average rate of the file.
        seconds = len(self.picture) * float(np.median(self.picture.duration) * self.time_base)
        bytes_per_sec = (self.picture.size.sum() + self.sound.size.sum()) / max(seconds, 1e-3)
        return self.lost_bytes(row) * 2 > float(bytes_per_sec) * step * float(self.time_base)

    def lost_bytes(self, row: int) -> int:
        """Return how many bytes between a packet of the picture and the next belong to no packet."""
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
        return known and bool(self.picture.is_keyframe.any())

    @cached_property
    def is_in_order(self) -> bool:
        """Whether frames are shown in decoding order."""
        return bool((self.picture.pts == self.picture.dts).all())

    @cached_property
    def keyframes(self) -> list[int]:
        """Rows of the keyframes."""
        return np.flatnonzero(self.picture.is_keyframe).tolist()

    @cached_property
    def keyframe_times(self) -> list[int]:
        """When the keyframes are shown; a later one that is shown no later serves for both."""
        return np.maximum.accumulate(self.picture.pts[self.keyframes]).tolist() if self.keyframes else []

    def keyframe_before(self, tick: int) -> int:
        """Return the index, in `keyframes`, of the last keyframe that is shown at or before a time; -1 for none."""
        return bisect.bisect_right(self.keyframe_times, tick) - 1

    @cached_property
    def first_row(self) -> int:
        """Where decoding begins: what comes before the first keyframe is predicted from what the file does not hold."""
        return self.keyframes[0] if self.keyframes else 0

    @cached_property
    def start(self) -> int:
        """When the first frame is shown."""
        pts = self.picture.pts[self.first_row :]
        pts = pts[pts != UNKNOWN]
        if not len(pts):
            return 0
        return int(pts[0] if self.keyframes else pts.min())

    @cached_property
    def zero(self) -> int:
        """A player's time 0: where picture or sound begins, whichever is first.

        Sound that ends long before the picture begins has another clock and does not count.
        """
        known = self.picture.pts[:32][self.picture.pts[:32] != UNKNOWN]  # 32: reordered frames at the beginning
        first_picture = int(known.min()) if len(known) else 0
        heard = self.sound.pts[self.sound.pts != UNKNOWN]
        if not len(heard):
            return first_picture
        # Packets of sound before the first one of the picture.
        num_ahead = int(np.searchsorted(self.sound.order, self.picture.order[0])) if len(self.picture) else len(heard)
        ahead = heard[: max(1, num_ahead)]
        joined = abs(int(ahead[-1]) - first_picture) * self.time_base <= JUMP_SEC
        return min(first_picture, int(ahead[0])) if joined else first_picture

    @cached_property
    def end(self) -> PictureEnd | None:
        """The end of the last frame; if packets have no times, that of one frame a packet."""
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
        """The median time from one frame to the next."""
        pts = np.unique(self.picture.pts[self.picture.pts != UNKNOWN])
        return int(np.median(np.diff(pts))) if len(pts) > 1 else self.nominal_step

    def timed(self, packets: Iterable[av.Packet], row: int = 0) -> Iterator[av.Packet]:
        """Give packets that begin with this row their times on the one clock; the last is empty.

        Raises:
            ChangedError: a packet is not of the size that the table has.
        """
        picture, end = self.picture, len(self.picture)
        for packet in packets:
            if packet.size:
                if row == end or packet.size != picture.size[row]:
                    raise ChangedError
                pts, dts = int(picture.pts[row]), int(picture.dts[row])
                packet.pts = None if pts == UNKNOWN else pts
                packet.dts = None if dts == UNKNOWN else dts
                row += 1
            yield packet
