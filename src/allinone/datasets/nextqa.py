"""NExT-QA: multiple-choice questions on why and how things happen in everyday videos (Xiao et al., CVPR 2021).

License: MIT (questions); videos of VidOR, from YFCC100M, Creative Commons.
Get: https://github.com/doc-doc/NExT-QA, folder `dataset/nextqa`; videos: `NExTVideo` there, or VidOR's own.

    root/train.csv   root/val.csv   root/test.csv
    root/map_vid_vidorID.json                           "2909445186": "0101/2909445186", the folder of each video
    root/NExTVideo/0101/2909445186.mp4                  or root/videos/2909445186.mp4

One of five options is right. Kinds are those that the paper reports, by the first letter of the type: causal (CW, CH),
temporal (TN, TP, TC) and descriptive (DC, DL, DO).

Scored by: accuracy, over all questions and by kind. Official scorer: `eval_mc.py` of the same repository.

The header and one line of `val.csv`:

    video,frame_count,width,height,question,answer,qid,type,a0,a1,a2,a3,a4
    4010069381,369,640,480,how do the two man play the instrument,0,6,CH,roll the handle,tap their feet,
        strum the string,hit with sticks,pat with hand
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from allinone.data.example import Example, SplitSize
from allinone.datasets.base import Card, SplitDataset, distinct
from allinone.datasets.fields import Record, collapse_spaces, shown
from allinone.datasets.files import find, find_some
from allinone.datasets.records import right_option
from allinone.datasets.videos import Videos, bare

KINDS = {"C": "causal", "T": "temporal", "D": "descriptive"}
OPTIONS = ("a0", "a1", "a2", "a3", "a4")


@dataclass(frozen=True)
class Choices(SplitDataset):
    """Every question with its five options. Its id is the official one: the video and the number of the question."""

    splits = {
        "train": SplitSize(records=34_132, videos=3_870),
        "val": SplitSize(records=4_996, videos=570),
        "test": SplitSize(records=8_564, videos=1_000),
    }

    def examples(self, root: Path) -> Iterator[Example]:
        file = find(root, f"{self.split}.csv", f"nextqa_{self.split}.csv")
        maps = find_some(root, "map_vid_vidorID.json")
        folders = maps[0].object() if maps else Record({}, str(root))
        videos = Videos(root, folders=("NExTVideo", "videos"))
        # In VidOR's folder, or in no folder.
        path = cache(lambda video: videos.path(folders.optional(video) or video, video))

        def example(row: Record) -> Example:
            video = bare(row["video"])
            if row["type"][:1] not in KINDS:
                raise row.error(f"wanted a type that begins with C, T or D, got {shown(row['type'])}")
            return Example(
                id=f"{video}_{row['qid']}",
                video=path(video),
                video_id=video,
                text=collapse_spaces(row["question"]),
                options=tuple(collapse_spaces(row[option]) for option in OPTIONS),
                right=right_option(row["answer"], len(OPTIONS), row.where),
                kind=KINDS[row["type"][0]],
            )

        rows = file.rows("video", "question", "qid", "type", may_be_empty=("answer", *OPTIONS))
        return distinct(map(example, rows), file)


CARD = Card.of(__doc__, choices=Choices)
