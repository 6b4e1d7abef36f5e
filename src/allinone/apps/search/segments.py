"""How a video is cut into segments: windows of equal length, or the shots that PySceneDetect finds."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from allinone.data.clip_reader import VideoMeta

SHOT_FPS = 10
"""Frames per second in which cuts are looked for; cuts are as exact as that."""

SHOT_PART_SEC = 300
"""Length of video decoded at a time while looking for cuts: 3,000 frames of 64 lines, about 65 MB."""

Bounds = list[tuple[float, float]]
"""Start and end of each segment, in seconds."""


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Windows of `length_sec`, each overlapping the one before by `overlap_sec`.

    A remainder of at most half a step is added to the last window.
    """

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

    def cut(self, path: str, meta: "VideoMeta") -> Bounds:
        """Return the bounds of all segments, which cover the video."""
        step = self.length_sec - self.overlap_sec
        # Rounded so that a remainder above half a step is a window, and a shorter one is part of the last.
        count = max(1, 1 + math.ceil((meta.duration_sec - self.length_sec) / step - 0.5))
        starts = [step * i for i in range(count)]
        return list(zip(starts, [start + self.length_sec for start in starts[:-1]] + [meta.duration_sec], strict=True))


@dataclass(frozen=True, kw_only=True)
class Shots:
    """From cut to cut. Shots longer than `max_sec` are divided equally; a cut within `min_sec` of the last is ignored.

    `threshold` is that of PySceneDetect's AdaptiveDetector: the ratio of a cut's change to its neighbors' changes.
    """

    threshold: float = 3.0
    min_sec: float = 1.0
    max_sec: float = 20.0

    def __post_init__(self) -> None:
        if not (self.threshold > 0 and 0 < self.min_sec <= self.max_sec < math.inf):
            raise ValueError(f"shots need a threshold above 0 and 0 < min_sec <= max_sec, got {self}")

    def __str__(self) -> str:
        return f"shots of {self.min_sec:g} to {self.max_sec:g} s (threshold {self.threshold:g})"

    def cut(self, path: str, meta: "VideoMeta") -> Bounds:
        """Return the bounds of all segments, which cover the video."""
        bounds = []
        for start, end in pairwise([0.0, *self.changes(path, meta.duration_sec), meta.duration_sec]):
            # As few equal parts as `max_sec` allows.
            points = np.linspace(start, end, 1 + max(1, math.ceil((end - start) / self.max_sec))).tolist()
            bounds += pairwise(points)
        return bounds

    def changes(self, path: str, duration_sec: float) -> list[float]:
        """Return the times of the cuts, none within `min_sec` of another, of the start or of the end."""
        detection = scenedetect()
        if duration_sec < 2 * self.min_sec:  # no cut leaves `min_sec` on both sides
            return []
        detector = detection.AdaptiveDetector(
            adaptive_threshold=self.threshold, min_scene_len=max(1, round(self.min_sec * SHOT_FPS))
        )
        cuts = []
        for index, frame in enumerate(small_frames(path, duration_sec)):
            cuts += detector.process_frame(detection.FrameTimecode(index, fps=float(SHOT_FPS)), frame)
        cuts += detector.post_process(detection.FrameTimecode(round(duration_sec * SHOT_FPS), fps=float(SHOT_FPS)))
        times = [cut.frame_num / SHOT_FPS for cut in cuts]
        # The detector keeps `min_sec` from the start and between cuts, but does not know the end.
        return [time for time in times if time <= duration_sec - self.min_sec]


Cut = Windows | Shots
CUTS: dict[str, type[Windows] | type[Shots]] = {"windows": Windows, "shots": Shots}
"""By the name that is stored in an index."""


def scenedetect() -> Any:
    try:
        import scenedetect
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"cutting at shots needs {error.name}: pip install 'allinone[shots]'") from error
    return scenedetect


def small_frames(path: str, duration_sec: float) -> Iterator[np.ndarray]:
    """Yield frames of 64 lines, `SHOT_FPS` a second, as [H, W, BGR]."""
    from allinone.video import read_frames

    times = (np.arange(max(1, round(duration_sec * SHOT_FPS))) + 0.5) / SHOT_FPS  # the middle of each tenth
    for part in np.split(times, range(SHOT_PART_SEC * SHOT_FPS, len(times), SHOT_PART_SEC * SHOT_FPS)):
        clip = read_frames(path, times_sec=part.tolist(), size=64)
        for frame in clip.frames:
            yield np.ascontiguousarray(frame.permute(1, 2, 0).flip(-1).numpy())  # BGR, as OpenCV has it
