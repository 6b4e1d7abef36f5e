"""Read files of a user, with errors that say which file and why."""

import json
from pathlib import Path
from typing import Any

from allinone.files.faults import first_line


def check_readable(path: Path) -> None:
    """Open a file once, before it goes to a library that would call it missing or broken.

    Raises:
        PermissionError: this user may not read it; the message says so.
        OSError: any other reason, as from `open`.
    """
    try:
        with path.open("rb"):
            pass
    except PermissionError as error:
        raise PermissionError(f"{path}: no permission to read this file") from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        PermissionError: this user may not read the file.
        ValueError: it is missing, damaged or another kind of JSON; the message names it.
    """
    try:
        check_readable(path)
        value = json.loads(path.read_text(encoding="utf-8"))
    except PermissionError:  # an OSError too, but its message is complete
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: cannot be read as JSON ({first_line(error)})") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path}: expected an object, got {type(value).__name__}")
    return value
