"""Files and folders that are written whole or not at all.

New content goes to a temporary name in the same folder and gets its own name by a rename. A process that is killed
leaves the old content or the new, never a part of one.
"""

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from allinone.files.faults import FULL


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path to write to, and rename it to `path` at the end; remove it after an error.

    Raises:
        OSError: the disk is full; it names `path`, whichever library wrote.
    """
    path = Path(path)
    # Cut at 40 characters, because a name has at most 255 bytes.
    unfinished = path.with_name(f".{path.name[:40]}.{uuid.uuid4().hex[:12]}.part")
    try:
        yield unfinished
        os.replace(unfinished, path)
    except Exception as error:
        number = getattr(error, "errno", None)
        if number in FULL:
            # FFmpeg's own error of this kind would be taken for one of a damaged video.
            raise OSError(number, os.strerror(number), str(path)) from error
        raise
    finally:
        unfinished.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON, whole or not at all."""
    with whole_file(path) as unfinished:
        unfinished.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@contextmanager
def whole_folder(folder: str | Path) -> Iterator[Path]:
    """Yield a new empty folder to fill. At the end it is flushed to disk and takes the place of an older `folder`.

    Two renames do that. A process that is killed between them leaves the older folder as `old_name(folder)`, which
    readers should try; `recover` gives it its name back. One process at a time may write a folder.
    """
    folder = Path(folder)
    recover(folder)
    new, old = _sibling(folder, "new"), old_name(folder)
    shutil.rmtree(new, ignore_errors=True)  # of a killed process
    new.mkdir(parents=True)
    try:
        yield new
        flush(new)
    except BaseException:  # Ctrl-C too
        shutil.rmtree(new, ignore_errors=True)
        raise
    if folder.exists():
        os.rename(folder, old)
    os.rename(new, folder)
    _flush_entries(new.parent)  # so that the renames survive a power failure too
    if old.exists():
        remove(old)


def old_name(folder: Path) -> Path:
    """Where the older folder is while `whole_folder` replaces it."""
    return _sibling(folder, "old")


def recover(folder: Path) -> None:
    """Finish or undo the replacement of a folder that a killed process left half done."""
    old = old_name(folder)
    if old.exists() and folder.exists():
        remove(old)
    elif old.exists():
        os.rename(old, folder)


def remove(folder: Path) -> None:
    """Remove a folder. It loses its name first, so that a folder with half of its files is never taken for a whole."""
    gone = _sibling(folder, "gone")
    shutil.rmtree(gone, ignore_errors=True)
    os.rename(folder, gone)
    shutil.rmtree(gone, ignore_errors=True)


def set_aside(folder: Path) -> Path:
    """Rename a damaged folder to `NAME.damaged`, so that nothing of it is lost; return the new path."""
    aside = folder.with_name(f"{folder.name}.damaged")
    shutil.rmtree(aside, ignore_errors=True)
    os.rename(folder, aside)
    return aside


def flush(folder: Path) -> None:
    """Make sure that a folder and everything in it is on the disk, so that it survives a power failure."""
    for path in [*folder.rglob("*"), folder]:
        if path.is_dir():
            _flush_entries(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())


def _flush_entries(folder: Path) -> None:
    if os.name == "posix":  # other systems cannot open a folder
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _sibling(folder: Path, ending: str) -> Path:
    return folder.absolute().with_name(f".{folder.absolute().name}.{ending}")
