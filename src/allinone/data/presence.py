"""Which files of some examples do not exist. A folder is listed once: on a network disk each look at a file is slow."""

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from allinone.data.example import Example
from allinone.data.table import ExampleTable
from allinone.files.shards import index_of


def missing(examples: Iterable[Example]) -> dict[str, list[Path]]:
    """Return the missing files of each `video_id`, in the order of the examples; videos with all files are not in it.

    An example that chooses between clips counts under the ids of those clips.
    """
    table, folders = ExampleTable.of(examples), Folders()
    absent: dict[str, list[Path]] = {}
    # A million captions may be of a few thousand videos, so the paths come first, and then the examples that need one.
    while table is not None:
        is_absent = np.array([not folders.have(path) for path in table.paths], dtype=bool)
        for example in table.rows_with_paths(is_absent):
            if not example.clips and example.video_id not in absent:
                absent[example.video_id] = [path for path in example.files if not folders.have(path)]
        # Then the clips that questions choose between: they are a table too.
        table = table.clips
    return absent


class Folders:
    """Remembers the files of every folder that was asked about, and those packed of it if some are not on disk."""

    def __init__(self) -> None:
        self.files: dict[str, frozenset[str]] = {}
        self.packed: dict[str, frozenset[str]] = {}

    def have(self, path: str | Path) -> bool:
        """Return whether a file exists, on disk or packed."""
        folder, name = os.path.split(path)
        if folder not in self.files:
            self.files[folder] = list_files(folder or ".")
        if name in self.files[folder]:
            return True
        if folder not in self.packed:
            self.packed[folder] = list_packed(folder or ".")
        return name in self.packed[folder]


def list_files(folder: str) -> frozenset[str]:
    """Return the names of the files in a folder (links to files count); none if there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries if entry.is_file())
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()


def list_packed(folder: str) -> frozenset[str]:
    """Return the names of the files of a folder that are packed in shards."""
    index = index_of(folder)
    return frozenset(name for name, is_folder in index.children(folder) if not is_folder) if index else frozenset()
