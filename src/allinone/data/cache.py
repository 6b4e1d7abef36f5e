"""Decoded videos kept in memory, shared by the workers: small data sets are decoded once, not once an epoch."""

import mmap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from allinone.processes import worker_context
from allinone.video import VideoError, probe, read_frames
from allinone.video.source import TOLERANCE_SEC

NOT_TRIED, DOES_NOT_FIT, READY = range(3)


@dataclass(frozen=True)
class WholeVideo:
    """All frames of a video, the times at which they start, and the end of the last one."""

    frames: UInt8[np.ndarray, "N C H W"]
    times_sec: Float[np.ndarray, " N"]
    duration_sec: float

    def at(self, times_sec: list[float]) -> UInt8[Tensor, "T C H W"]:
        """Return the frames shown at these times, as `read_frames` does."""
        shown = self.times_sec.searchsorted(np.asarray(times_sec) + TOLERANCE_SEC, side="right") - 1
        return torch.from_numpy(self.frames[shown.clip(0)])


class FrameCache:
    """Whole videos as uint8, at most `size` pixels on the short side, in a fixed amount of memory.

    A video is kept the first time that it is read, if its header gives the number of frames and there is room for all
    of them; others are read from disk every time. Nothing is evicted, because with shuffled epochs the least recently
    used video is the most likely next one. Forked workers share the memory; where workers are started by a new process
    (macOS, Windows) each has its own cache.
    """

    def __init__(self, videos: Iterable[Path], megabytes: int, size: int):
        self.slots = {video: slot for slot, video in enumerate(dict.fromkeys(videos))}
        self.megabytes = megabytes
        self.size = size
        self.lock = worker_context().Lock()
        # Anonymous maps are shared by forks and take pages as they fill; containers limit /dev/shm, but not these.
        self.data = mmap.mmap(-1, max(megabytes << 20, 1))
        # Records of fixed size in shared memory: a dictionary would be copied into each worker.
        table = np.dtype([("state", "i8"), ("offset", "i8"), ("shape", "i8", 4), ("duration_sec", "f8")])
        self.table = np.frombuffer(mmap.mmap(-1, table.itemsize * max(len(self.slots), 1)), dtype=table)
        self.used = np.frombuffer(mmap.mmap(-1, 8), dtype="i8")

    def __reduce__(self):
        # A pickled copy cannot share the map: its process begins with an empty cache.
        return FrameCache, (tuple(self.slots), self.megabytes, self.size)

    def get(self, video: Path) -> WholeVideo | None:
        """Return a video's frames, decoded now if there is room for them; None if they are not kept."""
        slot = self.slots.get(video)
        if slot is None:
            return None
        with self.lock:
            state = self.table[slot]["state"]
        if state == NOT_TRIED:
            # Decoding takes long, so it runs without the lock.
            self.fill(slot, video)
            state = self.table[slot]["state"]
        return self.view(slot) if state == READY else None

    def view(self, slot: int) -> WholeVideo:
        """Return the video of a slot, as views of the shared memory."""
        entry = self.table[slot]
        offset, shape = int(entry["offset"]), tuple(entry["shape"].tolist())
        times = np.frombuffer(self.data, dtype="f8", count=shape[0], offset=offset)
        count = shape[0] * shape[1] * shape[2] * shape[3]
        frames = np.frombuffer(self.data, dtype="u1", count=count, offset=offset + times.nbytes).reshape(shape)
        return WholeVideo(frames, times, float(entry["duration_sec"]))

    def fill(self, slot: int, video: Path) -> None:
        """Decode a video into the cache, or note that it does not fit. Raise VideoError if it cannot be read."""
        whole = self.decode(video)
        with self.lock:
            entry = self.table[slot : slot + 1]
            if entry["state"] != NOT_TRIED:  # another worker was faster; both decode, which is rare
                return
            num_bytes = 0 if whole is None else whole.times_sec.nbytes + whole.frames.nbytes
            if whole is None or self.used[0] + num_bytes > len(self.data):
                entry["state"] = DOES_NOT_FIT
                return
            entry["offset"], entry["shape"], entry["duration_sec"] = (
                self.used[0],
                whole.frames.shape,
                whole.duration_sec,
            )
            self.used[0] += -(-num_bytes // 8) * 8  # the next one starts aligned for its doubles
            kept = self.view(slot)
            kept.times_sec[:], kept.frames[:] = whole.times_sec, whole.frames
            entry["state"] = READY

    def decode(self, video: Path) -> WholeVideo | None:
        """Decode a whole video; None if it does not fit, or its header does not give its length."""
        info = probe(video)
        short_side = min(info.width, info.height)
        size = decoding_size(short_side, self.size)
        scale = 1 if size is None else size / short_side
        num_frames = info.num_frames or 0
        # Computed from the header, so that a video without room is not decoded first.
        num_bytes = num_frames * 3 * int(info.width * scale) * int(info.height * scale)
        has_length = bool(num_frames) and (info.is_image or bool(info.duration_sec))
        if not has_length or self.used[0] + num_bytes > len(self.data):
            return None
        try:
            clip = read_frames(video, indices=range(num_frames), size=size)
        except VideoError:  # fewer frames than the header claims
            return None
        return WholeVideo(clip.frames.numpy(), clip.times_sec.double().numpy(), info.duration_sec or 0.0)


def decoding_size(short_side: int, size: int) -> int | None:
    """Return the short side to decode at; None to decode smaller videos without scaling."""
    return size if short_side > size else None
