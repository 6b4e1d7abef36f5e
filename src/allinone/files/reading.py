"""Before a file goes to a library that calls it missing or broken, whatever the reason."""

from pathlib import Path


def check_readable(path: Path) -> None:
    """Open the file once: PermissionError, in words, where this user may not read it; OSError as from `open` else."""
    try:
        with path.open("rb"):
            pass
    except PermissionError as error:
        raise PermissionError(f"{path}: no permission to read this file") from error
