"""MSRVTT-QA: 243,680 open questions on the clips of MSR-VTT, made by rule from their captions (Xu et al., ACM MM 2017).

Licence: none is stated; the videos are YouTube's, for research. Questions: linked from
github.com/xudejing/video-question-answering. Clips: those of MSR-VTT (`datasets/msrvtt.py`).

    root/train_qa.json   root/val_qa.json   root/test_qa.json       official; or, as others publish them,
    root/train.jsonl ...                                            ClipBERT, EMCL: video_id "video6513", no id
    root/train.csv ...                                              just-ask (whose train lacks rare answers)
    root/videos/video6513.mp4

Splits, those of MSR-VTT in 2016: `train` 158,581 questions on 6,513 videos, `val` 12,278 on 497, `test` 72,821 on
2,990. The kind of a question is its first word: what, who, how, when or where.

Scored by the share of answers that are the right word exactly, over all questions; right answers outside of the
vocabulary of a model count as wrong.

One record of `val_qa.json`, a JSON list, and the same in `val.jsonl`:

    {"answer": "couch", "category_id": 14, "id": 158581, "question": "what are three people sitting on?",
     "video_id": 6513}
    {"answer": "couch", "question": "what are three people sitting on?", "video_id": "video6513", "answer_type": "what"}
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from allinone.data.example import Example
from allinone.datasets.base import Card, SplitDataset, SplitSize, TaskReader
from allinone.datasets.files import Videos, bare, find
from allinone.datasets.questions import file_names, open_questions, question_word

SPLITS = {
    "train": SplitSize(records=158_581, videos=6_513),
    "val": SplitSize(records=12_278, videos=497),
    "test": SplitSize(records=72_821, videos=2_990),
}


@dataclass(frozen=True)
class Questions(SplitDataset):
    """Every question with its answer, one word."""

    splits = SPLITS

    def examples(self, root: Path) -> Iterator[Example]:
        return open_questions(
            root,
            find(root, *file_names(self.split)),
            video_id=lambda name: f"video{bare(name).lower().removeprefix('video')}",
            path=Videos(root).path,
            kind=question_word,
        )


CARD = Card(
    title="MSRVTT-QA: 243,680 open questions on the clips of MSR-VTT",
    licence="none stated; videos of YouTube, for research",
    get="github.com/xudejing/video-question-answering; the clips of MSR-VTT",
    metric="accuracy, over all questions and by question word",
    readings={"questions": TaskReader(reader=Questions, splits=SPLITS)},
)
