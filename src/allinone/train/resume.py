"""Resume a run: the state that is saved in addition to the weights, and the changes that resuming does not allow."""

import json
import logging
import shutil
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from allinone.checkpoint import (
    TRAINING,
    Checkpoint,
    check_saved,
    first_whole,
    newest_checkpoint,
    read_checkpoint,
    step_folders,
)
from allinone.checkpoint_config import CONFIG, EXPERIMENT
from allinone.files.reading import read_json
from allinone.files.tensors import CHECKSUM, load_tensors
from allinone.files.whole import recover, set_aside, write_json
from allinone.settings import flatten, restore
from allinone.train.world import World

log = logging.getLogger(__name__)

STATE, OPTIMIZER, OBJECTIVES = "state.json", "optimizer.safetensors", "objectives.safetensors"

FREE_TO_CHANGE = (
    "code",  # of the user's own: a changed file is a warning
    "evaluators",
    "data.root",
    "data.allow_missing",
    "data.num_workers",
    "data.cache_mb",
    "train.log_every",
    "train.save_every",
    "train.eval_every",
    "train.keep",
    "train.max_bad_steps",
    "train.best",
    "train.tensorboard",
    "train.device",
)
"""Parts of an experiment that may change when a run resumes, because its losses do not depend on them."""


@dataclass(kw_only=True)
class State:
    """Progress of a run. Every random draw depends on the seed and the step, so no generator state is needed."""

    step: int = 0
    sources: dict[str, Any] = field(default_factory=dict)
    """The position of each loader."""
    num_skipped: int = 0
    bad_steps: tuple[int, ...] = ()
    """The latest steps that were skipped."""
    evaluated: int = 0
    """The step of the last evaluation."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Its results."""
    best: float | None = None
    """Highest value so far of the metric `train.best`."""

    def save(self, folder: Path) -> None:
        """Write it to a folder, with a checksum."""
        fields = asdict(self)
        write_json(folder / STATE, {CHECKSUM: checksum(fields), **fields})

    @classmethod
    def load(cls, folder: Path) -> "State":
        """Read it from a folder.

        Raises:
            ValueError: if it is missing or damaged.
        """
        path = folder / STATE
        if not path.exists():
            raise ValueError(
                f"{folder}: no {STATE}, so a run cannot resume from this checkpoint; start from it instead (`init`)"
            )
        fields = read_json(path)
        written = fields.pop(CHECKSUM, None)
        # States saved before there were checksums have none.
        if written not in (None, checksum(fields)) or "step" not in fields:
            raise ValueError(f"{path}: damaged: differs from the file that was saved")
        return restore(fields, cls, str(path))


def checksum(fields: Mapping[str, Any]) -> str:
    """Return the CRC-32 of some JSON."""
    return f"{zlib.crc32(json.dumps(fields, sort_keys=True).encode()):08x}"


@dataclass(frozen=True)
class Saved:
    """What a run resumes from: a checkpoint, and the contents of its `training/`."""

    checkpoint: Checkpoint
    state: State
    optimizer: dict[str, Tensor]
    objectives: dict[str, Tensor]

    @classmethod
    def load(cls, folder: Path) -> "Saved":
        """Read all of it.

        Raises:
            ValueError: if a file is missing or damaged.
        """
        training = folder / TRAINING
        objectives = training / OBJECTIVES
        for name in (CONFIG, EXPERIMENT):
            if not (folder / name).exists():
                raise ValueError(f"{folder}: damaged: no {name}")
        check_saved(folder, EXPERIMENT)
        return cls(
            read_checkpoint(folder),
            State.load(training),
            load_tensors(training / OPTIMIZER),
            load_tensors(objectives) if objectives.exists() else {},
        )


def open_folder(run_dir: Path, resume: bool, experiment: Mapping[str, Any], world: World) -> Saved | None:
    """Prepare the folder of a run of this experiment; return its newest whole checkpoint, None where there is none.

    A damaged checkpoint is renamed to `step-*.damaged`, with a warning, and the one before it is used.

    Raises:
        ValueError: the folder has checkpoints but `resume` is false; none of them is whole; they are of another
            experiment; or the processes cannot read the same ones.
    """
    if world.is_main:
        # 1. Clean up after a run that was killed while it replaced or wrote a checkpoint.
        run_dir.mkdir(parents=True, exist_ok=True)
        for half_swapped in (run_dir / "checkpoints").glob(".step-*.old"):
            recover(half_swapped.with_name(half_swapped.name[1:].removesuffix(".old")))
        for left_over in (run_dir / "checkpoints").glob(".step-*"):
            shutil.rmtree(left_over)
    # 2. The other processes look at the folder only now.
    world.wait()
    newest = newest_checkpoint(run_dir)
    if newest is None:
        return None
    if not resume:
        raise ValueError(
            f"{run_dir}: holds a run already ({newest.name}); continue it with --resume, or choose another folder"
        )
    folders = step_folders(run_dir)[::-1]
    try:
        saved, num_damaged = first_whole(folders, Saved.load)
    except ValueError as error:
        raise ValueError(
            f"{error}. No checkpoint in {run_dir} is whole, so start a new run in another folder; it may "
            "start (`init`) from one of which only the state of training is damaged"
        ) from error
    # 3. Processes that resume from different checkpoints would train different weights.
    mean = world.mean(torch.tensor([num_damaged], dtype=torch.float64, device=world.device)).item()
    if world.any(mean != num_damaged):  # asked of all, because one of them may be equal to the mean
        raise ValueError(f"{run_dir}: not every process can read the same checkpoints there")
    check_unchanged(saved.checkpoint, experiment)
    # 4. Rename only now, when every process has read the folders.
    if world.is_main:
        for damaged in folders[:num_damaged]:
            log.warning("%s is now %s", damaged, set_aside(damaged).name)
    return saved


def check_unchanged(checkpoint: Checkpoint, describe: Mapping[str, Any]) -> None:
    """Raise ValueError, with the differences, if the checkpoint was made by another experiment."""
    before = dict(flatten(checkpoint.experiment))
    # Through JSON, as the checkpoint was: it makes tuples lists.
    now = dict(flatten(json.loads(json.dumps(describe))))
    changed = [
        f"  {key}: was {shorten(before.get(key))}, is {shorten(now.get(key))}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key) and not is_free(key)
    ]
    if changed:
        raise ValueError(
            f"{checkpoint.folder}: the experiment has changed since, so resuming would make another run:\n"
            + "\n".join(changed)
            + "\nUndo the changes, or start a new run in another folder (its `init` can be this checkpoint)"
        )


def shorten(text: str | None) -> str:
    """Return the text of a value for an error."""
    if text is None:
        return "not there"
    return text if len(text) <= 80 else f"{text[:77]}..."


def is_free(key: str) -> bool:
    """Return whether a key, or a part of the experiment that it is in, may change."""
    return any(key == free or key.startswith(free + ".") for free in FREE_TO_CHANGE)
