"""Conceptual Captions 3M: images of the web with their cleaned alternative texts (Sharma et al., ACL 2018).

License: free for any use, "as is"; images belong to their owners.
Get: tables from https://ai.google.com/research/ConceptualCaptions; images by their URLs, for example with img2dataset.

    root/Train_GCC-training.tsv
    root/Validation_GCC-1.1.0-Validation.tsv
    root/train/00012/000120034.jpg      as img2dataset writes them; and val/ (see `web_images.py` for other names)

Some copies of the validation table have 15,833 rows: seven are missing, none is broken or repeated. Images are numbered
by the rows of the table that they were downloaded with, so use that table.

Scored by: nothing (pre-training).

One row of a table, caption first, without a header:

    a bird sits on a branch .<TAB>http://www.example.com/photos/bird.jpg
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from allinone.data.example import Example, SplitSize
from allinone.datasets.base import Card, SplitDataset
from allinone.datasets.files import find
from allinone.datasets.web_images import Images, captions, in_table

FILES = {
    "train": ("Train_GCC-training.tsv", "Train-GCC-training.tsv", "cc3m_train.tsv", "cc3m.tsv"),
    "val": ("Validation_GCC-1.1.0-Validation.tsv", "cc3m_val.tsv"),
}
FOLDERS = {"train": ("train", "training", "images"), "val": ("val", "validation")}


@dataclass(frozen=True)
class Captions(SplitDataset):
    """Every caption with its image."""

    splits = {
        "train": SplitSize(records=3_318_333, videos=3_318_333),
        "val": SplitSize(records=15_840, videos=15_840),
    }
    split: str = "train"

    def examples(self, root: Path) -> Iterator[Example]:
        return captions(lambda: in_table(find(root, *FILES[self.split])), Images(root, FOLDERS[self.split]))


CARD = Card.of(__doc__, captions=Captions)
