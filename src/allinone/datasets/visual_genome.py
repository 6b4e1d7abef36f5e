"""Visual Genome: 108,077 photos with 5.4 million phrases about their regions (Krishna et al., IJCV 2017).

Licence: CC BY 4.0. Get: homes.cs.washington.edu/~ranjay/visualgenome (`images.zip`, `images2.zip`,
`region_descriptions.json.zip`, `image_data.json.zip`; the annotations are read packed or unpacked).

    root/region_descriptions.json
    root/image_data.json                    optional: tells in which of the two folders a missing photo belongs
    root/VG_100K/2315549.jpg   VG_100K_2/1.jpg          or both below root/images/

Split: `train`. Each phrase is a caption of the whole photo; its box is not used. The file of phrases has 700 MB and is
read photo by photo. The exact number of phrases differs between releases (1.0, 1.2, 1.4), so no figure is checked.

Used for pre-training: nothing is scored. Half of the photos are COCO's; some of those are in its test splits.

One record of `region_descriptions.json`:

    {"id": 1, "regions": [{"region_id": 1382, "image_id": 1, "phrase": "a green clock on a pole",
                           "x": 421, "y": 57, "width": 82, "height": 139}, ...]}
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from allinone.data.example import Example
from allinone.datasets.base import Card, SplitDataset, SplitSize, TaskReader, distinct, with_texts
from allinone.datasets.files import Annotation, Videos, find, find_some

log = logging.getLogger(__name__)

SPLITS = {"train": SplitSize()}
FOLDERS = ("VG_100K_2", "VG_100K")


@dataclass(frozen=True)
class Captions(SplitDataset):
    """Every phrase about a region, with the whole photo."""

    splits = SPLITS
    split: str = "train"

    def examples(self, root: Path) -> Iterator[Example]:
        file = find(root, "region_descriptions.json")
        yield from with_texts(phrases(file, Videos(root, folders=("images", "."), suffix=".jpg"), folders(root)), file)


def phrases(file: Annotation, photos: Videos, own: dict[str, str]) -> Iterator[Example]:
    """An example for each region; `own` tells the folders of photos as far as they are known."""
    num_bare = 0
    for photo in distinct(file.objects("id", "regions"), file, key=lambda photo: photo.name("id")):
        name = photo.name("id")
        likely = own.get(name, FOLDERS[0])
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
    """In which folder each photo lies, as its address tells."""
    return {
        photo.name("image_id"): PurePosixPath(photo.text("url")).parent.name
        for file in find_some(root, "image_data.json")
        for photo in distinct(file.objects("image_id", "url"), file, key=lambda photo: photo.name("image_id"))
    }


CARD = Card(
    title="Visual Genome: 108,077 photos with 5.4 million phrases about their regions",
    licence="CC BY 4.0",
    get="homes.cs.washington.edu/~ranjay/visualgenome",
    metric="none: pre-training",
    readings={"captions": TaskReader(reader=Captions, splits=SPLITS)},
)
