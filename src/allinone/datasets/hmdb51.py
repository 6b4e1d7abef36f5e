"""HMDB51: clips of 51 human actions, mostly from films (Kuehne et al., ICCV 2011).

License: CC BY 4.0.
Get: serre.lab.brown.edu/hmdb51.html (`hmdb51_org.rar`, `test_train_splits.rar`), or MIL-NCE's one table `hmdb51.csv`:
https://github.com/antoine77340/MIL-NCE_HowTo100M.

    root/testTrainMulti_7030_splits/brush_hair_test_split1.txt      a file for each class and fold; or instead
    root/hmdb51.csv                                                 all of them; or mmaction2's two lists a fold,
    root/hmdb51_train_split_1_videos.txt   hmdb51_val_split_1_videos.txt        or those of computervision-recipes:
    root/hmdb51_vid_train_split_1.txt      hmdb51_vid_test_split_1.txt          the ending .avi may be left out
    root/videos/brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi

Three folds, `train1`, `test1` to `train3`, `test3`, have 70 and 30 clips of each class; 1,666 of the 6,766 clips are
left out of each fold on purpose.

Scored by: top-1 accuracy, mean of three folds. All-in-One reports a linear probe.

One record of `brush_hair_test_split1.txt`, of `hmdb51.csv` (0: not used, 1: training, 2: test), and of the list:

    April_09_brush_hair_u_nm_np1_ba_goo_0.avi 1
    April_09_brush_hair_u_nm_np1_ba_goo_0.avi,brush_hair_test,1,1,2
    brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi 0
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from allinone.data.example import Example, SplitSize
from allinone.datasets.actions import Clip, labeled, split_number, words
from allinone.datasets.base import Card, SplitDataset, distinct
from allinone.datasets.fields import shown
from allinone.datasets.files import Annotation, MissingFile, find_all, find_some
from allinone.datasets.videos import Videos, bare

USES = {"train": "1", "test": "2"}
PAIRS = (
    ("hmdb51_train_split_{}_videos.txt", "hmdb51_val_split_{}_videos.txt"),
    ("hmdb51_vid_train_split_{}.txt", "hmdb51_vid_test_split_{}.txt"),
    ("hmdb51_vid_train_split_{}.txt", "hmdb51_vid_val_split_{}.txt"),
)
"""Lists of a fold in two files, for training and for test."""


@dataclass(frozen=True)
class Labels(SplitDataset):
    """The clips with their classes."""

    splits = {
        f"{part}{fold}": SplitSize(records=count, videos=count)
        for fold in (1, 2, 3)
        for part, count in (("train", 3_570), ("test", 1_530))
    }

    def classes(self, root: Path) -> list[str]:
        return sorted({words(use.folder) for use in uses(root, self.split[-1])})

    def examples(self, root: Path) -> Iterator[Example]:
        clips = (
            Clip(bare(clip.name), words(clip.folder), (f"{clip.folder}/{clip.name}", clip.name))
            for clip in uses(root, self.split[-1])
            if clip.use == USES[self.split[:-1]]
        )
        videos = Videos(root, folders=("videos", "hmdb51_org", "hmdb51"), suffix=".avi")
        yield from labeled(clips, videos, root)


class Use(NamedTuple):
    """The use of a clip in a fold: 0 none, 1 training, 2 test."""

    folder: str
    name: str
    use: str


def uses(root: Path, fold: str) -> Iterator[Use]:
    """Yield every clip of a fold, from the first kind of file that exists.

    Raises:
        ValueError: a clip has two classes, or is both in training and test.
    """
    # 1. Choose one kind of file: MIL-NCE's table, the official lists, or a pair of lists. Two kinds would give every
    # clip twice.
    ending = f"_test_split{fold}.txt"
    tables = find_some(root, "hmdb51.csv")
    lists = [] if tables else find_all(root, f"*{ending}")
    pair = {} if tables or lists else in_pair(root, fold)
    files = [*tables, *lists, *pair.values()]
    if not files:
        raise MissingFile(f"{root}: no hmdb51.csv, and no folder testTrainMulti_7030_splits with *{ending}")

    def listed() -> Iterator[tuple[Annotation, Use]]:
        # 2. Read it. The table calls classes by the names of the official lists (brush_hair_test).
        for file in tables:
            for row in file.rows("video_id", "label", f"split{fold}"):
                yield file, Use(row["label"].removesuffix("_test"), row["video_id"], row[f"split{fold}"])
        for file in lists:
            for line in file.lines():
                # The class is in the name of the list.
                yield file, Use(file.path.name[: -len(ending)], *line.rpartition(" ")[::2])
        for use, file in pair.items():
            for line in file.lines():
                # A name may be followed by two numbers; the class is the folder.
                path = PurePosixPath(split_number(split_number(line)[0])[0])
                yield file, Use(path.parent.name, path.name, use)

    def checked() -> Iterator[Use]:
        # 3. Check the clips, so that errors name the file of the clip.
        for file, clip in listed():
            if clip.use not in ("0", "1", "2"):
                wanted = "wanted 0 (not used), 1 (training) or 2 (test)"
                raise file.error(f"{shown(clip.name)}: {wanted}, got {shown(clip.use)}")
            if not clip.folder:
                raise file.error(f"wanted lines 'brush_hair/name.avi 0', got {shown(clip.name)} without a folder")
            yield clip

    return distinct(checked(), files[0] if len(files) == 1 else root, key=lambda clip: bare(clip.name))


def in_pair(root: Path, fold: str) -> dict[str, Annotation]:
    """Return the two lists of a fold by the use of their clips; empty unless both exist."""
    for train, test in PAIRS:
        pair = find_some(root, train.format(fold)), find_some(root, test.format(fold))
        if all(pair):
            return {USES[part]: files[0] for part, files in zip(("train", "test"), pair, strict=True)}
    return {}


CARD = Card.of(__doc__, labels=Labels)
