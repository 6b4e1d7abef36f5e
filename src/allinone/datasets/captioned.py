"""Your own folder of videos or images with captions, or questions and answers.

License: yours.
Get: write captions.csv or captions.jsonl next to your files.

    my_clips/
        captions.csv        or captions.jsonl, one JSON object a line with the same names
        cats/first.mp4
        cats/second.mp4
        photo.jpg

`captions.csv`, in UTF-8, begins with a header and has a row for each caption; a video may have several:

    video,caption,start,end,split
    cats/first.mp4,a cat jumps on the table,,,train
    cats/first.mp4,"the cat falls, slowly",12.5,17,train
    photo.jpg,two dogs,,,test

Columns are separated by commas, by tabs, or, as Excel writes them in Europe, by semicolons with decimal commas in
times.

- `video` (or `path`): path from the folder of this file, or an absolute one. `video_name`, with or instead of it, is
  the name of a file in any folder here, with or without its extension.
- `caption` (or `sentence`): a description. `question` and `answer`, with or instead of it, make the row one of
  `Questions`; `kind` names the type of question, and each type gets a separate score.
- `start`, `end` (optional, seconds): the row is about this part of the video.
- `split` (optional): any name. Without this column, `hold_out=4` makes every fourth video, in the order of their
  names, `val` and the rest `train`.

Scored by: retrieval for captions, accuracy for questions.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from allinone.data.example import Example
from allinone.datasets.base import Card
from allinone.datasets.caption_file import Row, caption_file, read_rows


@dataclass(frozen=True, kw_only=True)
class Captions:
    """The rows that have a caption.

    Args:
        split: use the rows of this split; None uses all.
        hold_out: make the splits `train` and `val` of a file without splits; every n-th video is `val`.
        file: name of the caption file, if the folder has several `.csv` or `.jsonl` files.
        allow_missing: accept rows with a missing video, which are an error otherwise.
    """

    split: str | None = None
    hold_out: int | None = None
    file: str | None = None
    allow_missing: bool = False

    def __post_init__(self):
        if self.hold_out is not None and self.hold_out < 2:
            raise ValueError(f"hold_out=n holds out every n-th video, n at least 2; got {self.hold_out}")
        if self.hold_out is not None and self.split not in ("train", "val"):
            raise ValueError(f"hold_out makes the splits 'train' and 'val'; choose one, got split={self.split!r}")

    def examples(self, root: Path) -> list[Example]:
        examples = [row.example(row.caption) for row in chosen_rows(self, Path(root)) if row.caption]
        return nonempty(examples, self, root, "a caption")


@dataclass(frozen=True, kw_only=True)
class Questions(Captions):
    """The rows that have a question and its answer; arguments as for `Captions`."""

    def examples(self, root: Path) -> list[Example]:
        rows = [row for row in chosen_rows(self, Path(root)) if row.question]
        examples = [row.example(row.question, row.answer, row.kind or None) for row in rows]
        return nonempty(examples, self, root, "a question and an answer")


def chosen_rows(dataset: Captions, root: Path) -> list[Row]:
    """Return the rows of the data set's split."""
    path = caption_file(root, dataset.file)
    rows, has_splits = read_rows(path, dataset.allow_missing)
    # 1. Splits that are made here: by video, so that the captions of a video are never in both.
    if dataset.hold_out is not None:
        if has_splits:
            raise ValueError(f"{path} has a column `split`; leave out hold_out={dataset.hold_out}, or the column")
        videos = {row.video for row in rows}
        held_out = every_nth(videos, dataset.hold_out)
        if not held_out:
            raise ValueError(f"{path}: hold_out={dataset.hold_out} leaves none of {len(videos)} videos to hold out")
        return [row for row in rows if (row.video in held_out) == (dataset.split == "val")]
    # 2. All rows, whatever their split.
    if dataset.split is None:
        return rows
    # 3. The splits of the file.
    if not has_splits:
        raise ValueError(
            f"{path} has no column `split` to take {dataset.split!r} from; add it, use split=None for all rows, "
            "or hold_out=4 to make every fourth video 'val' and the rest 'train'"
        )
    counts = Counter(row.split for row in rows)
    if dataset.split not in counts:
        splits = ", ".join(f"{split} ({count} rows)" for split, count in counts.items())
        raise ValueError(f"{path}: no split {dataset.split!r}; there are: {splits}")
    return [row for row in rows if row.split == dataset.split]


def nonempty(examples: list[Example], dataset: Captions, root: Path, wanted: str) -> list[Example]:
    """Return the examples; none at all is an error."""
    if not examples:
        where = "" if dataset.split is None else f" of split {dataset.split!r}"
        raise ValueError(f"{caption_file(Path(root), dataset.file)}: no row{where} has {wanted}")
    return examples


def every_nth(videos: Iterable[str], n: int) -> set[str]:
    """Return the n-th, 2n-th, ... of the videos, in the order of their paths."""
    # Sorted, so that the split does not depend on the order of the rows.
    return set(sorted(videos)[n - 1 :: n])


CARD = Card.of(
    __doc__, captions=partial(Captions, allow_missing=True), questions=partial(Questions, allow_missing=True)
)
