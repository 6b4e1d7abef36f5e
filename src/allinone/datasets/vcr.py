"""VCR: questions on stills of movies, an answer to choose and then its reason (Zellers et al., CVPR 2019).

License: VCR's own, research only; stills of movies.
Get: https://visualcommonsense.com, after registration: `vcr1annots.zip`, `vcr1images.zip`.

    root/train.jsonl   root/val.jsonl   root/test.jsonl
    root/vcr1images/lsmdc_.../...@0.jpg     the image
    root/vcr1images/lsmdc_.../...@0.json    its objects: boxes, outlines (segms), names, width, height

Each question has four answers and four rationales, one of each right.

- `Answers`, Q->A: the question; four answers.
- `Rationales`, QA->R: the question with the right answer; four rationales. In `test` the right answer is secret, so
  there are four examples for each question, one for each answer: `test-0#0` to `test-0#3`.
- Q->AR: right in both. Examples of the two belong together by their id up to `#`.

Texts refer to objects by number. We number the objects that a record mentions by their first mention (question,
answers, rationales); a person gets a gender-neutral name by its number, anything else is called by its class. The boxes
of the objects that the texts of an example mention are tinted, each in the color of its number, so that a name goes
with one color in all images. The released code of All-in-One numbers and tints boxes in the same order, but writes
"person 0", and for either task tints the objects of both. `outlines` tints the inside of an object's outline instead,
as MERLOT does, but takes more memory: outlines have hundreds of corners.

Scored by: accuracy of Q->A, QA->R and Q->AR (both right); the answers of `test` are with the server. `submission`
writes its csv (https://github.com/allenai/mosaic-leaderboard, `vcr`), a row for each question in the order of
`test.jsonl`: `annot_id`, `answer_0` to `answer_3`, and `rationale_conditioned_on_a0_0` to
`rationale_conditioned_on_a3_3`, probabilities of which the largest counts.

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

from allinone.data.example import Example, Point, Region, SplitSize
from allinone.datasets.base import Card, SplitDataset, distinct
from allinone.datasets.fields import Record, collapse_spaces, shown
from allinone.datasets.files import Annotation, MissingFile, find
from allinone.datasets.records import right_option
from allinone.datasets.videos import Videos

NUM_OPTIONS = 4
NAMES = (
    "Casey", "Riley", "Jessie", "Jackie", "Avery", "Jaime", "Peyton", "Kerry", "Jody", "Kendall", "Skyler", "Frankie",
)  # fmt: skip
"""As many as there are colors (`video/tint.py`), so that each name goes with one."""

FIELDS = ("annot_id", "img_fn", "metadata_fn", "objects", "question", "answer_choices", "rationale_choices")
COLUMNS = (
    *(f"answer_{option}" for option in range(NUM_OPTIONS)),
    *(f"rationale_conditioned_on_a{a}_{option}" for a in range(NUM_OPTIONS) for option in range(NUM_OPTIONS)),
)

Tokens = list[str | list[int]]
"""A text: words, and lists of numbers of objects."""

Outlines = Sequence[tuple[tuple[Point, ...], ...]]
"""The polygons that each object in an image fills."""


@dataclass(frozen=True)
class Answers(SplitDataset):
    """Q->A: every question with its four answers."""

    splits = {
        "train": SplitSize(records=212_923, videos=80_418),
        "val": SplitSize(records=26_534, videos=9_929),
        "test": SplitSize(records=25_263, videos=9_557),
    }
    outlines: bool = False

    def examples(self, root: Path) -> Iterator[Example]:
        file = annotations(root, self.split)
        return distinct((question.answers() for question in read(file, self.split, Path(root), self.outlines)), file)

    def submission(self, predictions: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
        return submission(predictions)


@dataclass(frozen=True)
class Rationales(SplitDataset):
    """QA->R: every question and its right answer with four rationales; in `test`, with each of the answers."""

    splits = {**Answers.splits, "test": SplitSize(records=4 * 25_263, videos=9_557)}
    outlines: bool = False

    def examples(self, root: Path) -> Iterator[Example]:
        file = annotations(root, self.split)
        questions = read(file, self.split, Path(root), self.outlines)
        return distinct((question.rationales(given) for question in questions for given in question.given()), file)

    def submission(self, predictions: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
        return submission(predictions)


def annotations(root: Path, split: str) -> Annotation:
    """Return the annotation file of a split."""
    return find(root, f"{split}.jsonl", f"{split}_*.jsonl")


def read(file: Annotation, split: str, root: Path, outlines: bool) -> Iterator["Question"]:
    """Yield the questions of a file."""
    videos = Videos(root, folders=("vcr1images", "images"), suffix=".jpg")
    # Bounded: an image has several questions, but outlines have hundreds of corners for each object.
    outlines_of = lru_cache(maxsize=256)(lambda path: read_outlines(path, outlines))
    fields = FIELDS if split == "test" else (*FIELDS, "answer_label", "rationale_label")
    for record in file.objects(*fields):
        image = videos.path(record.text("img_fn"))
        yield Question(record, split, image, videos.tree.is_file(image), outlines_of)


class Question:
    """One question. `numbers` has our number of each mentioned object by its number in the record."""

    def __init__(self, record: Record, split: str, image: Path, exists: bool, outlines: Callable[[Path], Outlines]):
        self.record = record
        self.objects = record.texts("objects")
        self.image = image
        self.image_exists = exists
        self.outlines = outlines
        self.question = tokens(record, "question")
        # 1. Read both stages, whichever is asked for: both decide the numbers of the objects.
        self.choices: dict[str, list[Tokens]] = {}
        self.right: dict[str, int | None] = {}
        for name in ("answer", "rationale"):
            choices = record.items_of(f"{name}_choices")
            if len(choices) != NUM_OPTIONS:
                raise record.error(f"wanted {NUM_OPTIONS} {name}_choices, got {len(choices)}")
            by_index = Record({str(n): choice for n, choice in enumerate(choices)}, f"{record.where}, {name}_choices")
            self.choices[name] = [tokens(by_index, option) for option in by_index]
            self.right[name] = right_option(record.get(f"{name}_label"), NUM_OPTIONS, record.where, split == "test")
        # 2. Number the objects in the order of mention: question, answers, rationales.
        self.numbers: dict[int, int] = {}
        for old in self.mentioned(self.question, *self.choices["answer"], *self.choices["rationale"]):
            self.numbers[old] = len(self.numbers)

    def mentioned(self, *texts: Tokens) -> list[int]:
        """Return the numbers in the record of the objects in some texts, in the order of their first mention."""
        # A dict keeps the order of first mention.
        mentions = dict.fromkeys(old for text in texts for token in text if isinstance(token, list) for old in token)
        if wrong := [old for old in mentions if not 0 <= old < len(self.objects)]:
            raise self.record.error(f"a text points at object {wrong[0]:.10g}, but there are {len(self.objects)}")
        return list(mentions)

    def name(self, old: int) -> str:
        """Return the name of an object in texts."""
        class_name = self.objects[old]
        return NAMES[self.numbers[old] % len(NAMES)] if class_name == "person" else class_name

    def spell(self, *texts: Tokens) -> str:
        """Return texts with the names of objects."""
        tokens = (token for text in texts for token in text)
        words = (" and ".join(map(self.name, t)) if isinstance(t, list) else str(t) for t in tokens)
        return collapse_spaces(" ".join(words))

    def given(self) -> Sequence[int]:
        """Return the answers for which a rationale is asked."""
        right = self.right["answer"]
        return range(NUM_OPTIONS) if right is None else (right,)

    def answers(self) -> Example:
        """Return the example of Q->A."""
        return self.example("Q->A", self.record.text("annot_id"), [self.question], "answer")

    def rationales(self, given: int) -> Example:
        """Return the example of QA->R for an answer."""
        texts = [self.question, self.choices["answer"][given]]
        return self.example("QA->R", f"{self.record.text('annot_id')}#{given}", texts, "rationale")

    def example(self, kind: str, name: str, texts: list[Tokens], asked: str) -> Example:
        """Return an example: its texts, then the options called `asked`."""
        options = self.choices[asked]
        # Only the objects of these texts are tinted; the id says which, because other tints make another image.
        tinted = sorted(self.mentioned(*texts, *options), key=self.numbers.__getitem__)
        tints = ",".join(f"{old}:{self.numbers[old]}" for old in tinted)
        image = self.record.text("img_fn")
        return Example(
            id=name,
            video=self.image,
            video_id=f"{image}#{tints}" if tinted else image,
            regions=self.regions(tinted),
            text=self.spell(*texts),
            options=tuple(map(self.spell, options)),
            right=self.right[asked],
            kind=kind,
        )

    def regions(self, tinted: list[int]) -> tuple[Region, ...]:
        """Return the areas of the objects; none for a missing image, because its metadata may be missing too."""
        if not tinted or not self.image_exists:
            return ()
        metadata = self.record.text("metadata_fn")
        if not (name := PurePosixPath(metadata).name):
            raise self.record.error(f"metadata_fn must be a file name, got {shown(metadata)}")
        outlines = self.outlines(self.image.with_name(name))
        if len(outlines) != len(self.objects):
            raise self.record.error(f"{len(self.objects)} objects, but {len(outlines)} in {metadata}")
        return tuple(Region(outlines[old], self.numbers[old]) for old in tinted)


def tokens(record: Record, name: str) -> Tokens:
    """Read a text: words, and lists of numbers of objects."""
    text = record.items_of(name)
    for token in text:
        if not isinstance(token, str) and not (isinstance(token, list) and all(type(old) is int for old in token)):
            raise record.error(f"{name} must hold words and lists of numbers of objects, got {shown(token)}")
    return text


def read_outlines(path: Path, outlines: bool) -> Outlines:
    """Return the box of each object, or its outline if it has one, in fractions of the image's width and height."""
    if not path.is_file():
        raise MissingFile(f"{path}: there is an image beside it, but not this file, which has the boxes of its objects")
    file = Annotation(path)
    values = file.object()
    try:
        width, height = float(values["width"]), float(values["height"])
        areas = []
        # A fifth number, the detector's score, is not used.
        for (left, top, right, bottom, *_), outline in zip(values["boxes"], values["segms"], strict=True):
            box = [[left, top], [right, top], [right, bottom], [left, bottom]]
            polygons = outline if outlines and outline else [box]  # not every object has an outline
            areas.append(tuple(tuple((x / width, y / height) for x, y in polygon) for polygon in polygons))
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file}: wanted boxes, segms, width and height of the image ({shown(error)})") from error
    return areas


def submission(predictions: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Return the server's file, from predictions for `Answers` and `Rationales` of `test` in one list.

    Raises:
        ValueError: not every question is there once for `Answers` and four times for `Rationales`.
    """
    # 1. Collect the predictions of both stages, by question.
    of = {(p["kind"], p["id"]): p["probabilities"] for p in predictions}
    questions = [name for kind, name in of if kind == "Q->A"]
    wanted = [[("Q->A", name), *(("QA->R", f"{name}#{a}") for a in range(NUM_OPTIONS))] for name in questions]
    # 2. Every question must be there five times: for its answer, and for the rationale of each answer.
    missing = [key for keys in wanted for key in keys if key not in of]
    num_rationales = len(of) - len(questions)
    if missing or num_rationales != NUM_OPTIONS * len(questions):
        raise ValueError(
            f"the server wants each question once for its answer ({len(questions)}) and {NUM_OPTIONS} times for the "
            f"rationale of each answer ({num_rationales}): evaluate Answers and Rationales of the test split together"
        )
    # 3. Write a row for each question: four answers, then four rationales for each of them.
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("annot_id", *COLUMNS))
    for name, keys in zip(questions, wanted, strict=True):
        writer.writerow([name, *(float(p) for key in keys for p in of[key])])
    return "vcr_submission.csv", text.getvalue()


CARD = Card.of(__doc__, answers=Answers, rationales=Rationales)
