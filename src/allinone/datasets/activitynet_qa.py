"""ActivityNet-QA: questions by people on long web videos of activities, ten for each video (Yu et al., AAAI 2019).

License: Apache-2.0 (questions), not for commerce; videos of YouTube, for research.
Get: https://github.com/MILVLG/activitynet-qa; the videos of ActivityNet 200: activity-net.org.

    root/train_q.json   root/val_q.json   root/test_q.json          questions
    root/train_a.json   root/val_a.json   root/test_a.json          answers; or both in a csv (just-ask) or JSON Lines
    root/videos/v_okC18bPTils.mp4                                   with or without `v_`, any extension

The file with the questions states Apache-2.0, the page that links it MIT and not for commerce. Kinds: motion, spatial
and temporal relations, and, by their answers, yes/no, color, object, location, number and other.

Scored by: accuracy, over all questions and by kind; an answer must be exactly the right one. Official scorer:
`evaluation/eval.py` of the same repository.

One record of `train_q.json` and of `train_a.json`, JSON lists:

    {"video_name": "okC18bPTils", "question": "are all the people in the video men", "question_id": "v_okC18bPTils_3"}
    {"answer": "no", "type": 3, "question_id": "v_okC18bPTils_3"}
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from allinone.data.example import Example, SplitSize
from allinone.datasets.base import Card, SplitDataset
from allinone.datasets.files import find
from allinone.datasets.records import one_of_kinds, question_files, read_questions
from allinone.datasets.videos import Videos, bare

KINDS = ("motion", "spatial", "temporal", "yes/no", "color", "object", "location", "number", "other")
"""Names of the types 0 to 8."""


@dataclass(frozen=True)
class Questions(SplitDataset):
    """Every question with its answer, one or more words. The id of a video is `v_` and its YouTube id."""

    splits = {
        "train": SplitSize(records=32_000, videos=3_200),
        "val": SplitSize(records=18_000, videos=1_800),
        "test": SplitSize(records=8_000, videos=800),
    }

    def examples(self, root: Path) -> Iterator[Example]:
        videos = Videos(root)
        return read_questions(
            root,
            find(root, f"{self.split}_q.json", *question_files(self.split)),
            video_id=lambda name: f"v_{bare(name).removeprefix('v_')}",
            path=lambda video: videos.path(video, video.removeprefix("v_")),
            kind=one_of_kinds(KINDS),
        )


CARD = Card.of(__doc__, questions=Questions)
