"""Before a file goes to a library that would call it missing or broken, whatever the reason."""

from pathlib import Path


def check_readable(path: Path) -> None:
    """Open the file once.

    Raises:
        ValueError: there is no such file, or it is a folder.
        PermissionError: this user may not read it.
    """
    try:
        with path.open("rb"):
            pass
    except PermissionError as error:
        raise PermissionError(f"{path}: no permission to read this file") from error
    except OSError as error:
        raise ValueError(f"{path}: {'a folder, not a file' if path.is_dir() else 'no such file'}") from error
