"""VCR: 290,000 questions on stills of movies, an answer to choose and then its reason (Zellers et al., CVPR 2019).

Licence: VCR's own, research only; the stills are of movies. Annotations and images after registration:
visualcommonsense.com (`vcr1annots.zip`, `vcr1images.zip`).

    root/train.jsonl   root/val.jsonl   root/test.jsonl
    root/vcr1images/lsmdc_.../...@0.jpg     the image
    root/vcr1images/lsmdc_.../...@0.json    its objects: boxes, outlines (segms), names, width, height

Splits: `train` 212,923 questions on 80,418 images, `val` 26,534 on 9,929, `test` 25,263 on 9,557 (answers secret). Each
has four answers and four rationales, one of each right.

- `Answers`, Q->A: the question; four answers.
- `Rationales`, QA->R: the question with the right answer; four rationales. In `test` nobody knows the right one, so
  there are four examples a question, one for each answer: `test-0#0` to `test-0#3`.
- Q->AR: right in both. Examples of the two belong together by their id up to `#`.

Texts point at objects by number. Here those that a record mentions are numbered anew in the order in which it mentions
them (question, answers, rationales); a person is called by a name of its number that tells no gender, anything else by
its class. The boxes of those that the texts of an example mention are tinted, each in the colour of its number, so that
a name and its colour go together in all images. The released code of All-in-One numbers and tints boxes in the same
order, but writes "person 0", and for either task tints what both mention. `outlines` tints what is within an object's
outline instead, as MERLOT does, at the price of memory: outlines have hundreds of corners.

Scored by the three accuracies. `submission` writes the csv of the server: `annot_id`, `answer_0` to `answer_3`, and
`rationale_conditioned_on_a0_0` to `rationale_conditioned_on_a3_3`, probabilities of which the largest counts, a row for
each question in the order of `test.jsonl`, by which the scorer goes (github.com/allenai/mosaic-leaderboard, `vcr`).

One record of `val.jsonl`, in part:

    {"annot_id": "val-1", "img_fn": "lsmdc_1054_.../1054_...@0.jpg", "metadata_fn": "lsmdc_1054_.../1054_...@0.json",
     "objects": ["person", "person", "person", "car", "cellphone", "clock"],
     "question": ["Does", [0], "live", "in", "this", "house", "?"],
     "answer_choices": [["No", ",", [0], "lives", "nowhere", "close", "."], ...], "answer_label": 2,
     "rationale_choices": [[[0], "is", "nicely", "dressed", "with", "a", "tie", "."], ...], "rationale_label": 3}
"""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from allinone.data.example import Example, Point, Region
from allinone.datasets.base import Card, SplitDataset, SplitSize, TaskReader, distinct
from allinone.datasets.files import Annotation, MissingFile, Videos, find
from allinone.datasets.questions import right_option
from allinone.datasets.records import Record, shown, tidy

SPLITS = {
    "train": SplitSize(records=212_923, videos=80_418),
    "val": SplitSize(records=26_534, videos=9_929),
    "test": SplitSize(records=25_263, videos=9_557),
}
RATIONALES = SPLITS | {"test": SplitSize(records=4 * 25_263, videos=9_557)}
NUM_OPTIONS = 4
NAMES = (
    "Casey", "Riley", "Jessie", "Jackie", "Avery", "Jaime", "Peyton", "Kerry", "Jody", "Kendall", "Skyler", "Frankie",
)  # fmt: skip
"""As many as there are colours (`video/tint.py`), so that each name goes with one."""

FIELDS = ("annot_id", "img_fn", "metadata_fn", "objects", "question", "answer_choices", "rationale_choices")
COLUMNS = (
    *(f"answer_{option}" for option in range(NUM_OPTIONS)),
    *(f"rationale_conditioned_on_a{a}_{option}" for a in range(NUM_OPTIONS) for option in range(NUM_OPTIONS)),
)

Tokens = list[str | list[int]]
"""A text: words, and lists of the numbers of objects."""

Outlines = Sequence[tuple[tuple[Point, ...], ...]]
"""Of each object in an image, the polygons that it fills."""


@dataclass(frozen=True)
class Answers(SplitDataset):
    """Q->A: every question with its four answers."""

    splits = SPLITS
    outlines: bool = False

    def examples(self, root: Path) -> Iterator[Example]:
        file = annotations(root, self.split)
        return distinct((record.answers() for record in read(file, self.split, Path(root), self.outlines)), file)

    def submission(self, predictions: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
        return submission(predictions)


@dataclass(frozen=True)
class Rationales(SplitDataset):
    """QA->R: every question and its right answer with four rationales; in `test`, with each of the answers."""

    splits = RATIONALES
    outlines: bool = False

    def examples(self, root: Path) -> Iterator[Example]:
        file = annotations(root, self.split)
        records = read(file, self.split, Path(root), self.outlines)
        return distinct((record.rationales(given) for record in records for given in record.given()), file)

    def submission(self, predictions: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
        return submission(predictions)


def annotations(root: Path, split: str) -> Annotation:
    return find(root, f"{split}.jsonl", f"{split}_*.jsonl")


def read(file: Annotation, split: str, root: Path, outlines: bool) -> Iterator["Question"]:
    videos = Videos(root, folders=("vcr1images", "images"), suffix=".jpg")
    seen = lru_cache(maxsize=256)(lambda path: read_outlines(path, outlines))
    fields = FIELDS if split == "test" else (*FIELDS, "answer_label", "rationale_label")
    for values in file.objects(*fields):
        image = videos.path(values.text("img_fn"))
        yield Question(values, split, image, videos.tree.is_file(image), seen)


class Question:
    """One question. `numbers` are the new ones of the objects that its texts mention, by their old ones."""

    def __init__(self, values: Record, split: str, image: Path, is_there: bool, outlines: Callable[[Path], Outlines]):
        self.values = values
        self.objects = values.texts("objects")
        self.image = image
        self.is_there = is_there
        self.outlines = outlines
        self.question = tokens(values, "question")
        self.choices: dict[str, list[Tokens]] = {}
        self.right: dict[str, int | None] = {}
        for name in ("answer", "rationale"):
            choices = values.items_of(f"{name}_choices")
            if len(choices) != NUM_OPTIONS:
                raise values.error(f"wanted {NUM_OPTIONS} {name}_choices, got {len(choices)}")
            numbered = Record({str(n): choice for n, choice in enumerate(choices)}, f"{values.where}, {name}_choices")
            self.choices[name] = [tokens(numbered, option) for option in numbered]
            self.right[name] = right_option(values.get(f"{name}_label"), NUM_OPTIONS, values.where, split == "test")
        self.numbers: dict[int, int] = {}
        for old in self.mentioned(self.question, *self.choices["answer"], *self.choices["rationale"]):
            self.numbers[old] = len(self.numbers)

    def mentioned(self, *texts: Tokens) -> list[int]:
        """Old numbers of the objects in some texts, each once, in their order."""
        found = dict.fromkeys(old for text in texts for token in text if isinstance(token, list) for old in token)
        if wrong := [old for old in found if not 0 <= old < len(self.objects)]:
            raise self.values.error(f"a text points at object {wrong[0]:.10g}, but there are {len(self.objects)}")
        return list(found)

    def name(self, old: int) -> str:
        kind = self.objects[old]
        return NAMES[self.numbers[old] % len(NAMES)] if kind == "person" else kind

    def spell(self, *texts: Tokens) -> str:
        tokens = (token for text in texts for token in text)
        return tidy(" ".join(" and ".join(map(self.name, t)) if isinstance(t, list) else str(t) for t in tokens))

    def given(self) -> Sequence[int]:
        """The answers after which a rationale is asked for."""
        right = self.right["answer"]
        return range(NUM_OPTIONS) if right is None else (right,)

    def answers(self) -> Example:
        return self.example("Q->A", self.values.text("annot_id"), [self.question], "answer")

    def rationales(self, given: int) -> Example:
        texts = [self.question, self.choices["answer"][given]]
        return self.example("QA->R", f"{self.values.text('annot_id')}#{given}", texts, "rationale")

    def example(self, kind: str, name: str, texts: list[Tokens], asked: str) -> Example:
        options = self.choices[asked]
        shown = sorted(self.mentioned(*texts, *options), key=self.numbers.__getitem__)
        tints = ",".join(f"{old}:{self.numbers[old]}" for old in shown)
        image = self.values.text("img_fn")
        return Example(
            id=name,
            video=self.image,
            video_id=f"{image}#{tints}" if shown else image,
            regions=self.regions(shown),
            text=self.spell(*texts),
            options=tuple(map(self.spell, options)),
            right=self.right[asked],
            kind=kind,
        )

    def regions(self, tinted: list[int]) -> tuple[Region, ...]:
        """Where the objects are; nothing is told of an image that is not there, and that nobody will see."""
        if not tinted or not self.is_there:
            return ()
        metadata = self.values.text("metadata_fn")
        if not (name := PurePosixPath(metadata).name):
            raise self.values.error(f"metadata_fn must be a file name, got {shown(metadata)}")
        outlines = self.outlines(self.image.with_name(name))
        if len(outlines) != len(self.objects):
            raise self.values.error(f"{len(self.objects)} objects, but {len(outlines)} in {metadata}")
        return tuple(Region(outlines[old], self.numbers[old]) for old in tinted)


def tokens(record: Record, name: str) -> Tokens:
    """A text of a record: words, and lists of numbers of objects."""
    found = record.items_of(name)
    for token in found:
        if not isinstance(token, str) and not (isinstance(token, list) and all(type(old) is int for old in token)):
            raise record.error(f"{name} must hold words and lists of numbers of objects, got {shown(token)}")
    return found


def read_outlines(path: Path, outlines: bool) -> Outlines:
    """Of each object the box, or the outline where there is one, in shares of the image's width and height."""
    if not path.is_file():
        raise MissingFile(f"{path}: there is an image beside it, but not this file, which tells where its objects are")
    file = Annotation(path)
    values = file.object()
    try:
        width, height = float(values["width"]), float(values["height"])
        areas = []
        for (left, top, right, bottom, *_), outline in zip(values["boxes"], values["segms"], strict=True):
            box = [[left, top], [right, top], [right, bottom], [left, bottom]]
            polygons = outline if outlines and outline else [box]
            areas.append(tuple(tuple((x / width, y / height) for x, y in polygon) for polygon in polygons))
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file}: wanted boxes, segms, width and height of the image ({shown(error)})") from error
    return areas


def submission(predictions: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """The server's file, from predictions for `Answers` and `Rationales` of the test split in one list."""
    of = {(p["kind"], p["id"]): p["probabilities"] for p in predictions}
    questions = [name for kind, name in of if kind == "Q->A"]
    wanted = [[("Q->A", name), *(("QA->R", f"{name}#{a}") for a in range(NUM_OPTIONS))] for name in questions]
    missing = [key for keys in wanted for key in keys if key not in of]
    num_rationales = len(of) - len(questions)
    if missing or num_rationales != NUM_OPTIONS * len(questions):
        raise ValueError(
            f"the server wants each question once for its answer ({len(questions)}) and {NUM_OPTIONS} times for the "
            f"rationale of each answer ({num_rationales}): evaluate Answers and Rationales of the test split together"
        )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("annot_id", *COLUMNS))
    for name, keys in zip(questions, wanted, strict=True):
        writer.writerow([name, *(float(p) for key in keys for p in of[key])])
    return "vcr_submission.csv", text.getvalue()


CARD = Card(
    title="VCR: 290,000 questions on stills of movies, an answer to choose and then its reason",
    licence="VCR's own, research only; stills of movies",
    get="visualcommonsense.com, after registration: vcr1annots.zip, vcr1images.zip",
    metric="accuracy of Q->A, QA->R and Q->AR (both right); the answers of test are with the server",
    readings={
        "answers": TaskReader(reader=Answers, splits=SPLITS),
        "rationales": TaskReader(reader=Rationales, splits=RATIONALES),
    },
)
