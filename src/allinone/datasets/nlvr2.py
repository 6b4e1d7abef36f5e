"""NLVR2: is a sentence true of two photographs? (Suhr et al., ACL 2019).

License: annotations CC BY 4.0; photos belong to their owners, for research, on request.
Get: https://github.com/lil-lab/nlvr, folder `nlvr2`.

    root/train.json   dev.json   test1.json   test2.json        JSON Lines; also in root/data/
    root/images/train/61/train-10171-2-img0.png                 the folders may be left out
    root/images/dev/dev-850-0-img0.png

A clip is the pair: left photo, then right photo. The answer is 'true' or 'false'.

Scored by: accuracy, and consistency over the pairs of a sentence: the share of sentences that are judged correctly with
every pair. `submission` writes the table that the official scorer (nlvr2/eval/metrics.py) takes for any split, and
which gives both; the identifier without its third part identifies the sentence, so `kind` is not used.

One record of `train.json`:

    {"identifier": "train-10171-2-0", "sentence": "Two dogs lie on the same sofa.", "label": "False",
     "left_url": "https://...", "right_url": "https://...", "directory": 61, "synset": "dog", ...}
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from allinone.data.example import Example, SplitSize
from allinone.datasets.base import Card, SplitDataset, distinct
from allinone.datasets.fields import Record, shown
from allinone.datasets.files import find
from allinone.datasets.videos import Videos


@dataclass(frozen=True)
class Questions(SplitDataset):
    """Every sentence with its pair, as a question with the answer 'true' or 'false'."""

    splits = {
        "train": SplitSize(records=86_373),
        "dev": SplitSize(records=6_982, videos=8_102),
        "test1": SplitSize(records=6_967, videos=8_082),
        "test2": SplitSize(records=6_970, videos=8_148),
    }

    def examples(self, root: Path) -> Iterator[Example]:
        file, images = find(root, f"{self.split}.json"), Videos(root, folders=("images",), suffix=".png")

        def example(record: Record) -> Example:
            identifier, answer = record.text("identifier"), record.field("label")
            # split-set-pair-sentence: a pair of photos has several sentences.
            pair, _, _ = identifier.rpartition("-")
            # As texts, because 1 == True.
            if str(answer) not in ("True", "False", "true", "false") or pair.count("-") != 2:
                raise record.error(
                    f"wanted an identifier like {self.split}-10171-2-0 and a label True or False, "
                    f"got {shown(identifier)} and {shown(answer)}"
                )
            directory = record.optional("directory")
            folder = f"{self.split}/{directory}" if directory else self.split
            photos = (f"{pair}-img{side}.png" for side in (0, 1))
            return Example(
                id=identifier,
                video=tuple(images.path(f"{folder}/{photo}", f"{self.split}/{photo}", photo) for photo in photos),
                video_id=pair,
                text=record.text("sentence"),
                answer=str(answer).lower(),
            )

        return distinct(map(example, file.objects("identifier", "sentence", "label")), file)

    def submission(self, predictions: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
        """Return name and text of the official scorer's file."""
        return f"{self.split}_predictions.csv", "".join(f"{p['id']},{p['prediction']}\n" for p in predictions)


CARD = Card.of(__doc__, questions=Questions)
