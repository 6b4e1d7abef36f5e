"""Tar files in the layout of WebDataset and video2dataset: the files of a sample are neighbors and share a key.

    000030012.mp4   000030012.txt   000030012.json      a video, its caption, and its metadata

Headers of tars without an index are read once; an index of them is kept in the user's cache folder.
"""

import hashlib
import json
import os
import tarfile
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path, PurePosixPath, PureWindowsPath

from allinone.files.cache import cache_folder
from allinone.files.shards.index import Index, Record, leads_out, write_index

TEXT, JSON = ".txt", ".json"
MAX_TEXT_BYTES = 1 << 24
CAPTION_RULE = 2
"""Raise this when captions are found by another rule, so that indexes made by the old rule are not used."""


class BrokenTar(ValueError):
    """A tar file that cannot be read to its end, or with several files of one name."""


@lru_cache(maxsize=128)  # each holds a file open
def index_of_tar(path: str) -> Index:
    """Return the index of a tar: its files that are no text and no JSON, each with the caption of its sample."""
    facts = os.stat(path)
    state = f"{CAPTION_RULE} {os.path.abspath(path)} {facts.st_size} {facts.st_mtime_ns}".encode()
    kept = cache_folder("shards") / f"{Path(path).stem}-{hashlib.sha256(state).hexdigest()[:16]}.index"
    if not kept.is_file():
        records = list(scan(path))
        write_index(kept, records)
    return Index(kept, path)


def scan(path: str) -> Iterator[Record]:
    """Yield the records of a tar. Hidden members are skipped: `._name` has a Mac's metadata of the file `name`."""
    media: dict[str, tarfile.TarInfo] = {}
    texts: dict[str, tarfile.TarInfo] = {}
    for member in members(path):
        names = member.name, member.name.replace("\\", "/")  # as Unix and as Windows read it
        if any(map(leads_out, names)) or PureWindowsPath(member.name).is_absolute():
            raise BrokenTar(f"{path}: its member {member.name!r} names a file outside of the tar; it is not read")
        name = member.name.removeprefix("./")
        if any(part.startswith(".") for part in PurePosixPath(name).parts):
            continue
        files = texts if name.lower().endswith((TEXT, JSON)) else media
        if name in files:
            raise BrokenTar(f"{path}: holds two files called {name}; keep one of them")
        files[name] = member
    captions = read_captions(path, texts)
    for name, member in media.items():
        yield name, None, member.offset_data, member.size, caption_for(name, captions)


def read_captions(path: str, texts: Mapping[str, tarfile.TarInfo]) -> dict[str, str]:
    """Return captions by the names of their files without the ending: the text, or if it is empty the JSON's."""
    captions: dict[str, str] = {}
    with open(path, "rb") as file:
        for name, member in sorted(texts.items(), key=lambda named: named[0].lower().endswith(TEXT)):
            if member.size > MAX_TEXT_BYTES:
                raise BrokenTar(f"{path}: {name} has {member.size:,} bytes, too many for a caption")
            file.seek(member.offset_data)
            content = decode(file.read(member.size))
            stem = str(PurePosixPath(name).with_suffix(""))
            if name.lower().endswith(JSON):
                captions[stem] = caption_in(content)
            elif content.strip() or stem not in captions:
                captions[stem] = content
    return captions


def decode(content: bytes) -> str:
    """Decode text as UTF-8, with or without BOM, or else as Windows-1252."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def caption_in(content: str) -> str:
    """Return `caption` of a JSON object; "" if there is none."""
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        return ""
    caption = values.get("caption") if isinstance(values, dict) else None
    return caption if isinstance(caption, str) else ""


def caption_for(name: str, captions: Mapping[str, str]) -> str:
    """Return the caption with the longest name that is the beginning of the file's name, up to a dot.

    `clip.v1.mp4` takes `clip.v1.txt`, as video2dataset names files, or else `clip.txt`, because in WebDataset the key
    of a sample ends at the first dot. It never takes `clip.v2.txt`.
    """
    stem = PurePosixPath(name)
    while str(stem) not in captions and stem.suffix:
        stem = stem.with_suffix("")
    return captions.get(str(stem), "")


def members(path: str) -> Iterator[tarfile.TarInfo]:
    """Yield the files in a tar. BrokenTar if it is cut off or damaged."""
    whole = 0
    try:
        with tarfile.open(path, "r:") as tar, open(path, "rb") as file:
            while (member := tar.next()) is not None:
                whole = member.offset
                if member.isreg() and not member.issparse():  # links and devices are skipped, with files in pieces
                    yield member
            whole = tar.offset
            file.seek(whole)
            if file.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE):  # tarfile ends silently at any odd block
                return
    except tarfile.TarError:
        pass
    raise BrokenTar(f"{path}: cut off or damaged; it reads up to byte {whole:,} of {os.path.getsize(path):,}")
