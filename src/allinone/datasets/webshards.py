"""Tars of videos or images with captions, in the layout of WebDataset, video2dataset and img2dataset.

License: that of the videos.
Get: https://github.com/iejMac/video2dataset makes them from a list of URLs.

Read in place: nothing is unpacked. Headers and captions are read once, tar by tar, into the user's cache folder.

    root/00000.tar          any names that end in .tar, in the root or in folders below it
    root/train/00000.tar    `split="train"` reads the tars of this folder; None reads all

A video and its caption share their name, in any order in the tar:

    000030012.mp4           or any other extension of a video or an image
    000030012.txt           the caption; or else `caption` in the JSON:
    000030012.json          {"url": "https://...", "caption": "a cat jumps on the table", "status": "success", ...}

In names with more dots, `clip.v1.mp4` takes `clip.v1.txt` if it exists, and else `clip.txt`, because in WebDataset the
name of a sample ends at the first dot. Hidden members (`._clip.mp4`, which macOS adds) are skipped.

Videos without a caption are skipped and counted. A tar that is cut off or damaged is an error that says how far it can
be read. Members have paths like other files: `root/00003.tar/000030012.mp4`.

Scored by: recall at 1, 5, 10 and median rank, both directions.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from allinone.data.example import Example
from allinone.datasets.base import Card, with_texts
from allinone.datasets.fields import collapse_spaces
from allinone.datasets.files import MissingFile
from allinone.files.shards import BrokenTar, index_of_tar
from allinone.video.names import is_media


@dataclass(frozen=True, kw_only=True)
class Captions:
    """Every video that has a caption, tar by tar."""

    split: str | None = None

    def examples(self, root: Path) -> Iterator[Example]:
        tars = find_tars(Path(root) / (self.split or ""))
        require_whole(tars)
        return with_texts(samples(tars, Path(root)), root)


def find_tars(folder: Path) -> list[Path]:
    """Return the tars in a folder and below, by path; hidden ones are skipped."""
    tars = sorted(path for path in folder.rglob("*.tar") if "/." not in f"/{path.relative_to(folder).as_posix()}")
    if not tars:
        raise MissingFile(f"{folder}: no file that ends in .tar is there or below; unpack compressed ones (.tar.gz)")
    return tars


def require_whole(tars: list[Path]) -> None:
    """Raise one error that lists all broken tars."""
    broken = []
    for tar in tars:
        try:
            index_of_tar(str(tar))
        except BrokenTar as error:
            broken.append(f"  {error}")
    if broken:
        count = f"{len(broken)} of {len(tars)} tars cannot be read; get them again, or move them away:"
        raise ValueError("\n".join([count, *broken]))


def samples(tars: list[Path], root: Path) -> Iterator[Example]:
    """Yield every video of the tars; its text is empty if it has no caption."""
    for tar in tars:
        folder = tar.relative_to(root).as_posix()
        for entry in index_of_tar(str(tar)):
            if is_media(entry.name):
                name = f"{folder}/{entry.name}"
                yield Example(id=name, video=tar / entry.name, video_id=name, text=collapse_spaces(entry.caption))


CARD = Card.of(__doc__, captions=Captions)
