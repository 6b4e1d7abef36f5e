"""Limits of a server: how large and slow requests may be, and how many are served at once."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of a server.

    One request at a time runs the model, because the model uses all processors; `max_waiting` requests may wait, each
    for `wait_sec`. `max_receiving` uploads may arrive at once, because each takes `max_upload_mb` on disk. They are
    decoded two at a time, and the frames of the last `max_uploads` are kept in memory.
    """

    max_upload_mb: int = 100
    upload_sec: int = 120
    max_receiving: int = 4
    max_uploads: int = 64
    max_body_kb: int = 512
    body_sec: int = 20
    max_waiting: int = 16
    wait_sec: int = 30
    max_connections: int = 256

    def __post_init__(self):
        for name, value in vars(self).items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")


class Busy(Exception):
    """Too many requests at once (HTTP 503)."""


class Gate:
    """A semaphore with a bounded queue: `num_inside` callers are inside, `max_waiting` wait, others get `Busy`."""

    def __init__(self, num_inside: int, max_waiting: int, wait_sec: int | float):
        self.inside = threading.BoundedSemaphore(num_inside)
        self.places = threading.BoundedSemaphore(num_inside + max_waiting)
        self.num_places = num_inside + max_waiting
        self.wait_sec = wait_sec

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Wait for a turn and hold it; raise `Busy` if the queue is full, or if no turn comes within `wait_sec`."""
        # 1. A place, inside or in the queue. Without one, refuse at once: the thread is needed for others.
        if not self.places.acquire(blocking=False):
            raise Busy(f"the server is busy: {self.num_places} such requests are here already; try again soon")
        try:
            # 2. A turn, for which only those with a place wait.
            if not self.inside.acquire(timeout=self.wait_sec):
                raise Busy(f"the server is busy: no turn within {self.wait_sec:g} s; try again later")
            try:
                yield
            finally:
                self.inside.release()
        finally:
            self.places.release()
