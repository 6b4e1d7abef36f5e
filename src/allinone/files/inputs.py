"""Which files and folders were read while something was made of them, and whether they have changed since.

A data set has many annotation files, in places that only its reader knows. So the recording listens to Python's audit
events (`open`, `os.listdir`, `os.scandir`), which every reader raises, one outside of this package too. Code that only
asks whether a file exists raises none; it calls `note_input`.
"""

import os
import stat
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

Stamp = tuple[int, int, int] | None
"""Size, time of change (ns) and time of change of the entry of a file or folder; None if there was none.

The last one is set by the system, so a file of the same size whose time was set back is noticed too.
"""

MOVING: Stamp = (-1, -1, -1)
"""The stamp of what changed just before it was read: it could change again within the same tick of the clock."""

SETTLED_NS = 2_000_000_000
"""The coarsest clock of a common file system (FAT) ticks every two seconds."""

_recordings: list[dict[str, Stamp]] = []


@contextmanager
def recorded_inputs() -> Iterator[dict[str, Stamp]]:
    """Yield a dictionary that gets the stamp of each file and folder that this process reads meanwhile."""
    _listen()
    inputs: dict[str, Stamp] = {}
    _recordings.append(inputs)
    try:
        yield inputs
    finally:
        # By identity: two recordings without an entry are equal.
        _recordings[:] = [other for other in _recordings if other is not inputs]


def note_input(path: str | os.PathLike[str]) -> None:
    """Record a file or folder that no event reports: one that is only tested for existence, or was read before."""
    for inputs in _recordings:
        name = os.path.abspath(path)
        if name not in inputs:
            inputs[name] = stamp(name)


def are_unchanged(inputs: Mapping[str, Any]) -> bool:
    """Return whether every file and folder still has the stamp that was recorded (or read back from JSON)."""
    before = {path: None if at is None else tuple(at) for path, at in inputs.items()}
    return all(at != MOVING and at == stamp(path) for path, at in before.items())


def stamp(path: str) -> Stamp:
    """Return the stamp of a path as it is now."""
    try:
        info = os.stat(path)
    except (OSError, ValueError):  # ValueError: a null byte in the path
        return None
    if time.time_ns() - info.st_mtime_ns < SETTLED_NS:
        return MOVING
    return (0 if stat.S_ISDIR(info.st_mode) else info.st_size), info.st_mtime_ns, info.st_ctime_ns


@cache
def _listen() -> None:
    """Start to listen. An audit hook cannot be removed, so there is one for all recordings."""
    sys.addaudithook(_hear)


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if not _recordings or event not in ("open", "os.listdir", "os.scandir"):
        return
    # `open` reports (path, mode, flags), the other events only a path.
    path, mode, flags = (*arguments, None, None)[:3]
    # `os.open` has flags and no mode.
    is_write = flags & (os.O_WRONLY | os.O_RDWR) if mode is None and flags else not (mode or "r").startswith("r")
    if is_write or not isinstance(path, str | os.PathLike):  # a number is a file that is open already
        return
    name = os.fspath(path)
    # Modules are imported late, and what the system shows as files changes all the time.
    if isinstance(name, str) and not name.endswith((".py", ".pyc", ".so")) and not name.startswith(("/proc", "/dev")):
        note_input(name)
