"""Tar files in the layout of WebDataset and video2dataset: the files of a sample lie together and share a key.

    000030012.mp4   000030012.txt   000030012.json      a video, its caption, and what else is known of it

Headers of tars that others made are read once; what was found is kept in the user's cache folder.
"""

import hashlib
import json
import os
import tarfile
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from allinone.shards.index import Index, Record, write_index

TEXT, JSON = ".txt", ".json"


class BrokenTar(ValueError):
    """A tar file that cannot be read to its end."""


@lru_cache(maxsize=128)  # each holds a file open
def index_of_tar(path: str) -> Index:
    """The files in a tar that are no text and no JSON, each with the caption of its sample."""
    facts = os.stat(path)
    state = f"{os.path.abspath(path)} {facts.st_size} {facts.st_mtime_ns}".encode()
    kept = cache_folder() / f"{Path(path).stem}-{hashlib.sha256(state).hexdigest()[:16]}.index"
    if not kept.is_file():
        records = list(scan(path))
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_index(kept, records)
    return Index(kept, path)


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "allinone" / "shards"


def scan(path: str) -> Iterator[Record]:
    with open(path, "rb") as file:
        for _, sample in groupby(members(path), key=lambda member: key_of(member.name)):
            sample = list(sample)
            caption = caption_of(file, sample)
            for member in sample:
                if not member.name.lower().endswith((TEXT, JSON)):
                    yield member.name.removeprefix("./"), None, member.offset_data, member.size, caption


def key_of(name: str) -> str:
    """The name up to the first dot after its folders."""
    path = PurePosixPath(name)
    return str(path.with_name(path.name.partition(".")[0] or path.name))


def caption_of(file: BinaryIO, sample: Iterable[tarfile.TarInfo]) -> str:
    """What the text of a sample says, or `caption` in its JSON; nothing where there is neither."""
    found = {TEXT: "", JSON: ""}
    for member in sample:
        ending = PurePosixPath(member.name).suffix.lower()
        if ending in found:
            file.seek(member.offset_data)
            found[ending] = file.read(member.size).decode(errors="replace")
    if found[TEXT].strip() or not found[JSON]:
        return found[TEXT]
    try:
        told = json.loads(found[JSON])
    except ValueError:
        return ""
    caption = told.get("caption") if isinstance(told, dict) else None
    return caption if isinstance(caption, str) else ""


def members(path: str) -> Iterator[tarfile.TarInfo]:
    """The files in a tar; BrokenTar where it does not go on as a tar does, nor ends as one."""
    whole = 0
    try:
        with tarfile.open(path, "r:") as tar, open(path, "rb") as file:
            while (member := tar.next()) is not None:
                whole = member.offset
                if member.isreg():
                    yield member
            whole = tar.offset
            file.seek(whole)
            if file.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE):  # tarfile ends without a word at any block
                return
    except tarfile.TarError:
        pass
    raise BrokenTar(f"{path}: cut off or damaged; it reads up to byte {whole:,} of {os.path.getsize(path):,}")
