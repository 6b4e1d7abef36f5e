"""Conceptual 12M: images of the web with alternative texts, less strictly filtered (Changpinyo et al., CVPR 2021).

Licence: free for any use, "as is"; the images belong to their owners. Get: `cc12m.tsv` from
github.com/google-research-datasets/conceptual-12m; the images by their addresses, for instance with img2dataset.

    root/cc12m.tsv
    root/images/00012/000120034.jpg     as img2dataset writes them (see `web_images.py` for other names)

Split: `train`, 12,423,374 rows. Names of people are replaced by <PERSON>.

Used for pre-training: nothing is scored.

One row, address first, without a header:

    http://www.example.com/photos/bird.jpg<TAB>a bird on a branch in the garden of <PERSON>
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from allinone.data.example import Example
from allinone.datasets.base import Card, SplitDataset, SplitSize, TaskReader
from allinone.datasets.files import find
from allinone.datasets.web_images import Images, captions, in_table

SPLITS = {"train": SplitSize(records=12_423_374, videos=12_423_374)}


@dataclass(frozen=True)
class Captions(SplitDataset):
    """Every caption with its image."""

    splits = SPLITS
    split: str = "train"

    def examples(self, root: Path) -> Iterator[Example]:
        yield from captions(lambda: in_table(find(root, "cc12m.tsv")), Images(root))


CARD = Card(
    title="Conceptual 12M: 12.4 million images of the web with captions",
    licence='free for any use, "as is"; images belong to their owners',
    get="github.com/google-research-datasets/conceptual-12m; images by their addresses",
    metric="none: pre-training",
    readings={"captions": TaskReader(reader=Captions, splits=SPLITS)},
)
