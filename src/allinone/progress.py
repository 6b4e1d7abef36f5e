"""What the library tells of long work: its log lines are shown, and counts become a line now and then."""

import logging
import os
import sys
import time
from collections.abc import Callable

RATE_SEC = 1.0
"""A rate is told once so much time has passed; before, it would be one of thousands a second that means nothing."""


def show_logs(of: str = "allinone") -> None:
    """Show what is logged on stderr, unless whoever runs us has set up logging; `of` is a logger, "" all of them."""
    logger = logging.getLogger(of)
    if not logger.hasHandlers():
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)


def is_first_process() -> bool:
    """Whether this is the one of torchrun's processes that shows things."""
    return os.environ.get("RANK", "0") == "0"


def progress_lines(say: Callable[[str], None], every_sec: float = 10.0) -> Callable[[str, int, int], None]:
    """A callback (what, done, total) that says speed and time left, once in `every_sec`."""
    begun: dict[str, tuple[float, int]] = {}
    last = time.monotonic()

    def show(what: str, done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        start, before = begun.setdefault(what, (now, done))
        if now - last >= every_sec and now - start >= min(RATE_SEC, every_sec) and done > before:
            last = now
            rate = (done - before) / (now - start)
            say(f"{what}: {done:,} of {total:,}, {rate:.1f}/s, {clock((total - done) / rate)} left")

    return show


def clock(seconds: float) -> str:
    minutes, seconds = divmod(seconds, 60)
    return f"{int(minutes)}:{seconds:04.1f}"
