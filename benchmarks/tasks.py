"""Each kind of task on the synthetic world, in the layout of a real data set, from the demo checkpoint, with controls.

    make demo
    PYTHONPATH=tests python benchmarks/tasks.py runs/demo --to benchmarks/results/tasks.json

Open questions (MSVD-QA's layout), multiple choice (NExT-QA's), choice of captions without training for it
(MSR-VTT's), recognition by a linear probe (UCF101's) and counting (TGIF-QA's). Wrong options are drawn from the same
captions as right ones, and answers to a question are equally frequent, so that a model which sees no frame is at
chance: of open questions, that of one who knows the question. Ten minutes on two cores.
"""

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from rich.console import Console
from rich.table import Table

from allinone.checkpoint import load_checkpoint
from allinone.data.clip_reader import Control
from allinone.data.example import Example
from allinone.datasets.synthetic import Captions, Questions
from allinone.evaluators.base import Evaluation
from allinone.experiment import evaluate, override, train
from allinone.experiments import find
from layouts.item import Item
from layouts.questions import write_msvd_qa, write_nextqa, write_tgif_qa
from layouts.recognition import write_ucf101
from layouts.video_text import write_msrvtt

CONTROLS: tuple[Control, ...] = ("blind", "single_frame", "shuffle_frames")
NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4}
NUM_TRAINED = 3000
"""Examples of each task to train on."""


def drawn(examples: Iterable[Example], count: int) -> list[Example]:
    """`count` examples, drawn by a seed."""
    found = list(examples)
    chosen = np.random.default_rng(0).permutation(len(found))[:count]
    return [found[i] for i in sorted(chosen)]


def both(dataset: type[Captions] | type[Questions], world: Path) -> list[tuple[str, Example]]:
    """Examples of training and of the test, with the split of their item."""
    trained = drawn(dataset("train").examples(world), NUM_TRAINED)
    return [("train", e) for e in trained] + [("test", e) for e in dataset("test").examples(world)]


def video_of(example: Example) -> Path:
    return example.files[0]


def questions(world: Path) -> list[Item]:
    return [
        Item(video=video_of(e), split=split, question=e.text, answer=e.answer or "", kind=e.kind or "")
        for split, e in both(Questions, world)
    ]


def guessed(items: Iterable[Item]) -> float:
    """Accuracy in percent of always giving the most frequent answer to each question of the test."""
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    for item in items:
        if item.split == "test":
            answers[item.question][item.answer] += 1
    return 100 * sum(max(counts.values()) for counts in answers.values()) / sum(map(Counter.total, answers.values()))


def choices(world: Path) -> list[Item]:
    """Five captions each: the clip's own, and others that differ from it, drawn from those of the same split."""
    rng, items = np.random.default_rng(1), []
    examples = both(Captions, world)
    for split, example in examples:
        others = [e.text for s, e in examples if s == split and e.text != example.text]
        options = list(rng.choice(sorted(set(others)), 4, replace=False))
        right = int(rng.integers(5))
        options.insert(right, example.text)
        item = Item(video=video_of(example), split=split, caption=example.text, question="what happens?")
        items.append(replace(item, options=tuple(map(str, options)), right=right))
    return items


def motions(world: Path) -> list[Item]:
    asked = [(split, e) for split, e in both(Questions, world) if e.kind == "motion"]
    return [Item(video=video_of(e), split=split, label=e.answer or "") for split, e in asked]


def counts(world: Path) -> list[Item]:
    asked = [(split, e) for split, e in both(Questions, world) if e.kind == "count"]
    return [Item(video=video_of(e), split=split, question=e.text, number=NUMBERS[e.answer or ""]) for split, e in asked]


def run(
    name: str, root: Path, start: Path, out: Path, settings: Sequence[str], trained: bool = True
) -> dict[str, dict[str, Evaluation]]:
    """Fine-tune an experiment of the library from the checkpoint, if it is to be trained, and evaluate its test."""
    config = load_checkpoint(start).model.config
    common = [
        f"init={start}", f"data.root={root}", "data.allow_missing=true", "data.num_workers=0", "data.cache_mb=2000",
        "data.batch_size=64", f"model.num_frames={config.num_frames}", f"model.image_size={config.image_size}",
        f"data.transform.resize={config.image_size}",
        "data.transform.random_crop=false", "data.transform.augment=0",
        "train.precision=float32", "train.tensorboard=false", "data.drop_last=false",
    ]  # fmt: skip
    experiment = override(find(name), [*common, *settings])
    experiment = replace(experiment, evaluators={"test": experiment.evaluators["test"]})
    checkpoint = train(experiment, out).checkpoint if trained else start
    return evaluate(checkpoint, experiment, controls=CONTROLS)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("demo", type=Path, help="the folder of `make demo`")
    parser.add_argument("--to", type=Path, help="write the figures there, as JSON")
    chosen = parser.parse_args()
    world, start = chosen.demo / "world", chosen.demo / "run" / "joint"
    trained = ["optim.num_steps=150", "optim.lr=5e-4"]
    with TemporaryDirectory() as folder:
        made = Path(folder)
        write_msvd_qa(made / "msvd_qa", questions(world))
        write_nextqa(made / "nextqa", choices(world))
        write_msrvtt(made / "msrvtt", choices(world))
        write_ucf101(made / "ucf101", motions(world))
        write_tgif_qa(made / "tgif_qa", counts(world))
        tables = {
            "open questions": run("msvd_questions", made / "msvd_qa", start, made / "a", trained),
            "multiple choice": run("nextqa_choice", made / "nextqa", start, made / "b", trained),
            "choice of captions, zero-shot": run("msrvtt_choice", made / "msrvtt", start, made / "c", [], False),
            "recognition, linear probe": run(
                "ucf101_probe", made / "ucf101", start, made / "d", ["optim.num_steps=200", "optim.lr=3e-3"]
            ),
            "counting": run("tgif_count", made / "tgif_qa", start, made / "e", trained),
        }
    show(tables, {"open questions": guessed(questions(world))}, chosen.to)


def show(tables: dict[str, dict[str, dict[str, Evaluation]]], known_chances: dict[str, float], to: Path | None) -> None:
    columns = ("score", *CONTROLS, "answers_only")
    table = Table("task", "measure", "chance", *columns, title="on the synthetic world, with 95 % intervals")
    rows = []
    for task, evaluations in tables.items():
        found = evaluations["test"]
        measure, chance = ("mse", "mse_chance") if "mse" in found["score"].scores else ("accuracy", "chance")
        row = {"task": task, "measure": measure, "samples": found["score"].num_samples}
        row["chance"] = known_chances.get(task, found["score"].scores[chance].value)
        for column in columns:
            if column in found:
                score = found[column].scores[measure]
                row[column] = [score.value, score.low, score.high]
        rows.append(row)
        shown = ["{:.1f} ({:.1f} to {:.1f})".format(*row[c]) if c in row else "" for c in columns]
        table.add_row(task, measure, f"{row['chance']:.1f}", *shown)
    Console(width=160).print(table)
    if to is not None:
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_text(json.dumps({"rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
