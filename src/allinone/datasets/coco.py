"""COCO captions: 123,287 photos with five captions each (Chen et al., arXiv 1504.00325, 2015), in Karpathy's splits.

Licence: captions CC BY 4.0; photos are Flickr's, under their own terms. Get: photos `train2014.zip` and `val2014.zip`
from cocodataset.org; splits in `caption_datasets.zip` of cs.stanford.edu/people/karpathy/deepimagesent, which is read
packed or unpacked.

    root/dataset_coco.json                                all splits; or coco_karpathy_train.json or coco_train.json
    root/train2014/COCO_train2014_000000000009.jpg        or below root/images/
    root/val2014/COCO_val2014_000000391895.jpg            or as in the release of 2017: 000000391895.jpg

Splits: `train` is Karpathy's train and restval (113,287 photos), `val` and `test` have 5,000 each. Some photos have
six or seven captions; all are queries.

Scored by recall at 1, 5 and 10, text to image and image to text, in the 5,000 of `test`.

One record of `dataset_coco.json`, under "images": see `image_captions.py`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from allinone.data.example import Example
from allinone.datasets.base import Card, SplitDataset, SplitSize, TaskReader
from allinone.datasets.files import Videos, find
from allinone.datasets.image_captions import captions, in_albef, in_karpathy

SPLITS = {
    "train": SplitSize(records=566_747, videos=113_287),
    "val": SplitSize(records=25_010, videos=5_000),
    "test": SplitSize(records=25_010, videos=5_000),
}
KARPATHY = {"train": ("train", "restval"), "val": ("val",), "test": ("test",)}


@dataclass(frozen=True)
class Captions(SplitDataset):
    """Every caption with its photo."""

    splits = SPLITS

    def examples(self, root: Path) -> Iterator[Example]:
        file = find(root, "dataset_coco.json", f"coco_karpathy_{self.split}.json", f"coco_{self.split}.json")
        is_karpathy = file.name == "dataset_coco.json"
        yield from captions(in_karpathy(file, KARPATHY[self.split]) if is_karpathy else in_albef(file), photos(root))


def photos(root: Path) -> Videos:
    return Videos(root, folders=("images", "."), suffix=".jpg")


CARD = Card(
    title="COCO captions: 123,287 photos with five captions each",
    licence="captions CC BY 4.0; photos of Flickr, under their own terms",
    get="cocodataset.org (2014); splits: cs.stanford.edu/people/karpathy/deepimagesent",
    metric="recall at 1, 5, 10, both directions, 5,000 test photos",
    readings={"captions": TaskReader(reader=Captions, splits=SPLITS)},
)
