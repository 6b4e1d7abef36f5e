"""`Videos`: the file of a video by its name, in any folder, with any extension, or packed in shards."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from allinone.datasets.fields import shown
from allinone.files.shards import Tree
from allinone.video.names import is_hidden, is_media, nfc, spellings


@dataclass
class Videos:
    """Finds videos under `root`: in those of `folders` that exist, or in the root if none does, or packed in shards.

    `suffix` is tried first, and is that of the path returned for a missing video. With `search_below=False`, for
    collections of millions, only the exact path is tried.
    """

    root: Path
    folders: Sequence[str] = ("videos", "clips", "images")
    suffix: str = ".mp4"
    search_below: bool = True
    by_name: dict[str, list[Path]] | None = field(default=None, repr=False)
    listed: dict[Path, list[str]] = field(default_factory=dict, repr=False)

    def __post_init__(self):
        self.root = Path(self.root)
        self.tree = Tree(self.root)
        existing = [self.root / folder for folder in self.folders if self.tree.is_dir(self.root / folder)]
        self.searched = existing or [self.root]
        self.expected = existing[0] if existing else self.root / self.folders[0]

    def path(self, video: str, *others: str) -> Path:
        """Return the file called `video`, with or without folders and extension, else by one of the `others` names.

        A missing file gets the path at which it is expected.

        Raises:
            ValueError: two files differ from the name only in capitals.
        """
        # 1. At the expected path of each name.
        for name in (video, *others):
            for folder in self.searched:
                for path in (folder / name, folder / (name + self.suffix)):
                    if self.tree.is_file(on_disk := self.spelled(path)):
                        return on_disk
        # 2. By its bare name in any folder below.
        for name in (video, *others) if self.search_below else ():
            if found := self.search(name):
                return found
        return self.expected / (video if is_media(video) else video + self.suffix)

    def spelled(self, path: Path) -> Path:
        """Return the path in the Unicode form (NFC or NFD) of the disk; a missing one is returned as it is."""
        if str(path).isascii() or self.tree.is_file(path):
            return path
        folder = self.root if path.is_relative_to(self.root) else Path(path.anchor)
        others = spellings(folder, path.relative_to(folder), self.names_in)
        return next((other for other in others if self.tree.is_file(other)), path)

    def names_in(self, folder: Path) -> list[str]:
        """Return the names in a folder; the list is kept."""
        if folder not in self.listed:
            exists = self.tree.is_dir(folder)
            self.listed[folder] = [path.name for path, _ in self.tree.children(folder)] if exists else []
        return self.listed[folder]

    def search(self, name: str) -> Path | None:
        """Look for the name in all folders below: exact spelling first, then its Unicode form, then any capitals."""
        if self.by_name is None:  # one walk, when the first name is not at its expected path
            self.by_name = {}
            for folder in self.searched:
                for path in media_files(folder, self.tree):
                    self.by_name.setdefault(nfc(bare(path.name)).lower(), []).append(path)
        alike = self.by_name.get(nfc(bare(name)).lower(), [])
        exact = [path for path in alike if bare(path.name) == bare(name)]
        exact = exact or [path for path in alike if nfc(bare(path.name)) == nfc(bare(name))]
        # Of several files with this name, prefer those in the folder that the name has.
        found = [path for path in exact if path.as_posix().endswith(f"/{name}")] or exact or alike
        # Ids of YouTube may differ in capitals only: never guess between two of them.
        if len({bare(path.name) for path in found}) > 1:
            raise ValueError(f"which one is {shown(name)}? {', '.join(map(str, found[:3]))}")
        return found[0] if found else None


def media_files(folder: Path, tree: Tree, above: tuple[str, ...] = ()) -> Iterator[Path]:
    """Yield every video and image below a folder, by name; hidden ones, and those in trash folders, are skipped."""
    above = (*above, os.path.realpath(folder))
    for path, is_folder in tree.children(folder):
        if is_hidden(path.name):
            continue
        if is_folder:
            if not path.is_symlink() or os.path.realpath(path) not in above:  # a link to a parent would never end
                yield from media_files(path, tree, above)
        elif is_media(path.name):
            yield path


def bare(name: str) -> str:
    """Return the name of a video without its folders and extension."""
    path = PurePosixPath(name)
    # Only endings of videos and images are cut off: LSMDC's names end in times (00.00.32.566).
    return path.stem if is_media(name) else path.name


def as_mp4(path: Path) -> Path:
    """Return the path of the copy that `allinone data prepare` makes of a video."""
    return path.with_name(f"{bare(path.name)}.mp4")
