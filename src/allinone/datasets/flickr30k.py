"""Flickr30k: 31,783 photos of people and animals with five captions each (Young et al., TACL 2014).

Licence: photos are Flickr's, for non-commercial research and education. Get: shannon.cs.illinois.edu/DenotationGraph
(a form; captions as `results_20130124.token`); Karpathy's splits in `caption_datasets.zip` of
cs.stanford.edu/people/karpathy/deepimagesent; lists of Entities at github.com/BryanPlummer/flickr30k_entities.

    root/dataset_flickr30k.json                    Karpathy's; or flickr30k_train.json, _val, _test (ALBEF)
    root/results_20130124.token                    all captions, for Entities; or results.csv, captions.txt
    root/train.txt   val.txt   test.txt            Entities: ids, one a line; or flickr30k_val_ids.txt and so on
    root/flickr30k-images/1000092795.jpg           or flickr30k_images/, images/

Splits: `train`, `val`, `test` are Karpathy's (29,000, 1,014 and 1,000 photos), which papers on retrieval use;
`entities-train`, `entities-val`, `entities-test` those of Plummer et al. (29,783, 1,000 and 1,000).

Scored by recall at 1, 5 and 10, text to image and image to text; every caption is a query.

One record of `results_20130124.token`, tab-separated:

    1000092795.jpg#0    Two young men stand in a garden .
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from allinone.data.example import Example
from allinone.datasets.base import Card, SplitDataset, SplitSize, TaskReader
from allinone.datasets.files import Videos, find
from allinone.datasets.image_captions import Captioned, captions, in_albef, in_karpathy, in_table, listed

SPLITS = {
    f"{prefix}{split}": SplitSize(records=5 * count, videos=count)
    for prefix, counts in (("", (29_000, 1_014, 1_000)), ("entities-", (29_783, 1_000, 1_000)))
    for split, count in zip(("train", "val", "test"), counts, strict=True)
}


@dataclass(frozen=True)
class Captions(SplitDataset):
    """Every caption with its photo."""

    splits = SPLITS

    def examples(self, root: Path) -> Iterator[Example]:
        videos = Videos(root, folders=("flickr30k-images", "flickr30k_images", "images"), suffix=".jpg")
        yield from captions(chosen(root, self.split), videos)


def chosen(root: Path, split: str) -> Iterator[Captioned]:
    if split.startswith("entities-"):
        table = find(root, "results_20130124.token", "results.csv", "results_20130124.csv", "captions.txt")
        part = split.removeprefix("entities-")
        return listed(table, find(root, f"{part}.txt", f"flickr30k_{part}_ids.txt"), in_table(table))
    file = find(root, "dataset_flickr30k.json", f"flickr30k_{split}.json")
    return in_karpathy(file, (split,)) if file.name == "dataset_flickr30k.json" else in_albef(file)


CARD = Card(
    title="Flickr30k: 31,783 photos of people and animals with five captions each",
    licence="photos of Flickr; non-commercial research and education",
    get="shannon.cs.illinois.edu/DenotationGraph; splits: cs.stanford.edu/people/karpathy/deepimagesent, "
    "github.com/BryanPlummer/flickr30k_entities",
    metric="recall at 1, 5, 10, both directions",
    readings={"captions": TaskReader(reader=Captions, splits=SPLITS)},
)
