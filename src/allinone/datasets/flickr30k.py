"""Flickr30k: 31,783 photos of people and animals with five captions each (Young et al., TACL 2014).

License: photos of Flickr; non-commercial research and education.
Get: shannon.cs.illinois.edu/DenotationGraph (a form; captions as `results_20130124.token`); splits:
`caption_datasets.zip` of https://cs.stanford.edu/people/karpathy/deepimagesent; lists of Entities:
https://github.com/BryanPlummer/flickr30k_entities.

    root/dataset_flickr30k.json                    Karpathy's; or flickr30k_train.json, _val, _test (ALBEF)
    root/results_20130124.token                    all captions, for Entities; or results.csv, captions.txt
    root/train.txt   val.txt   test.txt            Entities: ids, one a line; or flickr30k_val_ids.txt and so on
    root/flickr30k-images/1000092795.jpg           or flickr30k_images/, images/

`train`, `val` and `test` are Karpathy's, which papers on retrieval use; `entities-train`, `entities-val` and
`entities-test` those of Plummer et al.

Scored by: recall at 1, 5, 10, both directions; every caption is a query.

One record of `results_20130124.token`, tab-separated:

    1000092795.jpg#0    Two young men stand in a garden .
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from allinone.data.example import Example, SplitSize
from allinone.datasets.base import Card, SplitDataset
from allinone.datasets.files import find
from allinone.datasets.image_captions import in_albef, in_karpathy, in_table, listed
from allinone.datasets.records import Captioned, caption_examples
from allinone.datasets.videos import Videos


@dataclass(frozen=True)
class Captions(SplitDataset):
    """Every caption with its photo."""

    splits = {
        f"{prefix}{split}": SplitSize(records=5 * count, videos=count)
        for prefix, counts in (("", (29_000, 1_014, 1_000)), ("entities-", (29_783, 1_000, 1_000)))
        for split, count in zip(("train", "val", "test"), counts, strict=True)
    }

    def examples(self, root: Path) -> Iterator[Example]:
        videos = Videos(root, folders=("flickr30k-images", "flickr30k_images", "images"), suffix=".jpg")
        return caption_examples(images_of(root, self.split), videos)


def images_of(root: Path, split: str) -> Iterator[Captioned]:
    """Return the images of a split."""
    if split.startswith("entities-"):
        table = find(root, "results_20130124.token", "results.csv", "results_20130124.csv", "captions.txt")
        part = split.removeprefix("entities-")
        return listed(table, find(root, f"{part}.txt", f"flickr30k_{part}_ids.txt"), in_table(table))
    file = find(root, "dataset_flickr30k.json", f"flickr30k_{split}.json")
    return in_karpathy(file, (split,)) if file.name == "dataset_flickr30k.json" else in_albef(file)


CARD = Card.of(__doc__, captions=Captions)
