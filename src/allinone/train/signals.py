"""The first Ctrl-C or SIGTERM makes a run save and stop; another one, some seconds later, stops it at once."""

import signal
import threading
import time
from pathlib import Path
from types import FrameType, TracebackType

WATCHED = (signal.SIGINT, signal.SIGTERM)
SAME_SIGNAL_SEC = 2.0
"""Signals this soon after the first count as the same one, because torchrun forwards a Ctrl-C that its processes have
already received from the terminal."""


class TrainingInterrupted(Exception):
    """A signal stopped the run after `step` steps, which are saved in `checkpoint`."""

    def __init__(self, received: signal.Signals, step: int, checkpoint: Path):
        super().__init__(
            f"stopped by {received.name} after step {step}; everything is saved in {checkpoint}. "
            "To continue from there, start the same command with --resume"
        )
        self.checkpoint = checkpoint
        self.step = step
        self.exit_code = 128 + received
        """Exit code of the process: 130 after Ctrl-C, 143 after SIGTERM."""


class StopSignals:
    """Context in which the first signal is noted in `received`, and a later one raises KeyboardInterrupt.

    Python handles signals only in the main thread; in any other thread this does nothing.
    """

    def __init__(self):
        self.received: signal.Signals | None = None
        self.since = 0.0

    def __enter__(self) -> "StopSignals":
        is_main = threading.current_thread() is threading.main_thread()
        self.previous = {number: signal.signal(number, self.note) for number in WATCHED} if is_main else {}
        return self

    def note(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if self.received is None:
            self.received, self.since = signal.Signals(number), time.monotonic()
        elif time.monotonic() - self.since >= SAME_SIGNAL_SEC:
            raise KeyboardInterrupt

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)
