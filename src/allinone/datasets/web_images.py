"""Captions of images on the web: tables of captions and addresses with millions of rows, and what was downloaded.

An image lies where img2dataset (`--output_format files`) writes that of row n, counted from 0, or is called by its
number, or by the last part of its address:

    images/00012/000120034.jpg      row 120,034 of shards of 10,000; other sizes of shards are seen by the names
    images/120034.jpg               or with leading zeros
    images/4385058960_b0f291553e.jpg

The first image there tells which. Where it has img2dataset's `.json` beside it, the address in it must be that of its
row: a download of another table, or of a shuffled one, is an error. Without a table the captions come from the `.txt`
beside each image. Many addresses are dead, so most copies lack images.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from allinone.data.example import Example
from allinone.datasets.base import with_texts
from allinone.datasets.files import Annotation, MissingFile, media_files
from allinone.datasets.records import shown, tidy
from allinone.files.shards import Tree


def captions(rows: Callable[[], Iterable[tuple[str, str]]], images: "Images") -> Iterator[Example]:
    """An example for each of the rows (caption, address), or where their file is missing for each image that is there.

    `rows` opens the file.
    """
    try:
        found = in_rows(rows(), images)
    except MissingFile:
        if images.first is None:
            raise
        found = downloaded(images)
    yield from with_texts(found, images.folder)


def in_rows(rows: Iterable[tuple[str, str]], images: "Images") -> Iterator[Example]:
    for row, (caption, url) in enumerate(rows):
        images.check(row, url)
        name = f"{row:09d}"
        yield Example(id=name, video=images.path(row, url), video_id=name, text=tidy(caption))


def downloaded(images: "Images") -> Iterator[Example]:
    """An example for each image, with the caption beside it."""
    for path in media_files(images.folder, images.tree):
        text = path.with_suffix(".txt")
        if not text.is_file():
            raise ValueError(f"{path}: no {text.name} with its caption beside it; add it, or the table of captions")
        yield Example(id=path.stem, video=path, video_id=path.stem, text=tidy(Annotation(text).text()))


def in_table(file: Annotation) -> Iterator[tuple[str, str]]:
    """Caption and address of each row of a table with a tab between; which comes first, the first row tells.

    A header, which img2dataset wants, is left out.
    """
    url_at = None
    for line, content in file.numbered():
        fields = content.split("\t")
        if line == 1 and {field.strip().lower() for field in fields} == {"caption", "url"}:
            continue
        if url_at is None:
            url_at = next((place for place, text in enumerate(fields) if is_url(text)), 0)
        if len(fields) != 2 or not is_url(fields[url_at]):
            raise ValueError(
                f"{file}: line {line}: wanted a caption and an address with a tab between, got {shown(content)}"
            )
        yield fields[1 - url_at], fields[url_at].strip()


def is_url(text: str) -> bool:
    return text.lstrip().lower().startswith(("http://", "https://"))


@dataclass
class Images:
    """Where the image of a row lies: in the first of the `folders` under the root that is there, or in the root."""

    root: Path
    folders: tuple[str, ...] = ("images",)

    @cached_property
    def tree(self) -> Tree:
        return Tree(self.root)

    @cached_property
    def folder(self) -> Path:
        there = [self.root / folder for folder in self.folders if self.tree.is_dir(self.root / folder)]
        if there:
            return there[0]
        children = self.tree.children(self.root) if self.root.is_dir() else ()
        inner = (path.name for path, is_folder in children if is_folder)
        numbered = any(len(name) == 5 and name.isdigit() for name in inner)
        return self.root if numbered else self.root / self.folders[0]

    @cached_property
    def first(self) -> Path | None:
        """An image that was downloaded."""
        return next(media_files(self.folder, self.tree), None) if self.tree.is_dir(self.folder) else None

    @cached_property
    def first_row(self) -> int | None:
        return int(self.first.stem) if self.first and self.first.stem.isdigit() else None

    def path(self, row: int, url: str) -> Path:
        return Path(self.naming(row, url))

    @cached_property
    def naming(self) -> Callable[[int, str], str]:
        """Tells the file of a row, as the first image is named."""
        first = self.first or self.folder / "00000" / "000000000.jpg"
        stem, shard, ending, folder = first.stem, first.parent.name, first.suffix, self.folder
        if first.parent == folder and stem.isdigit():
            width = len(stem) if stem.startswith("0") else 1
            return lambda row, url: f"{folder}/{row:0{width}d}{ending}"
        if first.parent == folder:
            return lambda row, url: f"{folder}/{PurePosixPath(url).name}"
        if not stem.isdigit() or not stem.startswith(shard) or stem == shard:
            raise ValueError(f"{first}: wanted images named as img2dataset does, like 00012/000120034.jpg")
        width, size = len(shard), 10 ** (len(stem) - len(shard))
        return lambda row, url: f"{folder}/{row // size:0{width}d}/{row:0{len(stem)}d}{ending}"

    def check(self, row: int, url: str) -> None:
        """Is the image that is there the one of this row?"""
        if row != self.first_row or self.first is None:
            return
        beside = self.first.with_suffix(".json")
        if beside.is_file() and (got := Annotation(beside).object().optional("url")) not in (None, url):
            raise ValueError(
                f"{self.first}: downloaded from {got}, but row {row} of the table has {url}; use the table that "
                "img2dataset was given, or take the table away to read the captions beside the images"
            )
