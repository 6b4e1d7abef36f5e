"""Conceptual 12M: images of the web with alternative texts, less strictly filtered (Changpinyo et al., CVPR 2021).

License: free for any use, "as is"; images belong to their owners.
Get: `cc12m.tsv` from https://github.com/google-research-datasets/conceptual-12m; images by their URLs, for example with
img2dataset.

    root/cc12m.tsv
    root/images/00012/000120034.jpg     as img2dataset writes them (see `web_images.py` for other names)

Names of people are replaced by <PERSON>.

Scored by: nothing (pre-training).

One row, address first, without a header:

    http://www.example.com/photos/bird.jpg<TAB>a bird on a branch in the garden of <PERSON>
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from allinone.data.example import Example, SplitSize
from allinone.datasets.base import Card, SplitDataset
from allinone.datasets.files import find
from allinone.datasets.web_images import Images, captions, in_table


@dataclass(frozen=True)
class Captions(SplitDataset):
    """Every caption with its image."""

    splits = {"train": SplitSize(records=12_423_374, videos=12_423_374)}
    split: str = "train"

    def examples(self, root: Path) -> Iterator[Example]:
        return captions(lambda: in_table(find(root, "cc12m.tsv")), Images(root))


CARD = Card.of(__doc__, captions=Captions)
