"""Errors of files in one line for people: where, why, and how to go on."""

import errno
import os
import re

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Error numbers of no space left: on the device, for this user, or in a file of this size."""


def explain(error: OSError) -> str:
    """Return the path and the reason of an error; of an error without a number, its own text."""
    if error.errno is None or error.strerror is None:
        return str(error)
    name = error.filename if error.filename2 is None else error.filename2  # of a copy, the target
    where = f"{os.fsdecode(name)}: " if isinstance(name, str | bytes | os.PathLike) else ""
    if error.errno in FULL:
        return (
            f"{where}no room left on the disk ({error.strerror}). What was finished before is whole: make room, and "
            "give the same command again"
        )
    return f"{where}{error.strerror}"


def first_line(error: Exception) -> str:
    """Return the first 200 characters of the first line of an error, or the name of its class if it has no text."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def system_error(error: BaseException, path: str | os.PathLike[str]) -> OSError | None:
    """Return the error of the operating system behind one of a compiled library, which has its number in its text."""
    # As in the errors of Rust libraries such as safetensors: "No such file or directory (os error 2)".
    match = re.search(r"(?:os error|code:) (\d+)", str(error))
    if match is None and "No space left on device" in str(error):
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(path))
    return None if match is None else OSError(int(match[1]), os.strerror(int(match[1])), os.fspath(path))
