"""LSMDC: clips of 200 movies of 4 s with one sentence each, from scripts and audio description (Rohrbach et al., 2017).

Licence: on request, for research; sites.google.com/site/describingmovies/download gives a password for clips and
annotations. The files below are those of the challenge of 2016.

    root/LSMDC16_annos_training.csv                         `train` of the captions
    root/LSMDC16_annos_val.csv                              `val`
    root/LSMDC16_challenge_1000_publictect.csv              `test`, with this spelling
    root/LSMDC16_multiple_choice_train.csv                  `train` of the choices
    root/LSMDC16_multiple_choice_valid.csv                  `val`
    root/LSMDC16_multiple_choice_test_randomized.csv        `test`
    root/videos/1004_Juno/1004_Juno_00.00.32.022-00.00.32.566.avi        or without the folder of the movie

Columns are separated by tabs, without a header: clip, start and end as aligned by hand, start and end as cut out, and
the sentence; in the choices five sentences. There the right one is the first, but in `test` a last column tells which,
from 1 to 5. Also read: `lsmdc_ret_train.json`, `lsmdc_ret_val.json`, `lsmdc_ret_test_1000.json` (VindLU, UMT).

A clip may come in several rows, with different sentences. Sizes: 101,079, 7,408 and 1,000 captions; 101,079, 7,408 and
10,053 choices. The released All-in-One leaves three choices of `test` out, whose clips are broken.

Captions are scored by recall at 1, 5, 10 and the median rank, on the 1,000 clips of `test`; choices by accuracy.

One record of the captions, and of the choices of `test`, tabs written as |:

    1004_Juno_00.00.32.022-00.00.32.566|00.00.32.022|00.00.32.566|00.00.31.294|00.00.33.294|SOMEONE drinks juice.
    1004_Juno_...|00.00.32.022|00.00.32.566|00.00.31.294|00.00.33.294|He nods.|She drinks.|It rains.|They run.|He sits|2
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path

from allinone.data.example import Example
from allinone.datasets.base import Card, SplitDataset, SplitSize, TaskReader, distinct
from allinone.datasets.files import Annotation, Videos, bare, find
from allinone.datasets.pairs import pairs
from allinone.datasets.records import shown, tidy

CAPTIONS = {
    "train": SplitSize(records=101_079),
    "val": SplitSize(records=7_408),
    "test": SplitSize(records=1_000, videos=1_000),
}
CHOICES = {
    "train": SplitSize(records=101_079),
    "val": SplitSize(records=7_408),
    "test": SplitSize(records=10_053),
}
CAPTION_FILES = {
    "train": ("LSMDC16_annos_training.csv", "lsmdc_ret_train.json"),
    "val": ("LSMDC16_annos_val.csv", "lsmdc_ret_val.json"),
    "test": ("LSMDC16_challenge_1000_publictect.csv", "lsmdc_ret_test_1000.json"),
}
CHOICE_FILES = {
    "train": ("LSMDC16_multiple_choice_train.csv",),
    "val": ("LSMDC16_multiple_choice_valid.csv", "LSMDC16_multiple_choice_val.csv"),
    "test": ("LSMDC16_multiple_choice_test_randomized.csv", "LSMDC16_multiple_choice_test.csv"),
}


@dataclass(frozen=True)
class Captions(SplitDataset):
    """Every sentence with its clip, in the order of the annotation file."""

    splits = CAPTIONS

    def examples(self, root: Path) -> Iterator[Example]:
        file, clips = find(root, *CAPTION_FILES[self.split]), Clips(root)
        if file.name.endswith(".json"):
            told = ((bare(video), text) for video, texts in pairs(file) for text in texts)
        else:
            told = ((row.columns[0], row.columns[5]) for row in rows(file, 6))
        for clip, text in told:
            name, path = clips.find(clip)
            yield Example(id=name, video=path, video_id=clip, text=tidy(text))


@dataclass(frozen=True)
class Choices(SplitDataset):
    """Which of five sentences belongs to the clip?"""

    splits = CHOICES

    def examples(self, root: Path) -> Iterator[Example]:
        file, clips = find(root, *CHOICE_FILES[self.split]), Clips(root)
        for row in rows(file, 11 if self.split == "test" else 10):
            clip, options, answer = row.columns[0], row.columns[5:10], (*row.columns[10:], "1")[0]
            if answer not in ("1", "2", "3", "4", "5"):
                raise ValueError(f"{file}: line {row.line}: wanted an answer from 1 to 5, got {shown(answer)}")
            name, path = clips.find(clip)
            yield Example(id=name, video=path, video_id=clip, text="", options=options, right=int(answer) - 1)


@dataclass
class Clips:
    """Where clips lie, and names for their records: that of the clip, and from its second record on a number."""

    root: Path
    counts: Counter[str] = field(default_factory=Counter)
    paths: dict[str, Path] = field(default_factory=dict)

    def __post_init__(self):
        self.videos = Videos(self.root, suffix=".avi")

    def find(self, clip: str) -> tuple[str, Path]:
        number = self.counts[clip]
        self.counts[clip] += 1
        if clip not in self.paths:
            movie = clip.rpartition("_")[0]
            self.paths[clip] = self.videos.path(f"{movie}/{clip}", clip)
        return f"{clip}#{number}" if number else clip, self.paths[clip]


@dataclass(frozen=True)
class Row:
    """A line of an annotation file; repeats of it are told by its columns."""

    line: int = field(repr=False)
    columns: tuple[str, ...]


def rows(file: Annotation, num_columns: int) -> Iterator[Row]:
    """The lines; quotes are a part of the text."""
    found = (Row(line, tuple(map(tidy, text.rstrip("\t ").split("\t")))) for line, text in file.numbered())
    for row in distinct(found, file, key=attrgetter("columns")):
        if len(row.columns) != num_columns or not row.columns[0]:
            wanted = f"wanted a clip and {num_columns - 1} more columns between tabs"
            got = f"{len(row.columns):,}, the first {shown(row.columns[0])}"
            raise file.error(f"line {row.line}: {wanted}, got {got}")
        if not all(row.columns[5:]):
            raise file.error(f"line {row.line}: a sentence must not be empty")
        yield row


CARD = Card(
    title="LSMDC: 118,000 clips of movies with a sentence each, and multiple choice",
    licence="on request, for research",
    get="sites.google.com/site/describingmovies/download",
    metric="captions: recall at 1, 5, 10 and median rank on 1,000 clips; choices: accuracy",
    readings={
        "captions": TaskReader(reader=Captions, splits=CAPTIONS),
        "choices": TaskReader(reader=Choices, splits=CHOICES),
    },
)
