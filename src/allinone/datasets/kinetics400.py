"""Kinetics-400: YouTube clips of 10 s of 400 human actions (Kay et al., https://arxiv.org/abs/1705.06950, 2017).

License: annotations CC BY 4.0; videos of YouTube.
Get: annotations and videos from CVDF: https://github.com/cvdfoundation/kinetics-dataset. Videos vanish from YouTube, so
most copies lack some; results are of the clips that one has.

    root/train.csv   val.csv (or validate.csv)   test.csv       the official tables; `is_cc` may be absent
    root/train/ID_000059_000069.mp4                             flat, or in folders named after classes; so val/, test/
    root/label_map_k400.txt                                     optional: the classes in order, one a line

The file of a clip is `ID_start_end`, or else `ID`, which is then assumed to be the trimmed clip. mmaction2's lists
(`kinetics400_train_list_videos.txt`: `abseiling/ID_000059_000069.mp4 0`, folder optional) are read too, and need the
label map. Without the map the classes are those of the tables, in alphabetical order: the official order. The labels of
`test` were published later; without them labels are empty. The table without labels in the crawler of ActivityNet has
38,685 rows.

Scored by: top-1 and top-5 accuracy. All-in-One reports a linear probe.

One record of `train.csv`:

    label,youtube_id,time_start,time_end,split,is_cc
    "air drumming",_axE99QAhe8,26,36,train,0
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from allinone.data.example import Example, SplitSize
from allinone.datasets.actions import Clip, class_names, key, labeled, listed, words
from allinone.datasets.base import Card, SplitDataset
from allinone.datasets.fields import shown
from allinone.datasets.files import Annotation, MissingFile, find, find_some
from allinone.datasets.videos import Videos

NAMES = {"train": ("train",), "val": ("val", "validate", "validation"), "test": ("test",)}
"""Names of the splits in names of files and in the column `split`."""


@dataclass(frozen=True)
class Labels(SplitDataset):
    """The clips with their classes."""

    splits = {
        "train": SplitSize(records=246_534, videos=246_534),
        "val": SplitSize(records=19_906, videos=19_906),
        "test": SplitSize(records=39_805, videos=39_805),
    }

    def classes(self, root: Path) -> list[str]:
        return self.class_list(root)[0]

    def class_list(self, root: Path) -> tuple[list[str], Annotation | None]:
        """Return the classes, and the label map if there is one."""
        for file in find_some(root, "*label_map*.txt"):
            return class_names(file, (line.strip() for line in file.text().rstrip().splitlines())), file
        names = set[str]()
        for split in self.splits:
            for file in find_some(root, *patterns(split)):
                # Lists of mmaction2 have only numbers, so they name no classes.
                names |= {words(row["label"]) for row in file.rows() if row.get("label")} if is_table(file) else set()
        if not names:
            raise MissingFile(f"{root}: no label_map_k400.txt, and no train.csv, val.csv or test.csv with classes")
        return sorted(names), None

    def examples(self, root: Path) -> Iterator[Example]:
        file, (classes, source) = find(root, *patterns(self.split)), self.class_list(root)
        clips = in_table(file, self.split, classes, source) if is_table(file) else listed(file, classes, source)
        folders = [folder for name in NAMES[self.split] for folder in (f"videos_{name}", name)]
        yield from labeled(clips, Videos(root, folders=(*folders, "videos")), file)


def patterns(split: str) -> list[str]:
    """Return names of the file of a split; official ones first."""
    stems = ("{}.csv", "kinetics*{}*.csv", "*_{}.csv", "kinetics*{}*.txt", "{}.txt")
    return [stem.format(name) for name in NAMES[split] for stem in stems]


def is_table(file: Annotation) -> bool:
    """Return whether it is an official table, not a list of mmaction2."""
    return "youtube_id" in file.first_line().lower()


def in_table(file: Annotation, split: str, classes: Sequence[str], source: Annotation | None) -> Iterator[Clip]:
    """Yield the clips of an official table; `source` is the label map. Either all rows have a label or none has."""
    by_key = {key(name): name for name in classes}
    is_secret: bool | None = None
    for row in file.rows("youtube_id", "time_start", "time_end"):
        # A table of one split may lack the column `split`, and one of `test` the column `label`.
        video, label, row_split = row["youtube_id"], row.get("label", ""), row.get("split", "").lower() or split
        if not any(row_split in names for names in NAMES.values()):
            raise row.error(f"no split {shown(row_split)}; there are: {', '.join(NAMES)}")
        if row_split not in NAMES[split]:
            continue
        # The first row decides: a label that is missing in between is damage, and not a secret.
        is_secret = (split == "test" and not label) if is_secret is None else is_secret
        if is_secret != (not label):
            raise row.error("a label, where others have none" if label else "no label")
        if label and key(label) not in by_key:
            raise (source or file).error(f"{shown(label)} is none of its {len(by_key)} classes ({row.where})")
        start, end = int(row.number("time_start")), int(row.number("time_end"))
        name = f"{video}_{start:06d}_{end:06d}"  # as the files of CVDF are named; times in six digits
        yield Clip(name, by_key[key(label)] if label else "", (name, video))


CARD = Card.of(__doc__, labels=Labels)
