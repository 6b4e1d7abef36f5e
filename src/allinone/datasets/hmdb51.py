"""HMDB51: 6,766 clips of 51 human actions, mostly from films (Kuehne et al., ICCV 2011).

Licence: CC BY 4.0. Get: serre.lab.brown.edu/hmdb51.html (`hmdb51_org.rar`, `test_train_splits.rar`), or the one table
`hmdb51.csv` of MIL-NCE (github.com/antoine77340/MIL-NCE_HowTo100M).

    root/testTrainMulti_7030_splits/brush_hair_test_split1.txt      a file for each class and fold; or instead
    root/hmdb51.csv                                                 all of them; or mmaction2's two lists a fold,
    root/hmdb51_train_split_1_videos.txt   hmdb51_val_split_1_videos.txt
    root/videos/brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi

Splits: three folds, `train1`, `test1` to `train3`, `test3`, of 3,570 and 1,530 clips: 70 and 30 of each class; 1,666
clips of each fold are left out on purpose. Results are the mean of the three.

Scored by top-1 accuracy. All-in-One reports a linear probe.

One record of `brush_hair_test_split1.txt`, of `hmdb51.csv` (0: not used, 1: training, 2: test), and of the list:

    April_09_brush_hair_u_nm_np1_ba_goo_0.avi 1
    April_09_brush_hair_u_nm_np1_ba_goo_0.avi,brush_hair_test,1,1,2
    brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi 0
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath

from allinone.data.example import Example
from allinone.datasets.actions import Clip, labelled, words
from allinone.datasets.base import Card, OfSplit, Reading, Size
from allinone.datasets.files import MissingFile, Videos, bare, find_all, find_some

SPLITS = {
    f"{part}{fold}": Size(records=count, videos=count)
    for fold in (1, 2, 3)
    for part, count in (("train", 3_570), ("test", 1_530))
}
USES = {"train": "1", "test": "2"}


@dataclass(frozen=True)
class Labels(OfSplit):
    """The clips with their classes."""

    splits = SPLITS

    def classes(self, root: Path) -> list[str]:
        return sorted({words(folder) for folder, _, _ in uses(root, self.split[-1])})

    def examples(self, root: Path) -> Iterator[Example]:
        clips = (
            Clip(bare(name), words(folder), (f"{folder}/{name}", name))
            for folder, name, use in uses(root, self.split[-1])
            if use == USES[self.split[:-1]]
        )
        videos = Videos(root, folders=("videos", "hmdb51_org", "hmdb51"), suffix=".avi")
        yield from labelled(clips, videos, root)


def uses(root: Path, fold: str) -> Iterator[tuple[str, str, str]]:
    """Folder and file of every clip, and what it is used for in the fold: 0 nothing, 1 training, 2 test."""
    ending = f"_test_split{fold}.txt"
    tables = find_some(root, "hmdb51.csv")
    lists = [] if tables else find_all(root, f"*{ending}")
    pair = find_some(root, *(f"hmdb51_{part}_split_{fold}_videos.txt" for part in ("train", "val")))
    pair = [] if tables or lists or len(pair) < 2 else pair
    if not tables and not lists and not pair:
        raise MissingFile(f"{root}: no hmdb51.csv, and no folder testTrainMulti_7030_splits with *{ending}")
    in_tables = (
        (file, row["label"].removesuffix("_test"), row["video_id"], row[f"split{fold}"])
        for file in tables
        for row in file.rows("video_id", "label", f"split{fold}")
    )
    in_lists = (
        (file, file.path.name[: -len(ending)], *line.rpartition(" ")[::2]) for file in lists for line in file.lines()
    )
    in_pair = (
        (file, path.parent.name, path.name, use)
        for file, use in zip(pair, USES.values(), strict=False)
        for path in (PurePosixPath(line.rpartition(" ")[0]) for line in file.lines())
    )
    for file, folder, name, use in chain(in_tables, in_lists, in_pair):
        if use not in ("0", "1", "2"):
            raise ValueError(f"{file}: {name}: wanted 0 (not used), 1 (training) or 2 (test), got {use!r}")
        if not folder:
            raise ValueError(f"{file}: wanted lines 'brush_hair/name.avi 0', got {name!r} without a folder")
        yield folder, name, use


CARD = Card(
    title="HMDB51: 6,766 clips of 51 human actions",
    licence="CC BY 4.0",
    get="serre.lab.brown.edu/hmdb51.html; hmdb51.csv: github.com/antoine77340/MIL-NCE_HowTo100M",
    metric="top-1 accuracy, mean of three folds",
    readings={"labels": Reading(reader=Labels, splits=SPLITS)},
)
