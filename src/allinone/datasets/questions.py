"""Questions as they are published and republished: one record a question, whatever its fields are called.

Read are JSON lists, JSON Lines (ClipBERT, EMCL, Singularity), tables with commas or tabs (just-ask), and pairs of files
that hold questions and answers apart: `test_q.json` and `test_a.json` of ActivityNet-QA, in whose way others publish
theirs.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any

from allinone.data.example import Example
from allinone.datasets.base import distinct
from allinone.datasets.files import Annotation, find, find_some
from allinone.datasets.records import Record, shown, tidy

log = logging.getLogger(__name__)

VIDEO = ("video_id", "video_name", "gif_name", "video", "vid_name")
IDS = ("question_id", "id", "qid", "vid_id")
KINDS = ("answer_type", "type")

WORDS = ("what", "who", "how", "when", "where")
"""The question words that MSVD-QA and MSRVTT-QA are made of."""


@dataclass(frozen=True)
class Question:
    """An open question about a video, called what the file calls it; `kind` is what the file says of its type."""

    id: str
    video: str
    text: str
    answer: str
    kind: str | None
    where: str
    """Its file and its place there, for errors."""


def open_questions(
    root: Path,
    file: Annotation,
    video_id: Callable[[str], str],
    path: Callable[[str], Path],
    kind: Callable[[Question], str | None],
) -> Iterator[Example]:
    """Examples of the questions in a file.

    `video_id` turns what a file calls a video into the one name it has here; `path` says where that video lies.
    """
    path = cache(path)

    def example(question: Question) -> Example:
        video = video_id(question.video)
        return Example(
            id=question.id,
            video=path(video),
            video_id=video,
            text=question.text,
            answer=question.answer,
            kind=kind(question),
        )

    return distinct(map(example, read_questions(root, file)), file)


def read_questions(root: Path, file: Annotation) -> list[Question]:
    """The questions of a file; a file `X_q.json` has its answers in `X_a.json`, of the same folder if it is there.

    A question without an id is called after its video and its number there. One with options to choose from is an
    error: then the file is of another task.
    """
    apart = None
    if file.name.endswith("_q.json"):
        name = file.name.replace("_q.json", "_a.json")
        apart = next(iter(find_some(file.path.parent, name)), None) or find(root, name)
    answers = answers_by_question(apart) if apart else None
    numbers: Counter[str] = Counter()
    found = []
    for record in records(file):
        video = record.name(*VIDEO)
        numbers[video] += 1
        id_ = record.optional(*IDS) or f"{video}#{numbers[video]}"
        if options_of(record):
            raise record.error("has options to choose from, where an open question has none; is it of another task?")
        answered = record
        if answers is not None:
            if id_ not in answers:
                raise ValueError(f"{apart}: no answer to question {shown(id_)}, which is in {file}")
            answered = answers[id_]
        found.append(
            Question(
                id=id_,
                video=video,
                text=record.text("question"),
                answer=tidy(answered.name("answer")),
                kind=answered.optional(*KINDS) or record.optional(*KINDS),
                where=answered.where,
            )
        )
    if answers is not None and (num_unasked := len(answers.keys() - {question.id for question in found})):
        log.warning("%s: left out %d answers without a question in %s", apart, num_unasked, file)
    return found


def answers_by_question(file: Annotation) -> dict[str, Record]:
    return {record.name(*IDS): record for record in distinct(records(file), file, key=lambda r: r.name(*IDS))}


def options_of(record: Record) -> list[str] | None:
    """The options of a question, in a list or in the columns a0, a1, ... or a1, a2, ...; None where it has none."""
    if record.has("options"):
        return record.texts("options")
    first = 0 if record.has("a0") else 1
    names = [f"a{number}" for number in range(first, first + 10)]
    return [record.name(name) for name in takewhile(record.has, names)] or None


def file_names(split: str) -> tuple[str, ...]:
    """What the file of a split is called: officially (`train_qa.json`), and where it is republished."""
    patterns = ("{}_qa.json", "{}.jsonl", "{}.json", "{}.csv", "*qa_{}.json*", "*{}_qa*.json", "{}_q.json")
    return tuple(pattern.format(split) for pattern in patterns)


def records(file: Annotation) -> Iterator[Record]:
    """The records of a JSON list, of JSON Lines or of a table."""
    first = file.first_line()
    if first.lstrip().startswith(("[", "{")):
        return file.objects()
    return file.rows(delimiter="\t" if "\t" in first else ",")


def right_option(value: Any, num_options: int, where: str, may_be_secret: bool = False) -> int | None:
    """The number of the right option; None where it is kept secret, with no value."""
    if may_be_secret and value in (None, ""):
        return None
    try:
        # pandas writes a whole column as floats where one number is missing
        right = -1 if isinstance(value, bool) else float(value)
    except (OverflowError, TypeError, ValueError):
        right = -1
    if right not in range(num_options):
        raise ValueError(f"{where}: wanted the number of the right option, 0 to {num_options - 1}, got {shown(value)}")
    return int(right)


def question_word(question: Question) -> str | None:
    """The type of a question of MSVD-QA and MSRVTT-QA: its first word."""
    word = question.text.split()[0].lower()
    return word if word in WORDS else None


def named_kind(names: tuple[str, ...]) -> Callable[[Question], str | None]:
    """The type of a question whose file tells it by its number among these names, or in words of its own."""

    def kind(question: Question) -> str | None:
        if question.kind is None or not question.kind.isdecimal():
            return question.kind
        if len(question.kind) > 3 or int(question.kind) >= len(names):
            wanted = f"wanted a type from 0 to {len(names) - 1}"
            raise ValueError(f"{question.where}: {wanted}, got {shown(question.kind)}")
        return names[int(question.kind)]

    return kind
