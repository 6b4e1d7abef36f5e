"""One clock for a file with a clock that starts again, wraps around or jumps: times of packets that run on.

Recordings that were joined each begin at their own time, MPEG's clocks wrap around after 26.5 hours, and damaged files
give times that FFmpeg guesses. Here, times are made to ascend in steps of a frame wherever the file's own do not.
"""

import math
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
from av.container import InputContainer
from av.format import Flags
from av.video.stream import VideoStream
from jaxtyping import Int

from allinone.video.packets import JUMP_SEC, UNKNOWN, PacketTable

WRAP = 1 << 33
"""Clocks of MPEG start again at 0 after this many ticks (26.5 hours)."""

_MPEG_TICK = Fraction(1, 90_000)  # seconds
_AVI_CHUNK_HEADER = 8  # bytes from the position of a chunk, which the index names, to its content
_MAX_GUESSED = 3  # packets in a row for which FFmpeg guesses times wrongly

Ticks = Int[np.ndarray, " N"]


def on_one_clock(table: PacketTable, container: InputContainer, stream: VideoStream) -> PacketTable:
    """Return the table of a file's packets with times on a clock that runs on."""
    if table.format == "avi":
        return _timed_by_avi_index(table, stream)
    # FFmpeg's mark of formats with clocks that may jump, such as MPEG transport streams.
    may_jump = bool(container.format.flags & Flags.ts_discont.value)
    if may_jump or table.format.startswith(("flv", "matroska")):
        return _running_on(table, may_jump)
    return table


def _running_on(table: PacketTable, may_jump: bool) -> PacketTable:
    """Let the clock run on where it starts again, wraps around or, in some formats, jumps."""
    given, second = table.picture.clock, round(1 / table.time_base)
    if len(given) < 2 or (given == UNKNOWN).any():
        return table
    if table.format.startswith("matroska"):  # it has no decoding times; FFmpeg guesses them
        given = _decoding_times(table.picture.pts, second // 2)
    usual = table.picture.duration.copy()
    usual[usual <= 0] = table.nominal_step

    # 1. Wrapped clocks: each step is taken to be the shorter way around.
    clock = given.copy()
    if table.time_base == _MPEG_TICK:
        clock = _summed(int(clock[0]), (np.diff(clock) + WRAP // 2) % WRAP - WRAP // 2)
    wrapped = clock - given
    # 2. Single times out of line.
    _smooth(clock, usual)
    # 3. Jumps: steps back, and steps ahead that nothing in the file fills.
    longest = JUMP_SEC * second if may_jump else math.inf  # other formats mean the times that they give
    steps = np.diff(clock)
    for row in np.flatnonzero((steps < 0) | (steps > longest)).tolist():
        if steps[row] < 0 or not table.is_filled(row, int(given[row]), int(steps[row])):
            steps[row] = usual[row]
    running = _summed(int(clock[0]), steps)

    # 4. Presentation times move as far as decoding times; sound moves with the picture that precedes it in the file.
    shift = running - clock + wrapped
    picture = table.picture.moved(shift)
    # 5. If a packet gives no presentation time, FFmpeg takes the time at which the next is decoded, also across a jump.
    delay = picture.pts - running
    lost = (picture.pts != UNKNOWN) & ((delay < 0) | (delay > longest))
    picture.pts[lost] = running[lost] + int(np.median(delay))
    before = np.searchsorted(table.picture.order, table.sound.order).clip(1) - 1
    return replace(table, picture=replace(picture, dts=running), sound=table.sound.moved(shift[before]))


def _summed(first: int, steps: Int[np.ndarray, " M"]) -> Ticks:
    return first + np.concatenate([[0], np.cumsum(steps)])


def _decoding_times(pts: Ticks, tolerance: int) -> Ticks:
    """Return decoding times for presentation times: in order within a recording, and none after its presentation time.

    Another recording begins where a time is more than `tolerance` before the latest so far.
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


def _smooth(clock: Ticks, usual: Ticks) -> None:
    """Correct, in place, single times that are out of line: FFmpeg guesses those that a damaged file does not give."""
    for row in np.flatnonzero(np.diff(clock) < 0).tolist():
        if clock[row + 1] >= clock[row]:  # corrected with one before
            continue
        # A step back after `row`. Times between two rows are replaced by equal steps, if these two fit to each other
        # and a jump leads to the wrong ones or back.
        # Either the last few are too late, and the time after them fits to the one before them ...
        late = ((first - 1, row + 1, first) for first in range(row, max(0, row - _MAX_GUESSED), -1))
        # ... or the next few are too early.
        early = ((row, after, after) for after in range(row + 2, min(len(clock), row + 2 + _MAX_GUESSED)))
        for before, after, jump in [*late, *early]:
            time, steps = clock[after] - clock[before], after - before
            is_jump = clock[jump] - clock[jump - 1] > 1.5 * usual[row]
            if is_jump and (time > 0 or (before == row and time == 0)) and time <= 2 * steps * usual[row]:
                clock[before + 1 : after] = np.linspace(clock[before], clock[after], steps + 1)[1:-1]
                break


def _timed_by_avi_index(table: PacketTable, stream: VideoStream) -> PacketTable:
    """Take the times of an AVI file from its index, which knows how many frames were where damage is now.

    It has no presentation times. FFmpeg takes, for H.264, those of the next packet, which is far off where frames are
    left out: with B-frames they are one step after those of decoding, and without them the same.
    """
    # An index entry is known by its position. Packets that it does not list are as late as the one before.
    times = {entry.pos + _AVI_CHUNK_HEADER: entry.timestamp for entry in stream.index_entries}
    shift, late = np.zeros(len(table.picture), np.int64), 0
    for row, (position, dts) in enumerate(zip(table.picture.position, table.picture.dts, strict=True)):
        time = times.get(int(position))
        late = late if time is None or dts == UNKNOWN else time - int(dts)
        shift[row] = late
    picture = table.picture.moved(shift)
    if stream.codec_context.name == "h264" and len(picture):
        picture = replace(picture, pts=picture.dts)
        if stream.codec_context.has_b_frames:
            picture = replace(picture, pts=picture.dts + replace(table, picture=picture).step)
    listed = np.fromiter(times.values(), np.int64)
    return replace(table, picture=picture, lost_times=np.setdiff1d(listed, picture.dts))
