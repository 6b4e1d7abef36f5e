"""ActivityNet-QA: 58,000 questions by people on long web videos of activities, ten a video (Yu et al., AAAI 2019).

Licence: Apache-2.0 by the file with the questions, MIT and not for commerce by the page before it; the videos are
YouTube's, for research. Questions: github.com/MILVLG/activitynet-qa. Videos: those of ActivityNet 200
(activity-net.org).

    root/train_q.json   root/val_q.json   root/test_q.json          questions
    root/train_a.json   root/val_a.json   root/test_a.json          answers; or both in a csv (just-ask) or JSON Lines
    root/videos/v_okC18bPTils.mp4                                   with or without `v_`, whatever the extension

Splits: `train` 32,000 questions on 3,200 videos, `val` 18,000 on 1,800, `test` 8,000 on 800. Kinds: motion, spatial and
temporal relations, and, by their answers, yes/no, color, object, location, number and other.

Scored by the share of answers that are the right one exactly, over all questions and for each kind; the official scorer
is `evaluation/eval.py` of the same repository.

One record of `train_q.json` and of `train_a.json`, JSON lists:

    {"video_name": "okC18bPTils", "question": "are all the people in the video men", "question_id": "v_okC18bPTils_3"}
    {"answer": "no", "type": 3, "question_id": "v_okC18bPTils_3"}
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from allinone.data.example import Example
from allinone.datasets.base import Card, SplitDataset, SplitSize, TaskReader
from allinone.datasets.files import Videos, bare, find
from allinone.datasets.questions import file_names, named_kind, open_questions

SPLITS = {
    "train": SplitSize(records=32_000, videos=3_200),
    "val": SplitSize(records=18_000, videos=1_800),
    "test": SplitSize(records=8_000, videos=800),
}
KINDS = ("motion", "spatial", "temporal", "yes/no", "color", "object", "location", "number", "other")
"""Names of the types 0 to 8."""


@dataclass(frozen=True)
class Questions(SplitDataset):
    """Every question with its answer, of one or more words. A video is called `v_` and its YouTube id."""

    splits = SPLITS

    def examples(self, root: Path) -> Iterator[Example]:
        videos = Videos(root)
        return open_questions(
            root,
            find(root, f"{self.split}_q.json", *file_names(self.split)),
            video_id=lambda name: f"v_{bare(name).removeprefix('v_')}",
            path=lambda video: videos.path(video, video.removeprefix("v_")),
            kind=named_kind(KINDS),
        )


CARD = Card(
    title="ActivityNet-QA: 58,000 questions on web videos of activities",
    licence="Apache-2.0 (questions), not for commerce; videos of YouTube, for research",
    get="github.com/MILVLG/activitynet-qa; the videos of ActivityNet 200: activity-net.org",
    metric="accuracy, over all questions and by kind",
    readings={"questions": TaskReader(reader=Questions, splits=SPLITS)},
)
