"""LSMDC: clips of 4 s of 200 movies with one sentence each, and multiple choice (Rohrbach et al., 2017).

License: on request, for research.
Get: sites.google.com/site/describingmovies/download gives a password for clips and annotations. The files below are
those of the challenge of 2016.

    root/LSMDC16_annos_training.csv                         `train` of the captions
    root/LSMDC16_annos_val.csv                              `val`
    root/LSMDC16_challenge_1000_publictect.csv              `test`, with this spelling
    root/LSMDC16_multiple_choice_train.csv                  `train` of the choices
    root/LSMDC16_multiple_choice_valid.csv                  `val`
    root/LSMDC16_multiple_choice_test_randomized.csv        `test`
    root/videos/1004_Juno/1004_Juno_00.00.32.022-00.00.32.566.avi        or without the folder of the movie

Columns are separated by tabs, without a header: clip, start and end as aligned by hand, start and end as cut out, and
the sentence (from scripts and audio description); for the choices five sentences. The first is right, but in `test` the
number of the right one, 1 to 5, is in a last column. Also read: `lsmdc_ret_train.json`, `lsmdc_ret_val.json`,
`lsmdc_ret_test_1000.json` (VindLU, UMT).

A clip may have several rows with different sentences. The released All-in-One skips three choices of `test` with broken
clips.

Scored by: captions: recall at 1, 5, 10 and median rank on the 1,000 clips of `test`; choices: accuracy.

One record of the captions, and of the choices of `test`, tabs written as |:

    1004_Juno_00.00.32.022-00.00.32.566|00.00.32.022|00.00.32.566|00.00.31.294|00.00.33.294|SOMEONE drinks juice.
    1004_Juno_...|00.00.32.022|00.00.32.566|00.00.31.294|00.00.33.294|He nods.|She drinks.|It rains.|They run.|He sits|2
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from operator import attrgetter
from pathlib import Path

from allinone.data.example import Example, SplitSize
from allinone.datasets.base import Card, SplitDataset, distinct
from allinone.datasets.fields import collapse_spaces, shown
from allinone.datasets.files import Annotation, find
from allinone.datasets.records import read_captions
from allinone.datasets.videos import Videos, bare

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

    splits = {
        "train": SplitSize(records=101_079),
        "val": SplitSize(records=7_408),
        "test": SplitSize(records=1_000, videos=1_000),
    }

    def examples(self, root: Path) -> Iterator[Example]:
        file, clips = find(root, *CAPTION_FILES[self.split]), Clips(root)
        if file.name.endswith(".json"):
            described = ((bare(video), text) for video, texts in read_captions(file) for text in texts)
        else:
            # Clip and sentence; the four times between are not used.
            described = ((row.columns[0], row.columns[5]) for row in rows(file, 6))
        for clip, text in described:
            name, path = clips.find(clip)
            yield Example(id=name, video=path, video_id=clip, text=collapse_spaces(text))


@dataclass(frozen=True)
class Choices(SplitDataset):
    """Which of five sentences belongs to the clip?"""

    splits = {
        "train": SplitSize(records=101_079),
        "val": SplitSize(records=7_408),
        "test": SplitSize(records=10_053),
    }

    def examples(self, root: Path) -> Iterator[Example]:
        file, clips = find(root, *CHOICE_FILES[self.split]), Clips(root)
        for row in rows(file, 11 if self.split == "test" else 10):
            clip, options = row.columns[0], row.columns[5:10]
            # Only the file of `test` has a column for the answer; in the others the first sentence is right.
            answer = row.columns[10] if len(row.columns) > 10 else "1"
            if answer not in ("1", "2", "3", "4", "5"):
                raise ValueError(f"{file}: line {row.line}: wanted an answer from 1 to 5, got {shown(answer)}")
            name, path = clips.find(clip)
            yield Example(id=name, video=path, video_id=clip, text="", options=options, right=int(answer) - 1)


class Clips:
    """Finds clips, and names their records: after the clip, with a number from its second record on."""

    def __init__(self, root: Path):
        videos = Videos(root, suffix=".avi")
        self.counts: Counter[str] = Counter()
        # The folder of the movie is the clip's name without its times.
        self.path = cache(lambda clip: videos.path(f"{clip.rpartition('_')[0]}/{clip}", clip))

    def find(self, clip: str) -> tuple[str, Path]:
        """Return the name of the next record of a clip, and the file of the clip."""
        number = self.counts[clip]
        self.counts[clip] += 1
        return f"{clip}#{number}" if number else clip, self.path(clip)


@dataclass(frozen=True)
class Row:
    """A line of an annotation file; repeats are found by its columns."""

    line: int = field(repr=False)
    columns: tuple[str, ...]


def rows(file: Annotation, num_columns: int) -> Iterator[Row]:
    """Yield the lines, without repeats; quotes are a part of the text."""
    # Not by `csv`, because quotes are a part of the sentences. Tabs at the end of a line are no columns.
    split = (Row(line, tuple(map(collapse_spaces, text.rstrip("\t ").split("\t")))) for line, text in file.numbered())
    for row in distinct(split, file, key=attrgetter("columns")):
        if len(row.columns) != num_columns or not row.columns[0]:
            wanted = f"wanted a clip and {num_columns - 1} more columns between tabs"
            got = f"{len(row.columns):,}, the first {shown(row.columns[0])}"
            raise file.error(f"line {row.line}: {wanted}, got {got}")
        if not all(row.columns[5:]):
            raise file.error(f"line {row.line}: a sentence must not be empty")
        yield row


CARD = Card.of(__doc__, captions=Captions, choices=Choices)
