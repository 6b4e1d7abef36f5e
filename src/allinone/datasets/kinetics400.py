"""Kinetics-400: clips of 10 s from YouTube, each of one of 400 human actions (Kay et al., arXiv 1705.06950, 2017).

Licence: annotations CC BY 4.0; the videos are YouTube's. Get: annotations and videos from CVDF
(github.com/cvdfoundation/kinetics-dataset). Videos vanish from YouTube, so most copies lack some; results are of the
clips that one has.

    root/train.csv   val.csv (or validate.csv)   test.csv       the official tables; `is_cc` may be absent
    root/train/ID_000059_000069.mp4                             flat, or in folders named after classes; so val/, test/
    root/label_map_k400.txt                                     optional: the classes in order, one a line

A video is looked for as `ID_start_end`, then as `ID`: a file of that name is taken for the trimmed clip. mmaction2's
lists (`kinetics400_train_list_videos.txt`: `abseiling/ID_000059_000069.mp4 0`, folder optional) are read too, and
need the label map. Without the map the classes are those of the tables, by alphabet: the official order.

Splits: `train` 246,534 clips, `val` 19,906, `test` 39,805 (its labels came later; without them they are empty; the
table without labels in the crawler of ActivityNet has 38,685).

Scored by top-1 and top-5 accuracy. All-in-One reports a linear probe.

One record of `train.csv`:

    label,youtube_id,time_start,time_end,split,is_cc
    "air drumming",_axE99QAhe8,26,36,train,0
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from allinone.data.example import Example
from allinone.datasets.actions import Clip, class_names, key, labelled, listed, words
from allinone.datasets.base import Card, SplitDataset, SplitSize, TaskReader
from allinone.datasets.files import Annotation, MissingFile, Videos, find, find_some
from allinone.datasets.records import shown

SPLITS = {
    "train": SplitSize(records=246_534, videos=246_534),
    "val": SplitSize(records=19_906, videos=19_906),
    "test": SplitSize(records=39_805, videos=39_805),
}
NAMES = {"train": ("train",), "val": ("val", "validate", "validation"), "test": ("test",)}
"""What the splits are called in names of files and in the column `split`."""


@dataclass(frozen=True)
class Labels(SplitDataset):
    """The clips with their classes."""

    splits = SPLITS

    def classes(self, root: Path) -> list[str]:
        return self.class_list(root)[0]

    def class_list(self, root: Path) -> tuple[list[str], Annotation | None]:
        """The classes, and the label map, where there is one."""
        for file in find_some(root, "*label_map*.txt"):
            return class_names(file, (line.strip() for line in file.text().rstrip().splitlines())), file
        names = set[str]()
        for split in SPLITS:
            for file in find_some(root, *patterns(split)):
                names |= {words(row["label"]) for row in file.rows() if row.get("label")} if is_table(file) else set()
        if not names:
            raise MissingFile(f"{root}: no label_map_k400.txt, and no train.csv, val.csv or test.csv with classes")
        return sorted(names), None

    def examples(self, root: Path) -> Iterator[Example]:
        file, (classes, source) = find(root, *patterns(self.split)), self.class_list(root)
        clips = in_table(file, self.split, classes, source) if is_table(file) else listed(file, classes, source)
        folders = [folder for name in NAMES[self.split] for folder in (f"videos_{name}", name)]
        yield from labelled(clips, Videos(root, folders=(*folders, "videos")), file)


def patterns(split: str) -> list[str]:
    return [
        pattern
        for name in NAMES[split]
        for pattern in (f"{name}.csv", f"kinetics*{name}*.csv", f"*_{name}.csv", f"kinetics*{name}*.txt", f"{name}.txt")
    ]


def is_table(file: Annotation) -> bool:
    return "youtube_id" in file.first_line().lower()


def in_table(file: Annotation, split: str, classes: Sequence[str], source: Annotation | None) -> Iterator[Clip]:
    known = {key(name): name for name in classes}
    is_secret: bool | None = None
    for row in file.rows("youtube_id", "time_start", "time_end"):
        video, label, where = row["youtube_id"], row.get("label", ""), row.get("split", "").lower() or split
        if not any(where in names for names in NAMES.values()):
            raise row.error(f"no split {shown(where)}; there are: {', '.join(SPLITS)}")
        if where not in NAMES[split]:
            continue
        is_secret = (split == "test" and not label) if is_secret is None else is_secret
        if is_secret != (not label):
            raise row.error("a label, where others have none" if label else "no label")
        if label and key(label) not in known:
            raise (source or file).error(f"{shown(label)} is none of its {len(known)} classes ({row.where})")
        start, end = int(row.number("time_start")), int(row.number("time_end"))
        name = f"{video}_{start:06d}_{end:06d}"
        yield Clip(name, known[key(label)] if label else "", (name, video))


CARD = Card(
    title="Kinetics-400: 306,245 YouTube clips of 400 human actions",
    licence="annotations CC BY 4.0; videos of YouTube",
    get="github.com/cvdfoundation/kinetics-dataset",
    metric="top-1 and top-5 accuracy",
    readings={"labels": TaskReader(reader=Labels, splits=SPLITS)},
)
