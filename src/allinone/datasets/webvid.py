"""WebVid: stock footage of some 18 s with its title, 2.5 or 10 million clips (Bain et al., Frozen in Time, ICCV 2021).

Licence: research only, by the terms at github.com/m-bain/webvid, whose authors have withdrawn it in 2024; the videos
are Shutterstock's and bear its mark.

    root/results_2M_train.csv       results_2M_val.csv      results_10M_train.csv     results_10M_val.csv
    root/videos/027701_027750/1053841541.mp4                or without the folder; `videos` may be `train` and `val`
    root/test_yt.csv                a list in this way for video2dataset: videoid, name and contentUrl alone

Also read: `webvid_training_success_full.tsv` and `webvid_validation_success_full.tsv` (Frozen, All-in-One), which have
those of the 2M that could be had.

Splits: `train2M`, `val2M`, `train10M`, `val10M`, and `youtube`: a list whose name ends in `_yt.csv`. About 2.5 and 10.7
million clips in training and 5,000 in validation, in no file of which an exact number is published. Titles are read one
by one, and what has none is left out and counted.

For pre-training; as a test, recall at 1, 5, 10 on `val2M`.

One record:

    videoid,name,page_idx,page_dir,duration,contentUrl
    5641526,Horse grazing - separated on green screen,28620,054101_054150,PT00H00M24S,https://.../5641526/preview/...mp4
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from allinone.data.example import Example
from allinone.datasets.base import Card, SplitDataset, SplitSize, TaskReader, distinct, with_texts
from allinone.datasets.files import Annotation, Videos, bare, find
from allinone.datasets.pairs import pairs
from allinone.datasets.records import tidy

NAMES = {
    "train2M": ("results_2M_train.csv", "webvid_training_success_full.tsv"),
    "val2M": ("results_2M_val.csv", "webvid_validation_success_full.tsv"),
    "train10M": ("results_10M_train.csv",),
    "val10M": ("results_10M_val.csv",),
    "youtube": ("*_yt.csv",),
}
SPLITS = {split: SplitSize() for split in NAMES}


@dataclass(frozen=True)
class Captions(SplitDataset):
    """Every title with its clip, in the order of the file."""

    splits = SPLITS

    def examples(self, root: Path) -> Iterator[Example]:
        file = find(root, *NAMES[self.split])
        videos = Videos(root, folders=("videos", self.split.rstrip("0123456789M")), search_below=False)

        def examples() -> Iterator[Example]:
            for name, text in titles(file):
                video = bare(name)
                yield Example(id=video, video=videos.path(name, video), video_id=video, text=tidy(text))

        return distinct(with_texts(examples(), file), file)


def titles(file: Annotation) -> Iterator[tuple[str, str]]:
    """Video, with the folder where there is one, and title."""
    if file.name.endswith(".tsv"):
        yield from ((video, text) for video, texts in pairs(file, may_be_empty=True) for text in texts)
        return
    for row in file.rows("videoid", may_be_empty=("name", "contenturl")):
        folder = row.get("page_dir")
        yield f"{folder}/{row['videoid']}" if folder else row["videoid"], row["name"]


CARD = Card(
    title="WebVid: 2.5 or 10 million clips of stock footage with their titles",
    licence="research only; withdrawn by its authors; videos of Shutterstock",
    get="github.com/m-bain/webvid",
    metric="for pre-training; recall at 1, 5, 10 on val2M",
    readings={"captions": TaskReader(reader=Captions, splits=SPLITS)},
)
