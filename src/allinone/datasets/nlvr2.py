"""NLVR2: is a sentence true of two photographs? 107,292 sentences with pairs (Suhr et al., ACL 2019).

Licence: annotations CC BY 4.0; the photos belong to their owners and are given for research on request. Get:
github.com/lil-lab/nlvr, folder nlvr2.

    root/train.json   dev.json   test1.json   test2.json        JSON Lines; also in root/data/
    root/images/train/61/train-10171-2-img0.png                 the folders may be left out
    root/images/dev/dev-850-0-img0.png

Splits: `train` 86,373 sentences, `dev` 6,982 on 8,102 photos, `test1` 6,967 on 8,082, `test2` 6,970 on 8,148.

A clip is the pair: left photo, then right photo. The answer is 'true' or 'false'.

Scored by accuracy, and by consistency: the share of sentences that are judged rightly with every pair they come with.
`submission` writes the table that the official scorer (nlvr2/eval/metrics.py) takes for any split, and which gives
both; sentences are told apart by the identifier without its third part, so `kind` is not used.

One record of `train.json`:

    {"identifier": "train-10171-2-0", "sentence": "Two dogs lie on the same sofa.", "label": "False",
     "left_url": "https://...", "right_url": "https://...", "directory": 61, "synset": "dog", ...}
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from allinone.data.example import Example
from allinone.datasets.base import Card, SplitDataset, SplitSize, TaskReader, distinct
from allinone.datasets.files import Annotation, Videos, find
from allinone.datasets.records import shown

SPLITS = {
    "train": SplitSize(records=86_373),
    "dev": SplitSize(records=6_982, videos=8_102),
    "test1": SplitSize(records=6_967, videos=8_082),
    "test2": SplitSize(records=6_970, videos=8_148),
}


@dataclass(frozen=True)
class Questions(SplitDataset):
    """Every sentence with its pair, as a question to be answered by 'true' or 'false'."""

    splits = SPLITS

    def examples(self, root: Path) -> Iterator[Example]:
        file = find(root, f"{self.split}.json")
        images = Videos(root, folders=("images",), suffix=".png")
        yield from distinct(judged(file, images, self.split), file)

    def submission(self, predictions: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
        return f"{self.split}_predictions.csv", "".join(f"{p['id']},{p['prediction']}\n" for p in predictions)


def judged(file: Annotation, images: Videos, split: str) -> Iterator[Example]:
    for record in file.objects("identifier", "sentence", "label"):
        identifier, answer = record.text("identifier"), record.field("label")
        pair, _, _ = identifier.rpartition("-")
        if answer not in (True, False, "True", "False", "true", "false") or pair.count("-") != 2:
            raise record.error(
                f"wanted an identifier like {split}-10171-2-0 and a label True or False, "
                f"got {shown(identifier)} and {shown(answer)}"
            )
        directory = record.optional("directory")
        folder = f"{split}/{directory}" if directory else split
        photos = (f"{pair}-img{side}.png" for side in (0, 1))
        yield Example(
            id=identifier,
            video=tuple(images.path(f"{folder}/{photo}", f"{split}/{photo}", photo) for photo in photos),
            video_id=pair,
            text=record.text("sentence"),
            answer=str(answer).lower(),
        )


CARD = Card(
    title="NLVR2: 107,292 sentences, true or false of two photographs",
    licence="annotations CC BY 4.0; photos for research, on request",
    get="github.com/lil-lab/nlvr, folder nlvr2",
    metric="accuracy, and consistency over the pairs of a sentence",
    readings={"questions": TaskReader(reader=Questions, splits=SPLITS)},
)
