"""Which files of some examples are not there. A folder is listed once: on a network disk each look at a file costs."""

import os
from collections.abc import Iterable
from pathlib import Path

from allinone.data.example import Example
from allinone.files.shards import index_of


def missing(examples: Iterable[Example]) -> dict[str, list[Path]]:
    """By `video_id`, in the order of the examples, the files that are needed to see it and are not there.

    An example that chooses between clips counts under the ids of those clips.
    """
    folders = Folders()
    found: dict[str, list[Path]] = {}
    seen: set[str] = set()
    for example in examples:
        for clip in example.clips or (example,):
            if clip.video_id not in seen:
                seen.add(clip.video_id)
                if absent := [path for path in clip.files if not folders.have(path)]:
                    found[clip.video_id] = absent
    return found


class Folders:
    """Remembers the files of every folder that was asked about, and those packed of it where some are not on disk."""

    def __init__(self) -> None:
        self.files: dict[str, frozenset[str]] = {}
        self.packed: dict[str, frozenset[str]] = {}

    def have(self, path: str | Path) -> bool:
        folder, name = os.path.split(path)
        if folder not in self.files:
            self.files[folder] = list_files(folder or ".")
        if name in self.files[folder]:
            return True
        if folder not in self.packed:
            self.packed[folder] = list_packed(folder or ".")
        return name in self.packed[folder]


def list_files(folder: str) -> frozenset[str]:
    """The names of the files in a folder (links to files count); of a folder that is not there, none."""
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries if entry.is_file())
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()


def list_packed(folder: str) -> frozenset[str]:
    index = index_of(folder)
    return frozenset(name for name, is_folder in index.children(folder) if not is_folder) if index else frozenset()
