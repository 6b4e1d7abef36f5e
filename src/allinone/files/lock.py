"""A lock for folders that one process at a time may write; the kernel releases it when its process ends."""

import errno
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

log = logging.getLogger(__name__)

NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}
"""Errors of file systems without locks, for example Lustre mounted without `flock`."""

_held: set[int] = set()
"""Descriptors of the locks that this process holds."""


@contextmanager
def only_process(folder: str | Path, lock: Path | None = None, wait: bool = False) -> Iterator[None]:
    """Hold the lock of an output folder.

    Args:
        folder: named in errors. It may be missing, and may be replaced meanwhile.
        lock: the lock file; by default `.NAME.lock` in the folder above. It is removed at the end; a file that a
            killed process left does not block the next process.
        wait: wait for other processes instead of raising.

    Raises:
        ValueError: it is held, by another process or in this one; the message names the process.
    """
    if os.name != "posix":  # without flock
        yield
        return
    folder = Path(os.path.realpath(folder))  # the same lock for every link to it
    lock = lock or folder.with_name(f".{folder.name}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _acquire(folder, lock, wait)
    _held.add(descriptor)
    try:
        with suppress(OSError):  # on a full disk it is locked without a name in it
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        _held.discard(descriptor)
        # Removed before it is released: a process that waits for it sees that the file is gone, and makes another.
        with suppress(OSError):
            lock.unlink()
        os.close(descriptor)


def _acquire(folder: Path, lock: Path, wait: bool) -> int:
    import fcntl

    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace") or "another process"
            os.close(descriptor)
            raise ValueError(f"{folder}: {holder} is writing there; wait for it, or choose another folder") from None
        except OSError as error:
            if error.errno in NO_LOCKS:
                log.warning("%s: its file system has no locks; let one process at a time write there", folder)
                return descriptor
            os.close(descriptor)
            raise
        # The holder before may have removed the file after it was opened here. Then nobody else would see this lock.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(lock)):
                return descriptor
        os.close(descriptor)


def _close_in_child() -> None:
    """Close the locks in a forked child: it shares the open file, and would keep the lock after its parent ends."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)
