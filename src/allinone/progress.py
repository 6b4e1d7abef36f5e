"""Progress of long work for people: log lines are shown, and counts become a line now and then."""

import logging
import os
import sys
import time
from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""A callback for long work, with the name of the items ("clips", "pairs", ...), the number done, and the total."""

RATE_SEC = 1.0
"""A rate is shown after this time. Before, the first few items would make it thousands a second."""


def show_logs(of: str = "allinone") -> None:
    """Show what the logger `of` logs on stderr ("" for all loggers), unless the caller has set up logging."""
    logger = logging.getLogger(of)
    if not logger.hasHandlers():
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)


def is_first_process() -> bool:
    """Return whether this is the only process, or the one of torchrun's processes that shows things."""
    return os.environ.get("RANK", "0") == "0"


def progress_lines(say: Callable[[str], None], every_sec: float = 10.0) -> Progress:
    """Return a callback that says speed and remaining time, at most once in `every_sec`."""
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


def clock(seconds: float, decimals: int = 0) -> str:
    """Return a time as on a clock: 0:04, 1:02:05; with one decimal 0:04.2."""
    ticks = round(seconds * 10**decimals)  # rounded first, so that 59.97 is 1:00.0 and not 0:60.0
    minutes, rest = divmod(ticks, 60 * 10**decimals)
    hours, minutes = divmod(minutes, 60)
    width = 3 + decimals if decimals else 2
    text = f"{rest / 10**decimals:0{width}.{decimals}f}"
    return f"{hours}:{minutes:02}:{text}" if hours else f"{minutes}:{text}"
