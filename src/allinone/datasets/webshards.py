"""Tars of videos (or images) with captions that others made, as video2dataset, img2dataset and WebDataset write them.

Read where they lie, nothing is unpacked. Headers and captions are read once, tar by tar, into the user's cache folder.

    root/00000.tar          any names that end in .tar, in the root or in folders below it
    root/train/00000.tar    `split="train"` takes the tars of this folder; None takes all

A video and its caption share their name, in any order in the tar:

    000030012.mp4           or any other ending of a video or an image
    000030012.txt           the caption; or else `caption` in the JSON:
    000030012.json          {"url": "https://...", "caption": "a cat jumps on the table", "status": "success", ...}

In names with more dots, `clip.v1.mp4` takes `clip.v1.txt` if it is there, and else `clip.txt`, since in WebDataset the
name of a sample ends at the first dot. Hidden members (`._clip.mp4`, which a Mac adds) are skipped.

A video without a caption is left out, and their number told. A tar that is cut off or damaged is an error that says
how far it reads. Such files have paths like others: `root/00003.tar/000030012.mp4`.

Measured by recall at 1, 5, 10, as captions are. The licence is that of the videos.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from allinone.data.example import Example
from allinone.datasets.base import Card, TaskReader, with_texts
from allinone.datasets.files import MissingFile, tidy
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
    tars = sorted(path for path in folder.rglob("*.tar") if "/." not in f"/{path.relative_to(folder).as_posix()}")
    if not tars:
        raise MissingFile(f"{folder}: no file that ends in .tar is there or below; compressed ones want to be unpacked")
    return tars


def require_whole(tars: list[Path]) -> None:
    """One error for all that are broken."""
    broken = []
    for tar in tars:
        try:
            index_of_tar(str(tar))
        except BrokenTar as error:
            broken.append(f"  {error}")
    if broken:
        told = f"{len(broken)} of {len(tars)} tars cannot be read; get them again, or move them away:"
        raise ValueError("\n".join([told, *broken]))


def samples(tars: list[Path], root: Path) -> Iterator[Example]:
    for tar in tars:
        place = tar.relative_to(root).as_posix()
        for entry in index_of_tar(str(tar)):
            if is_media(entry.name):
                name = f"{place}/{entry.name}"
                yield Example(id=name, video=tar / entry.name, video_id=name, text=tidy(entry.caption))


CARD = Card(
    title="tars of videos or images with captions, in the layout of WebDataset and video2dataset",
    licence="that of the videos",
    get="github.com/iejMac/video2dataset makes them of a list of addresses",
    metric="recall at 1, 5, 10 and median rank, both directions",
    readings={"captions": TaskReader(reader=Captions, splits={})},
)
