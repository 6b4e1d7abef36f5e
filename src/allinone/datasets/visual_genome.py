"""Visual Genome: 108,077 photos with 5.4 million phrases about their regions (Krishna et al., IJCV 2017).

License: CC BY 4.0.
Get: homes.cs.washington.edu/~ranjay/visualgenome (`images.zip`, `images2.zip`, `region_descriptions.json.zip`,
`image_data.json.zip`; the annotations are read packed or unpacked).

    root/region_descriptions.json
    root/image_data.json                    optional: the folder of a missing photo
    root/VG_100K/2315549.jpg   VG_100K_2/1.jpg          or both below root/images/

Each phrase is a caption of the whole photo; its box is not used. The file of phrases has 700 MB and is read photo by
photo. The number of phrases differs between releases (1.0, 1.2, 1.4), so it is not checked. Half of the photos are
COCO's; some of those are in its test splits.

Scored by: nothing (pre-training).

One record of `region_descriptions.json`:

    {"id": 1, "regions": [{"region_id": 1382, "image_id": 1, "phrase": "a green clock on a pole",
                           "x": 421, "y": 57, "width": 82, "height": 139}, ...]}
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from allinone.data.example import Example, SplitSize
from allinone.datasets.base import Card, SplitDataset, distinct, with_texts
from allinone.datasets.files import Annotation, find, find_some
from allinone.datasets.videos import Videos

log = logging.getLogger(__name__)

FOLDERS = ("VG_100K_2", "VG_100K")


@dataclass(frozen=True)
class Captions(SplitDataset):
    """Every phrase about a region, with the whole photo."""

    splits = {"train": SplitSize()}
    split: str = "train"

    def examples(self, root: Path) -> Iterator[Example]:
        file = find(root, "region_descriptions.json")
        yield from with_texts(phrases(file, Videos(root, folders=("images", "."), suffix=".jpg"), folders(root)), file)


def phrases(file: Annotation, photos: Videos, folders: dict[str, str]) -> Iterator[Example]:
    """Yield an example for each region; `folders` has those of photos, as far as they are known."""
    num_bare = 0
    for photo in distinct(file.objects("id", "regions"), file, key=lambda photo: photo.name("id")):
        name = photo.name("id")
        likely = folders.get(name, FOLDERS[0])
        # Without image_data.json the folder is unknown, so both are tried.
        path = photos.path(*(f"{folder}/{name}.jpg" for folder in (likely, *FOLDERS)))
        regions = photo.objects("regions", may_be_empty=True)
        num_bare += not regions
        examples = (
            Example(
                id=region.name("region_id"),
                video=path,
                video_id=name,
                text=region.text("phrase", may_be_empty=True),
            )
            for region in regions
        )
        yield from distinct(examples, photo.where)
    if num_bare:
        log.warning("%s: no region in %d photos", file, num_bare)


def folders(root: Path) -> dict[str, str]:
    """Return the folder of each photo, which is a part of its URL."""
    return {
        photo.name("image_id"): PurePosixPath(photo.text("url")).parent.name
        for file in find_some(root, "image_data.json")
        for photo in distinct(file.objects("image_id", "url"), file, key=lambda photo: photo.name("image_id"))
    }


CARD = Card.of(__doc__, captions=Captions)
