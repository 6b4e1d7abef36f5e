"""One of two processes of a run: `two_processes.py OUT`, with the variables set (RANK and so on) that torchrun sets."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from allinone.objectives.answering import Answering
from allinone.objectives.vtc import VTC
from allinone.train import resume
from allinone.train.optim import Optim
from allinone.train.run import Prepared, run_training
from allinone.train.signals import TrainingInterrupted
from allinone.train.step import TrainSource
from allinone.train.world import join_world
from train.test_run import QUIET, Poison, poisoned
from train.tiny_run import MODEL, Memory, batch, part, tiny_run


def shared_run(rank: int | None) -> Prepared:
    """Two objectives that never read the same batch, two batches a step; half of each batch if there is a rank.

    Nothing in it is drawn per process, so two processes do what one does with whole batches. `eps` keeps Adam from
    blowing up rounding errors where the true gradient is zero.
    """
    rows = slice(None) if rank is None else slice(4 * rank, 4 * rank + 4)
    batches = {
        "captions": [part(batch(seed, 8), rows) for seed in range(3)],
        "questions": [part(batch(seed, 8, questions=True), rows) for seed in range(10, 12)],
    }
    return tiny_run(
        model=MODEL.replace(dropout=0.0, patch_order="raster"),
        objectives={"vtc": VTC.Config(learn_temperature=True), "answers": Answering.Config(dropout=0.0)},
        sources={name: TrainSource(Memory(some)) for name, some in batches.items()},
        optim=Optim.Config(num_steps=6, warmup=0, lr=1e-3, eps=1e-4),
        config=QUIET,
        accumulate=2,
    )


def main(out: Path) -> None:
    torch.set_num_threads(1)
    with join_world("cpu") as world:
        told: dict[str, Any] = {}
        run_training(shared_run(world.rank), out / "equal")

        poison = Poison([3] if world.rank == 1 else [])
        lines: list[dict[str, Any]] = []
        run_training(poisoned(poison, optim=Optim.Config(num_steps=5)), out / "poison", on_step=lines.append)
        told["skipped"] = [line["skipped"] for line in lines]
        told["weight"] = poison.head.text.weight.sum().item()

        def stop_one(line: dict[str, Any]) -> None:
            if world.rank == 1 and line["step"] == 2:
                os.kill(os.getpid(), signal.SIGTERM)

        try:
            run_training(shared_run(world.rank), out / "stopped", on_step=stop_one)
        except TrainingInterrupted as stopped:
            told["stopped"] = stopped.step
        run_training(shared_run(world.rank), out / "stopped", resume=True)

        if world.rank == 1:
            resume.first_whole = lambda folders, read: (read(folders[0]), 1)
        try:
            run_training(shared_run(world.rank), out / "stopped", resume=True)
        except ValueError as disagreed:
            told["disagreed"] = str(disagreed)

        try:
            run_training(shared_run(world.rank), out / "held")
        except ValueError as refused:
            told["refused"] = str(refused)
        (out / f"told-{world.rank}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
