"""Lists of records about videos, whatever their fields are called: the reader below most data sets here.

A file is a JSON list, JSON Lines, or a table with commas or tabs, and has one record for a caption or a question.
Copies of a data set (Singularity, VindLU, UMT, ClipBERT, EMCL, just-ask, Frozen, ...) rename its files and fields;
`Fields` lists the names. A copy that differs in names only needs no code, just another name here or in its data set.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice, takewhile
from operator import itemgetter
from pathlib import Path
from typing import Any

from allinone.data.example import Example
from allinone.datasets.base import distinct
from allinone.datasets.fields import Record, collapse_spaces, shown
from allinone.datasets.files import Annotation, find, find_some
from allinone.datasets.videos import Videos, bare

log = logging.getLogger(__name__)

Names = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Fields:
    """What the fields of a record are called; the first name that a record has is used.

    Options are a list called one of `options`, or columns `a0` (or `a1`), `a2`, ...
    """

    video: Names = ("video_id", "video_name", "gif_name", "video", "vid_name")
    id: Names = ("question_id", "id", "qid", "vid_id")
    text: Names = ("question",)
    answer: Names = ("answer",)
    options: Names = ("options",)
    kind: Names = ("answer_type", "type")


QUESTIONS = Fields()
CAPTIONS = Fields(video=("video", "clip_name", "video_id", "image"), text=("caption",))

WORDS = ("what", "who", "how", "when", "where")
"""The question words of MSVD-QA and MSRVTT-QA."""


# ---- captions


@dataclass(frozen=True)
class Captioned:
    """A video or image with its captions, each with an id; `files` are names its file may have, the likeliest first."""

    files: Names
    captions: tuple[tuple[str, str], ...]

    @property
    def video_id(self) -> str:
        """The name without folders and extension."""
        return bare(self.files[0])


def numbered(files: Names, texts: Iterable[str]) -> Captioned:
    """Number the captions of a video that have no ids: `name#0`, `name#1`, ..."""
    name = bare(files[0])
    return Captioned(files, tuple((f"{name}#{number}", text) for number, text in enumerate(texts)))


def caption_examples(captioned: Iterable[Captioned], videos: Videos) -> Iterator[Example]:
    """Yield an example for each caption."""
    for one in captioned:
        path, video_id = videos.path(*one.files), one.video_id
        for name, text in one.captions:
            yield Example(id=name, video=path, video_id=video_id, text=collapse_spaces(text))


def read_captions(
    file: Annotation, fields: Fields = CAPTIONS, may_be_empty: bool = False
) -> Iterator[tuple[str, list[str]]]:
    """Yield the name of a video (or image) and its captions, for each record.

    A caption that is a list holds all captions of its video, which must then have one record only. In a `.tsv` file
    (Frozen, All-in-One) the columns are caption and video, below any header.
    """
    if file.name.endswith(".tsv"):
        # Names of columns are given, so a header would be read as a row: the first line is skipped.
        for row in file.some(islice(file.rows("video", delimiter="\t", header=("caption", "video")), 1, None)):
            yield row["video"], [row.text("caption", may_be_empty=may_be_empty)]
        return

    def records() -> Iterator[tuple[str | int, str, list[str]]]:
        # The key for `distinct`: a list must be the only record of its video, single captions may repeat.
        for number, record in enumerate(file.objects(*fields.text)):
            video = record.text(*fields.video)
            if isinstance(record.field(*fields.text), list):
                yield video, video, record.texts(*fields.text, may_be_empty=may_be_empty)
            else:
                yield number, video, [record.text(*fields.text, may_be_empty=may_be_empty)]

    for _, video, captions in distinct(records(), file, key=itemgetter(0)):
        yield video, captions


# ---- questions

Answer = Callable[[Record, Fields], dict[str, Any]]
"""Reads what makes a record a question: the arguments `answer`, `options` and `right`, or `number` of an Example."""

Kind = Callable[[Record, Record], str | None]
"""Reads the type of a question from its record and the record of its answer, which are mostly the same."""


def open_answer(record: Record, fields: Fields) -> dict[str, Any]:
    """Read an open answer, a text or a number."""
    return {"answer": collapse_spaces(record.name(*fields.answer))}


def read_questions(
    root: Path,
    file: Annotation,
    *,
    path: Callable[[str], Path],
    video_id: Callable[[str], str] = bare,
    answer: Answer = open_answer,
    kind: Kind | None = None,
    fields: Fields = QUESTIONS,
) -> Iterator[Example]:
    """Yield an example for each question of a file, without exact repeats.

    A question without an id is named after its video and its number there. Answers to `X_q.json` are in `X_a.json`,
    in the same folder or below the root (ActivityNet-QA).

    Args:
        path: finds the file of a video id.
        video_id: makes the one id of a video from its name in a file.
        answer: reads what the question has to be answered with.
        kind: reads the type of the question; the default is none.
    """
    # Cached by video, because most have many questions.
    path, ids = cache(path), cache(lambda name: (video_id(name), bare(name)))
    answers = Answers.of(root, file, fields)
    counts: Counter[str] = Counter()

    def example(record: Record) -> Example:
        video, name = ids(record.name(*fields.video))
        counts[name] += 1
        id_ = record.optional(*fields.id) or f"{name}#{counts[name]}"
        answered = answers.to(id_) if answers else record
        # A file of multiple choice under the expected name would make the index of an option the answer.
        if answer is open_answer and options_of(record, fields):
            raise record.error("has options to choose from, where an open question has none; is it of another task?")
        return Example(
            id=id_,
            video=path(video),
            video_id=video,
            text=record.text(*fields.text) if fields.text else "",
            kind=kind(record, answered) if kind else None,
            **answer(answered, fields),
        )

    yield from distinct(map(example, file.records()), file)
    if answers and (num_unasked := len(answers.by_question.keys() - answers.asked)):
        log.warning("%s: left out %d answers without a question in %s", answers.file, num_unasked, file)


@dataclass
class Answers:
    """The file of answers `X_a.json` to a file of questions `X_q.json`."""

    file: Annotation
    questions: Annotation
    by_question: dict[str, Record]
    asked: set[str]

    @classmethod
    def of(cls, root: Path, questions: Annotation, fields: Fields) -> "Answers | None":
        """Find and read the answers to a file of questions; None if it has its answers in it."""
        if not questions.name.endswith("_q.json"):
            return None
        name = questions.name.replace("_q.json", "_a.json")
        # The same folder first: below the root there may be another copy, or another data set.
        file = next(iter(find_some(questions.path.parent, name)), None) or find(root, name)
        records = distinct(file.records(), file, key=lambda record: record.name(*fields.id))
        return cls(file, questions, {record.name(*fields.id): record for record in records}, set())

    def to(self, question: str) -> Record:
        """Return the record of the answer to a question."""
        self.asked.add(question)
        if question not in self.by_question:
            raise ValueError(f"{self.file}: no answer to question {shown(question)}, which is in {self.questions}")
        return self.by_question[question]


def one_of(num_options: int) -> Answer:
    """Read this many options, and the index of the right one."""

    def answer(record: Record, fields: Fields) -> dict[str, Any]:
        options = options_of(record, fields) or []
        if len(options) != num_options:
            raise record.error(f"wanted {num_options} options, got {len(options)}: {shown(options)}")
        right = right_option(record.get(fields.answer[0]), num_options, record.where)
        return {"options": tuple(options), "right": right}

    return answer


def options_of(record: Record, fields: Fields = QUESTIONS) -> list[str] | None:
    """Return the options of a question; None if it has none."""
    for name in fields.options:
        # A later name may also be that of a text, as MSR-VTT's `caption` is: then it has no options.
        if isinstance(record.get(name), list) or (name == fields.options[0] and record.has(name)):
            return record.texts(name)
    # Columns: NExT-QA and TVQA count from a0, TGIF-QA from a1.
    first = 0 if record.has("a0") else 1
    columns = [f"a{number}" for number in range(first, first + 10)]
    return [record.name(column) for column in takewhile(record.has, columns)] or None


def right_option(value: Any, num_options: int, where: str, may_be_secret: bool = False) -> int | None:
    """Read the index of the right option; with `may_be_secret` an absent one is None."""
    if may_be_secret and value in (None, ""):
        return None
    try:
        # pandas writes a whole column as floats if one number is missing, so "2.0" is 2.
        right = -1 if isinstance(value, bool) else float(value)  # `true` would be 1
    except (OverflowError, TypeError, ValueError):
        right = -1
    if right not in range(num_options):
        raise ValueError(f"{where}: wanted the number of the right option, 0 to {num_options - 1}, got {shown(value)}")
    return int(right)


def question_files(split: str) -> Names:
    """Return names of the file of a split: official ones (`train_qa.json`), then those of copies."""
    patterns = ("{}_qa.json", "{}.jsonl", "{}.json", "{}.csv", "*qa_{}.json*", "*{}_qa*.json", "{}_q.json")
    return tuple(pattern.format(split) for pattern in patterns)


def question_word(record: Record, answered: Record) -> str | None:
    """Return the type of a question of MSVD-QA or MSRVTT-QA: its first word."""
    word = record.text(*QUESTIONS.text).split()[0].lower()
    return word if word in WORDS else None


def one_of_kinds(kinds: Names) -> Kind:
    """Return the type of a question, which a file has as an index of `kinds`, or already as a word."""

    def kind(record: Record, answered: Record) -> str | None:
        named = answered.optional(*QUESTIONS.kind) or record.optional(*QUESTIONS.kind)
        if named is None or not named.isdecimal():
            return named
        # Length first, because Python refuses to convert a number of thousands of digits.
        if len(named) > 3 or int(named) >= len(kinds):
            raise answered.error(f"wanted a type from 0 to {len(kinds) - 1}, got {shown(named)}")
        return kinds[int(named)]

    return kind
