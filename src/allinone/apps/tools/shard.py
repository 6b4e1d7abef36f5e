"""A data set's videos in few large files: tars in WebDataset's layout, and an index by which they are read as before.

    S/shards/00000.tar      000000000.mp4  000000000.txt  000000000.json  000000001.mp4 ...
    S/shards.index          where the bytes of videos/video7.mp4 are: in which tar, and from where on

The text is a caption of the whole video, where there is one; the JSON has the place that the file had, that caption,
and every text about it. Annotation files lie in `S` as in the source, which is only ever read. A shard gets its name
when it is complete, and is never written again: a run that was stopped goes on with the next one, and so does one
that finds new videos.
"""

import json
import os
import tarfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple

from allinone.apps.tools.check import read_all
from allinone.apps.tools.info import differing, survey
from allinone.apps.tools.journal import Journal, signature
from allinone.apps.tools.pool import Failure
from allinone.apps.tools.target_folder import UNFINISHED, Named, apart, copy_annotations, place_in, taken
from allinone.data.example import Example
from allinone.data.presence import Folders
from allinone.datasets import DatasetEntry
from allinone.files.shards import INDEX, forget_indexes, open_file, write_index
from allinone.progress import Progress

OWN, SHARDS = ".sharded", "shards"
"""The folders in the new one for what is noted, and for the tars."""

PIECE = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Limits:
    """When a shard is full; a single file may be larger."""

    max_mb: int = 512
    max_samples: int = 10_000

    def __post_init__(self):
        if self.max_mb < 1 or not 1 <= self.max_samples <= 10_000:
            raise ValueError(f"max_mb is 1 or more, max_samples 1 to 10,000 (keys have four digits); got {self}")


@dataclass(slots=True)
class About:
    """What the records of a data set say of a file: a caption of the whole, and every text once, in their order."""

    caption: str = ""
    texts: dict[str, None] = field(default_factory=dict)


@dataclass
class Report:
    """What was done."""

    num_files: int
    num_done_before: int = 0
    num_shards: int = 0
    num_bytes: int = 0
    unread: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    alike: bool = True
    """Whether the examples name the same files in the new folder; asked where none is missing."""

    @property
    def complete(self) -> bool:
        return self.alike and not (self.missing or self.failed)


class Sample(NamedTuple):
    """A file to pack: its place, where it is, its signature, and what is said of it."""

    place: str
    source: str
    state: list[int]
    about: About


Packed = tuple[str, int, int, list[int]]
"""Of a file in a shard: its place, where its bytes begin, how many, and the signature that it had."""


class Unreadable(ValueError):
    """A source that does not give the bytes that it has."""


def shard(
    known: DatasetEntry,
    root: Path,
    to: Path,
    limits: Limits,
    *,
    splits: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
    workers: int | None = None,
    on_progress: Progress = lambda what, done, total: None,
) -> Report:
    """Pack what is not yet packed and can be read. One process at a time may write to a folder."""
    root, to = apart(root, to)
    needed: dict[str, About] = {}
    as_read, as_packed = Named(root), Named(to)
    found = survey(known, root, splits, tasks, partial(note, needed, as_read))
    if not needed:
        raise ValueError(f"{known.name}: nothing to pack; {'; '.join(differing(found))}")
    folders = Folders()
    places = {str(place_in(root, path)): path for path in needed if folders.have(path)}
    missing = [path for path in needed if not folders.have(path)]
    report = Report(len(needed), unread=list(differing(found)), missing=missing)
    with taken(to, OWN), Journal(to / OWN / "done.jsonl") as journal:
        copy_annotations(root, to)
        before = {place: state for _, (place, _, _, state) in packed(journal, to)}
        samples = (Sample(place, path, signature(path), needed[path]) for place, path in places.items())
        new = [sample for sample in samples if before.get(sample.place) != sample.state]
        report.num_done_before = len(places) - len(new)
        report.failed |= unreadable(known, root, [sample.source for sample in new], workers, on_progress)
        todo = deque(sample for sample in new if sample.source not in report.failed)
        total = len(todo)
        while todo:
            number = len(journal.records)
            name = f"{number:05d}.tar"
            unfinished = to / OWN / UNFINISHED / name
            files = write_shard(
                unfinished, number, todo, limits, report.failed, lambda left: on_progress("files", total - left, total)
            )
            if files:
                report.num_shards += 1
                report.num_bytes += (size := unfinished.stat().st_size)
                (to / SHARDS).mkdir(exist_ok=True)
                os.replace(unfinished, to / SHARDS / name)
                journal.add(name, [size, files])
        records = {file[0]: (file[0], f"{SHARDS}/{name}", *file[1:3]) for name, file in packed(journal, to)}
        write_index(to / INDEX, records.values())
    forget_indexes()
    if report.complete:
        survey(known, to, splits, tasks, as_packed.add)
        report.alike = as_packed.digest() == as_read.digest()
    return report


def unreadable(
    known: DatasetEntry, root: Path, paths: Sequence[str], workers: int | None, on_progress: Progress
) -> dict[str, str]:
    """The files that do not decode, and why; those that `data check` has read are not read again."""
    failed = {}
    for done, (path, result) in enumerate(read_all(known, root, paths, workers), start=1):
        if isinstance(result, Failure):
            failed[path] = result.cause
        on_progress("read", done, len(paths))
    return failed


def note(needed: dict[str, About], named: Named, example: Example) -> None:
    """Note which files an example needs, and what it says of them."""
    named.add(example)
    for clip in example.clips or (example,):
        for path in clip.files:
            about = needed.setdefault(str(path), About())
            if clip.text:
                about.texts[clip.text] = None
            is_whole = not clip.start_sec and clip.end_sec is None and clip.video == path
            if is_whole and clip.task == "caption" and not about.caption:
                about.caption = clip.text


def packed(journal: Journal, to: Path) -> Iterator[tuple[str, Packed]]:
    """The files of finished shards that are there, with the name of the shard."""
    for name, (size, files) in journal.records.items():
        path = to / SHARDS / name
        if path.is_file() and path.stat().st_size == size:
            yield from ((name, file) for file in files)


def write_shard(
    path: Path,
    number: int,
    todo: deque[Sample],
    limits: Limits,
    failed: dict[str, str],
    on_left: Callable[[int], object],
) -> list[Packed]:
    """Take as many of the samples as have room, and write them. Two runs over the same files write the same bytes."""
    files: list[Packed] = []
    with path.open("wb") as tar:
        while todo and (not files or has_room(tar.tell(), len(files), todo[0], limits)):
            place, source, state, about = todo.popleft()
            key, begin, size = f"{number:05d}{len(files):04d}", tar.tell(), state[0]
            try:
                offset = put(tar, key + PurePosixPath(place).suffix, size, pieces(source, size))
            except Unreadable as error:
                failed[source] = str(error)
                tar.seek(begin)
                tar.truncate()
                continue
            for ending, text in beside(place, about):
                put(tar, key + ending, len(text), [text])
            files.append((place, offset, size, state))
            on_left(len(todo))
        tar.write(bytes(2 * tarfile.BLOCKSIZE))
        tar.flush()
        os.fsync(tar.fileno())  # before its name says that it is complete
    return files


def has_room(num_bytes: int, num_samples: int, sample: Sample, limits: Limits) -> bool:
    return num_samples < limits.max_samples and num_bytes + sample.state[0] <= limits.max_mb * 1_000_000


def put(tar: BinaryIO, name: str, size: int, content: Iterable[bytes]) -> int:
    """Write a file, by nobody and of no date; where its bytes begin."""
    member = tarfile.TarInfo(name)
    member.size = size
    tar.write(member.tobuf(tarfile.GNU_FORMAT))
    offset = tar.tell()
    for piece in content:
        tar.write(piece)
    tar.write(bytes(-size % tarfile.BLOCKSIZE))
    return offset


def pieces(source: str, size: int) -> Iterator[bytes]:
    try:
        with open_file(source) as file:
            while size:
                piece = file.read(min(size, PIECE))
                if not piece:
                    raise Unreadable("ends before its size says; is it being written?")
                size -= len(piece)
                yield piece
    except OSError as error:
        raise Unreadable(error.strerror or str(error)) from error


def beside(place: str, about: About) -> Iterator[tuple[str, bytes]]:
    """Endings and contents of what lies beside a video, for those who read tars without an index."""
    told: dict[str, Any] = {"place": place, "texts": list(about.texts)}
    if about.caption:
        told["caption"] = about.caption
        yield ".txt", about.caption.encode()
    yield ".json", json.dumps(told).encode()
