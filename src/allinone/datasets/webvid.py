"""WebVid: stock footage of some 18 s with its title, 2.5 or 10 million clips (Bain et al., Frozen in Time, ICCV 2021).

License: research only; withdrawn by its authors in 2024; videos of Shutterstock, with its watermark.
Get: https://github.com/m-bain/webvid.

    root/results_2M_train.csv       results_2M_val.csv      results_10M_train.csv     results_10M_val.csv
    root/videos/027701_027750/1053841541.mp4                or without the folder; `videos` may be `train` and `val`
    root/test_yt.csv                a list for video2dataset with the columns videoid, name and contentUrl only

Also read: `webvid_training_success_full.tsv` and `webvid_validation_success_full.tsv` (Frozen, All-in-One), the clips
of the 2M that could be downloaded.

`youtube` is any list with a name that ends in `_yt.csv`. There are about 2.5 and 10.7 million clips in training and
5,000 in validation; exact numbers are not published. Clips without a title are skipped and counted.

Scored by: nothing (pre-training); as a test, recall at 1, 5, 10 on `val2M`.

One record:

    videoid,name,page_idx,page_dir,duration,contentUrl
    5641526,Horse grazing - separated on green screen,28620,054101_054150,PT00H00M24S,https://.../5641526/preview/...mp4
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from allinone.data.example import Example, SplitSize
from allinone.datasets.base import Card, SplitDataset, distinct, with_texts
from allinone.datasets.files import Annotation, find
from allinone.datasets.records import Captioned, caption_examples, read_captions
from allinone.datasets.videos import Videos, bare

FILES = {
    "train2M": ("results_2M_train.csv", "webvid_training_success_full.tsv"),
    "val2M": ("results_2M_val.csv", "webvid_validation_success_full.tsv"),
    "train10M": ("results_10M_train.csv",),
    "val10M": ("results_10M_val.csv",),
    "youtube": ("*_yt.csv",),
}


@dataclass(frozen=True)
class Captions(SplitDataset):
    """Every title with its clip, in the order of the file."""

    splits = {split: SplitSize() for split in FILES}

    def examples(self, root: Path) -> Iterator[Example]:
        file = find(root, *FILES[self.split])
        # Millions of clips, so only the exact path is tried.
        videos = Videos(root, folders=("videos", self.split.rstrip("0123456789M")), search_below=False)
        clips = (Captioned((name, bare(name)), ((bare(name), text),)) for name, text in titles(file))
        return distinct(with_texts(caption_examples(clips, videos), file), file)


def titles(file: Annotation) -> Iterator[tuple[str, str]]:
    """Yield each video, with its folder if there is one, and its title."""
    if file.name.endswith(".tsv"):
        yield from ((video, text) for video, texts in read_captions(file, may_be_empty=True) for text in texts)
        return
    for row in file.rows("videoid", may_be_empty=("name", "contenturl")):
        folder = row.get("page_dir")
        yield f"{folder}/{row['videoid']}" if folder else row["videoid"], row["name"]


CARD = Card.of(__doc__, captions=Captions)
