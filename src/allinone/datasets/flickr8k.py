"""Flickr8k: 8,000 photos of people and animals with five captions each (Hodosh et al., JAIR 2013).

License: photos of Flickr; non-commercial research and education.
Get: the authors' `Flickr8k_Dataset.zip` and `Flickr8k_text.zip`; splits: `caption_datasets.zip` of
https://cs.stanford.edu/people/karpathy/deepimagesent. Copies have one table, `captions.txt`, and no splits.

    root/Flickr8k.token.txt   or captions.txt           the captions of all photos
    root/Flickr_8k.trainImages.txt   .devImages.txt   .testImages.txt
    root/dataset_flickr8k.json                          Karpathy's, instead of all of these
    root/Images/1000268201_693b08cb0e.jpg               or Flicker8k_Dataset/, as the authors spell it

`all` are all captions of the table, with 92 photos more than the other splits if it is complete.

Scored by: recall at 1, 5, 10, both directions; every caption is a query.

One record of `captions.txt`:

    image,caption
    1000268201_693b08cb0e.jpg,A girl in a red coat goes up some steps .
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from allinone.data.example import Example, SplitSize
from allinone.datasets.base import Card, SplitDataset
from allinone.datasets.files import find, find_some
from allinone.datasets.image_captions import in_karpathy, in_table, listed
from allinone.datasets.records import Captioned, caption_examples
from allinone.datasets.videos import Videos

LISTS = {"train": "trainImages", "val": "devImages", "test": "testImages"}


@dataclass(frozen=True)
class Captions(SplitDataset):
    """Every caption with its photo."""

    splits = {
        "train": SplitSize(records=30_000, videos=6_000),
        "val": SplitSize(records=5_000, videos=1_000),
        "test": SplitSize(records=5_000, videos=1_000),
        "all": SplitSize(),
    }

    def examples(self, root: Path) -> Iterator[Example]:
        videos = Videos(root, folders=("Images", "Flicker8k_Dataset", "Flickr8k_Dataset"), suffix=".jpg")
        return caption_examples(images_of(root, self.split), videos)


def images_of(root: Path, split: str) -> Iterator[Captioned]:
    """Return the images of a split."""
    karpathy = find_some(root, "dataset_flickr8k.json")
    if karpathy and split != "all":
        return in_karpathy(karpathy[0], (split,))
    table = find(root, "Flickr8k.token.txt", "captions.txt")
    images = in_table(table)
    if split == "all":
        return iter(images.values())
    return listed(table, find(root, f"Flickr_8k.{LISTS[split]}.txt"), images)


CARD = Card.of(__doc__, captions=Captions)
