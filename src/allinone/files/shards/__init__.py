"""Files packed in tar files, found by path if there is no such file on disk.

`S/videos/a.mp4` is looked up in the index (`shards.index`) of the nearest folder above it that has one, and
`S/00003.tar/000030012.mp4` in that tar. A file on disk comes first; an index is used only for missing files.
"""

import io
import os
from pathlib import Path

from allinone.files.inputs import note_input
from allinone.files.shards.index import INDEX, Entry, Index, write_index
from allinone.files.shards.tars import BrokenTar, index_of_tar

__all__ = [
    "INDEX", "BrokenTar", "Entry", "Index", "Tree", "find_packed", "forget_indexes", "index_of", "index_of_tar",
    "open_file", "write_index",
]  # fmt: skip

_known: dict[str, Index] = {}
"""Indexes by the folders for which they were looked up."""


def index_of(folder: str | Path) -> Index | None:
    """Return the index of the packed files of this folder, which need not exist; None if there is no index."""
    asked = above = os.path.abspath(folder)
    while above not in _known:
        if above.endswith(".tar") and os.path.isfile(above):
            return index_of_tar(above)
        if os.path.isfile(path := os.path.join(above, INDEX)):
            _known[above] = Index(path, above)
        else:
            parent = os.path.dirname(above)
            if parent == above:
                return None
            above = parent
    _known[asked] = _known[above]
    return _known[asked]


def forget_indexes() -> None:
    """Forget the opened indexes, after one was written again."""
    _known.clear()


def find_packed(path: str | Path) -> Entry | None:
    """Return where the file of this path is packed; None if it is not."""
    index = index_of(os.path.dirname(path) or ".")
    return index.find(path) if index else None


def open_file(path: str | Path) -> io.BufferedReader:
    """Open a file, from disk or from the tar in which it is packed."""
    try:
        return open(path, "rb")
    except (FileNotFoundError, NotADirectoryError):
        if entry := find_packed(path):
            return entry.open()
        raise


class Tree:
    """The files below a folder, on disk or packed."""

    def __init__(self, root: str | Path):
        self.index = index_of(root)
        if self.index is not None:
            note_input(self.index.path)

    # `os.path` returns False for a name that is too long and for a folder that may not be entered; `pathlib` raises.
    def is_file(self, path: Path) -> bool:
        """Return whether there is such a file, on disk or packed."""
        note_input(os.path.dirname(path))
        return os.path.isfile(path) or (self.index is not None and self.index.find(path) is not None)

    def is_dir(self, path: Path) -> bool:
        """Return whether there is such a folder, on disk or packed."""
        note_input(os.path.dirname(path))
        return os.path.isdir(path) or (self.index is not None and self.index.has_folder(path))

    def children(self, folder: Path) -> list[tuple[Path, bool]]:
        """Return the files and folders in a folder, by name, and whether each is a folder."""
        found = dict(self.index.children(folder)) if self.index else {}
        if not found or folder.is_dir():
            with os.scandir(folder) as entries:
                found |= {entry.name: entry.is_dir() for entry in entries}
        return [(folder / name, found[name]) for name in sorted(found)]
