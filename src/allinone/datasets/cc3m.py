"""Conceptual Captions 3M: images of the web with their cleaned alternative texts (Sharma et al., ACL 2018).

Licence: free for any use, "as is"; the images belong to their owners. Get: the tables from
ai.google.com/research/ConceptualCaptions; the images by their addresses, for instance with img2dataset.

    root/Train_GCC-training.tsv
    root/Validation_GCC-1.1.0-Validation.tsv
    root/train/00012/000120034.jpg      as img2dataset writes them; and val/ (see `web_images.py` for other names)

Splits: `train` has 3,318,333 rows, `val` 15,840. Copies of the validation table with 15,833 rows are about: it has no
broken or repeated line, seven are just not there. Images of a table with other rows have other numbers, so take the
table that they were downloaded by.

Used for pre-training: nothing is scored.

One row of a table, caption first, without a header:

    a bird sits on a branch .<TAB>http://www.example.com/photos/bird.jpg
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from allinone.data.example import Example
from allinone.datasets.base import Card, SplitDataset, SplitSize, TaskReader
from allinone.datasets.files import find
from allinone.datasets.web_images import Images, captions, in_table

SPLITS = {
    "train": SplitSize(records=3_318_333, videos=3_318_333),
    "val": SplitSize(records=15_840, videos=15_840),
}
FILES = {
    "train": ("Train_GCC-training.tsv", "Train-GCC-training.tsv", "cc3m_train.tsv", "cc3m.tsv"),
    "val": ("Validation_GCC-1.1.0-Validation.tsv", "cc3m_val.tsv"),
}
FOLDERS = {"train": ("train", "training", "images"), "val": ("val", "validation")}


@dataclass(frozen=True)
class Captions(SplitDataset):
    """Every caption with its image."""

    splits = SPLITS
    split: str = "train"

    def examples(self, root: Path) -> Iterator[Example]:
        yield from captions(lambda: in_table(find(root, *FILES[self.split])), Images(root, FOLDERS[self.split]))


CARD = Card(
    title="Conceptual Captions: 3.3 million images of the web with captions",
    licence='free for any use, "as is"; images belong to their owners',
    get="ai.google.com/research/ConceptualCaptions; images by their addresses",
    metric="none: pre-training",
    readings={"captions": TaskReader(reader=Captions, splits=SPLITS)},
)
