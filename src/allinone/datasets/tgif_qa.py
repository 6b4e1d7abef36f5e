"""TGIF-QA: questions on animated GIFs, in four tasks (Jang et al., CVPR 2017, in the release of IJCV 2019).

License: academic use only; GIFs of Tumblr.
Get: questions: https://github.com/YunseokJANG/tgif-qa, folder `dataset`; GIFs packed from the same page, or from
https://github.com/raingo/TGIF-Release.

    root/Train_action_question.csv      root/Test_action_question.csv       separated by tabs; so too for transition,
    root/gifs/tumblr_nk172bbdPI1u1lr18o1_250.gif                            frameqa and count; or .mp4, in any folder

Also read: JSON Lines with `options` as ClipBERT has them (`action_train.jsonl`); HQGA's tables, `action/train.csv` or
`action_train.csv` and so on, with commas, GIFs called by their `key` and options a0 to a4; and for FrameQA the files
with questions and answers apart (`test_q.json`, `test_a.json`). The questions decide the task of a file (options,
"before" or "after", ids like ACTION4), whatever its name; a question of another task is an error.

- `Actions`: which action is done N times; one of five options.
- `Transitions`: which action comes before or after another; one of five options.
- `Frames`: a question about one frame, with an open answer; kinds object, number, color, location.
- `Counts`: how many times something is done: 0 to 10, where 10 may be more.

There is no validation split. The paper and the files of its first release have 4 more in train for each of Action
(20,475) and Count (26,843), HQGA's tables 2 more for Action (20,473). The paper counts 52,704 and 39,392 for Transition
and FrameQA in train; HQGA's table of FrameQA has as many, the official ones we could not count.

Scored by: accuracy (action, transition, frame); mean squared error of the count. The code is in the same repository.
Action and Transition are biased: the options without the video suffice in most cases, so compare with a blind model.

One line of `Test_action_question.csv` (columns gif_name, question, a1 to a5, answer, vid_id, key) and of
`Test_frameqa_question.csv` (gif_name, question, answer, type, vid_id, key, description):

    tumblr_nk172bbdPI1u1lr18o1_250  What does the butterfly do 10 or more than 10 times ?  stuff marshmallow
        holds a phone towards face  fall over  talk  flap wings  4  ACTION4  26
    tumblr_no73q2fm0I1uuf348o1_250  what is being placed in the white ice cream cone ?  cookie  0  FRAMEQA1159  27138
        a chocolate cookie is being placed in a white ice cream cone .
"""

import re
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from allinone.data.example import Example, SplitSize
from allinone.datasets.base import Card, SplitDataset
from allinone.datasets.fields import Record, shown
from allinone.datasets.files import Annotation, MissingFile, find, find_all, find_some
from allinone.datasets.records import (
    QUESTIONS,
    Answer,
    Fields,
    Kind,
    one_of,
    one_of_kinds,
    open_answer,
    options_of,
    question_files,
    read_questions,
)
from allinone.datasets.videos import Videos

TASKS = {"action": "action", "transition": "transition", "frame": "frameqa", "count": "count"}
"""Names of the tasks in names of files and in ids."""

KINDS = ("object", "number", "color", "location")
"""Names of FrameQA's types 0 to 3."""


@dataclass(frozen=True)
class Actions(SplitDataset):
    """Which action is done N times? One of five."""

    splits = {"train": SplitSize(records=20_471, videos=20_471), "test": SplitSize(records=2_274, videos=2_274)}

    def examples(self, root: Path) -> Iterator[Example]:
        return task_examples(root, "action", self.split, one_of(5))


@dataclass(frozen=True)
class Transitions(SplitDataset):
    """Which action comes before, or after, another? One of five."""

    splits = {"train": SplitSize(), "test": SplitSize(records=6_232, videos=3_116)}

    def examples(self, root: Path) -> Iterator[Example]:
        return task_examples(root, "transition", self.split, one_of(5))


@dataclass(frozen=True)
class Counts(SplitDataset):
    """How many times something is done."""

    splits = {"train": SplitSize(records=26_839, videos=26_839), "test": SplitSize(records=3_554, videos=3_554)}

    def examples(self, root: Path) -> Iterator[Example]:
        return task_examples(root, "count", self.split, count)


@dataclass(frozen=True)
class Frames(SplitDataset):
    """A question that one frame answers, in one word."""

    splits = {"train": SplitSize(), "test": SplitSize(records=13_691, videos=7_132)}

    def examples(self, root: Path) -> Iterator[Example]:
        return task_examples(root, "frame", self.split, kind=one_of_kinds(KINDS))


def task_examples(
    root: Path, task: str, split: str, answer: Answer = open_answer, kind: Kind | None = None
) -> Iterator[Example]:
    """Yield the examples of a task; a question of another task is an error."""

    def checked_kind(record: Record, answered: Record) -> str | None:
        if task not in (tasks := tasks_of(record)):
            raise record.error(f"a question of the task {' or '.join(sorted(tasks))}, not {task}")
        return kind(record, answered) if kind else None

    gifs = Videos(root, folders=("gifs", "videos"), suffix=".gif")
    return read_questions(root, task_file(root, task, split), path=gifs.path, answer=answer, kind=checked_kind)


def task_file(root: Path, task: str, split: str) -> Annotation:
    """Return the file of a task: one named after it, or one named after the split that has questions of the task."""
    # 1. A file named after the task: official (Train_action_question.csv), ClipBERT's, HQGA's.
    stems = (f"{split}_{{}}_question", f"{{}}_{split}", f"tgif_{{}}_{split}", f"{{}}/{split}")
    endings = ("csv", "tsv", "jsonl", "json")
    own = [f"{stem.format(TASKS[task])}.{ending}" for stem in stems for ending in endings]
    if found := find_some(root, *own):
        return found[0]
    # 2. A file named after the split only: its first question decides the task.
    misfit = None
    for name in (*question_files(split), f"{split}.tsv"):
        for file in find_all(root, name):
            first = next(file.records())
            is_number = (first.optional("answer") or "").isdecimal()
            # Without ids, FrameQA and Count have the same fields; counts have numbers as answers.
            if task in tasks_of(first) and (task != "count" or is_number):
                return file
            misfit = misfit or file
    # 3. None: say which file there is, or let `find` list the names.
    if misfit:
        raise MissingFile(f"{root}: no annotation file {own[0]} there; {misfit} holds questions of another task")
    return find(root, *own, *question_files(split))


def tasks_of(record: Record) -> Set[str]:
    """Return the tasks that a question may be of: by its id (ACTION4), else by its fields and its words."""
    name = (record.optional(*QUESTIONS.id) or "").upper()
    # Five letters distinguish the four tasks: ACTION4, FRAMEQA1159.
    if named := {task for task, id_ in TASKS.items() if name.startswith(id_[:5].upper())}:
        return named
    # Other copies have no such ids. If the words don't decide, both tasks are possible.
    question = (record.optional("question") or "").lower()
    if options_of(record):
        is_transition = re.search(r"\b(before|after)", question)
        is_action = re.search(r"\btimes?\b", question)
        return {"transition"} if is_transition else {"action"} if is_action else {"action", "transition"}
    return {"count"} if question.startswith("how many times") else {"frame", "count"}


def count(record: Record, fields: Fields) -> dict[str, Any]:
    """Read an answer that is a number of times."""
    number = record.name(*fields.answer)
    # Length first, because Python refuses to convert a number of thousands of digits.
    if not number.isdecimal() or len(number) > 9:
        raise record.error(f"wanted a number of times as the answer, got {shown(number)}")
    return {"number": int(number)}


CARD = Card.of(__doc__, action=Actions, transition=Transitions, frame=Frames, count=Counts)
