"""The training loop: batches of several sources, a weighted sum of objectives, and a run that can stop anywhere.

It knows neither data sets nor objectives by name. Every random draw of a step (its sources, masks, negatives, dropout)
depends on the seed, the step and the process alone, so that a run that goes on from a checkpoint repeats, bit for bit,
the losses of one that was never stopped.
"""

import logging
import math
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from allinone.checkpoint import (
    EXPERIMENT,
    TRAINING,
    first_whole,
    model_card,
    newest_checkpoint,
    save_checkpoint,
    step_folder,
    step_folders,
)
from allinone.checks import check_literals
from allinone.files.lock import only_process
from allinone.files.tensors import save_tensors
from allinone.files.whole import recover, remove, set_aside, write_json
from allinone.model.encoder import VideoTextEncoder
from allinone.model.model import AllInOne
from allinone.model.weights import load_all
from allinone.objectives.base import Objective, Step
from allinone.text.tokenizer import Tokenizer
from allinone.train.logs import RunLog
from allinone.train.optim import Optim
from allinone.train.resume import OBJECTIVES, OPTIMIZER, Saved, State, check_unchanged
from allinone.train.signals import StopSignals, TrainingInterrupted
from allinone.train.world import World, join_world
from allinone.types import Batch

log = logging.getLogger(__name__)

BAD_STEP_WINDOW = 100


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a run goes on, beside what it learns.

    A step is one update. Steps whose loss or gradient is not finite change
    nothing; more than `max_bad_steps` of them among a hundred stop the run. `eval_every` None evaluates at the end
    alone. `keep` is how many checkpoints to keep; `best` names a number of the evaluation, and the weights with its
    highest value are kept in `best/` too. `repeatable` asks for GPU kernels that give the same bits every time.
    With `freeze_encoder` the heads alone learn, on features of an encoder in evaluation mode: a probe. With `recompute`
    each block computes again, for its gradient, what it would have kept: less memory, a third more time.
    """

    seed: int = 0
    precision: Literal["float32", "bfloat16"] = "float32"
    clip_norm: float | None = 1.0
    max_bad_steps: int = 10
    log_every: int = 1
    save_every: int = 1000
    eval_every: int | None = None
    keep: int = 2
    best: str | None = None
    tensorboard: bool = True
    device: str | None = None
    repeatable: bool = True
    freeze_encoder: bool = False
    recompute: bool = False

    def __post_init__(self):
        check_literals(self)
        least = {
            "log_every": 1,
            "save_every": 1,
            "eval_every": 1,
            "keep": 1,
            "seed": 0,
            "max_bad_steps": 0,
        }
        for name, minimum in least.items():
            value = getattr(self, name)
            if value is not None and value < minimum:
                raise ValueError(f"{name} must be at least {minimum}, got {value}")
        if self.seed >= 2**63:
            raise ValueError(f"seed must be below 2**63, got {self.seed}")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ValueError(f"clip_norm must be positive, or None for no clipping, got {self.clip_norm}")


@runtime_checkable
class BatchStream(Protocol):
    """What gives training batches. In every process, batches at the same place are of one kind (captions or questions).

    `state_dict` is the position after the batch given last, the same in every process; `unreadable` names the videos
    that were left out.
    """

    unreadable: dict[str, str]

    def forever(self) -> Iterator[Batch]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@dataclass(frozen=True)
class TrainSource:
    """Batches, and how often they come in comparison with other sources."""

    loader: BatchStream
    sampling_weight: float = 1.0


@dataclass(frozen=True)
class TrainResult:
    """The last checkpoint of a finished run, its step, and what the last evaluation found."""

    checkpoint: Path
    step: int
    metrics: dict[str, float]


class TrainingDiverged(RuntimeError):
    """Too many steps had a loss or gradient that was not finite."""


class TrainingModel(nn.Module):
    """The encoder, the objectives and their weights: batch in, one loss out."""

    def __init__(self, encoder: VideoTextEncoder, objectives: Mapping[str, Objective], weights: Mapping[str, float]):
        super().__init__()
        if not objectives:
            raise ValueError("nothing to learn: there are no objectives")
        if objectives.keys() != weights.keys():
            raise ValueError(f"weights for {', '.join(weights) or 'nothing'}, but objectives {', '.join(objectives)}")
        owners: dict[str, str] = {}
        for name, objective in objectives.items():
            for head in objective.heads():
                if other := owners.get(head.kind):
                    raise ValueError(f"objectives {other} and {name} both have a {head.kind} head; a model has one")
                owners[head.kind] = name
        self.model = AllInOne(encoder, [head for objective in objectives.values() for head in objective.heads()])
        self.objectives = nn.ModuleDict(objectives)
        self.weights = dict(weights)

    def forward(self, batch: Batch, step: Step) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """The weighted sum of the objectives that apply to this batch, and what they measured, detached."""
        total, numbers = torch.zeros((), device=batch.text_ids.device), {}
        applying = self.applying(batch)
        step.pairs_are_read = any(objective.reads_pairs for objective in applying.values())
        for name, objective in applying.items():
            losses = objective(self.model.encoder, batch, step)
            total = total + self.weights[name] * losses.loss
            numbers[f"{name}/loss"] = losses.loss.detach().float()
            numbers |= {f"{name}/{metric}": value.detach().float() for metric, value in losses.metrics.items()}
        return total, numbers

    def applying(self, batch: Batch) -> dict[str, Objective]:
        named = ((name, objective) for name, objective in self.objectives.items() if isinstance(objective, Objective))
        return {name: objective for name, objective in named if objective.applies(batch)}

    def named(self) -> dict[str, nn.Parameter]:
        """Parameters by their name in the checkpoint; those of objectives outside of heads keep their own."""
        return {name.removeprefix("model."): parameter for name, parameter in self.named_parameters()}

    def beside_model(self) -> dict[str, Tensor]:
        """State of the objectives that is no part of the model, and is kept for resuming alone."""
        of_model = set(map(id, self.model.state_dict(keep_vars=True).values()))
        return {k: v for k, v in self.objectives.state_dict(keep_vars=True).items() if id(v) not in of_model}


def run_training(
    *,
    encoder: VideoTextEncoder,
    objectives: Mapping[str, Objective],
    weights: Mapping[str, float],
    sources: Mapping[str, TrainSource],
    optim: Optim.Config,
    config: TrainConfig,
    run_dir: str | Path,
    describe: dict[str, Any],
    tokenizer: Tokenizer | None,
    evaluate: Callable[[AllInOne, int], dict[str, float]] | None = None,
    accumulate: int = 1,
    resume: bool = False,
    on_step: Callable[[dict[str, Any]], None] | None = None,
) -> TrainResult:
    """Train for `optim.num_steps` updates, in one process or in those that torchrun started.

    An update adds up the gradients of `accumulate` batches of each process.

    `run_dir` gets `checkpoints/step-*` (checkpoint folders), `metrics.jsonl`, `tensorboard/` and `experiment.json`,
    which is `describe` and the number of processes. With `resume` the run goes on from the newest checkpoint there, or
    starts where there is none; the folder must be one that all processes see. `evaluate` gets the model in evaluation
    mode and the step, in every process, so that it may share its work; the numbers of the main process count. `on_step`
    gets the numbers of each step.

    Raises TrainingInterrupted after Ctrl-C or SIGTERM, when all is saved; TrainingDiverged when too many steps are not
    finite; ValueError where the run cannot start, or go on, in this folder.
    """
    with (
        join_world(config.device) as world,
        only_run(Path(run_dir), world),
        StopSignals() as signals,
        repeatable_kernels(world.device, config.repeatable),
    ):
        module = TrainingModel(encoder, objectives, weights)
        run = Run(
            module, sources, optim, config, Path(run_dir), describe, tokenizer, evaluate, accumulate, on_step, world,
            signals,
        )  # fmt: skip
        return run.run(resume)


@contextmanager
def only_run(run_dir: Path, world: World) -> Iterator[None]:
    """Hold the lock of the run's folder in the main process. All processes raise where it is held by another run."""
    with ExitStack() as stack:
        error: Exception | None = None
        if world.is_main:
            try:
                stack.enter_context(only_process(run_dir))
            except (ValueError, OSError) as refused:
                error = refused
        if world.mean(torch.tensor([error is not None], dtype=torch.float64, device=world.device)).item() > 0:
            raise error or ValueError(f"{run_dir}: the main process cannot begin there")
        yield


class Run:
    """A run under way. See `run_training`."""

    def __init__(
        self,
        module: TrainingModel,
        sources: Mapping[str, TrainSource],
        optim: Optim.Config,
        config: TrainConfig,
        run_dir: Path,
        describe: dict[str, Any],
        tokenizer: Tokenizer | None,
        evaluate: Callable[[AllInOne, int], dict[str, float]] | None,
        accumulate: int,
        on_step: Callable[[dict[str, Any]], None] | None,
        world: World,
        signals: StopSignals,
    ):
        shares = {name: source.sampling_weight for name, source in sources.items()}
        if not shares or min(shares.values()) < 0 or not 0 < sum(shares.values()) < math.inf:
            raise ValueError(f"wanted sources with shares that are not negative and not all 0, got {shares}")
        self.module = module.to(world.device)
        self.model = module.model
        self.config = config
        self.model.encoder.recompute = config.recompute
        if config.freeze_encoder:
            self.model.encoder.requires_grad_(False)
        self.to_training_mode()
        self.sources = {name: source.loader for name, source in sources.items()}
        self.shares = np.array(list(shares.values())) / sum(shares.values())
        self.optim = Optim(optim, module.named().items())
        self.num_steps = optim.num_steps
        self.run_dir = run_dir
        self.experiment = describe | {"num_processes": world.size}
        """As written into checkpoints; a resumed run has the same, because each process has its own random draws."""
        self.tokenizer = tokenizer
        self.evaluator = evaluate
        self.accumulate = accumulate
        self.on_step = on_step
        self.world = world
        self.signals = signals
        self.state = State()
        self.newest: Path | None = None
        self.saved = (0, 0)
        """Step and evaluation of the newest checkpoint."""

    def run(self, resume: bool) -> TrainResult:
        self.start(resume)
        net = self.wrapped()
        streams = {name: loader.forever() for name, loader in self.sources.items()}
        with self.open_log() as self.run_log:
            stop = self.evaluate_if_due()
            while not stop and self.state.step < self.num_steps:
                stop = self.train_step(net, streams) or self.evaluate_if_due()
                if self.state.step % self.config.save_every == 0:
                    self.save()
            self.save()
        self.world.wait()
        assert self.newest is not None
        if stop:
            raise TrainingInterrupted(self.signals.received or signal.SIGTERM, self.state.step, self.newest)
        return TrainResult(self.newest, self.state.step, self.state.metrics)

    def to_training_mode(self) -> None:
        self.module.train()
        if self.config.freeze_encoder:
            self.model.encoder.eval()

    def start(self, resume: bool) -> None:
        """Take possession of the run's folder, and go back to where its newest checkpoint was.

        A damaged checkpoint is set aside, with a warning, and the one before it taken.
        """
        if self.world.is_main:
            self.run_dir.mkdir(parents=True, exist_ok=True)
            for half_swapped in (self.run_dir / "checkpoints").glob(".step-*.old"):
                recover(half_swapped.with_name(half_swapped.name[1:].removesuffix(".old")))
            for left_over in (self.run_dir / "checkpoints").glob(".step-*"):
                shutil.rmtree(left_over)
        self.world.wait()
        newest = newest_checkpoint(self.run_dir)
        if newest is not None and not resume:
            raise ValueError(
                f"{self.run_dir}: holds a run already ({newest.name}); go on with --resume, or choose another folder"
            )
        if newest is not None:
            found = step_folders(self.run_dir)[::-1]
            try:
                saved, num_damaged = first_whole(found, Saved.load)
            except ValueError as error:
                raise ValueError(
                    f"{error}. No checkpoint in {self.run_dir} is whole, so start a new run in another folder; it may "
                    "start (`init`) from a checkpoint whose weights are"
                ) from error
            agreed = self.world.mean(torch.tensor([num_damaged], dtype=torch.float64, device=self.world.device))
            if agreed.item() != num_damaged:
                raise ValueError(f"{self.run_dir}: not every process can read the same checkpoints there")
            self.restore(saved)
            if self.world.is_main:
                for damaged in found[:num_damaged]:
                    log.warning("%s is now %s", damaged, set_aside(damaged).name)
            log.info("going on from %s", self.newest)
        if self.world.is_main:
            write_json(self.run_dir / EXPERIMENT, self.experiment)

    def restore(self, saved: Saved) -> None:
        folder, state = saved.checkpoint.folder, saved.state
        check_unchanged(saved.checkpoint, self.experiment)
        if state.sources.keys() != self.sources.keys():
            raise ValueError(f"{folder}: made from sources {', '.join(state.sources)}, not {', '.join(self.sources)}")
        beside = self.module.beside_model()
        if saved.objectives.keys() != beside.keys():
            raise ValueError(f"{folder}: {OBJECTIVES} is not of these objectives")
        load_all(self.model, saved.checkpoint.model.state_dict())
        self.optim.load_tensors(saved.optimizer)
        with torch.no_grad():
            for name, tensor in beside.items():
                tensor.copy_(saved.objectives[name])
        for name, loader in self.sources.items():
            try:
                loader.load_state_dict(state.sources[name])
            except (KeyError, TypeError) as error:
                raise ValueError(f"{folder}: the position in source {name} cannot be read ({error!r})") from error
        self.state, self.newest, self.saved = state, folder, (state.step, state.evaluated)

    def wrapped(self) -> nn.Module:
        if self.world.size == 1:
            return self.module
        # Batches of questions leave the parameters of a contrastive head unused, and the other way round.
        return DistributedDataParallel(self.module, find_unused_parameters=True, forward_sync_buffers=False)

    def open_log(self) -> AbstractContextManager[RunLog | None]:
        if not self.world.is_main:
            return nullcontext()
        return RunLog(self.run_dir, self.state.step, self.state.evaluated, self.num_steps, self.config.tensorboard)

    def train_step(self, net: nn.Module, streams: Mapping[str, Iterator[Batch]]) -> bool:
        """One update, or none if something is not finite. Tells whether a signal has reached any of the processes."""
        config, state, world = self.config, self.state, self.world
        began = time.perf_counter()
        wait_sec, num_clips = 0.0, 0
        names: list[str] = []
        losses: list[Tensor] = []
        measured: dict[str, list[Tensor]] = {}
        for part in range(self.accumulate):
            names.append(self.choose_source(part))
            before = time.perf_counter()
            batch = next(streams[names[-1]])
            wait_sec += time.perf_counter() - before
            num_clips += len(batch)
            loss, numbers = self.backward(net, batch, part, names[-1])
            losses.append(loss)
            for name, value in numbers.items():
                measured.setdefault(name, []).append(value)
        gradients = self.optim.gradients()
        norm = torch.nn.utils.get_total_norm(gradients)
        own = [mean(losses), norm, torch.tensor(num_clips), torch.tensor(self.signals.received is not None)]
        own += [mean(values) for values in measured.values()]
        # Every process gets the same means, and so they agree on what to do next.
        loss, norm_mean, clips_mean, stop, *means = world.mean(gather_numbers(own, world.device)).tolist()
        learning_rate = self.optim.config.learning_rate(state.step)
        is_good = math.isfinite(loss) and math.isfinite(norm_mean)
        if is_good:
            if config.clip_norm is not None:
                torch.nn.utils.clip_grads_with_norm_(list(self.optim.parameters.values()), config.clip_norm, norm)
            self.optim.step(state.step)
        self.optim.zero_grad()
        state.step += 1
        numbers = dict(zip(measured, means, strict=True))
        if not is_good:
            self.note_bad_step(loss, norm_mean, numbers)
        step_sec = time.perf_counter() - began
        line = {
            "step": state.step,
            "loss": loss,
            **numbers,
            "lr": learning_rate,
            "grad_norm": norm_mean,
            "clips_per_sec": clips_mean * world.size / step_sec,
            "wait": wait_sec / step_sec,
            "skipped": state.num_skipped,
            "unreadable": sum(len(loader.unreadable) for loader in self.sources.values()),
            "sources": "+".join(sorted(set(names))),
        }
        if self.run_log is not None:
            if state.step % config.log_every == 0 or not is_good:
                self.run_log.write(line)
            self.run_log.show(state.step, loss, line["clips_per_sec"], step_sec)
        if self.on_step is not None:
            self.on_step(line)
        if len(state.bad_steps) > config.max_bad_steps:
            raise TrainingDiverged(self.why_diverged())
        return stop > 0

    def choose_source(self, part: int) -> str:
        """Drawn by share; the same in every process."""
        rng = np.random.default_rng((self.config.seed, self.state.step, part))
        return list(self.sources)[rng.choice(len(self.shares), p=self.shares)]

    def backward(self, net: nn.Module, batch: Batch, part: int, source: str) -> tuple[Tensor, dict[str, Tensor]]:
        """Add the gradient of one batch; processes exchange gradients at the last part of a step."""
        config, place = self.config, self.world.device
        if not self.module.applying(batch):
            raise ValueError(
                f"source {source} gives {batch.task}s, which none of the objectives reads: "
                f"{', '.join(self.module.weights)}"
            )
        torch.manual_seed(self.draw_seed(part, 0))  # dropout, order of patches
        rng = torch.Generator().manual_seed(self.draw_seed(part, 1))
        is_last = part == self.accumulate - 1
        group_size = nullcontext() if is_last or not isinstance(net, DistributedDataParallel) else net.no_sync()
        with group_size:
            with torch.autocast(place.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
                loss, numbers = net(batch.to(place), Step(rng, progress=self.state.step / self.num_steps))
            (loss / self.accumulate).backward()
        return loss.detach(), numbers

    def draw_seed(self, part: int, purpose: int) -> int:
        """A seed that no other step, process or purpose has."""
        numbers = (self.config.seed, self.state.step, part, self.world.rank, purpose)
        return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))

    def note_bad_step(self, loss: float, norm: float, numbers: Mapping[str, float]) -> None:
        state = self.state
        state.num_skipped += 1
        state.bad_steps = (*(s for s in state.bad_steps if s > state.step - BAD_STEP_WINDOW), state.step)
        wrong = {"loss": loss, "gradient norm": norm} | {k: v for k, v in numbers.items() if k.endswith("/loss")}
        culprits = ", ".join(f"{name} is {value}" for name, value in wrong.items() if not math.isfinite(value))
        log.warning("step %d skipped: %s", state.step, culprits)

    def why_diverged(self) -> str:
        state = self.state
        weights = f"The weights before are in {self.newest}" if self.newest else "No checkpoint was saved yet"
        return (
            f"{len(state.bad_steps)} of the last {BAD_STEP_WINDOW} steps had a loss or gradient that is not finite "
            f"(the last one was step {state.step}), and train.max_bad_steps is {self.config.max_bad_steps}. {weights}. "
            "Try a lower optim.lr, a longer optim.warmup or train.precision=float32 in a new run, which may start "
            "(`init`) from a checkpoint"
        )

    def evaluate_if_due(self) -> bool:
        """Tells, as `train_step`, whether to stop; False where there was nothing to do."""
        state, every = self.state, self.config.eval_every
        is_due = state.step == self.num_steps or (every is not None and state.step % every == 0)
        if self.evaluator is None or not is_due or state.evaluated == state.step:
            return False
        self.model.eval()
        try:
            with torch.no_grad():
                metrics = {name: float(value) for name, value in self.evaluator(self.model, state.step).items()}
            self.keep_best(metrics)
        except BaseException:
            self.save()  # what was learned is not lost with an evaluation that fails
            raise
        self.to_training_mode()
        state.evaluated, state.metrics = state.step, metrics
        if self.run_log is not None:
            self.run_log.write({"step": state.step, "eval": metrics})
        log.info("step %d  %s", state.step, "  ".join(f"{name} {value:.4g}" for name, value in metrics.items()))
        stop = torch.tensor([self.signals.received is not None], dtype=torch.float64, device=self.world.device)
        return self.world.mean(stop).item() > 0

    def keep_best(self, metrics: Mapping[str, float]) -> None:
        name = self.config.best
        if name is None:
            return
        if name not in metrics:
            raise ValueError(f"train.best is {name!r}, but the evaluation gives: {', '.join(metrics)}")
        if self.state.best is None or metrics[name] > self.state.best:
            self.state.best = metrics[name]
            if self.world.is_main:
                card = model_card(self.model, results(self.state.step, metrics))
                save_checkpoint(self.run_dir / "best", self.model, self.tokenizer, self.experiment, card)

    def save(self) -> None:
        """Save this step, unless it is saved already, and let go of the oldest checkpoints."""
        state = self.state
        if self.saved == (state.step, state.evaluated):
            return
        folder = step_folder(self.run_dir, state.step)
        if self.world.is_main:
            state.sources = {name: loader.state_dict() for name, loader in self.sources.items()}
            card = model_card(self.model, results(state.step, state.metrics if state.evaluated == state.step else {}))
            save_checkpoint(folder, self.model, self.tokenizer, self.experiment, card, more=self.save_training)
            for old in step_folders(self.run_dir)[: -self.config.keep]:
                remove(old)
        self.newest, self.saved = folder, (state.step, state.evaluated)

    def save_training(self, folder: Path) -> None:
        training = folder / TRAINING
        training.mkdir()
        self.state.save(training)
        save_tensors(training / OPTIMIZER, self.optim.tensors())
        if beside := self.module.beside_model():
            save_tensors(training / OBJECTIVES, beside)


def mean(values: list[Tensor]) -> Tensor:
    return torch.stack(values).mean()


def gather_numbers(numbers: list[Tensor], device: torch.device) -> Float64[Tensor, " M"]:
    return torch.stack([number.detach().to(device, torch.float64) for number in numbers])


def results(step: int, metrics: Mapping[str, float]) -> str:
    """The paragraph of a model card that tells how far training was."""
    table = "".join(f"\n| {name} | {value:.2f} |" for name, value in metrics.items())
    return f"After {step} training steps." + (f"\n\n| evaluation | |\n|---|---|{table}" if table else "")


@contextmanager
def repeatable_kernels(device: torch.device, wanted: bool) -> Iterator[None]:
    """On a GPU, let torch choose kernels that give the same bits every time, where it has them."""
    if device.type != "cuda" or not wanted:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
