"""MSVD-QA: open questions on short YouTube clips, made by rule from their captions (Xu et al., ACM MM 2017).

License: none stated; videos of YouTube, for research.
Get: questions and `youtube_mapping.txt` linked from https://github.com/xudejing/video-question-answering; the clips of
MSVD, `YouTubeClips.tar` (`msvd.py`).

    root/train_qa.json   root/val_qa.json   root/test_qa.json       official; or JSON Lines and csv, as for MSRVTT-QA
    root/youtube_mapping.txt                                        name of the clip, and its number
    root/YouTubeClips/-4wsuPCjDBc_5_15.avi                          or root/videos/vid1.avi, or 1.avi

The 1,970 clips are split 1,200, 100 and 670 in the captioning task, and 1,200, 250 and 520 in the paper; some have no
question. The kind of a question is its first word: what, who, how, when or where.

Scored by: accuracy, over all questions and by question word, as for MSRVTT-QA. Some questions occur twice with another
id; both count, as in all published results.

One record of `val_qa.json`, a JSON list, and one line of the mapping:

    {"answer": "someone", "id": 30933, "question": "who pours liquid from a plastic container into a ziploc bag
     containing meat pieces?", "video_id": 1201}
    -4wsuPCjDBc_5_15 vid1
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from allinone.data.example import Example, SplitSize
from allinone.datasets.base import Card, SplitDataset
from allinone.datasets.fields import shown
from allinone.datasets.files import find, find_some
from allinone.datasets.records import question_files, question_word, read_questions
from allinone.datasets.videos import Videos, bare


@dataclass(frozen=True)
class Questions(SplitDataset):
    """Every question with its answer, one word. The id of a clip is `vid1`, whatever the file calls it."""

    splits = {
        "train": SplitSize(records=30_933, videos=1_161),
        "val": SplitSize(records=6_415, videos=245),
        "test": SplitSize(records=13_157, videos=504),
    }

    def examples(self, root: Path) -> Iterator[Example]:
        clips = clip_names(root)
        numbers = {clip: number for number, clip in clips.items()}
        videos = Videos(root, folders=("YouTubeClips", "videos", "clips"), suffix=".avi")

        def video_id(name: str) -> str:
            name = bare(name)
            return f"vid{name}" if name.isdigit() else numbers.get(name, name)

        return read_questions(
            root,
            find(root, *question_files(self.split)),
            video_id=video_id,
            # A file may have its name on YouTube, the number as in the mapping (vid1), or only the number (1).
            path=lambda video: videos.path(clips.get(video, video), video, video.removeprefix("vid")),
            kind=question_word,
        )


def clip_names(root: Path) -> dict[str, str]:
    """Return the name of each numbered clip (`vid1`); empty without a mapping, when files must have the number."""
    found = {}
    for file in find_some(root, "youtube_mapping.txt", "msvd_youtube_mapping.txt")[:1]:
        for number, line in enumerate(file.lines(), start=1):
            parts = line.split()
            if len(parts) != 2:
                raise ValueError(f"{file}: line {number}: wanted the name of a clip and vidN, got {shown(line)}")
            if found.setdefault(parts[1], bare(parts[0])) != bare(parts[0]):
                raise file.error(f"line {number}: {shown(parts[1])} has another clip on an earlier line")
    return found


CARD = Card.of(__doc__, questions=Questions)
