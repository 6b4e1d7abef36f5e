"""The life of a run: start or resume in a folder, update, evaluate, save, stop on a signal.

The computation of one step is in `step.py`, the state for resuming in `resume.py`.
"""

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from allinone.checkpoint import TRAINING, model_card, save_checkpoint, step_folder, step_folders
from allinone.checkpoint_config import EXPERIMENT
from allinone.files.lock import only_process
from allinone.files.tensors import save_tensors
from allinone.files.whole import remove, write_json
from allinone.model.model import AllInOne
from allinone.model.weights import load_all
from allinone.text.tokenizer import Tokenizer
from allinone.train.config import TrainConfig
from allinone.train.logs import RunLog
from allinone.train.optim import Optim
from allinone.train.resume import OBJECTIVES, OPTIMIZER, Saved, State, open_folder
from allinone.train.signals import StopSignals, TrainingInterrupted
from allinone.train.step import TrainingModel, TrainSource, Update, Updater, sampling_probs
from allinone.train.world import World, join_world

log = logging.getLogger(__name__)

BAD_STEP_WINDOW = 100
"""Steps among which at most `max_bad_steps` may be without a finite loss and gradient."""

Evaluate = Callable[[AllInOne, int], dict[str, float]]
"""Evaluates the model (in evaluation mode) after a step; returns metrics by name."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """All that a run needs, built and ready to train.

    `describe` is the experiment as JSON, kept in every checkpoint. An update adds up the gradients of `accumulate`
    batches of each process. `evaluate` is called in every process, so that it may divide its work; the metrics of the
    main process count.
    """

    training_model: TrainingModel
    sources: Mapping[str, TrainSource]
    optim: Optim.Config
    config: TrainConfig
    describe: dict[str, Any]
    tokenizer: Tokenizer | None
    evaluate: Evaluate | None = None
    accumulate: int = 1

    def __post_init__(self):
        sampling_probs(self.sources)


@dataclass(frozen=True)
class TrainResult:
    """The last checkpoint of a finished run, its step, and the metrics of the last evaluation."""

    checkpoint: Path
    step: int
    metrics: dict[str, float]


class TrainingDiverged(RuntimeError):
    """Too many steps had a loss or gradient that was not finite."""


def run_training(
    prepared: Prepared,
    run_dir: str | Path,
    *,
    resume: bool = False,
    on_step: Callable[[dict[str, Any]], None] | None = None,
) -> TrainResult:
    """Train for `optim.num_steps` updates, in one process or in those that torchrun started.

    `run_dir` gets `checkpoints/step-*` (checkpoint folders), `metrics.jsonl`, `tensorboard/` and `experiment.json`,
    which is `describe` and the number of processes. It must be a folder that all processes see.

    Args:
        resume: continue from the newest checkpoint in `run_dir`; start where there is none.
        on_step: called with the line of each step that `metrics.jsonl` gets.

    Raises:
        TrainingInterrupted: after Ctrl-C or SIGTERM, when everything is saved.
        TrainingDiverged: when too many steps were not finite.
        ValueError: where the run cannot start, or resume, in this folder.
    """
    with (
        join_world(prepared.config.device) as world,
        only_run(Path(run_dir), world),
        StopSignals() as signals,
        repeatable_kernels(world.device, prepared.config.repeatable),
    ):
        return Run(prepared, Path(run_dir), on_step, world, signals).run(resume)


@contextmanager
def only_run(run_dir: Path, world: World) -> Iterator[None]:
    """Hold the lock of the run's folder in the main process. All processes raise where another run holds it."""
    with ExitStack() as stack:
        error: Exception | None = None
        if world.is_main:
            try:
                stack.enter_context(only_process(run_dir))
            except (ValueError, OSError) as refused:
                # Not raised yet: the other processes would wait for the main one forever.
                error = refused
        if world.any(error is not None):
            raise error or ValueError(f"{run_dir}: the main process cannot begin there")
        yield


class Run:
    """A run in progress; see `run_training`."""

    def __init__(
        self,
        prepared: Prepared,
        run_dir: Path,
        on_step: Callable[[dict[str, Any]], None] | None,
        world: World,
        signals: StopSignals,
    ):
        self.prepared = prepared
        self.config = prepared.config
        self.training_model = prepared.training_model.to(world.device)
        self.model = self.training_model.model
        self.model.encoder.recompute = self.config.recompute
        # Before the optimizer is made, which leaves out parameters without a gradient.
        if self.config.freeze_encoder:
            self.model.encoder.requires_grad_(False)
        self.to_training_mode()
        self.loaders = {name: source.loader for name, source in prepared.sources.items()}
        self.optim = Optim(prepared.optim, self.training_model.named().items())
        self.num_steps = prepared.optim.num_steps
        self.run_dir = run_dir
        self.experiment = prepared.describe | {"num_processes": world.size}
        """As written into checkpoints. A resumed run needs as many processes, because each has its own random draws."""
        self.on_step = on_step
        self.world = world
        self.signals = signals
        self.state = State()
        self.newest: Path | None = None
        self.saved = (0, 0)
        """Step and evaluation of the newest checkpoint."""

    def run(self, resume: bool) -> TrainResult:
        """Train until the last step, or a signal."""
        self.start(resume)  # before the updater, which opens the loaders where the checkpoint left them
        updater = Updater(
            self.training_model, self.optim, self.prepared.sources, self.config, self.prepared.accumulate, self.world
        )
        with self.open_log() as self.run_log:
            stop = self.evaluate_if_due()  # the one that an interrupted run did not finish
            while not stop and self.state.step < self.num_steps:
                stop = self.train_step(updater) or self.evaluate_if_due()
                if self.state.step % self.config.save_every == 0:
                    self.save()
            self.save()
        # No process reports a checkpoint that the main one is still writing.
        self.world.wait()
        assert self.newest is not None
        if stop:
            # The signal may have reached another process only.
            raise TrainingInterrupted(self.signals.received or signal.SIGTERM, self.state.step, self.newest)
        return TrainResult(self.newest, self.state.step, self.state.metrics)

    def to_training_mode(self) -> None:
        """Put modules into training mode; a frozen encoder stays in evaluation mode."""
        self.training_model.train()
        if self.config.freeze_encoder:
            self.model.encoder.eval()

    # Start and resume

    def start(self, resume: bool) -> None:
        """Take possession of the run's folder, and restore its newest checkpoint."""
        saved = open_folder(self.run_dir, resume, self.experiment, self.world)
        if saved is not None:
            self.restore(saved)
            log.info("resuming from %s", self.newest)
        if self.world.is_main:
            write_json(self.run_dir / EXPERIMENT, self.experiment)

    def restore(self, saved: Saved) -> None:
        """Continue from a checkpoint of this experiment.

        Raises:
            ValueError: if it has other sources, objectives or parameters.
        """
        folder, state = saved.checkpoint.folder, saved.state
        if state.sources.keys() != self.loaders.keys():
            raise ValueError(f"{folder}: made from sources {', '.join(state.sources)}, not {', '.join(self.loaders)}")
        extra = self.training_model.extra_state()
        if saved.objectives.keys() != extra.keys():
            raise ValueError(f"{folder}: {OBJECTIVES} is not of these objectives")
        load_all(self.model, saved.checkpoint.model.state_dict())
        self.optim.load_tensors(saved.optimizer)
        # In place: the optimizer refers to these tensors.
        with torch.no_grad():
            for name, tensor in extra.items():
                tensor.copy_(saved.objectives[name])
        for name, loader in self.loaders.items():
            try:
                loader.load_state_dict(state.sources[name])
            except (KeyError, TypeError) as error:
                raise ValueError(f"{folder}: the position in source {name} cannot be read ({error!r})") from error
        self.state, self.newest, self.saved = state, folder, (state.step, state.evaluated)

    # Steps and their log

    def open_log(self) -> AbstractContextManager[RunLog | None]:
        """Return the log as a context; None in all processes but the main one."""
        if not self.world.is_main:
            return nullcontext()
        return RunLog(self.run_dir, self.state.step, self.state.evaluated, self.num_steps, self.config.tensorboard)

    def train_step(self, updater: Updater) -> bool:
        """Make and log one update; return whether to stop because of a signal."""
        state = self.state
        began = time.perf_counter()
        update = updater.update(state.step, self.signals.received is not None)
        state.step += 1
        if not update.is_finite:
            self.note_bad_step(update)
        step_sec = time.perf_counter() - began
        line = {
            "step": state.step,
            "loss": update.loss,
            **update.metrics,
            "lr": update.learning_rate,
            "grad_norm": update.grad_norm,
            "clips_per_sec": update.num_clips / step_sec,
            "wait": update.wait_sec / step_sec,
            "skipped": state.num_skipped,
            "unreadable": sum(len(loader.unreadable) for loader in self.loaders.values()),
            "sources": "+".join(sorted(set(update.sources))),
        }
        # All processes get here, but only the main one has a log.
        if self.run_log is not None:
            if state.step % self.config.log_every == 0 or not update.is_finite:
                self.run_log.write(line)
            self.run_log.show(state.step, update.loss, line["clips_per_sec"], step_sec)
        if self.on_step is not None:
            self.on_step(line)
        if len(state.bad_steps) > self.config.max_bad_steps:
            raise TrainingDiverged(self.why_diverged())
        return update.should_stop

    def note_bad_step(self, update: Update) -> None:
        """Count and log a step that was skipped because its loss or gradient is not finite."""
        state = self.state
        state.num_skipped += 1
        state.bad_steps = (*(s for s in state.bad_steps if s > state.step - BAD_STEP_WINDOW), state.step)
        log.warning("step %d skipped: %s", state.step, ", ".join(update.not_finite()))

    def why_diverged(self) -> str:
        """Say how many steps failed, where the last weights are, and what may help."""
        state = self.state
        weights = f"The weights before are in {self.newest}" if self.newest else "No checkpoint was saved yet"
        return (
            f"{len(state.bad_steps)} of the last {BAD_STEP_WINDOW} steps had a loss or gradient that is not finite "
            f"(the last one was step {state.step}), and train.max_bad_steps is {self.config.max_bad_steps}. {weights}. "
            "Try a lower optim.lr, a longer optim.warmup or train.precision=float32 in a new run, which may start "
            "(`init`) from a checkpoint"
        )

    # Evaluation

    def evaluate_if_due(self) -> bool:
        """Evaluate, if this step is one for it; return whether to stop because of a signal."""
        state, every, evaluate = self.state, self.config.eval_every, self.prepared.evaluate
        is_due = state.step == self.num_steps or (every is not None and state.step % every == 0)
        # A resumed run may have evaluated this step already.
        if evaluate is None or not is_due or state.evaluated == state.step:
            return False
        self.model.eval()
        try:
            with torch.no_grad():
                metrics = {name: float(value) for name, value in evaluate(self.model, state.step).items()}
            self.keep_best(metrics)
        except BaseException:
            self.save()  # a failed evaluation does not lose the training before it
            raise
        self.to_training_mode()
        state.evaluated, state.metrics = state.step, metrics
        if self.run_log is not None:
            self.run_log.write({"step": state.step, "eval": metrics})
        log.info("step %d  %s", state.step, "  ".join(f"{name} {value:.4g}" for name, value in metrics.items()))
        return self.world.any(self.signals.received is not None)

    def keep_best(self, metrics: Mapping[str, float]) -> None:
        """Save the weights to `best/` if the metric `train.best` is the highest so far."""
        name = self.config.best
        if name is None:
            return
        if name not in metrics:
            raise ValueError(f"train.best is {name!r}, but the evaluation gives: {', '.join(metrics)}")
        if self.state.best is None or metrics[name] > self.state.best:
            self.state.best = metrics[name]
            if self.world.is_main:
                card = model_card(self.model, card_text(self.state.step, metrics))
                save_checkpoint(self.run_dir / "best", self.model, self.prepared.tokenizer, self.experiment, card)

    # Checkpoints

    def save(self) -> None:
        """Save this step, unless it is saved already, and remove all but the newest checkpoints."""
        state = self.state
        if self.saved == (state.step, state.evaluated):
            return
        folder = step_folder(self.run_dir, state.step)
        if self.world.is_main:
            state.sources = {name: loader.state_dict() for name, loader in self.loaders.items()}
            card = model_card(self.model, card_text(state.step, state.metrics if state.evaluated == state.step else {}))
            save_checkpoint(folder, self.model, self.prepared.tokenizer, self.experiment, card, more=self.save_training)
            # Only when the new one is complete on disk.
            for old in step_folders(self.run_dir)[: -self.config.keep]:
                remove(old)
        self.newest, self.saved = folder, (state.step, state.evaluated)

    def save_training(self, folder: Path) -> None:
        """Write what only resuming needs."""
        training = folder / TRAINING
        training.mkdir()
        self.state.save(training)
        save_tensors(training / OPTIMIZER, self.optim.tensors())
        if extra := self.training_model.extra_state():
            save_tensors(training / OBJECTIVES, extra)


def card_text(step: int, metrics: Mapping[str, float]) -> str:
    """Return the paragraph of a model card about the length of training and the last evaluation."""
    table = "".join(f"\n| {name} | {value:.2f} |" for name, value in metrics.items())
    return f"After {step} training steps." + (f"\n\n| evaluation | |\n|---|---|{table}" if table else "")


@contextmanager
def repeatable_kernels(device: torch.device, is_asked: bool) -> Iterator[None]:
    """On a GPU, let torch choose kernels that give the same bits every time, where it has them."""
    if device.type != "cuda" or not is_asked:
        yield
        return
    # cuBLAS repeats its results only with workspaces of fixed size: here eight of 4,096 KiB.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    # Only a warning, because some operations have no such kernel.
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
