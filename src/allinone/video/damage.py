"""Frames that a file should have and does not, by its packets: damage often decodes without an error.

A gap between two frames is no damage if the packet before it says that it lasts, or if the sound goes on.
"""

from collections.abc import Callable, Sequence

import av
import numpy as np
from av.video.stream import VideoStream
from jaxtyping import Bool, Int

from allinone.video.packets import UNKNOWN, PacketTable

Ticks = tuple[int, int]
"""From when to when, in ticks of the table."""

_MIN_GAP_SEC = 0.2
"""Shorter gaps are not reported: cameras drop single frames."""

_MIN_END_SEC = 1.0
"""A header that claims this much more than the packets hold belongs to a file that was cut off; less is rounding."""

_MAX_UNREAD, _MAX_UNREAD_OF_WHOLE = 0.05, 0.5
"""Shares of a file that may follow its last packet: an index, padding. More where the header says that all was read."""

_STEADY = 0.95
"""A film has a constant frame rate if at least this share of the steps from frame to frame are equal."""

_CLUSTER_HEADER = 64
"""Maximum number of bytes with which a cluster of Matroska begins."""

_START_CODE = b"\0\0\1"


def missing_frames(table: PacketTable, num_bytes: int) -> list[Ticks]:
    """Return where packets are missing in a file of this size, or are torn."""
    picture = table.picture
    rows = np.flatnonzero((picture.pts != UNKNOWN) & ~picture.is_hidden)
    rows = rows[rows >= table.first_row]
    if table.end is None or table.end.last is None or not len(rows):
        return []
    rows = rows[np.argsort(picture.pts[rows], kind="stable")]
    times = picture.pts[rows]
    steps = np.diff(times)
    is_steady = len(steps) > 0 and float((np.abs(steps - table.step) <= 0.1 * table.step).mean()) >= _STEADY
    # A gap: more than a step and a half without a frame, unless something explains it.
    gaps = []
    for index in np.flatnonzero(steps > max(1.5 * table.step, _MIN_GAP_SEC / table.time_base)).tolist():
        row, gap = int(rows[index]), (int(times[index]) + table.step, int(times[index + 1]))
        if not _is_explained(table, row, int(rows[index + 1]), gap, is_steady):
            gaps.append(gap)
    return merged(gaps + _broken(table, rows, times) + _missing_end(table, num_bytes))


def merged(gaps: list[Ticks]) -> list[Ticks]:
    """Return the gaps in order, with those that overlap as one."""
    result: list[Ticks] = []
    for begin, end in sorted(gaps):
        if result and begin <= result[-1][1]:
            begin, end = result[-1][0], max(end, result.pop()[1])
        result.append((begin, end))
    return result


def _is_explained(table: PacketTable, row: int, after: int, gap: Ticks, is_steady: bool) -> bool:
    """Return whether a frame is rightly shown until the next, and not because others are missing."""
    begin, end = gap
    # The packet, or an index of all packets, says how long the frame lasts.
    if table.is_listed or int(table.picture.duration[row]) >= 0.9 * (end - begin):
        return True
    # AVI: the index lists no frame in between.
    if table.lost_times is not None:
        return not ((table.lost_times >= begin - table.step) & (table.lost_times < end)).any()
    # The sound goes on for at least half of the gap.
    heard = np.sort(table.sound.pts[table.sound.pts != UNKNOWN])
    if len(heard) > 1 and heard[0] <= begin and heard[-1] >= end - table.step:
        usual = float(np.median(np.diff(heard)))
        return float(((heard >= begin) & (heard < end)).sum()) * usual >= 0.5 * (end - begin)
    # Without sound: bytes that belong to no packet, a packet that the container calls torn, a break in a steady rate.
    usual_bytes = float(table.picture.size.mean()) * (end - begin) / table.step
    is_torn = bool(table.picture.is_torn[max(0, row - 1) : after + 2].any())
    lost = sum(table.lost_bytes(between) for between in range(min(row, after), max(row, after)))
    is_cut = is_steady and not _is_seamless(table, min(row, after), max(row, after))
    return not (is_torn or is_cut or lost > 0.3 * usual_bytes + 4096)


def _is_seamless(table: PacketTable, first: int, last: int) -> bool:
    """Return whether packets `first` to `last` are as close together in the file as others: nothing was cut out.

    For silent films in formats that give exact positions of packets.
    """
    picture = table.picture
    if len(table.sound) or not table.format.startswith(("matroska", "flv", "mov")):
        return False
    between = np.diff(picture.position) - picture.size[:-1]
    is_usual = np.abs(np.diff(picture.pts)) <= 4 * table.step  # 4: B-frames are not in order
    differing = np.abs(between[first:last] - np.median(between[is_usual])).max()
    allowed = _CLUSTER_HEADER if table.format.startswith("matroska") else 0
    return not picture.is_broken[first : last + 1].any() and bool(differing <= allowed)


def _missing_end(table: PacketTable, num_bytes: int) -> list[Ticks]:
    """Return the end, if the file cannot be read to its end or holds less than its header says."""
    assert table.end is not None
    picture, sound, end = table.picture, table.sound, table.end.end
    # AVI: the header counts frames, and each takes a step, whether it is in the file or not.
    if table.format == "avi":
        last = int(picture.dts.max()) + table.nominal_step
        claimed = end + max(0, table.num_claimed * table.nominal_step - last)
        allowed = max(_MIN_GAP_SEC / table.time_base, 2 * table.nominal_step)  # programs count to where sound ends
        return [(end, claimed)] if claimed - end > allowed else []
    # Others: the header's end, if it has one; if that is met, more of the file may be something else.
    allowed = _MAX_UNREAD
    if table.claimed_end is not None:
        missing = table.claimed_end - max(end, table.last_end)
        if missing > _MIN_END_SEC / table.time_base:
            return [(end, table.claimed_end)]
        if abs(missing) <= 2 * table.nominal_step:
            allowed = _MAX_UNREAD_OF_WHOLE
    # Without a claim: bytes after the last packet.
    num_read = int(max((picture.position + picture.size).max(), (sound.position + sound.size).max(initial=0)))
    lost = num_bytes - num_read
    if table.is_listed or num_read <= 0 or lost < allowed * num_bytes:
        return []
    return [(end, end + round(lost / num_read * (end - table.start)))]  # as long as that many bytes are on average


def _broken(table: PacketTable, rows: Int[np.ndarray, " M"], times: Int[np.ndarray, " M"]) -> list[Ticks]:
    """Return runs of packets that hold no frame, up to the next keyframe."""
    assert table.end is not None
    gaps = []
    for first, after in _runs(table.picture.is_broken[rows]):
        ends = [*times[after:][table.picture.is_keyframe[rows[after:]]].tolist()[:1], table.end.end]
        gaps.append((int(times[first]), int(ends[0])))
    return [(begin, end) for begin, end in gaps if end - begin > _MIN_GAP_SEC / table.time_base]


def describe(gaps: Sequence[tuple[float, float]], duration_sec: float) -> str:
    """Return one line about gaps in seconds."""
    listed = " and ".join(f"from {begin:.1f} to {end:.1f} s" for begin, end in gaps[:3])
    more = f" (and {len(gaps) - 3} more)" if len(gaps) > 3 else ""
    return f"damaged: no frame decodes {listed}{more} of {max(duration_sec, gaps[-1][1]):.1f} s"


def undecoded(table: PacketTable, ticks: Sequence[int], until: int | None = None) -> list[Ticks]:
    """Return where frames are missing that packets promise, given the times of all that were decoded (`until` then)."""
    picture = table.picture
    promised = np.unique(picture.pts[(picture.pts >= table.start) & ~picture.is_hidden])
    if until is not None:
        promised = promised[promised <= until]
    last = until if until is not None else table.end.end if table.end else table.start
    is_missing = ~np.isin(promised, np.array(ticks, np.int64))
    gaps = []
    for first, after in _runs(is_missing):
        end = int(promised[after]) if after < len(promised) else last
        if end - int(promised[first]) > max(0.5 / table.time_base, 4 * table.step):
            gaps.append((int(promised[first]), end))
    return gaps


def _runs(flags: Bool[np.ndarray, " N"]) -> list[tuple[int, int]]:
    """Return the ranges in which flags are set."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(first), int(after)) for first, after in edges.reshape(-1, 2)]


def inspector(stream: VideoStream) -> Callable[[av.Packet], bool] | None:
    """Return a test that is true for packets that cannot be a frame of the stream; None if its codec has none here."""
    codec = stream.codec_context.codec.canonical_name if stream.codec_context else ""
    extra = bytes(stream.codec_context.extradata or b"") if stream.codec_context else b""
    if codec in ("h264", "hevc") and extra[:1] == b"\1":
        # The headers avcC and hvcC hold how many bytes a unit's size has, minus 1, in the last two bits of this byte.
        length = (extra[4] if codec == "h264" else extra[21]) % 4 + 1
        return lambda packet: not _is_chain(bytes(packet), length)
    if codec in ("mpeg1video", "mpeg2video", "mpeg4"):
        # A frame begins with a start code, so one has to be near the beginning.
        return lambda packet: packet.size > 16 and _START_CODE not in bytes(packet)[:256]
    if codec == "mjpeg":
        # Every JPEG begins with this marker.
        return lambda packet: bytes(packet)[:2] != b"\xff\xd8"
    return None


def _is_chain(data: bytes, length: int) -> bool:
    """Return whether units that begin with their size fill the packet (H.264 and H.265 in MP4 and Matroska)."""
    position = 0
    while position + length < len(data):
        size = int.from_bytes(data[position : position + length], "big")
        if size == 0 or data[position + length] & 0x80:  # a bit that is always 0
            # Zeros behind the last unit are padding.
            return position > 0 and not any(data[position:])
        position += length + size
    return position <= len(data)


def is_cut_off(image: bytes) -> bool:
    """Return whether a JPEG lacks its end, which decoders paint gray without an error; other kinds fail to decode."""
    scan, end = b"\xff\xda", b"\xff\xd9"
    # A thumbnail inside has an end too, so the last end has to come after the last scan.
    return image.startswith(b"\xff\xd8") and image.rfind(end) < image.rfind(scan)
