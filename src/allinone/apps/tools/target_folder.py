"""A new folder that is read like a dataset's own: outside of it, written by one process, with its annotation files."""

import hashlib
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from allinone.apps.tools.info import count_records, differences
from allinone.apps.tools.job import JobReport, Journal, collect_files, signature
from allinone.data.example import Example
from allinone.datasets import DatasetEntry
from allinone.files.lock import only_process
from allinone.files.shards import INDEX
from allinone.files.whole import whole_file
from allinone.video.names import is_hidden, is_media

BULKY = (".tar", ".tgz", ".rar", ".7z", ".h5", ".hdf5", ".npy", ".npz", ".pt", ".pth", ".mdb", ".mp3", ".wav", ".m4a")
"""Archives of videos, features and sounds are no annotation files; any other file may be one."""


@dataclass(kw_only=True)
class CopyReport(JobReport):
    """The outcome of a job that writes a new folder."""

    num_done_before: int = 0
    alike: bool = True
    """Whether the examples name the same files in the new folder. Only checked if all files were written."""

    @property
    def complete(self) -> bool:
        """Whether every file is in the new folder, which is read like the source."""
        return self.alike and super().complete

    def in_words(self, done: str) -> str:
        """Return the counts of files as a sentence; `done` is, for example, "packed"."""
        return (
            f"{self.num_files:,} files: {self.num_readable:,} {done} ({self.num_done_before:,} of them before), "
            f"{len(self.missing):,} missing, {len(self.failed):,} unreadable"
        )

    def warnings(self) -> list[str]:
        """Return a line if the new folder is not read like the source."""
        if self.alike:
            return []
        return [
            "the new folder is not read like the source: the reader chooses among all files of a folder, and only "
            "the chosen ones are in it"
        ]


class TargetFolder:
    """The new folder `to` for the files that the examples below `root` name.

    Args:
        hidden: name of the folder in `to` for the journal and unfinished files
        each: is called with every example

    Raises:
        ValueError: one of the folders contains the other, or the examples name no files.
    """

    def __init__(
        self,
        known: DatasetEntry,
        root: Path,
        to: Path,
        hidden: str,
        splits: Sequence[str] | None = None,
        tasks: Sequence[str] | None = None,
        each: Callable[[Example], object] = lambda example: None,
    ):
        self.root, self.to = resolve_disjoint(root, to)
        self.own = self.to / hidden
        self.unfinished = self.own / "unfinished"
        self._selection = known, splits, tasks
        names = _FileNames(self.root)

        def add(example: Example) -> None:
            names.add(example)
            each(example)

        self.files = collect_files(known, self.root, splits, tasks, add)
        if not len(self.files):
            raise ValueError(f"{known.name}: no files to copy; {'; '.join(differences(self.files.counts))}")
        self._names = names.digest()

    @contextmanager
    def opened(self) -> Iterator[Journal]:
        """Lock the folder, copy the annotation files, and yield the journal; remove what a killed run left unfinished.

        Raises:
            ValueError: another process writes there, or the folder has files and was not made by this command.
        """
        if self.to.is_dir() and not self.own.is_dir() and any(self.to.iterdir()):
            raise ValueError(f"{self.to} is not empty and was not made by this command; choose another folder")
        with only_process(self.to, self.own / "lock"):
            shutil.rmtree(self.unfinished, ignore_errors=True)  # of a run that was killed
            self.unfinished.mkdir()
            try:
                copy_annotations(self.root, self.to)
                with Journal(self.own / "done.jsonl") as journal:
                    yield journal
            finally:
                shutil.rmtree(self.unfinished, ignore_errors=True)

    def relative(self, path: str) -> Path:
        """Return the path of a file relative to the source, which is its path in the new folder.

        Raises:
            ValueError: it is outside of the source, or in a tar.
        """
        inside = Path(os.path.relpath(path, self.root))  # by name: links inside stay inside
        if any(name.endswith(".tar") for name in inside.parts[:-1]):
            raise ValueError(f"{path} is in a tar, and is read there; unpack the tars to make other files of them")
        if inside.parts[0] == "..":
            raise ValueError(f"{path} is outside of {self.root}, so it has no path in a copy; move or link it inside")
        return inside

    def is_alike(self) -> bool:
        """Read the new folder, and return whether its examples name the same files as those of the source."""
        known, splits, tasks = self._selection
        names = _FileNames(self.to)
        count_records(known, self.to, splits, tasks, names.add)
        return names.digest() == self._names


class _FileNames:
    """A hash of the files that the examples below a folder name, one after another, without their extensions."""

    def __init__(self, root: Path):
        self.root = str(root)
        self.hash = hashlib.blake2b()

    def add(self, example: Example) -> None:
        """Continue the hash with the files of an example."""
        for path in example.files:
            name = path.with_suffix("") if is_media(path.name) else path  # `prepare` turns a.avi into a.mp4
            self.hash.update(os.fsencode(str(name).removeprefix(self.root)) + b"\n")

    def digest(self) -> bytes:
        """Return the hash of all files so far."""
        return self.hash.digest()


def resolve_disjoint(root: Path, to: Path) -> tuple[Path, Path]:
    """Resolve both paths.

    Raises:
        ValueError: they are the same folder, or one contains the other.
    """
    root, to = Path(root).resolve(), Path(to).resolve()
    if root == to or root in to.parents or to in root.parents:
        raise ValueError(f"{to}: choose a folder outside of {root}, and not above it; the source is never touched")
    return root, to


def copy_annotations(root: Path, to: Path) -> None:
    """Copy the annotation files that are new or changed."""
    for path in annotation_files(root):
        target = to / path.relative_to(root)
        if not target.is_file() or signature(target) != signature(path):
            target.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(target) as unfinished:
                shutil.copy2(path, unfinished)  # with its time, by which the next call sees that it has not changed


def annotation_files(root: Path) -> Iterator[Path]:
    """Yield every file that may be an annotation, in each folder once, because links may form a loop."""
    seen: set[str] = set()
    for folder, inner, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # two links to one folder, or a loop
            inner.clear()
            continue
        seen.add(real)
        inner[:] = [name for name in inner if not is_hidden(name)]
        yield from (path for name in names if may_be_annotation(path := Path(folder, name)))


def may_be_annotation(path: Path) -> bool:
    """Whether a file is neither a video or image, nor hidden, nor an archive or array of them."""
    # The index is of the source's shards.
    if path.name.startswith(".") or path.name == INDEX or is_media(path.name) or not path.is_file():
        return False
    if set(BULKY) & {suffix.lower() for suffix in path.suffixes}:  # any suffix: videos.tar.gz, videos.tar.00
        return False
    return path.suffix.lower() != ".zip" or not contains_media(path)


def contains_media(archive: Path) -> bool:
    """Whether a zip archive has videos or images; False for one that is broken."""
    try:
        with zipfile.ZipFile(archive) as opened:
            return any(is_media(name) for name in opened.namelist())
    except (OSError, zipfile.BadZipFile):
        return False
