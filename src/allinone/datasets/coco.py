"""COCO captions: photos with five captions each, Karpathy's splits (Chen et al., https://arxiv.org/abs/1504.00325).

License: captions CC BY 4.0; photos of Flickr, under their own terms.
Get: `train2014.zip` and `val2014.zip` of https://cocodataset.org; splits: `caption_datasets.zip` of
https://cs.stanford.edu/people/karpathy/deepimagesent, read packed or unpacked.

    root/dataset_coco.json                                all splits; or coco_karpathy_train.json or coco_train.json
    root/train2014/COCO_train2014_000000000009.jpg        or below root/images/
    root/val2014/COCO_val2014_000000391895.jpg            or as in the release of 2017: 000000391895.jpg

`train` is Karpathy's train and restval. Some photos have six or seven captions; all are queries.

Scored by: recall at 1, 5, 10, both directions, 5,000 test photos.

One record of `dataset_coco.json`, under "images": see `image_captions.py`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from allinone.data.example import Example, SplitSize
from allinone.datasets.base import Card, SplitDataset
from allinone.datasets.files import find
from allinone.datasets.image_captions import in_albef, in_karpathy
from allinone.datasets.records import caption_examples
from allinone.datasets.videos import Videos

KARPATHY = {"train": ("train", "restval"), "val": ("val",), "test": ("test",)}


@dataclass(frozen=True)
class Captions(SplitDataset):
    """Every caption with its photo."""

    splits = {
        "train": SplitSize(records=566_747, videos=113_287),
        "val": SplitSize(records=25_010, videos=5_000),
        "test": SplitSize(records=25_010, videos=5_000),
    }

    def examples(self, root: Path) -> Iterator[Example]:
        file = find(root, "dataset_coco.json", f"coco_karpathy_{self.split}.json", f"coco_{self.split}.json")
        is_karpathy = file.name == "dataset_coco.json"
        images = in_karpathy(file, KARPATHY[self.split]) if is_karpathy else in_albef(file)
        return caption_examples(images, photos(root))


def photos(root: Path) -> Videos:
    """Return the photos, which VQAv2 uses too."""
    return Videos(root, folders=("images", "."), suffix=".jpg")


CARD = Card.of(__doc__, captions=Captions)
