"""NExT-QA: 47,692 multiple-choice questions on why and how things happen in everyday videos (Xiao et al., CVPR 2021).

Licence: MIT (questions); the videos are those of VidOR, from YFCC100M, Creative Commons. Questions and the map of the
videos: github.com/doc-doc/NExT-QA, folder `dataset/nextqa`; videos: `NExTVideo` there, or VidOR's own.

    root/train.csv   root/val.csv   root/test.csv
    root/map_vid_vidorID.json                           "2909445186": "0101/2909445186", the folder of each video
    root/NExTVideo/0101/2909445186.mp4                  or root/videos/2909445186.mp4

Splits: `train` 34,132 questions on 3,870 videos, `val` 4,996 on 570, `test` 8,564 on 1,000. One of five options is
right. Kinds are those that the paper reports, by the first letter of the type: causal (CW, CH), temporal (TN, TP, TC)
and descriptive (DC, DL, DO).

Scored by accuracy over all questions and for each kind: `eval_mc.py` of the same repository.

The header and one line of `val.csv`:

    video,frame_count,width,height,question,answer,qid,type,a0,a1,a2,a3,a4
    4010069381,369,640,480,how do the two man play the instrument,0,6,CH,roll the handle,tap their feet,
        strum the string,hit with sticks,pat with hand
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from allinone.data.example import Example
from allinone.datasets.base import Card, SplitDataset, SplitSize, TaskReader, distinct
from allinone.datasets.files import Videos, bare, find, find_some
from allinone.datasets.questions import right_option
from allinone.datasets.records import Record, shown, tidy

SPLITS = {
    "train": SplitSize(records=34_132, videos=3_870),
    "val": SplitSize(records=4_996, videos=570),
    "test": SplitSize(records=8_564, videos=1_000),
}
KINDS = {"C": "causal", "T": "temporal", "D": "descriptive"}
OPTIONS = ("a0", "a1", "a2", "a3", "a4")


@dataclass(frozen=True)
class Choices(SplitDataset):
    """Every question with its five options. Its id is the official one, of the video and the question's number."""

    splits = SPLITS

    def examples(self, root: Path) -> Iterator[Example]:
        file = find(root, f"{self.split}.csv", f"nextqa_{self.split}.csv")
        listed = find_some(root, "map_vid_vidorID.json")
        folders = listed[0].object() if listed else Record({}, str(root))
        videos = Videos(root, folders=("NExTVideo", "videos"))
        path = cache(lambda video: videos.path(folders.optional(video) or video, video))

        def examples() -> Iterator[Example]:
            rows = file.rows("video", "question", "qid", "type", may_be_empty=("answer", *OPTIONS))
            for row in rows:
                video = bare(row["video"])
                if row["type"][:1] not in KINDS:
                    raise row.error(f"wanted a type that begins with C, T or D, got {shown(row['type'])}")
                yield Example(
                    id=f"{video}_{row['qid']}",
                    video=path(video),
                    video_id=video,
                    text=tidy(row["question"]),
                    options=tuple(tidy(row[option]) for option in OPTIONS),
                    right=right_option(row["answer"], len(OPTIONS), row.where),
                    kind=KINDS[row["type"][0]],
                )

        return distinct(examples(), file)


CARD = Card(
    title="NExT-QA: 47,692 multiple-choice questions on why and how things happen",
    licence="MIT (questions); videos of VidOR, Creative Commons",
    get="github.com/doc-doc/NExT-QA, folder dataset/nextqa, with a link to the videos",
    metric="accuracy, over all questions and for causal, temporal and descriptive ones",
    readings={"choices": TaskReader(reader=Choices, splits=SPLITS)},
)
