"""Captions of images on the web: tables of captions and URLs with millions of rows, and the images downloaded so far.

The image of a row has the name that img2dataset (`--output_format files`) gives it (rows are counted from 0), or the
number of the row, or the last part of its URL:

    images/00012/000120034.jpg      row 120,034 of shards of 10,000; other sizes of shards are seen by the names
    images/120034.jpg               or with leading zeros
    images/4385058960_b0f291553e.jpg

The name of the first image decides. If img2dataset's `.json` is next to it, the URL in it must be that of its row: a
download with another table, or with a shuffled one, is an error. Without a table the captions are those of the `.txt`
next to each image. Many URLs are dead, so most copies lack images.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from allinone.data.example import Example
from allinone.datasets.base import with_texts
from allinone.datasets.fields import collapse_spaces, shown
from allinone.datasets.files import Annotation, MissingFile
from allinone.datasets.videos import media_files
from allinone.files.shards import Tree


def captions(rows: Callable[[], Iterable[tuple[str, str]]], images: "Images") -> Iterator[Example]:
    """Yield an example for each row; if the table is missing, for each downloaded image.

    `rows` opens the table and returns caption and URL of each row.
    """
    try:
        examples = in_rows(rows(), images)  # looks for the table; its rows are read later
    except MissingFile:
        if images.first is None:
            raise
        examples = downloaded(images)
    yield from with_texts(examples, images.folder)


def in_rows(rows: Iterable[tuple[str, str]], images: "Images") -> Iterator[Example]:
    """Yield an example for each row of a table."""
    for row, (caption, url) in enumerate(rows):
        images.check(row, url)
        name = f"{row:09d}"
        yield Example(id=name, video=images.path(row, url), video_id=name, text=collapse_spaces(caption))


def downloaded(images: "Images") -> Iterator[Example]:
    """Yield an example for each image, with the caption of the `.txt` next to it."""
    for path in media_files(images.folder, images.tree):
        text = path.with_suffix(".txt")
        if not text.is_file():
            raise ValueError(f"{path}: no {text.name} with its caption beside it; add it, or the table of captions")
        yield Example(id=path.stem, video=path, video_id=path.stem, text=collapse_spaces(Annotation(text).text()))


def in_table(file: Annotation) -> Iterator[tuple[str, str]]:
    """Yield caption and URL of each row of a table with tabs; the first row decides the order of the two.

    A header, which img2dataset needs, is skipped.
    """
    url_column = None
    for line, content in file.numbered():
        fields = content.split("\t")
        if line == 1 and {field.strip().lower() for field in fields} == {"caption", "url"}:
            continue
        # CC3M has the caption first, CC12M the URL.
        if url_column is None:
            url_column = next((column for column, text in enumerate(fields) if is_url(text)), 0)
        if len(fields) != 2 or not is_url(fields[url_column]):
            raise ValueError(
                f"{file}: line {line}: wanted a caption and an address with a tab between, got {shown(content)}"
            )
        yield fields[1 - url_column], fields[url_column].strip()


def is_url(text: str) -> bool:
    """Return whether a field of a table is a URL."""
    return text.lstrip().lower().startswith(("http://", "https://"))


@dataclass
class Images:
    """The files of images by row, in the first of the `folders` under the root that exists, or in the root."""

    root: Path
    folders: tuple[str, ...] = ("images",)

    @cached_property
    def tree(self) -> Tree:
        """The files of the root, also those in shards."""
        return Tree(self.root)

    @cached_property
    def folder(self) -> Path:
        """The folder of the images."""
        for folder in self.folders:
            if self.tree.is_dir(self.root / folder):
                return self.root / folder
        children = self.tree.children(self.root) if self.root.is_dir() else ()
        inner = (path.name for path, is_folder in children if is_folder)
        # img2dataset's folders: 00000, 00001, ...
        has_shards = any(len(name) == 5 and name.isdigit() for name in inner)
        return self.root if has_shards else self.root / self.folders[0]

    @cached_property
    def first(self) -> Path | None:
        """The first downloaded image."""
        return next(media_files(self.folder, self.tree), None) if self.tree.is_dir(self.folder) else None

    @cached_property
    def first_row(self) -> int | None:
        """The row of the first image, if its name is a number."""
        return int(self.first.stem) if self.first and self.first.stem.isdigit() else None

    def path(self, row: int, url: str) -> Path:
        """Return the file of a row."""
        return Path(self.naming(row, url))

    @cached_property
    def naming(self) -> Callable[[int, str], str]:
        """Returns the file of a row, in the way the first image is named."""
        first = self.first or self.folder / "00000" / "000000000.jpg"
        stem, shard, ending, folder = first.stem, first.parent.name, first.suffix, self.folder
        # 1. Numbers of rows, with or without leading zeros: 120034.jpg.
        if first.parent == folder and stem.isdigit():
            width = len(stem) if stem.startswith("0") else 1
            return lambda row, url: f"{folder}/{row:0{width}d}{ending}"
        # 2. The last part of the URL: 4385058960_b0f291553e.jpg.
        if first.parent == folder:
            return lambda row, url: f"{folder}/{PurePosixPath(url).name}"
        # 3. img2dataset's: the shard, then the image in it. Four more digits are shards of 10,000.
        if not stem.isdigit() or not stem.startswith(shard) or stem == shard:
            raise ValueError(f"{first}: wanted images named as img2dataset does, like 00012/000120034.jpg")
        width, size = len(shard), 10 ** (len(stem) - len(shard))
        return lambda row, url: f"{folder}/{row // size:0{width}d}/{row:0{len(stem)}d}{ending}"

    def check(self, row: int, url: str) -> None:
        """Check that the first image was downloaded from the URL of its row; other rows are not checked.

        Raises:
            ValueError: it was downloaded with another table.
        """
        if row != self.first_row or self.first is None:
            return
        info = self.first.with_suffix(".json")
        if info.is_file() and (got := Annotation(info).object().optional("url")) not in (None, url):
            raise ValueError(
                f"{self.first}: downloaded from {got}, but row {row} of the table has {url}; use the table that "
                "img2dataset was given, or take the table away to read the captions beside the images"
            )
