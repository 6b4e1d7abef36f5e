"""A new folder that is read as a data set's own: apart from it, made by one process, with its annotation files.

What a maker notes lies in a hidden folder of its own there.
"""

import hashlib
import os
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from allinone.apps.tools.journal import signature
from allinone.data.example import Example
from allinone.files.lock import only_process
from allinone.files.shards import INDEX
from allinone.files.whole import whole_file
from allinone.video.names import is_hidden, is_media

UNFINISHED = "unfinished"
"""Where in the hidden folder a file lies while it is written."""

BULKY = (".tar", ".tgz", ".rar", ".7z", ".h5", ".hdf5", ".npy", ".npz", ".pt", ".pth", ".mdb", ".mp3", ".wav", ".m4a")
"""Archives of videos, features and sounds are no annotation files; any other file may be one."""


def apart(root: Path, to: Path) -> tuple[Path, Path]:
    """Both, resolved; ValueError where one lies in the other."""
    root, to = Path(root).resolve(), Path(to).resolve()
    if root == to or root in to.parents or to in root.parents:
        raise ValueError(f"the source {root} is never touched, so it may not hold {to}, nor lie in it")
    return root, to


def place_in(root: Path, path: str) -> Path:
    """Where a file lies, from the root."""
    inside = Path(os.path.relpath(path, root))
    if any(name.endswith(".tar") for name in inside.parts[:-1]):
        raise ValueError(f"{path} lies in a tar, and is read there; unpack the tars to make other files of them")
    if inside.parts[0] == "..":
        raise ValueError(f"{path} lies outside {root}, so a copy has no place for it; put it, or a link, inside")
    return inside


class Named:
    """Which files the examples of a folder name, one after another, whatever their endings."""

    def __init__(self, root: Path):
        self.root = str(root)
        self.hash = hashlib.blake2b()

    def add(self, example: Example) -> None:
        for path in example.files:
            name = path.with_suffix("") if is_media(path.name) else path
            self.hash.update(os.fsencode(str(name).removeprefix(self.root)) + b"\n")

    def digest(self) -> bytes:
        return self.hash.digest()


@contextmanager
def taken(to: Path, hidden: str) -> Iterator[None]:
    """The new folder for this process alone. What a killed one left unfinished goes away."""
    own = to / hidden
    if to.is_dir() and not own.is_dir() and any(to.iterdir()):
        raise ValueError(f"{to} is not empty and was not made by this command; take another folder")
    with only_process(to, own / "lock"):
        shutil.rmtree(own / UNFINISHED, ignore_errors=True)
        (own / UNFINISHED).mkdir()
        try:
            yield
        finally:
            shutil.rmtree(own / UNFINISHED, ignore_errors=True)


def copy_annotations(root: Path, to: Path) -> None:
    for path in annotation_files(root):
        target = to / path.relative_to(root)
        if not target.is_file() or signature(target) != signature(path):
            target.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(target) as unfinished:
                shutil.copy2(path, unfinished)


def annotation_files(root: Path) -> Iterator[Path]:
    """Every file that may be an annotation; each folder once, since links may go round in a ring."""
    seen: set[str] = set()
    for folder, inner, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            inner.clear()
            continue
        seen.add(real)
        inner[:] = [name for name in inner if not is_hidden(name)]
        yield from (path for name in names if may_be_annotation(path := Path(folder, name)))


def may_be_annotation(path: Path) -> bool:
    if path.name.startswith(".") or path.name == INDEX or is_media(path.name) or not path.is_file():
        return False
    if set(BULKY) & {suffix.lower() for suffix in path.suffixes}:
        return False
    return path.suffix.lower() != ".zip" or not holds_media(path)


def holds_media(archive: Path) -> bool:
    try:
        with zipfile.ZipFile(archive) as opened:
            return any(is_media(name) for name in opened.namelist())
    except (OSError, zipfile.BadZipFile):
        return False
