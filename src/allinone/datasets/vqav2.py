"""VQAv2: questions about COCO photos, each answered by ten people (Goyal et al., CVPR 2017).

License: CC BY 4.0; photos of Flickr, under their own terms.
Get: https://visualqa.org/download.html (zips, read packed or unpacked); photos of COCO's release of 2014 and 2015:
https://cocodataset.org.

    root/v2_OpenEnded_mscoco_train2014_questions.json     val2014, test2015, test-dev2015 in the same way
    root/v2_mscoco_train2014_annotations.json             val2014; the answers of the tests are secret
    root/train2014/COCO_train2014_000000458752.jpg        val2014, test2015; or below root/images/

`test-dev2015` is a part of `test2015`. `answer` is the most frequent answer.

Scored by: soft accuracy against ten people, after the official normalization; over all, and by type of answer: yes/no,
number and other (`kind`). An answer that n people gave scores min(n / 3, 1), averaged over the ten ways to leave one
person out. Normalization is in `text/answers.py`, after https://github.com/GT-Vision-Lab/VQA, vqaEval.py.

The server (EvalAI) takes, for all questions of `test2015`, [{"question_id": 262144000, "answer": "yes"}, ...].

One record of the questions, and the one of the annotations that belongs to it:

    {"image_id": 458752, "question": "What is on the table?", "question_id": 458752000}
    {"question_id": 458752000, "image_id": 458752, "question_type": "what is on the", "answer_type": "other",
     "multiple_choice_answer": "cup", "answers": [{"answer": "cup", "answer_confidence": "yes", "answer_id": 1}, ...]}
"""

import json
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from allinone.data.example import Example, SplitSize
from allinone.datasets.base import Card, SplitDataset, distinct
from allinone.datasets.coco import photos
from allinone.datasets.fields import Record, shown
from allinone.datasets.files import Annotation, find

log = logging.getLogger(__name__)

PARTS = {"train": "train2014", "val": "val2014", "test2015": "test2015", "test-dev2015": "test-dev2015"}


@dataclass(frozen=True)
class Questions(SplitDataset):
    """Every question with the ten people's answers."""

    splits = {
        "train": SplitSize(records=443_757, videos=82_783),
        "val": SplitSize(records=214_354, videos=40_504),
        "test2015": SplitSize(records=447_793, videos=81_434),
        "test-dev2015": SplitSize(records=107_394),
    }

    def examples(self, root: Path) -> Iterator[Example]:
        part = PARTS[self.split]
        file = find(root, f"v2_OpenEnded_mscoco_{part}_questions.json")
        answers = read_answers(root, part) if part.endswith("2014") else None
        # Photos of test-dev2015 are those of test2015.
        folder, images = part.replace("-dev", ""), photos(root)
        questions = file.under("questions", "question_id", "image_id", "question")
        asked: set[str] = set()
        for question in distinct(questions, file, key=lambda question: question.name("question_id")):
            name, number = question.name("question_id"), question.name("image_id").zfill(12)
            image = f"COCO_{folder}_{number}"
            if answers and name not in answers.by_question:
                raise ValueError(f"{answers.file}: no annotation of question {shown(name)}, which is in {file}")
            asked.add(name)
            answer, human_answers, kind = answers.by_question[name] if answers else ("", (), None)
            yield Example(
                id=name,
                # The release of 2017 names photos by number only.
                video=images.path(f"{folder}/{image}.jpg", image, number),
                video_id=image,
                text=question.text("question"),
                answer=answer,
                human_answers=human_answers,
                kind=kind,
            )
        if answers and (num_unasked := len(answers.by_question.keys() - asked)):
            log.warning("%s: left out %d annotations without a question in %s", answers.file, num_unasked, file)

    def submission(self, predictions: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
        """Return name and text of the server's file."""
        answers = [{"question_id": int(p["id"]), "answer": p["prediction"]} for p in predictions]
        return f"v2_OpenEnded_mscoco_{PARTS[self.split]}_allinone_results.json", json.dumps(answers)


@dataclass(frozen=True)
class Answers:
    """The annotations of each question: the most frequent answer, those of all people, and the type of answer."""

    file: Annotation
    by_question: Mapping[str, tuple[str, tuple[str, ...], str]]


def read_answers(root: Path, part: str) -> Answers:
    """Read the file of annotations of a part of COCO."""
    file = find(root, f"v2_mscoco_{part}_annotations.json")
    fields = ("question_id", "answers", "answer_type", "multiple_choice_answer")
    records = distinct(file.under("annotations", *fields), file, key=lambda record: record.name("question_id"))
    return Answers(file, {record.name("question_id"): answers_of(record) for record in records})


def answers_of(record: Record) -> tuple[str, tuple[str, ...], str]:
    """Return the most frequent answer, those of all people, and the type of answer."""
    people = tuple(person.text("answer", may_be_empty=True) for person in record.objects("answers"))
    # Interned: half a million records share three types.
    return record.text("multiple_choice_answer"), people, sys.intern(record.text("answer_type"))


CARD = Card.of(__doc__, questions=Questions)
