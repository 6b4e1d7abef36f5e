"""Where a video is cut: windows of one length, which may overlap, or the shots that PySceneDetect finds."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from allinone.data.clip_reader import VideoMeta
from allinone.video.decode import read_frames

SHOT_FPS = 10
"""Shots are looked for in so many small frames a second; their bounds are as exact as that."""

SHOT_PART_SEC = 300
"""So much of a video is held at a time while shots are looked for: 3,000 frames of 64 lines, about 65 MB."""

Bounds = list[tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Windows of `length_sec`, each `overlap_sec` over the one before; a rest of half a step or less joins the last."""

    length_sec: float = 10.0
    overlap_sec: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.length_sec < math.inf:
            raise ValueError(f"the length of windows is a positive number of seconds, got {self.length_sec}")
        if not 0 <= self.overlap_sec < self.length_sec:
            raise ValueError(f"windows of {self.length_sec:g} s overlap by 0 s or more and less than their length, "
                             f"got {self.overlap_sec}")  # fmt: skip

    def __str__(self) -> str:
        overlap = f" that overlap by {self.overlap_sec:g} s" if self.overlap_sec else ""
        return f"windows of {self.length_sec:g} s{overlap}"

    def cut(self, path: str, facts: VideoMeta) -> Bounds:
        step = self.length_sec - self.overlap_sec
        count = max(1, 1 + math.ceil((facts.duration_sec - self.length_sec) / step - 0.5))
        starts = [step * i for i in range(count)]
        return list(zip(starts, [start + self.length_sec for start in starts[:-1]] + [facts.duration_sec], strict=True))


@dataclass(frozen=True, kw_only=True)
class Shots:
    """From cut to cut; a shot longer than `max_sec` in equal parts, cuts closer than `min_sec` to the last ignored.

    `threshold` is that of PySceneDetect's AdaptiveDetector: how many times its neighbours' change a cut's must be.
    """

    threshold: float = 3.0
    min_sec: float = 1.0
    max_sec: float = 20.0

    def __post_init__(self) -> None:
        if not (self.threshold > 0 and 0 < self.min_sec <= self.max_sec < math.inf):
            raise ValueError(f"shots want a threshold above 0 and 0 < min_sec <= max_sec, got {self}")

    def __str__(self) -> str:
        return f"shots of {self.min_sec:g} to {self.max_sec:g} s (threshold {self.threshold:g})"

    def cut(self, path: str, facts: VideoMeta) -> Bounds:
        scenedetect()
        duration = facts.duration_sec
        edges = [0.0, *self.changes(path, duration), duration]
        bounds = []
        for start, end in pairwise(edges):
            points = np.linspace(start, end, 1 + max(1, math.ceil((end - start) / self.max_sec))).tolist()
            bounds += pairwise(points)
        return bounds

    def changes(self, path: str, duration_sec: float) -> list[float]:
        """When a new shot begins, at least `min_sec` after the one before and before the end."""
        if duration_sec < 2 * self.min_sec:
            return []
        timecode = scenedetect().FrameTimecode
        detector = scenedetect().AdaptiveDetector(
            adaptive_threshold=self.threshold, min_scene_len=max(1, round(self.min_sec * SHOT_FPS))
        )
        cuts = []
        for number, frame in enumerate(small_frames(path, duration_sec)):
            cuts += detector.process_frame(timecode(number, fps=float(SHOT_FPS)), frame)
        cuts += detector.post_process(timecode(round(duration_sec * SHOT_FPS), fps=float(SHOT_FPS)))
        times = [cut.frame_num / SHOT_FPS for cut in cuts]
        return [time for time in times if time <= duration_sec - self.min_sec]


Cut = Windows | Shots
KINDS: dict[str, type[Windows] | type[Shots]] = {"windows": Windows, "shots": Shots}


def scenedetect() -> Any:
    try:
        import scenedetect
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"cutting at shots needs {error.name}: pip install 'allinone[shots]'") from error
    return scenedetect


def small_frames(path: str, duration_sec: float) -> Iterator[np.ndarray]:
    """Frames of 64 lines, `SHOT_FPS` a second, as [H, W, BGR]."""
    times = (np.arange(max(1, round(duration_sec * SHOT_FPS))) + 0.5) / SHOT_FPS
    for part in np.split(times, range(SHOT_PART_SEC * SHOT_FPS, len(times), SHOT_PART_SEC * SHOT_FPS)):
        clip = read_frames(path, times_sec=part.tolist(), size=64)
        for frame in clip.frames:
            yield np.ascontiguousarray(frame.permute(1, 2, 0).flip(-1).numpy())
