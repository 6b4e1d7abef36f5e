"""VQAv2: 1.1 million questions about COCO photos, answered by ten people each (Goyal et al., CVPR 2017).

Licence: questions and answers CC BY 4.0; photos are Flickr's, under their own terms. Get: visualqa.org/download.html
(zips, read packed or unpacked); photos of COCO's release of 2014 and 2015 from cocodataset.org.

    root/v2_OpenEnded_mscoco_train2014_questions.json     val2014, test2015, test-dev2015 in the same way
    root/v2_mscoco_train2014_annotations.json             val2014; the answers of the tests are secret
    root/train2014/COCO_train2014_000000458752.jpg        val2014, test2015; or below root/images/

Splits: `train` 443,757 questions on 82,783 photos, `val` 214,354 on 40,504, `test2015` 447,793 on 81,434, of which
`test-dev2015` is a part, 107,394.

Scored by soft accuracy: an answer that n people gave counts min(n / 3, 1), averaged over the ten ways to leave one
person out, after the normalising of `text/answers.py` (github.com/GT-Vision-Lab/VQA, vqaEval.py); also for each type
of answer, yes/no, number and other: `kind`. `answer` is the most frequent one.

The server (EvalAI) takes, for all questions of `test2015`, [{"question_id": 262144000, "answer": "yes"}, ...].

One record of the questions, and the one of the annotations that belongs to it:

    {"image_id": 458752, "question": "What is on the table?", "question_id": 458752000}
    {"question_id": 458752000, "image_id": 458752, "question_type": "what is on the", "answer_type": "other",
     "multiple_choice_answer": "cup", "answers": [{"answer": "cup", "answer_confidence": "yes", "answer_id": 1}, ...]}
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

from allinone.data.example import Example
from allinone.datasets.base import Card, OfSplit, Reading, Size, distinct
from allinone.datasets.coco import photos
from allinone.datasets.files import find, tidy

SPLITS = {
    "train": Size(records=443_757, videos=82_783),
    "val": Size(records=214_354, videos=40_504),
    "test2015": Size(records=447_793, videos=81_434),
    "test-dev2015": Size(records=107_394),
}
FILES = {"train": "train2014", "val": "val2014", "test2015": "test2015", "test-dev2015": "test-dev2015"}


@dataclass(frozen=True)
class Questions(OfSplit):
    """Every question with the ten people's answers."""

    splits = SPLITS

    def examples(self, root: Path) -> Iterator[Example]:
        part = FILES[self.split]
        file = find(root, f"v2_OpenEnded_mscoco_{part}_questions.json")
        answers = answers_by_question(root, part) if part.endswith("2014") else None
        folder, images = part.replace("-dev", ""), photos(root)
        questions = file.under("questions", "question_id", "image_id", "question")
        for question in distinct(questions, file, key=itemgetter("question_id")):
            name, number = str(question["question_id"]), str(question["image_id"]).zfill(12)
            image = f"COCO_{folder}_{number}"
            if answers is not None and name not in answers:
                raise ValueError(f"{file}: question {name} has no record in the annotations; the files do not match")
            example = Example(
                id=name,
                video=images.path(f"{folder}/{image}.jpg", image, number),
                video_id=image,
                text=tidy(question["question"]),
                answer="",
            )
            yield example if answers is None else answered(example, answers[name])

    def submission(self, predictions: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
        answers = [{"question_id": int(p["id"]), "answer": p["prediction"]} for p in predictions]
        return f"v2_OpenEnded_mscoco_{FILES[self.split]}_allinone_results.json", json.dumps(answers)


def answers_by_question(root: Path, part: str) -> dict[str, Mapping[str, Any]]:
    file = find(root, f"v2_mscoco_{part}_annotations.json")
    wanted = ("question_id", "answers", "answer_type", "multiple_choice_answer")
    return {str(record["question_id"]): record for record in file.under("annotations", *wanted)}


def answered(example: Example, record: Mapping[str, Any]) -> Example:
    return replace(
        example,
        answer=tidy(record["multiple_choice_answer"]),
        human_answers=tuple(tidy(person["answer"]) for person in record["answers"]),
        kind=record["answer_type"],
    )


CARD = Card(
    title="VQAv2: 1.1 million questions about COCO photos, ten answers each",
    licence="CC BY 4.0; photos of Flickr, under their own terms",
    get="visualqa.org/download.html; photos: cocodataset.org (2014, 2015)",
    metric="soft accuracy against ten people, after the official normalising; all, yes/no, number, other",
    readings={"questions": Reading(reader=Questions, splits=SPLITS)},
)
