"""Tars of videos with captions, as video2dataset writes them."""

import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from layouts.item import Item

SHARD_SIZE = 4


def write_webshards(root: Path, items: Sequence[Item]) -> None:
    for split in dict.fromkeys(item.split for item in items):
        of_split = [item for item in items if item.split == split]
        for number, first in enumerate(range(0, len(of_split), SHARD_SIZE)):
            samples = (
                {
                    item.video.suffix: item.video.read_bytes(),
                    ".txt": item.caption.encode(),
                    ".json": json.dumps({"caption": item.caption, "status": "success"}).encode(),
                }
                for item in of_split[first : first + SHARD_SIZE]
            )
            write_shard(root / split / f"{number:05d}.tar", samples)


def write_shard(path: Path, samples: Iterable[Mapping[str, bytes]]) -> None:
    """A tar of samples, each given as its files by ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for number, sample in enumerate(samples):
            for ending, content in sample.items():
                member = tarfile.TarInfo(f"{path.stem}{number:04d}{ending}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
