"""A run of seconds on a tiny model and batches from memory. As a script, it is a process of its own to be killed."""

import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from allinone.model.config import ModelConfig
from allinone.model.encoder import VideoTextEncoder
from allinone.objectives.answering import Answering
from allinone.objectives.base import BuildContext, Objective
from allinone.objectives.mlm import MLM
from allinone.objectives.vtc import VTC
from allinone.objectives.vtm import VTM
from allinone.text.answers import AnswerVocabulary
from allinone.text.tokenizer import Tokenizer
from allinone.train.config import TrainConfig
from allinone.train.optim import Optim
from allinone.train.run import Prepared, run_training
from allinone.train.step import TrainingModel, TrainSource
from allinone.types import Batch

CAPTIONS = ["abc bad cab", "dab a cab", "bad dad", "add a bead", "bed abed", "dead bee", "cab ace", "decade bed"]
ANSWERS = AnswerVocabulary(("red", "blue", "green"))
TOKENIZER = Tokenizer.train(CAPTIONS, vocab_size=50)
MODEL = ModelConfig(
    width=32, num_heads=2, depth=2, image_size=32, patch_size=16, num_frames=2, vocab_size=50, shared_dim=16
)  # fmt: skip


class Memory:
    """A loader of batches that are there already, over and over."""

    def __init__(self, batches: list[Batch]):
        self.batches = batches
        self.position = 0
        self.unreadable: dict[str, str] = {}

    def forever(self) -> Iterator[Batch]:
        while True:
            self.position += 1
            yield self.batches[(self.position - 1) % len(self.batches)]

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.position = state["position"]


def batch(seed: int, size: int = 4, questions: bool = False, model: ModelConfig = MODEL) -> Batch:
    rng = torch.Generator().manual_seed(seed)
    shape = (size, model.num_frames, 3, model.image_size, model.image_size)
    rows = torch.randperm(len(CAPTIONS), generator=rng)[:size].tolist()
    text_ids, text_mask = TOKENIZER.encode([CAPTIONS[row] for row in rows])
    return Batch(
        frames=torch.randint(256, shape, generator=rng, dtype=torch.uint8),
        text_ids=text_ids,
        text_mask=text_mask,
        video_ids=tuple(f"video {seed} {row}" for row in rows),
        labels=torch.randint(len(ANSWERS), (size,), generator=rng) if questions else None,
        task="question" if questions else "caption",
    )


def part(whole: Batch, rows: slice) -> Batch:
    """Some clips of a batch."""
    return Batch(
        frames=whole.frames[rows],
        text_ids=whole.text_ids[rows],
        text_mask=whole.text_mask[rows],
        video_ids=whole.video_ids[rows],
        labels=None if whole.labels is None else whole.labels[rows],
        task=whole.task,
    )


def sources() -> dict[str, TrainSource]:
    return {
        "captions": TrainSource(Memory([batch(seed) for seed in range(5)]), sampling_weight=2.0),
        "questions": TrainSource(Memory([batch(seed, questions=True) for seed in range(10, 13)]), sampling_weight=1.0),
    }


OBJECTIVES = {
    "vtc": VTC.Config(learn_temperature=True),
    "vtm": VTM.Config(negatives="hard"),
    "mlm": MLM.Config(mask_prob=0.3),
    "answers": Answering.Config(weight=0.5),
}


def tiny_run(**changes: Any) -> Prepared:
    """Return a run with a model that is the same every time; `changes` are fields of `Prepared`, or configs."""
    model: ModelConfig = changes.pop("model", MODEL)
    configs: dict[str, Any] = changes.pop("objectives", OBJECTIVES)
    optim = changes.pop("optim", Optim.Config(num_steps=12, lr=1e-3, warmup=2))
    config = changes.pop("config", TrainConfig(save_every=3, tensorboard=False))
    torch.manual_seed(config.seed)
    encoder = VideoTextEncoder(model)
    ingredients = BuildContext(model, TOKENIZER, ANSWERS)
    objectives: dict[str, Objective] = {
        name: made if isinstance(made, Objective) else made.build(ingredients) for name, made in configs.items()
    }
    weights = {name: getattr(made, "weight", 1.0) for name, made in configs.items()}
    described = {name: {} if isinstance(made, Objective) else asdict(made) for name, made in configs.items()}
    describe = {
        "model": asdict(model), "objectives": described, "optim": asdict(optim), "train": asdict(config)
    }  # fmt: skip
    fields: dict[str, Any] = {"sources": sources()} | changes
    return Prepared(
        training_model=TrainingModel(encoder, objectives, weights),
        optim=optim,
        config=config,
        describe=describe,
        tokenizer=TOKENIZER,
        **fields,
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    run_dir, last_step = Path(sys.argv[1]), int(sys.argv[2])

    def tell(line: dict[str, Any]) -> None:
        print(line["step"], flush=True)
        if line["step"] == last_step:
            time.sleep(600)  # until somebody kills this process

    run_training(tiny_run(), run_dir, on_step=tell)
