"""What went wrong with a file, in one line: where, why, what is safe, and how to go on."""

import errno
import os
import re

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""No space left on the device, for this user, or for a file of this size."""


def explain(error: OSError) -> str:
    """One line for people; of an error without a number, its own text."""
    if error.errno is None or error.strerror is None:
        return str(error)
    name = error.filename if error.filename2 is None else error.filename2  # of a copy, where it goes
    where = f"{os.fsdecode(name)}: " if isinstance(name, str | bytes | os.PathLike) else ""
    if error.errno in FULL:
        return (
            f"{where}no room left on the disk ({error.strerror}). What was finished before is whole: make room, and "
            "give the same command again"
        )
    return f"{where}{error.strerror}"


def system_error(error: BaseException, path: str | os.PathLike[str]) -> OSError | None:
    """The error of the operating system behind an error of a compiled library, which tells its number in its text."""
    found = re.search(r"(?:os error|code:) (\d+)", str(error))
    if found is None and "No space left on device" in str(error):
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(path))
    return None if found is None else OSError(int(found[1]), os.strerror(int(found[1])), os.fspath(path))
