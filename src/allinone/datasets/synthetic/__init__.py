"""A synthetic world of short videos, in which color, shape, number, motion and order in time matter.

Nothing to download: `make_world(root)` draws the clips from a seed and writes them as MP4 files, 64 x 64 pixels, 17
frames at 8 per second. Free of rights. Four kinds of scene, of 6 colors and 4 shapes:

- `direction`: one object crosses the picture. "a red circle moves left", "the red circle goes left".
- `size`: one object grows or shrinks. "a red circle grows", "the red circle gets bigger".
- `order`: one object, then another with another color and shape. "a red circle before a blue star",
  "a blue star after a red circle".
- `count`: two to four equal objects. "three red circles", "there are three red circles".

**Order in time.** Clips of the first three kinds come with their exact reversal: the same frames, last one first, with
a caption that differs in one word (left and right, up and down, grows and shrinks, before and after). So no single
frame distinguishes the two, and the middle one (17 is odd) is the same frame in both. `OrderPairs` yields them.

**Splits.** `train`: as many clips as requested. `test`: scenes without any caption that occurs in training, drawn by
the seed. Each pair of color and shape occurs in training in four of the six motions and in two of the three numbers,
and in the test in the rest; of the pairs of objects that follow one another, a quarter is kept for the test, in both
orders. The test has three parts with separate clips: `Captions`, 100 clips with 100 captions of different content, for
retrieval; `Questions`, 60 of each kind (colour, shape, count, motion, order), with all answers to a kind equally
frequent; `OrderPairs`, 100 pairs of clips.

On disk, with such a record in each line of `captions.jsonl`, `questions.jsonl` and `pairs.jsonl` (two lines a pair):

    root/world.json                      the arguments of `make_world`, and whether it is complete
    root/videos/train-00000.mp4
    {"video": "videos/train-00000.mp4", "split": "train", "kind": "size", "caption": "a red circle grows"}
    {"video": "videos/quiz-000.mp4", "split": "test", "kind": "count", "question": "how many objects are there?",
     "answer": "one"}

These files can also be read with `datasets/captioned.py`. Scored by recall of the right clip or caption (retrieval),
accuracy of answers, and the fraction of captions of pairs that fit their clip better than its reversal.
"""

from dataclasses import dataclass
from pathlib import Path

from allinone.data.example import Example
from allinone.datasets import captioned
from allinone.datasets.caption_file import Row
from allinone.datasets.synthetic.scenes import KINDS, QUESTION_KINDS
from allinone.datasets.synthetic.world import PAIR_SHARES, make_world, plan_world, world_state

__all__ = ["Captions", "OrderPairs", "Questions", "make_world", "plan_world"]


@dataclass(frozen=True)
class Captions:
    """Clips with a caption: `train`, or the gallery `test`. `kinds` selects kinds of scene; None uses all.

    The `kind` of an example is that of its scene.
    """

    split: str
    kinds: tuple[str, ...] | None = None

    def examples(self, root: Path) -> list[Example]:
        rows = chosen_rows(root, "captions.jsonl", self, KINDS)
        return [row.example(row.caption, kind=row.kind) for row in rows]


@dataclass(frozen=True)
class Questions:
    """Clips with a question and its answer, `train` or `test`. `kinds` selects kinds of question; None uses all."""

    split: str
    kinds: tuple[str, ...] | None = None

    def examples(self, root: Path) -> list[Example]:
        rows = chosen_rows(root, "questions.jsonl", self, QUESTION_KINDS)
        return [row.example(row.question, row.answer, row.kind) for row in rows]


@dataclass(frozen=True)
class OrderPairs:
    """Clips and their reversals, `train` or `test`: the examples 2i and 2i + 1 are a pair.

    Their captions differ in one word, and each is true only of its clip. The clips of `train` are those of `Captions`,
    without the `count` scenes.
    """

    split: str
    kinds: tuple[str, ...] | None = None

    def examples(self, root: Path) -> list[Example]:
        rows = chosen_rows(root, "pairs.jsonl", self, tuple(PAIR_SHARES))
        return [row.example(row.caption, kind=row.kind) for row in rows]


def chosen_rows(root: Path, file: str, dataset: Captions | Questions | OrderPairs, kinds: tuple[str, ...]) -> list[Row]:
    """Return the lines of a file with the split and the kinds of the data set."""
    state = world_state(Path(root))
    if state is None or not state["complete"]:
        raise ValueError(f"{root}: no complete synthetic world; make it with make_world({str(root)!r})")
    unknown = set(dataset.kinds or ()) - set(kinds)
    if unknown:
        raise ValueError(f"no kind {', '.join(map(repr, sorted(unknown)))} in {file}; there are: {', '.join(kinds)}")
    rows = captioned.chosen_rows(captioned.Captions(split=dataset.split, file=file), Path(root))
    return [row for row in rows if dataset.kinds is None or row.kind in dataset.kinds]
