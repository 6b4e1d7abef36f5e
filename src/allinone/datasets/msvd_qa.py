"""MSVD-QA: 50,505 open questions on short YouTube clips, made by rule from their captions (Xu et al., ACM MM 2017).

Licence: none is stated; the videos are YouTube's, for research. Questions and `youtube_mapping.txt`: linked from
github.com/xudejing/video-question-answering. Clips: `YouTubeClips.tar` of the MSVD corpus (`datasets/msvd.py`).

    root/train_qa.json   root/val_qa.json   root/test_qa.json       official; or JSON Lines and csv, as for MSRVTT-QA
    root/youtube_mapping.txt                                        name of the clip, and its number
    root/YouTubeClips/-4wsuPCjDBc_5_15.avi                          or root/videos/vid1.avi, or 1.avi

Splits: `train` 30,933 questions on 1,161 clips, `val` 6,415 on 245, `test` 13,157 on 504. (1,970 clips are dealt 1,200,
100 and 670 in the captioning task and 1,200, 250 and 520 in the paper, some of them without a question.) The kind of a
question is its first word: what, who, how, when or where.

Scored as MSRVTT-QA is. Some questions occur twice with another id; as in all published results, both count.

One record of `val_qa.json`, a JSON list, and one line of the mapping:

    {"answer": "someone", "id": 30933, "question": "who pours liquid from a plastic container into a ziploc bag
     containing meat pieces?", "video_id": 1201}
    -4wsuPCjDBc_5_15 vid1
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from allinone.data.example import Example
from allinone.datasets.base import Card, SplitDataset, SplitSize, TaskReader
from allinone.datasets.files import Videos, bare, find, find_some
from allinone.datasets.questions import file_names, open_questions, question_word
from allinone.datasets.records import shown

SPLITS = {
    "train": SplitSize(records=30_933, videos=1_161),
    "val": SplitSize(records=6_415, videos=245),
    "test": SplitSize(records=13_157, videos=504),
}


@dataclass(frozen=True)
class Questions(SplitDataset):
    """Every question with its answer, one word. A clip is called `vid1`, whatever the file calls it."""

    splits = SPLITS

    def examples(self, root: Path) -> Iterator[Example]:
        clips = clip_names(root)
        numbers = {clip: number for number, clip in clips.items()}
        videos = Videos(root, folders=("YouTubeClips", "videos", "clips"), suffix=".avi")

        def video_id(name: str) -> str:
            name = bare(name)
            return f"vid{name}" if name.isdigit() else numbers.get(name, name)

        return open_questions(
            root,
            find(root, *file_names(self.split)),
            video_id=video_id,
            path=lambda video: videos.path(clips.get(video, video), video, video.removeprefix("vid")),
            kind=question_word,
        )


def clip_names(root: Path) -> dict[str, str]:
    """The name of each numbered clip (`vid1`); none where there is no mapping, so that videos must bear the number."""
    found = {}
    for file in find_some(root, "youtube_mapping.txt", "msvd_youtube_mapping.txt")[:1]:
        for number, line in enumerate(file.lines(), start=1):
            parts = line.split()
            if len(parts) != 2:
                raise ValueError(f"{file}: line {number}: wanted the name of a clip and vidN, got {shown(line)}")
            if found.setdefault(parts[1], bare(parts[0])) != bare(parts[0]):
                raise file.error(f"line {number}: {shown(parts[1])} has another clip on an earlier line")
    return found


CARD = Card(
    title="MSVD-QA: 50,505 open questions on short YouTube clips",
    licence="none stated; videos of YouTube, for research",
    get="github.com/xudejing/video-question-answering; the clips of MSVD, YouTubeClips.tar",
    metric="accuracy, over all questions and by question word",
    readings={"questions": TaskReader(reader=Questions, splits=SPLITS)},
)
