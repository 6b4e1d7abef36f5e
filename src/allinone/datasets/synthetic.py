"""A made world of short videos, in which colour, shape, number, motion and order in time matter.

Nothing to download: `make_world(root)` draws the clips from a seed and writes them as MP4 files, 64 x 64 pixels, 17
frames at 8 per second. Free of rights. Four kinds of scene, of 6 colours and 4 shapes:

- `direction`: one object crosses the picture. "a red circle moves left", "the red circle goes left".
- `size`: one object grows or shrinks. "a red circle grows", "the red circle gets bigger".
- `order`: one object, then another that differs in colour and shape. "a red circle before a blue star",
  "a blue star after a red circle".
- `count`: two to four equal objects. "three red circles", "there are three red circles".

**Order in time.** Clips of the first three kinds come with their exact reversal: the same frames, last one first,
whose caption differs in one word (left and right, up and down, grows and shrinks, before and after). So no single
frame tells the two apart, and the middle one (17 is odd) is the same frame in both. `OrderPairs` yields them.

**Splits.** `train`: as many clips as asked for. `test`: scenes of which no caption occurs in training, drawn by the
seed. Each pair of colour and shape is seen in training in four of the six motions and in two of the three numbers,
and in the test does the rest; of the pairs of objects that follow one another, a quarter is kept for the test, in both
orders. The test has three parts with clips of their own: `Captions`, 100 clips with 100 captions that differ in
content, for retrieval; `Questions`, 60 of each kind (colour, shape, count, motion, order), in which all answers to a
kind are equally frequent; `OrderPairs`, 100 pairs of clips.

On disk, with each line of `captions.jsonl`, `questions.jsonl` and `pairs.jsonl` (two lines a pair) such a record:

    root/world.json                      what was asked for, and whether it is complete
    root/videos/train-00000.mp4
    {"video": "videos/train-00000.mp4", "split": "train", "kind": "size", "caption": "a red circle grows"}
    {"video": "videos/quiz-000.mp4", "split": "test", "kind": "count", "question": "how many objects are there?",
     "answer": "one"}

These are files of `datasets/captioned.py` too. Scored by recall of the right clip or caption (retrieval), share of
right answers, and share of captions of pairs that fit their clip better than its reversal.
"""

import json
import os
import signal
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache, partial
from itertools import combinations, product
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from allinone.data.example import Example
from allinone.datasets import captioned
from allinone.files.whole import whole_file
from allinone.processes import worker_context
from allinone.video.encode import write_mp4

SIZE, NUM_FRAMES, FPS = 64, 17, 8
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
"""The forward motions and their kind of scene; their opposites are the backward ones."""

NUMBERS = {2: "two", 3: "three", 4: "four"}
KINDS = ("direction", "size", "order", "count")
QUESTION_KINDS = ("colour", "shape", "count", "motion", "order")
OPPOSITES = (
    ("left", "right"), ("up", "down"), ("grows", "shrinks"), ("bigger", "smaller"), ("before", "after"),
)  # fmt: skip
TRAIN_SHARES = {"direction": 0.35, "size": 0.15, "order": 0.35, "count": 0.15}
PAIR_SHARES = {"direction": 0.4, "size": 0.2, "order": 0.4}
GALLERY = {"direction": 32, "size": 16, "order": 36, "count": 16}
NUM_QUESTIONS = 60
"""So many test questions of each kind; a multiple of the number of answers to each."""

FORMAT = 1
"""Raised with every change of the clips or files, so that an older world is not taken for one of this code."""


@dataclass(frozen=True)
class Captions:
    """Clips with a caption: `train`, or the gallery `test`. `kinds` chooses kinds of scene; None takes all.

    Each example's `kind` is that of its scene.
    """

    split: str
    kinds: tuple[str, ...] | None = None

    def examples(self, root: Path) -> list[Example]:
        return [row.example(row.caption, kind=row.kind) for row in rows(root, "captions.jsonl", self, KINDS)]


@dataclass(frozen=True)
class Questions:
    """Clips with a question and its answer, `train` or `test`. `kinds` chooses kinds of question; None takes all."""

    split: str
    kinds: tuple[str, ...] | None = None

    def examples(self, root: Path) -> list[Example]:
        chosen = rows(root, "questions.jsonl", self, QUESTION_KINDS)
        return [row.example(row.question, row.answer, row.kind) for row in chosen]


@dataclass(frozen=True)
class OrderPairs:
    """Clips and their reversals, `train` or `test`: the examples 2i and 2i + 1 are a pair.

    Their captions differ in one word, and each is true of its own clip alone. The clips of `train` are those of
    `Captions`, without the `count` scenes.
    """

    split: str
    kinds: tuple[str, ...] | None = None

    def examples(self, root: Path) -> list[Example]:
        return [row.example(row.caption, kind=row.kind) for row in rows(root, "pairs.jsonl", self, tuple(PAIR_SHARES))]


def rows(
    root: Path, file: str, dataset: Captions | Questions | OrderPairs, kinds: tuple[str, ...]
) -> list[captioned.Row]:
    """The lines of a file that the data set chooses."""
    state = world_state(Path(root))
    if state is None or not state["complete"]:
        raise ValueError(f"{root}: no complete made world; make it with make_world({str(root)!r})")
    unknown = set(dataset.kinds or ()) - set(kinds)
    if unknown:
        raise ValueError(f"no kind {', '.join(map(repr, sorted(unknown)))} in {file}; there are: {', '.join(kinds)}")
    found = captioned.chosen_rows(captioned.Captions(split=dataset.split, file=file), Path(root))
    return [row for row in found if dataset.kinds is None or row.kind in dataset.kinds]


@dataclass(frozen=True)
class Scene:
    """What a clip shows. An object is a colour and a shape; `change` is its motion, `number` how many there are."""

    kind: str
    objects: tuple[tuple[str, str], ...]
    change: str = ""
    number: int = 1

    @property
    def is_backward(self) -> bool:
        """Of a scene and its reversal, one is backward: it is drawn as the other, and its frames turned round."""
        if self.kind == "order":
            return self.objects[0] > self.objects[1]
        return self.kind != "count" and self.change not in MOTIONS

    def reversed(self) -> "Scene":
        """The scene that shows when the clip runs backwards."""
        return Scene(self.kind, self.objects[::-1], opposite(self.change), self.number)

    def captions(self) -> tuple[str, ...]:
        """Every way to put it."""
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
        """Kind, question and answer of everything that one may ask."""
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
    """A caption of a clip made one of its reversal: each word about time is exchanged for its opposite."""
    words = dict(OPPOSITES) | {b: a for a, b in OPPOSITES}
    return " ".join(words.get(word, word) for word in text.split())


def split_scenes(seed: int) -> tuple[dict[str, list[Scene]], dict[str, list[Scene]]]:
    """The scenes of training and those of the test, by kind, without the backward ones.

    Which motion and which number an object keeps for the test goes round with its colour and shape, so that each is
    kept as often; the pairs of objects are drawn.
    """
    train, test = defaultdict[str, list[Scene]](list), defaultdict[str, list[Scene]](list)
    for (c, color), (s, shape) in product(enumerate(COLORS), enumerate(SHAPES)):
        for m, (change, kind) in enumerate(MOTIONS.items()):
            kept = m == (c + s + seed) % len(MOTIONS)
            (test if kept else train)[kind].append(Scene(kind, ((color, shape),), change))
        for n, number in enumerate(NUMBERS):
            kept = n == (c + 2 * s + seed) % len(NUMBERS)
            (test if kept else train)["count"].append(Scene("count", ((color, shape),), number=number))
    things = sorted(product(COLORS, SHAPES))
    pairs = [Scene("order", (a, b)) for a, b in combinations(things, 2) if a[0] != b[0] and a[1] != b[1]]
    drawn = np.random.default_rng((seed, 0)).permutation(len(pairs))
    num_kept = len(pairs) // 4
    test["order"] = [pairs[i] for i in drawn[:num_kept]]
    train["order"] = [pairs[i] for i in drawn[num_kept:]]
    return train, test


@dataclass(frozen=True)
class Shot:
    """A clip to make: what it is called, its scene and caption, and the seed of how it looks."""

    name: str
    scene: Scene
    caption: str
    looks: tuple[int, ...]

    @property
    def video(self) -> str:
        return f"videos/{self.name}.mp4"

    def record(self, split: str) -> dict[str, str]:
        return {"video": self.video, "split": split, "kind": self.scene.kind, "caption": self.caption}


@dataclass(frozen=True)
class Plan:
    """All that a world is made of."""

    train: list[Shot]
    gallery: list[Shot]
    quiz: list[Shot]
    pairs: list[Shot]
    captions: list[dict[str, str]]
    questions: list[dict[str, str]]
    order_pairs: list[dict[str, str]]

    @property
    def shots(self) -> list[Shot]:
        return [*self.train, *self.gallery, *self.quiz, *self.pairs]


def plan_world(num_train: int, num_pairs: int, seed: int) -> Plan:
    rng = np.random.default_rng((seed, 1))
    seen, unseen = split_scenes(seed)
    both = {kind: with_reversals(scenes) for kind, scenes in unseen.items()}
    train = shots_in_pairs("train", seen, TRAIN_SHARES, num_train // 2, seed, rng)
    chosen = [both[kind][i] for kind, n in GALLERY.items() for i in rng.permutation(len(both[kind]))[:n]]
    asked = [*both["direction"], *both["size"], *both["count"]] * 2 + both["order"]
    gallery, quiz = (
        [
            Shot(f"{name}-{i:03}", scene, scene.captions()[rng.integers(2)], (seed, *f"{name}-{i}".encode()))
            for i, scene in enumerate(scenes)
        ]
        for name, scenes in {"gallery": chosen, "quiz": asked}.items()
    )
    pairs = shots_in_pairs("pair", unseen, PAIR_SHARES, num_pairs, seed, rng)
    return Plan(
        train=train,
        gallery=gallery,
        quiz=quiz,
        pairs=pairs,
        captions=[s.record("train") for s in train] + [s.record("test") for s in gallery],
        questions=balanced(train, "train", num_train // 2, rng) + balanced(quiz, "test", NUM_QUESTIONS, rng),
        order_pairs=[s.record("train") for s in train if s.scene.kind != "count"] + [s.record("test") for s in pairs],
    )


def with_reversals(scenes: Iterable[Scene]) -> list[Scene]:
    """Each scene and, where the order of frames matters, its reversal."""
    return list(dict.fromkeys(s for scene in scenes for s in (scene, scene.reversed())))


def shots_in_pairs(
    name: str,
    scenes: dict[str, list[Scene]],
    shares: dict[str, float],
    num_pairs: int,
    seed: int,
    rng: np.random.Generator,
) -> list[Shot]:
    """Pairs of shots, beside each other: a scene and its reversal, or the same scene twice where that is the same.

    All scenes of a kind come equally often, as far as the number allows.
    """
    bounds = np.round(np.cumsum([0.0, *shares.values()]) / sum(shares.values()) * num_pairs).astype(int)
    drawn: list[Scene] = []
    for kind, num in zip(shares, np.diff(bounds).tolist(), strict=True):
        rounds = -(-num // len(scenes[kind]))
        order = [i for _ in range(rounds) for i in rng.permutation(len(scenes[kind]))]
        drawn += [scenes[kind][i] for i in order[:num]]
    shots = []
    for pair, i in enumerate(rng.permutation(len(drawn))):
        scene, caption = drawn[i], drawn[i].captions()[rng.integers(2)]
        looks = [(seed, *f"{name}-{pair}".encode())] * 2
        if scene.kind == "count":
            looks[1] = (*looks[1], 1)
        both = [(scene, caption), (scene.reversed(), opposite(caption))]
        for member, which in enumerate(rng.permutation(2)):
            shown, text = both[which]
            shots.append(Shot(f"{name}-{2 * pair + member:05}", shown, text, looks[member]))
    return shots


def balanced(shots: Sequence[Shot], split: str, per_kind: int, rng: np.random.Generator) -> list[dict[str, str]]:
    """At most `per_kind` questions of each kind, in which every answer is equally frequent."""
    found: dict[str, dict[str, list[dict[str, str]]]] = defaultdict(lambda: defaultdict(list))
    for shot in shots:
        for kind, question, answer in shot.scene.questions():
            record = {"video": shot.video, "split": split, "kind": kind, "question": question, "answer": answer}
            found[kind][answer].append(record)
    chosen = []
    for kind in QUESTION_KINDS:
        answers = found[kind]
        num = min([per_kind // max(len(answers), 1), *map(len, answers.values())])
        chosen += [records[i] for records in answers.values() for i in rng.permutation(len(records))[:num]]
    return chosen


def render(scene: Scene, looks: Sequence[int]) -> UInt8[np.ndarray, "T H W 3"]:
    """Draw a clip. `looks` seeds what the scene leaves open: place, size, pace, shades, background."""
    if scene.is_backward:
        return render(scene.reversed(), looks)[::-1]
    rng = np.random.default_rng(looks)
    ground = background(rng)
    frames = np.repeat(ground.astype(np.uint8)[None], NUM_FRAMES, axis=0)
    paints = [np.clip(COLORS[color] + rng.normal(0, 6, 3), 0, 255) for color, _ in scene.objects]
    for which, frame, diameter, x, y in placements(scene, rng):
        top, left = y - diameter // 2, x - diameter // 2
        area = np.s_[top : top + diameter, left : left + diameter]
        under = ground[area]
        cover = sprite(scene.objects[which][1], diameter)
        frames[frame][area] = under + cover * (paints[which] - under) + 0.5
    return frames


Placement = tuple[int, int, int, int, int]
"""Which object, in which frame, how large, and its centre (x, y), in pixels."""


def placements(scene: Scene, rng: np.random.Generator) -> Iterable[Placement]:
    """Where the objects of a forward scene are."""
    steps = np.linspace(0, 1, NUM_FRAMES)
    match scene.kind:
        case "direction":
            diameter = int(rng.integers(22, 31))
            edge = diameter // 2 + 1
            start, end = edge + rng.integers(0, 7), SIZE - edge - rng.integers(0, 7)
            along = np.round(start + steps * (end - start)).astype(int)
            across = int(rng.integers(edge, SIZE - edge + 1))
            for frame, place in enumerate(along.tolist()):
                x, y = (place, across) if scene.change == "right" else (across, place)
                yield 0, frame, diameter, x, y
        case "size":
            small, large = rng.integers(8, 13), rng.integers(34, 43)
            x, y = rng.integers(large // 2 + 1, SIZE - large // 2, 2).tolist()
            for frame, diameter in enumerate(np.round(small + steps * (large - small)).astype(int).tolist()):
                yield 0, frame, diameter, x, y
        case "order":
            cut = int(
                rng.integers(NUM_FRAMES // 2 - 1, NUM_FRAMES // 2 + 3)
            )  # as often early as late, turned round too
            for which, span in enumerate((range(cut), range(cut, NUM_FRAMES))):
                diameter = int(rng.integers(24, 33))
                yield from hovering(which, span, diameter, (0, 0), SIZE, rng)
        case _:
            half = SIZE // 2
            for corner in rng.permutation(4)[: scene.number].tolist():
                origin = (corner % 2 * half, corner // 2 * half)
                diameter = int(rng.integers(18, 25))
                yield from hovering(0, range(NUM_FRAMES), diameter, origin, half, rng)


def hovering(
    which: int, span: range, diameter: int, origin: tuple[int, int], room: int, rng: np.random.Generator
) -> Iterable[Placement]:
    """An object that floats up and down by two pixels about a random place of a square, and so moves nowhere."""
    edge = diameter // 2 + 1
    low, high = edge + 1, room - edge - 1
    x, y = (int(o + rng.integers(low, high + 1)) for o in origin)
    phase, pace = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.0)
    for frame in span:
        yield which, frame, diameter, x, y + round(1.5 * np.sin(phase + pace * frame))


def background(rng: np.random.Generator) -> Float[np.ndarray, "H W 3"]:
    """Two dark shades that run into each other in some direction, with a grain that stands still."""
    shades = rng.uniform(25, 70, (2, 1)) + rng.normal(0, 8, (2, 3))
    angle = rng.uniform(0, 2 * np.pi)
    hard_warmup = np.linspace(-0.5, 0.5, SIZE)
    mix = 0.5 + (hard_warmup[None, :] * np.cos(angle) + hard_warmup[:, None] * np.sin(angle)) / np.sqrt(2)
    grain = rng.normal(0, 2.5, (SIZE, SIZE))
    shaded = shades[0] + mix[..., None] * (shades[1] - shades[0]) + grain[..., None]
    return np.clip(shaded, 0, 255)


@cache
def sprite(shape: str, diameter: int) -> Float[np.ndarray, "H W 1"]:
    """How much of each pixel the shape covers, by 4 x 4 samples a pixel."""
    fine = 4
    line = (np.arange(diameter * fine) + 0.5) / (diameter * fine) * 2 - 1  # -1 to 1
    x, y = line[None, :], line[:, None]
    match shape:
        case "circle":
            inside = np.hypot(x, y) <= 1
        case "square":
            inside = np.maximum(abs(x), abs(y)) <= 0.95
        case "triangle":
            inside = (abs(x) <= (y + 1) / 2) & (y <= 0.9)
        case _:
            inside = in_star(x, y)
    return inside.reshape(diameter, fine, diameter, fine).mean(axis=(1, 3))[..., None]


def in_star(x: np.ndarray, y: np.ndarray, inner: float = 0.45) -> np.ndarray:
    """A star of five points, one of them on top: ten triangles about the centre, folded into one half point."""
    tip = np.pi / 5
    turned = np.arctan2(x, -y) % (2 * tip)
    angle, radius = np.minimum(turned, 2 * tip - turned), np.hypot(x, y)
    across, along = radius * np.sin(angle), radius * np.cos(angle)
    corner_across, corner_along = inner * np.sin(tip), inner * np.cos(tip)
    return across * (1 - corner_along) <= (1 - along) * corner_across


def world_state(root: Path) -> dict[str, int | bool] | None:
    """What `world.json` says; None where there is none."""
    path = root / "world.json"
    return json.loads(path.read_text()) if path.is_file() else None


def make_world(
    root: str | Path,
    *,
    num_train: int = 4000,
    num_pairs: int = 100,
    seed: int = 0,
    processes: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Make the world in this folder; go on where an interrupted call stopped, and do nothing where it is complete.

    `num_train` clips of training, an even number, and `num_pairs` test pairs, besides the 334 clips of the gallery
    and the test questions. `processes` draw and encode (None: one for each processor). `progress` is told how
    many clips are there, and of how many.
    """
    root = Path(root)
    if num_train < 2 or num_train % 2 or num_pairs < 1 or seed < 0:
        raise ValueError(
            "num_train must be even and at least 2, num_pairs at least 1, seed not below 0; "
            f"got num_train={num_train}, num_pairs={num_pairs}, seed={seed}"
        )
    wanted = {"format": FORMAT, "num_train": num_train, "num_pairs": num_pairs, "seed": seed}
    state = world_state(root)
    if state is None and root.is_dir() and any(not path.name.startswith(".") for path in root.iterdir()):
        raise ValueError(f"{root} holds other files; a made world wants a folder of its own")
    if state is not None and {**state, "complete": True} != {**wanted, "complete": True}:
        raise ValueError(f"{root} holds another world, {state}, not {wanted}; choose another folder or remove that one")
    plan = plan_world(num_train, num_pairs, seed)
    there = {path.name for path in (root / "videos").glob("*.mp4")}
    missing = [shot for shot in plan.shots if f"{shot.name}.mp4" not in there]
    if state is not None and state["complete"] and not missing:
        return
    root.mkdir(parents=True, exist_ok=True)
    write_lines(root / "world.json", [wanted | {"complete": False}])  # first, so that a folder cut short is known
    (root / "videos").mkdir(exist_ok=True)
    film(root, missing, len(plan.shots), processes or os.cpu_count() or 1, progress)
    write_lines(root / "captions.jsonl", plan.captions)
    write_lines(root / "questions.jsonl", plan.questions)
    write_lines(root / "pairs.jsonl", plan.order_pairs)
    write_lines(root / "world.json", [wanted | {"complete": True}])


def film(
    root: Path, missing: Sequence[Shot], total: int, processes: int, progress: Callable[[int, int], None] | None
) -> None:
    """Draw and encode; processes, since threads would wait for each other."""
    shoot = partial(shoot_into, root)
    with ExitStack() as stack:
        if processes == 1:
            shots = map(shoot, missing)
        else:
            pool = ProcessPoolExecutor(processes, worker_context(), initializer=leave_ctrl_c_to_parent)
            stack.callback(pool.shutdown, cancel_futures=True)  # an error does not wait for the clips still to come
            shots = pool.map(shoot, missing, chunksize=8)
        for done, _ in enumerate(shots, start=total - len(missing) + 1):
            if progress is not None:
                progress(done, total)


def shoot_into(root: Path, shot: Shot) -> None:
    write_mp4(root / shot.video, render(shot.scene, shot.looks), FPS, gop=8, crf=18)


def leave_ctrl_c_to_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def write_lines(path: Path, records: Iterable[dict]) -> None:
    """Write one JSON line per record, whole or not at all."""
    with whole_file(path) as unfinished:
        unfinished.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
