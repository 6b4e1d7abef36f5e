"""`allinone data shard`: the videos of a dataset in a few large files, tars in WebDataset's layout with an index.

    S/shards/00000.tar      000000000.mp4  000000000.txt  000000000.json  000000001.mp4 ...
    S/shards.index          position of the bytes of videos/video7.mp4: in which tar, and at which offset

The text file is a caption of the whole video, if there is one; the JSON has the path of the file in the dataset, that
caption, and all texts about it. Annotation files are copied, so `S` is read like the source, which is only read. A
shard gets its name when it is complete and is never written again; a run that was stopped, or that finds new videos,
continues with the next shard.
"""

import json
import os
import tarfile
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple

from allinone.apps.tools.check import read_files
from allinone.apps.tools.job import Journal, signature
from allinone.apps.tools.pool import Failure
from allinone.apps.tools.target_folder import CopyReport, TargetFolder
from allinone.data.example import Example
from allinone.datasets import DatasetEntry
from allinone.files.shards import INDEX, forget_indexes, open_file, write_index
from allinone.progress import Progress

HIDDEN, SHARDS = ".sharded", "shards"
"""The folders in the new one for the journal, and for the tars."""

CHUNK_BYTES = 1 << 20
"""Files are copied in pieces of 1 MB, since a video may be larger than memory."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The size of a shard, in megabytes and in files; a single larger file gets a shard for itself."""

    max_mb: int = 512
    max_samples: int = 10_000

    def __post_init__(self):
        if self.max_mb < 1 or not 1 <= self.max_samples <= 10_000:
            raise ValueError(f"max_mb must be 1 or more, max_samples 1 to 10,000 (keys have four digits); got {self}")


@dataclass(slots=True)
class Texts:
    """The texts about a file: a caption of the whole, and all texts in their order, each once."""

    caption: str = ""
    all: dict[str, None] = field(default_factory=dict)


@dataclass(kw_only=True)
class Report(CopyReport):
    """The outcome of `shard`; shards and bytes are the new ones."""

    num_shards: int = 0
    num_bytes: int = 0

    def summary(self) -> list[str]:
        """Return the counts of files and shards, and warnings."""
        new = f"{self.num_shards:,} new shards of {self.num_bytes / 1e6:,.1f} MB"
        return [f"{self.in_words('packed')}; {new}", *self.warnings()]


class Sample(NamedTuple):
    """A file to pack: its path in the dataset, its path on disk, its signature, and the texts about it."""

    name: str
    source: str
    signature: list[int]
    texts: Texts


PackedFile = tuple[str, int, int, list[int]]
"""A file in a shard: its path in the dataset, offset and number of its bytes, and the signature of its source."""


class Unreadable(ValueError):
    """A source that does not give as many bytes as it has."""


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
    """Pack the readable files that are new or changed since an earlier call. One process at a time may write there.

    Raises:
        ValueError: the folders overlap, `to` has other files, or the dataset has no such split or task.
    """
    # 1. Read the annotations, and choose the files that are in no shard as they are now.
    texts: defaultdict[str, Texts] = defaultdict(Texts)
    folder = TargetFolder(known, root, to, HIDDEN, splits, tasks, partial(note_texts, texts))
    files = folder.files
    names = {str(folder.relative(path)): path for path in files.present}
    report = Report(counts=files.counts, num_files=len(files), missing=files.missing)
    with folder.opened() as journal:
        todo = changed_samples(names, texts, journal, folder.to)
        report.num_done_before = len(names) - len(todo)
        # 2. Read each of them, since a shard is written once and read for years.
        report.failed |= unreadable(known, folder.root, [sample.source for sample in todo], workers, on_progress)
        todo = deque(sample for sample in todo if sample.source not in report.failed)
        # 3. Pack them, and list all files of all shards in the index.
        write_shards(folder, journal, todo, limits, report, on_progress)
        # By path: of a changed file, which was packed again, the newer one.
        index = {file[0]: (file[0], f"{SHARDS}/{tar}", *file[1:3]) for tar, file in packed_files(journal, folder.to)}
        write_index(folder.to / INDEX, index.values())
    forget_indexes()  # those cached in this process are older
    if report.complete:
        report.alike = folder.is_alike()
    return report


def note_texts(texts: defaultdict[str, Texts], example: Example) -> None:
    """Add the texts of an example to those of its files."""
    for clip in example.clips or (example,):
        for path in clip.files:
            about = texts[str(path)]
            if clip.text:
                about.all[clip.text] = None
            # Not a span, nor one of a pair of images.
            is_whole = not clip.start_sec and clip.end_sec is None and clip.video == path
            if is_whole and clip.task == "caption" and not about.caption:
                about.caption = clip.text


def changed_samples(
    names: Mapping[str, str], texts: Mapping[str, Texts], journal: Journal, to: Path
) -> Sequence[Sample]:
    """Return the files that are in no shard yet, or have changed since."""
    before = {name: state for _, (name, _, _, state) in packed_files(journal, to)}
    samples = (Sample(name, path, signature(path), texts[path]) for name, path in names.items())
    return [sample for sample in samples if before.get(sample.name) != sample.signature]


def unreadable(
    known: DatasetEntry, root: Path, paths: Sequence[str], workers: int | None, on_progress: Progress
) -> dict[str, str]:
    """Return the files that do not decode, with the causes. Files that `data check` has read are not read again."""
    results = read_files(known, root, paths, workers, "read", on_progress)
    return {path: result.cause for path, result in results if isinstance(result, Failure)}


def packed_files(journal: Journal, to: Path) -> Iterator[tuple[str, PackedFile]]:
    """Yield the files of the complete shards that exist, each with the name of its shard."""
    for name, (size, files) in journal.records.items():
        path = to / SHARDS / name
        if path.is_file() and path.stat().st_size == size:
            yield from ((name, file) for file in files)


def write_shards(
    folder: TargetFolder,
    journal: Journal,
    todo: deque[Sample],
    limits: Limits,
    report: Report,
    on_progress: Progress,
) -> None:
    """Write all samples into new shards, which are numbered after the earlier ones."""
    total = len(todo)
    while todo:
        number = len(journal.records)  # counts lost shards too, so that no number is used twice
        name = f"{number:05d}.tar"
        unfinished = folder.unfinished / name
        files = write_shard(
            unfinished, number, todo, limits, report.failed, lambda left: on_progress("files", total - left, total)
        )
        if files:
            size = unfinished.stat().st_size
            (folder.to / SHARDS).mkdir(exist_ok=True)
            # Renamed, then noted: a shard of a killed run that is not in the journal is written again under its name.
            os.replace(unfinished, folder.to / SHARDS / name)
            journal.add(name, [size, files])
            report.num_shards += 1
            report.num_bytes += size


def write_shard(
    path: Path,
    number: int,
    todo: deque[Sample],
    limits: Limits,
    failed: dict[str, str],
    on_left: Callable[[int], object],
) -> list[PackedFile]:
    """Write samples until the shard is full, and remove them from `todo`.

    The same files give the same bytes. Unreadable samples are added to `failed` and leave nothing in the tar.
    """
    files: list[PackedFile] = []
    with path.open("wb") as tar:
        # A file that is larger than a shard gets one for itself.
        while todo and (not files or has_room(tar.tell(), len(files), todo[0], limits)):
            name, source, state, texts = todo.popleft()
            # WebDataset's key: shard and number in it. The size is the signature's: of a file that grows meanwhile,
            # only that many bytes are read.
            key, begin, size = f"{number:05d}{len(files):04d}", tar.tell(), state[0]
            try:
                offset = write_member(tar, key + PurePosixPath(name).suffix, size, read_chunks(source, size))
            except Unreadable as error:
                failed[source] = str(error)
                tar.seek(begin)  # the header was written already
                tar.truncate()
                continue
            for suffix, content in sidecars(name, texts):
                write_member(tar, key + suffix, len(content), [content])
            files.append((name, offset, size, state))
            on_left(len(todo))
        tar.write(bytes(2 * tarfile.BLOCKSIZE))  # the end of a tar
        tar.flush()
        os.fsync(tar.fileno())  # before it gets the name of a complete shard
    return files


def has_room(num_bytes: int, num_samples: int, sample: Sample, limits: Limits) -> bool:
    """Whether a sample fits into a shard of this size."""
    # Its captions are small, and not counted.
    return num_samples < limits.max_samples and num_bytes + sample.signature[0] <= limits.max_mb * 1_000_000


def write_member(tar: BinaryIO, name: str, size: int, content: Iterable[bytes]) -> int:
    """Append a file, without owner and date, which would differ from run to run. Returns the offset of its bytes."""
    member = tarfile.TarInfo(name)
    member.size = size
    tar.write(member.tobuf(tarfile.GNU_FORMAT))
    offset = tar.tell()
    for chunk in content:
        tar.write(chunk)
    tar.write(bytes(-size % tarfile.BLOCKSIZE))  # members are padded to whole blocks
    return offset


def read_chunks(source: str, size: int) -> Iterator[bytes]:
    """Yield the first `size` bytes of a file. Raises `Unreadable` if there are fewer."""
    try:
        with open_file(source) as file:
            while size:
                chunk = file.read(min(size, CHUNK_BYTES))
                if not chunk:
                    raise Unreadable("ends before its size says; is it being written?")
                size -= len(chunk)
                yield chunk
    except OSError as error:
        raise Unreadable(error.strerror or str(error)) from error


def sidecars(name: str, texts: Texts) -> Iterator[tuple[str, bytes]]:
    """Yield suffix and content of the text files of a video, for tools that read the tars without the index."""
    record: dict[str, Any] = {"place": name, "texts": list(texts.all)}
    if texts.caption:
        record["caption"] = texts.caption
        yield ".txt", texts.caption.encode()
    yield ".json", json.dumps(record).encode()
