"""Plans the clips, captions and questions of a synthetic world, and writes them."""

import json
import os
import signal
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from allinone.datasets.synthetic.drawing import render
from allinone.datasets.synthetic.scenes import QUESTION_KINDS, Scene, opposite, split_scenes, with_reversals
from allinone.files.whole import whole_file
from allinone.processes import worker_context
from allinone.video.encode import write_mp4

FPS = 8
TRAIN_SHARES = {"direction": 0.35, "size": 0.15, "order": 0.35, "count": 0.15}
PAIR_SHARES = {"direction": 0.4, "size": 0.2, "order": 0.4}
GALLERY = {"direction": 32, "size": 16, "order": 36, "count": 16}  # 100 clips
NUM_QUESTIONS = 60
"""Test questions of each kind; a multiple of the number of answers to each."""

FORMAT = 1
"""Increased with every change of the clips or files, so that an older world is not used with this code."""


@dataclass(frozen=True)
class Shot:
    """A clip to make: its name, scene, caption, and the seed of its looks (see `render`)."""

    name: str
    scene: Scene
    caption: str
    looks: tuple[int, ...]

    @property
    def video(self) -> str:
        """Path from the root."""
        return f"videos/{self.name}.mp4"

    def record(self, split: str) -> dict[str, str]:
        """Return the line of a file of captions."""
        return {"video": self.video, "split": split, "kind": self.scene.kind, "caption": self.caption}


@dataclass(frozen=True)
class Plan:
    """All clips of a world, and the lines of its files."""

    train: list[Shot]
    gallery: list[Shot]
    quiz: list[Shot]
    pairs: list[Shot]
    captions: list[dict[str, str]]
    questions: list[dict[str, str]]
    order_pairs: list[dict[str, str]]

    @property
    def shots(self) -> list[Shot]:
        """All clips, in the order in which they are made."""
        return [*self.train, *self.gallery, *self.quiz, *self.pairs]


def plan_world(num_train: int, num_pairs: int, seed: int) -> Plan:
    """Plan a world. All random choices come from `seed`, in a fixed order, so worlds are the same on every machine."""
    rng = np.random.default_rng((seed, 1))
    seen, unseen = split_scenes(seed)
    # Every test scene with its reversal, so that captions and questions are as often about one as about the other.
    both = {kind: with_reversals(scenes) for kind, scenes in unseen.items()}
    train = shots_in_pairs("train", seen, TRAIN_SHARES, num_train // 2, seed, rng)
    chosen = [both[kind][i] for kind, n in GALLERY.items() for i in rng.permutation(len(both[kind]))[:n]]
    # Scenes of one object twice, with other looks: `order` has many more scenes, so this balances the questions.
    asked = [*both["direction"], *both["size"], *both["count"]] * 2 + both["order"]
    gallery, quiz = (
        [
            # The name is a part of the seed: looks do not depend on how many clips were planned before.
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


def shots_in_pairs(
    name: str,
    scenes: dict[str, list[Scene]],
    shares: dict[str, float],
    num_pairs: int,
    seed: int,
    rng: np.random.Generator,
) -> list[Shot]:
    """Return pairs of neighboring shots: a scene and its reversal, or a `count` scene twice with different looks.

    All scenes of a kind occur equally often, as far as the number allows.
    """
    # Shares become whole numbers of pairs that add up to `num_pairs`, by rounding the cumulative sums.
    bounds = np.round(np.cumsum([0.0, *shares.values()]) / sum(shares.values()) * num_pairs).astype(int)
    drawn: list[Scene] = []
    for kind, num in zip(shares, np.diff(bounds).tolist(), strict=True):
        rounds = -(-num // len(scenes[kind]))  # rounded up: each round uses every scene once, in a new order
        order = [i for _ in range(rounds) for i in rng.permutation(len(scenes[kind]))]
        drawn += [scenes[kind][i] for i in order[:num]]
    shots = []
    for pair, i in enumerate(rng.permutation(len(drawn))):
        scene, caption = drawn[i], drawn[i].captions()[rng.integers(2)]
        # The two share a seed of looks, so that a reversal has exactly the frames of its scene in reverse order.
        looks = [(seed, *f"{name}-{pair}".encode())] * 2
        if scene.kind == "count":
            looks[1] = (*looks[1], 1)  # a `count` scene is its reversal: other looks, or the clips would be identical
        both = [(scene, caption), (scene.reversed(), opposite(caption))]
        for member, which in enumerate(rng.permutation(2)):  # the backward clip is first as often as second
            shown, text = both[which]
            shots.append(Shot(f"{name}-{2 * pair + member:05}", shown, text, looks[member]))
    return shots


def balanced(shots: Sequence[Shot], split: str, per_kind: int, rng: np.random.Generator) -> list[dict[str, str]]:
    """Choose at most `per_kind` questions of each kind, with every answer equally frequent."""
    by_answer: dict[str, dict[str, list[dict[str, str]]]] = defaultdict(lambda: defaultdict(list))
    for shot in shots:
        for kind, question, answer in shot.scene.questions():
            record = {"video": shot.video, "split": split, "kind": kind, "question": question, "answer": answer}
            by_answer[kind][answer].append(record)
    chosen = []
    for kind in QUESTION_KINDS:
        answers = by_answer[kind]
        # As many questions for each answer as the rarest answer has, so that guessing gains nothing.
        num = min([per_kind // max(len(answers), 1), *map(len, answers.values())])
        chosen += [records[i] for records in answers.values() for i in rng.permutation(len(records))[:num]]
    return chosen


def world_state(root: Path) -> dict[str, int | bool] | None:
    """Return the content of `world.json`; None if there is none."""
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
    """Make a world in a folder; resume an interrupted call, and do nothing if the world is complete.

    Args:
        num_train: clips of training, an even number.
        num_pairs: test pairs, besides the 334 clips of the gallery and of the test questions.
        processes: how many draw and encode; None is one for each processor.
        progress: called with the number of finished clips and of all.

    Raises:
        ValueError: the folder has other files, or a world with other arguments.
    """
    root = Path(root)
    if num_train < 2 or num_train % 2 or num_pairs < 1 or seed < 0:
        raise ValueError(
            "num_train must be even and at least 2, num_pairs at least 1, seed not below 0; "
            f"got num_train={num_train}, num_pairs={num_pairs}, seed={seed}"
        )
    arguments = {"format": FORMAT, "num_train": num_train, "num_pairs": num_pairs, "seed": seed}
    is_complete = complete_or_resumable(root, arguments)
    plan = plan_world(num_train, num_pairs, seed)
    # 1. What an interrupted call has made stays: each clip has the same frames in every call.
    finished = {path.name for path in (root / "videos").glob("*.mp4")}
    missing = [shot for shot in plan.shots if f"{shot.name}.mp4" not in finished]
    if is_complete and not missing:
        return
    # 2. Mark the folder, so that another call knows what to resume.
    root.mkdir(parents=True, exist_ok=True)
    write_lines(root / "world.json", [arguments | {"complete": False}])  # first: marks a folder to resume
    (root / "videos").mkdir(exist_ok=True)
    film(root, missing, len(plan.shots), processes or os.cpu_count() or 1, progress)
    # 3. The lists come last: they name only videos that exist.
    write_lines(root / "captions.jsonl", plan.captions)
    write_lines(root / "questions.jsonl", plan.questions)
    write_lines(root / "pairs.jsonl", plan.order_pairs)
    write_lines(root / "world.json", [arguments | {"complete": True}])


def complete_or_resumable(root: Path, arguments: dict[str, int]) -> bool:
    """Return whether the world of these arguments is complete; False also if the folder is new or to be resumed.

    Raises:
        ValueError: the folder has other files, or another world.
    """
    state = world_state(root)
    if state is None:
        if root.is_dir() and any(not path.name.startswith(".") for path in root.iterdir()):
            raise ValueError(f"{root} holds other files; a synthetic world needs an empty folder")
        return False
    if {**state, "complete": True} != {**arguments, "complete": True}:
        raise ValueError(
            f"{root} holds another world, {state}, not {arguments}; choose another folder or remove that one"
        )
    return bool(state["complete"])


def film(
    root: Path, missing: Sequence[Shot], total: int, processes: int, progress: Callable[[int, int], None] | None
) -> None:
    """Draw and encode the missing clips, in processes because drawing holds the interpreter lock."""
    shoot = partial(shoot_into, root)
    with ExitStack() as stack:
        if processes == 1:
            shots = map(shoot, missing)
        else:
            pool = ProcessPoolExecutor(processes, worker_context(), initializer=leave_ctrl_c_to_parent)
            stack.callback(pool.shutdown, cancel_futures=True)  # after an error do not wait for the rest
            shots = pool.map(shoot, missing, chunksize=8)
        for done, _ in enumerate(shots, start=total - len(missing) + 1):  # clips of earlier calls count as done
            if progress is not None:
                progress(done, total)


def shoot_into(root: Path, shot: Shot) -> None:
    """Draw one clip and write its MP4 file."""
    write_mp4(root / shot.video, render(shot.scene, shot.looks), FPS, gop=8, crf=18)


def leave_ctrl_c_to_parent() -> None:
    """Ignore Ctrl-C in a worker: the parent stops, and shuts the pool down."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def write_lines(path: Path, records: Iterable[dict]) -> None:
    """Write one JSON line per record, whole or not at all."""
    with whole_file(path) as unfinished:
        unfinished.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
