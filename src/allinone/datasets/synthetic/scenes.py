"""Scenes of the synthetic world: objects, motions, captions, questions, and which scenes are kept for the test."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np

COLORS = {
    "red": (230, 45, 45),
    "green": (45, 185, 70),
    "blue": (60, 100, 245),
    "yellow": (245, 215, 50),
    "purple": (180, 65, 225),
    "white": (245, 245, 245),
}
SHAPES = ("circle", "square", "triangle", "star")
MOTIONS = {"right": "direction", "down": "direction", "grows": "size"}
"""The forward motions and their kind of scene; the backward motions are their opposites."""

NUMBERS = {2: "two", 3: "three", 4: "four"}
KINDS = ("direction", "size", "order", "count")
QUESTION_KINDS = ("colour", "shape", "count", "motion", "order")
OPPOSITES = (
    ("left", "right"), ("up", "down"), ("grows", "shrinks"), ("bigger", "smaller"), ("before", "after"),
)  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """The content of a clip: objects (color and shape), their motion `change`, and the `number` of equal objects."""

    kind: str
    objects: tuple[tuple[str, str], ...]
    change: str = ""
    number: int = 1

    @property
    def is_backward(self) -> bool:
        """One of a scene and its reversal is backward: the other is drawn, and its frames are reversed."""
        if self.kind == "order":
            return self.objects[0] > self.objects[1]
        return self.kind != "count" and self.change not in MOTIONS

    def reversed(self) -> "Scene":
        """Return the scene of the clip played backwards."""
        return Scene(self.kind, self.objects[::-1], opposite(self.change), self.number)

    def captions(self) -> tuple[str, ...]:
        """Return the captions of the scene; each says all of it."""
        first, last = (f"{color} {shape}" for color, shape in (self.objects[0], self.objects[-1]))
        match self.kind:
            case "direction":
                return f"a {first} moves {self.change}", f"the {first} goes {self.change}"
            case "size":
                gets = {"grows": "bigger", "shrinks": "smaller"}[self.change]
                return f"a {first} {self.change}", f"the {first} gets {gets}"
            case "order":
                return f"a {first} before a {last}", f"a {last} after a {first}"
            case _:
                many = f"{NUMBERS[self.number]} {first}s"
                return many, f"there are {many}"

    def questions(self) -> list[tuple[str, str, str]]:
        """Return kind, question and answer of every question about the scene."""
        (color, shape), (last_color, last_shape) = self.objects[0], self.objects[-1]
        how_many = ("count", "how many objects are there?", NUMBERS.get(self.number, "one"))
        if self.kind == "count":
            return [("colour", "what colour are they?", color), ("shape", "what shape are they?", shape), how_many]
        asked = []
        for some_color, some_shape in self.objects:
            asked.append(("colour", f"what colour is the {some_shape}?", some_color))
            asked.append(("shape", f"what shape is the {some_color} one?", some_shape))
        if self.kind == "order":
            asked.append(("order", "what colour comes first?", color))
            asked.append(("order", "what colour comes last?", last_color))
            asked.append(("order", "what shape comes first?", shape))
            asked.append(("order", "what shape comes last?", last_shape))
            return asked
        does = self.change if self.kind == "size" else f"moves {self.change}"
        return [*asked, ("motion", "what does it do?", does), how_many]


def opposite(text: str) -> str:
    """Return the caption of the reversed clip: each word about time is replaced by its opposite."""
    words = dict(OPPOSITES) | {b: a for a, b in OPPOSITES}
    return " ".join(words.get(word, word) for word in text.split())


def split_scenes(seed: int) -> tuple[dict[str, list[Scene]], dict[str, list[Scene]]]:
    """Return the scenes of training and of the test by kind, without the backward ones.

    Each object keeps one motion and one number for the test. Which ones rotates with its color and shape, so that each
    is kept equally often. Of the pairs of objects in `order` a random quarter is kept.
    """
    train, test = defaultdict[str, list[Scene]](list), defaultdict[str, list[Scene]](list)
    for (c, color), (s, shape) in product(enumerate(COLORS), enumerate(SHAPES)):
        for m, (change, kind) in enumerate(MOTIONS.items()):
            # c + s moves on by one with the next color and the next shape: each motion is kept for a third of the
            # objects.
            kept = m == (c + s + seed) % len(MOTIONS)
            (test if kept else train)[kind].append(Scene(kind, ((color, shape),), change))
        for n, number in enumerate(NUMBERS):
            # 2 * s, so that the number that is kept does not follow from the motion that is kept.
            kept = n == (c + 2 * s + seed) % len(NUMBERS)
            (test if kept else train)["count"].append(Scene("count", ((color, shape),), number=number))
    # Color and shape both differ, so that either answers what comes first. Sorted, so that all pairs are forward.
    things = sorted(product(COLORS, SHAPES))
    pairs = [Scene("order", (a, b)) for a, b in combinations(things, 2) if a[0] != b[0] and a[1] != b[1]]
    drawn = np.random.default_rng((seed, 0)).permutation(len(pairs))  # `plan_world` uses (seed, 1)
    num_kept = len(pairs) // 4
    test["order"] = [pairs[i] for i in drawn[:num_kept]]
    train["order"] = [pairs[i] for i in drawn[num_kept:]]
    return train, test


def with_reversals(scenes: Iterable[Scene]) -> list[Scene]:
    """Return each scene and its reversal, once if the order of frames does not matter."""
    return list(dict.fromkeys(s for scene in scenes for s in (scene, scene.reversed())))
