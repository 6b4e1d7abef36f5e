"""TGIF-QA: 165,165 questions on animated GIFs, in four tasks (Jang et al., CVPR 2017, in the release of IJCV 2019).

Licence: academic use only; the GIFs are Tumblr's. Questions: github.com/YunseokJANG/tgif-qa, folder `dataset`. GIFs:
github.com/raingo/TGIF-Release, or packed, from the same page.

    root/Train_action_question.csv      root/Test_action_question.csv       separated by tabs; so too for transition,
    root/gifs/tumblr_nk172bbdPI1u1lr18o1_250.gif                            frameqa and count; or .mp4, whatever folder

Also read: JSON Lines with `options` as ClipBERT has them (`action_train.jsonl`), and for FrameQA the files that hold
questions and answers apart (`test_q.json`, `test_a.json`).

| | asks | train | test |
|---|---|---|---|
| `Actions` | what is done so many times: one of five | 20,471 | 2,274 |
| `Transitions` | what is done before or after something: one of five | | 6,232 |
| `Frames` | what one frame shows: an open answer; kinds object, number, color, location | | 13,691 |
| `Counts` | how many times something is done: 0 to 10, where 10 may be more | 26,839 | 3,554 |

There is no validation split. The paper and the files of its first release have 4 more in train for each of Action
(20,475) and Count (26,843); it counts 52,704 and 39,392 for Transition and FrameQA in train, whose files we could not
count.

Scored by accuracy (three tasks) and by the mean squared error of the count; code in the same repository. Action and
Transition are biased: who reads only the options is right in most cases, so compare with a blind model.

One line of `Test_action_question.csv` (columns gif_name, question, a1 to a5, answer, vid_id, key) and of
`Test_frameqa_question.csv` (gif_name, question, answer, type, vid_id, key, description):

    tumblr_nk172bbdPI1u1lr18o1_250  What does the butterfly do 10 or more than 10 times ?  stuff marshmallow
        holds a phone towards face  fall over  talk  flap wings  4  ACTION4  26
    tumblr_no73q2fm0I1uuf348o1_250  what is being placed in the white ice cream cone ?  cookie  0  FRAMEQA1159  27138
        a chocolate cookie is being placed in a white ice cream cone .
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from allinone.data.example import Example
from allinone.datasets.base import Card, OfSplit, Reading, Size, distinct
from allinone.datasets.files import Videos, bare, find, tidy
from allinone.datasets.questions import (
    IDS,
    VIDEO,
    file_names,
    named_kind,
    open_questions,
    optional,
    records,
    required,
    right_option,
)  # fmt: skip

ACTIONS = {"train": Size(records=20_471, videos=20_471), "test": Size(records=2_274, videos=2_274)}
TRANSITIONS = {"train": Size(), "test": Size(records=6_232, videos=3_116)}
FRAMES = {"train": Size(), "test": Size(records=13_691, videos=7_132)}
COUNTS = {"train": Size(records=26_839, videos=26_839), "test": Size(records=3_554, videos=3_554)}

KINDS = ("object", "number", "color", "location")
"""Names of FrameQA's types 0 to 3."""


@dataclass(frozen=True)
class Actions(OfSplit):
    """What is done so many times: one of five."""

    splits = ACTIONS

    def examples(self, root: Path) -> Iterator[Example]:
        return task_examples(root, task_files("action", self.split), choice)


@dataclass(frozen=True)
class Transitions(OfSplit):
    """What is done before, or after, something else: one of five."""

    splits = TRANSITIONS

    def examples(self, root: Path) -> Iterator[Example]:
        return task_examples(root, task_files("transition", self.split), choice)


@dataclass(frozen=True)
class Counts(OfSplit):
    """How many times something is done."""

    splits = COUNTS

    def examples(self, root: Path) -> Iterator[Example]:
        return task_examples(root, task_files("count", self.split), count)


@dataclass(frozen=True)
class Frames(OfSplit):
    """What can be answered from one frame, in one word."""

    splits = FRAMES

    def examples(self, root: Path) -> Iterator[Example]:
        names = (*task_files("frameqa", self.split), *file_names(self.split))
        return open_questions(root, names, video_id=bare, path=gifs(root).path, kind=named_kind(KINDS))


def gifs(root: Path) -> Videos:
    return Videos(root, folders=("gifs", "videos"), suffix=".gif")


def task_files(task: str, split: str) -> tuple[str, ...]:
    """What the file of a task is called: officially, then elsewhere."""
    stems = (f"{split}_{task}_question", f"{task}_{split}", f"tgif_{task}_{split}")
    return tuple(f"{stem}.{ending}" for stem in stems for ending in ("csv", "tsv", "jsonl"))


def task_examples(
    root: Path, names: tuple[str, ...], asked: Callable[[dict[str, Any], str], dict[str, Any]]
) -> Iterator[Example]:
    """Examples of the first of these files that is there; `asked` makes of a record what is to be answered."""
    file = find(root, *names)
    path = cache(gifs(root).path)
    numbers: Counter[str] = Counter()

    def example(where: str, record: dict[str, Any]) -> Example:
        gif = bare(required(record, where, *VIDEO))
        numbers[gif] += 1
        return Example(
            id=optional(record, *IDS) or f"{gif}#{numbers[gif]}",
            video=path(gif),
            video_id=gif,
            text=required(record, where, "question"),
            **asked(record, where),
        )

    return distinct((example(where, record) for where, record in records(file)), file)


def choice(record: dict[str, Any], where: str) -> dict[str, Any]:
    """One of five, in the columns a1 to a5 or in the list `options`."""
    options = record.get("options") or [record.get(f"a{n}") for n in range(1, 6)]
    if len(options) != 5 or not all(options):
        raise ValueError(f"{where}: wanted five options a1 to a5, got {options}")
    right = right_option(record.get("answer"), len(options), where)
    return {"options": tuple(tidy(str(option)) for option in options), "right": right}


def count(record: dict[str, Any], where: str) -> dict[str, Any]:
    number = required(record, where, "answer")
    if not number.isdecimal():
        raise ValueError(f"{where}: wanted a number of times as the answer, got {number!r}")
    return {"number": int(number)}


CARD = Card(
    title="TGIF-QA: 165,165 questions on animated GIFs, in four tasks",
    licence="academic use only; GIFs of Tumblr",
    get="github.com/YunseokJANG/tgif-qa, folder dataset; GIFs: github.com/raingo/TGIF-Release",
    metric="accuracy (action, transition, frame); mean squared error of the count",
    readings={
        "action": Reading(reader=Actions, splits=ACTIONS),
        "transition": Reading(reader=Transitions, splits=TRANSITIONS),
        "frame": Reading(reader=Frames, splits=FRAMES),
        "count": Reading(reader=Counts, splits=COUNTS),
    },
)
