"""Which moments of a video make a clip: one of each of T equal segments."""

import math

import numpy as np


def segment_times(
    start: int | float,
    end: int | float,
    num_frames: int,
    rng: np.random.Generator | None = None,
    view: int = 0,
    num_views: int = 1,
) -> list[float]:
    """Return one moment, in seconds, in each of `num_frames` equal segments of [start, end); they ascend.

    With an `rng`, each is drawn uniformly from its segment, so that training sees every frame; without, it is the
    middle. Several views divide each segment: view v of V is in the v-th of its V parts, so view 1 of 3 is the middle
    again. Which frames exist does not matter: in a span with fewer frames than moments some frames repeat, and in a
    photo, a span without length, all moments are the same.
    """
    if num_frames < 1:
        raise ValueError(f"a clip has one frame or more; got num_frames={num_frames}")
    if not 0 <= view < num_views:
        raise ValueError(f"views are numbered from 0 to num_views - 1; got view {view} of {num_views}")
    if not (math.isfinite(start) and math.isfinite(end) and start <= end):
        raise ValueError(f"a span goes from a start to a later end; got {start} s to {end} s")
    within = rng.random(num_frames) if rng is not None else np.full(num_frames, 0.5)
    times = start + (np.arange(num_frames) + (view + within) / num_views) * ((end - start) / num_frames)
    last = math.nextafter(end, start)  # the end is outside: the next span's frame may begin there
    return np.clip(times, start, last).tolist()
