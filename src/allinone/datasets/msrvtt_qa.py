"""MSRVTT-QA: open questions on the clips of MSR-VTT, made by rule from their captions (Xu et al., ACM MM 2017).

License: none stated; videos of YouTube, for research.
Get: questions linked from https://github.com/xudejing/video-question-answering; the clips of MSR-VTT (`msrvtt.py`).

    root/train_qa.json   root/val_qa.json   root/test_qa.json       official; or, as others publish them,
    root/train.jsonl ...                                            ClipBERT, EMCL: video_id "video6513", no id
    root/train.csv ...                                              just-ask (its train lacks rare answers)
    root/videos/video6513.mp4

Splits are those of MSR-VTT in 2016. The kind of a question is its first word: what, who, how, when or where.

Scored by: accuracy, over all questions and by question word. An answer must be exactly the right word; one outside of
the model's vocabulary counts as wrong.

One record of `val_qa.json`, a JSON list, and the same in `val.jsonl`:

    {"answer": "couch", "category_id": 14, "id": 158581, "question": "what are three people sitting on?",
     "video_id": 6513}
    {"answer": "couch", "question": "what are three people sitting on?", "video_id": "video6513", "answer_type": "what"}
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from allinone.data.example import Example, SplitSize
from allinone.datasets.base import Card, SplitDataset
from allinone.datasets.files import find
from allinone.datasets.records import question_files, question_word, read_questions
from allinone.datasets.videos import Videos, bare


@dataclass(frozen=True)
class Questions(SplitDataset):
    """Every question with its answer, one word."""

    splits = {
        "train": SplitSize(records=158_581, videos=6_513),
        "val": SplitSize(records=12_278, videos=497),
        "test": SplitSize(records=72_821, videos=2_990),
    }

    def examples(self, root: Path) -> Iterator[Example]:
        return read_questions(
            root,
            find(root, *question_files(self.split)),
            video_id=lambda name: f"video{bare(name).lower().removeprefix('video')}",
            path=Videos(root).path,
            kind=question_word,
        )


CARD = Card.of(__doc__, questions=Questions)
