"""Questions as they are published and republished: one record a question, whatever its fields are called.

Read are JSON lists, JSON Lines (ClipBERT, EMCL, Singularity), tables with commas or tabs (just-ask), and pairs of files
that hold questions and answers apart: `test_q.json` and `test_a.json` of ActivityNet-QA, in whose way others publish
theirs.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from allinone.data.example import Example
from allinone.datasets.base import distinct
from allinone.datasets.files import Annotation, find, tidy

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


def open_questions(
    root: Path,
    names: tuple[str, ...],
    video_id: Callable[[str], str],
    path: Callable[[str], Path],
    kind: Callable[[Question], str | None],
) -> Iterator[Example]:
    """Examples from the first of these files that is there.

    `video_id` turns what a file calls a video into the one name it has here; `path` says where that video lies.
    """
    file, questions = read_questions(root, *names)
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

    return distinct(map(example, questions), file)


def read_questions(root: Path, *names: str) -> tuple[Annotation, list[Question]]:
    """The first of these files that is there, and its questions; a file `X_q.json` has its answers in `X_a.json`.

    A question without an id is called after its video and its number there.
    """
    file = find(root, *names)
    answers = None
    if file.name.endswith("_q.json"):
        others = find(root, file.name.replace("_q.json", "_a.json"))
        answers = {required(record, where, *IDS): record for where, record in records(others)}
    numbers: Counter[str] = Counter()
    found = []
    for where, record in records(file):
        video = required(record, where, *VIDEO)
        numbers[video] += 1
        id_ = optional(record, *IDS) or f"{video}#{numbers[video]}"
        if answers is not None:
            if id_ not in answers:
                raise ValueError(f"{where}: no answer to question {id_!r} in the file of the answers")
            record = answers[id_] | record
        found.append(
            Question(
                id=id_,
                video=video,
                text=required(record, where, "question"),
                answer=required(record, where, "answer"),
                kind=optional(record, *KINDS),
            )
        )
    return file, found


def file_names(split: str) -> tuple[str, ...]:
    """What the file of a split is called: officially (`train_qa.json`), and where it is republished."""
    patterns = ("{}_qa.json", "{}.jsonl", "{}.json", "{}.csv", "*qa_{}.json*", "*{}_qa*.json", "{}_q.json")
    return tuple(pattern.format(split) for pattern in patterns)


def records(file: Annotation) -> Iterator[tuple[str, dict[str, Any]]]:
    """The records of a JSON list, of JSON Lines or of a table, each with its place for the reader of an error."""
    first = next((line for line in file.stream() if line.strip()), "")
    if first.lstrip().startswith(("[", "{")):
        found = file.objects()
    else:
        found = file.rows(delimiter="\t" if "\t" in first else ",")
    for number, record in enumerate(found, start=1):
        yield f"{file}: record {number}", record


def required(record: dict[str, Any], where: str, *fields: str) -> str:
    """The first of these fields that the record has, as a text that is not empty."""
    found = optional(record, *fields)
    if found is None:
        has = ", ".join(f"{name}={value!r:.40}" for name, value in record.items())
        raise ValueError(f"{where}: wanted a text {' or '.join(fields)}, got {has}")
    return found


def optional(record: dict[str, Any], *fields: str) -> str | None:
    """The same where it may be absent or empty."""
    value = next((record[field] for field in fields if field in record), None)
    return tidy(str(value)) or None if isinstance(value, str | int) else None


def right_option(value: Any, num_options: int, where: str, may_be_secret: bool = False) -> int | None:
    """The number of the right option; None where it is kept secret, with no value."""
    if may_be_secret and value in (None, ""):
        return None
    try:
        right = float(value)  # pandas writes a whole column as floats where one number is missing
    except (TypeError, ValueError):
        right = -1
    if right not in range(num_options):
        raise ValueError(f"{where}: wanted the number of the right option, 0 to {num_options - 1}, got {value!r}")
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
        if int(question.kind) >= len(names):
            raise ValueError(f"question {question.id}: wanted a type from 0 to {len(names) - 1}, got {question.kind!r}")
        return names[int(question.kind)]

    return kind
