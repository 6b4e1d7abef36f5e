"""TGIF-QA: 165,165 questions on animated GIFs, in four tasks (Jang et al., CVPR 2017, in the release of IJCV 2019).

Licence: academic use only; the GIFs are Tumblr's. Questions: github.com/YunseokJANG/tgif-qa, folder `dataset`. GIFs:
github.com/raingo/TGIF-Release, or packed, from the same page.

    root/Train_action_question.csv      root/Test_action_question.csv       separated by tabs; so too for transition,
    root/gifs/tumblr_nk172bbdPI1u1lr18o1_250.gif                            frameqa and count; or .mp4, whatever folder

Also read: JSON Lines with `options` as ClipBERT has them (`action_train.jsonl`); HQGA's tables, `action/train.csv` or
`action_train.csv` and so on, with commas, GIFs called by their `key` and options a0 to a4; and for FrameQA the files
that hold questions and answers apart (`test_q.json`, `test_a.json`). A file is read for the task that its questions are
of (options, "before" or "after", ids like ACTION4), whatever its name; a question of another task is an error.

| | asks | train | test |
|---|---|---|---|
| `Actions` | what is done so many times: one of five | 20,471 | 2,274 |
| `Transitions` | what is done before or after something: one of five | | 6,232 |
| `Frames` | what one frame shows: an open answer; kinds object, number, color, location | | 13,691 |
| `Counts` | how many times something is done: 0 to 10, where 10 may be more | 26,839 | 3,554 |

There is no validation split. The paper and the files of its first release have 4 more in train for each of Action
(20,475) and Count (26,843), HQGA's tables 2 more for Action (20,473). The paper counts 52,704 and 39,392 for Transition
and FrameQA in train; HQGA's table of FrameQA has as many, the official ones we could not count.

Scored by accuracy (three tasks) and by the mean squared error of the count; code in the same repository. Action and
Transition are biased: who reads only the options is right in most cases, so compare with a blind model.

One line of `Test_action_question.csv` (columns gif_name, question, a1 to a5, answer, vid_id, key) and of
`Test_frameqa_question.csv` (gif_name, question, answer, type, vid_id, key, description):

    tumblr_nk172bbdPI1u1lr18o1_250  What does the butterfly do 10 or more than 10 times ?  stuff marshmallow
        holds a phone towards face  fall over  talk  flap wings  4  ACTION4  26
    tumblr_no73q2fm0I1uuf348o1_250  what is being placed in the white ice cream cone ?  cookie  0  FRAMEQA1159  27138
        a chocolate cookie is being placed in a white ice cream cone .
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from allinone.data.example import Example
from allinone.datasets.base import Card, SplitDataset, SplitSize, TaskReader, distinct
from allinone.datasets.files import Annotation, MissingFile, Videos, bare, find, find_all, find_some
from allinone.datasets.questions import (
    IDS,
    VIDEO,
    Question,
    file_names,
    named_kind,
    open_questions,
    options_of,
    records,
    right_option,
)
from allinone.datasets.records import Record, shown

ACTIONS = {"train": SplitSize(records=20_471, videos=20_471), "test": SplitSize(records=2_274, videos=2_274)}
TRANSITIONS = {"train": SplitSize(), "test": SplitSize(records=6_232, videos=3_116)}
FRAMES = {"train": SplitSize(), "test": SplitSize(records=13_691, videos=7_132)}
COUNTS = {"train": SplitSize(records=26_839, videos=26_839), "test": SplitSize(records=3_554, videos=3_554)}

TASKS = {"action": "action", "transition": "transition", "frame": "frameqa", "count": "count"}
"""What the tasks are called in names of files and in ids."""

KINDS = ("object", "number", "color", "location")
"""Names of FrameQA's types 0 to 3."""


@dataclass(frozen=True)
class Actions(SplitDataset):
    """What is done so many times: one of five."""

    splits = ACTIONS

    def examples(self, root: Path) -> Iterator[Example]:
        return task_examples(root, "action", self.split, choice)


@dataclass(frozen=True)
class Transitions(SplitDataset):
    """What is done before, or after, something else: one of five."""

    splits = TRANSITIONS

    def examples(self, root: Path) -> Iterator[Example]:
        return task_examples(root, "transition", self.split, choice)


@dataclass(frozen=True)
class Counts(SplitDataset):
    """How many times something is done."""

    splits = COUNTS

    def examples(self, root: Path) -> Iterator[Example]:
        return task_examples(root, "count", self.split, count)


@dataclass(frozen=True)
class Frames(SplitDataset):
    """What can be answered from one frame, in one word."""

    splits = FRAMES

    def examples(self, root: Path) -> Iterator[Example]:
        file = task_file(root, "frame", self.split)
        return open_questions(root, file, video_id=bare, path=gifs(root).path, kind=frame_kind)


def gifs(root: Path) -> Videos:
    return Videos(root, folders=("gifs", "videos"), suffix=".gif")


def task_file(root: Path, task: str, split: str) -> Annotation:
    """The file of a task: one that is named after it, or one named after the split that holds questions of the task."""
    stems = (f"{split}_{{}}_question", f"{{}}_{split}", f"tgif_{{}}_{split}", f"{{}}/{split}")
    endings = ("csv", "tsv", "jsonl", "json")
    own = [f"{stem.format(TASKS[task])}.{ending}" for stem in stems for ending in endings]
    if found := find_some(root, *own):
        return found[0]
    misfit = None
    for name in (*file_names(split), f"{split}.tsv"):
        for file in find_all(root, name):
            first = next(records(file))
            is_number = (first.optional("answer") or "").isdecimal()
            if task in tasks_of(first) and (task != "count" or is_number):
                return file
            misfit = misfit or file
    if misfit:
        raise MissingFile(f"{root}: no annotation file {own[0]} there; {misfit} holds questions of another task")
    return find(root, *own, *file_names(split))


def tasks_of(record: Record) -> Set[str]:
    """The tasks that a question may be of: by its id (ACTION4), else by what it has and by what it asks."""
    name = (record.optional(*IDS) or "").upper()
    if named := {task for task, id_ in TASKS.items() if name.startswith(id_[:5].upper())}:
        return named
    asked = (record.optional("question") or "").lower()
    if options_of(record):
        is_transition = re.search(r"\b(before|after)", asked)
        is_action = re.search(r"\btimes?\b", asked)
        return {"transition"} if is_transition else {"action"} if is_action else {"action", "transition"}
    return {"count"} if asked.startswith("how many times") else {"frame", "count"}


def task_examples(root: Path, task: str, split: str, asked: Callable[[Record], dict[str, Any]]) -> Iterator[Example]:
    """Examples of a task; `asked` makes of a record what is to be answered."""
    file = task_file(root, task, split)
    path = cache(gifs(root).path)
    numbers: Counter[str] = Counter()

    def example(record: Record) -> Example:
        if task not in (tasks := tasks_of(record)):
            raise record.error(f"a question of the task {' or '.join(sorted(tasks))}, not {task}")
        gif = bare(record.name(*VIDEO))
        numbers[gif] += 1
        return Example(
            id=record.optional(*IDS) or f"{gif}#{numbers[gif]}",
            video=path(gif),
            video_id=gif,
            text=record.text("question"),
            **asked(record),
        )

    return distinct(map(example, records(file)), file)


def choice(record: Record) -> dict[str, Any]:
    """One of five, in the columns a1 to a5 or a0 to a4, or in the list `options`."""
    options = options_of(record) or []
    if len(options) != 5:
        raise record.error(f"wanted five options a1 to a5, got {shown(options)}")
    return {"options": tuple(options), "right": right_option(record.get("answer"), len(options), record.where)}


def count(record: Record) -> dict[str, Any]:
    number = record.name("answer")
    if not number.isdecimal() or len(number) > 9:
        raise record.error(f"wanted a number of times as the answer, got {shown(number)}")
    return {"number": int(number)}


def frame_kind(question: Question) -> str | None:
    """The type of a question of FrameQA; one of another task is an error."""
    if "frame" not in (tasks := tasks_of(Record({"id": question.id, "question": question.text}, question.where))):
        raise ValueError(f"{question.where}: a question of the task {' or '.join(sorted(tasks))}, not frame")
    return named_kind(KINDS)(question)


CARD = Card(
    title="TGIF-QA: 165,165 questions on animated GIFs, in four tasks",
    licence="academic use only; GIFs of Tumblr",
    get="github.com/YunseokJANG/tgif-qa, folder dataset; GIFs: github.com/raingo/TGIF-Release",
    metric="accuracy (action, transition, frame); mean squared error of the count",
    readings={
        "action": TaskReader(reader=Actions, splits=ACTIONS),
        "transition": TaskReader(reader=Transitions, splits=TRANSITIONS),
        "frame": TaskReader(reader=Frames, splits=FRAMES),
        "count": TaskReader(reader=Counts, splits=COUNTS),
    },
)
