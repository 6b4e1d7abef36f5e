"""One training step: the weighted sum of losses, its gradient, and one update of the weights. Read this page first.

It knows no data set and no objective by name. Every random draw of a step (its sources, masks, negatives, dropout)
depends only on the seed, the step, the batch within it and the process, so a resumed run repeats, bit for bit, the
losses of an unbroken one.
"""

import math
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from allinone.model.encoder import VideoTextEncoder
from allinone.model.model import AllInOne
from allinone.objectives.base import Objective, by_turn
from allinone.objectives.views import Views
from allinone.train.config import TrainConfig
from allinone.train.optim import Optim
from allinone.train.world import World
from allinone.types import Batch


@runtime_checkable
class BatchStream(Protocol):
    """An endless stream of training batches. Batch n has the same task (captions, questions) in every process.

    `state_dict` is the position after the last batch given out, the same in every process; `unreadable` maps the videos
    that were skipped to the reason.
    """

    unreadable: dict[str, str]

    def forever(self) -> Iterator[Batch]:
        """Yield batches, epoch after epoch, from the current position on."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return the position, ready for JSON."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a position, so that the batches after it come next; ValueError if it is one in other data."""
        ...


@dataclass(frozen=True)
class TrainSource:
    """Batches of one source, and how often they are drawn in comparison with other sources."""

    loader: BatchStream
    sampling_weight: float = 1.0


class TrainingModel(nn.Module):
    """The encoder, the objectives and their weights: batch in, one loss out."""

    def __init__(self, encoder: VideoTextEncoder, objectives: Mapping[str, Objective], weights: Mapping[str, float]):
        super().__init__()
        if not objectives:
            raise ValueError("nothing to learn: there are no objectives")
        if objectives.keys() != weights.keys():
            raise ValueError(f"weights for {', '.join(weights) or 'nothing'}, but objectives {', '.join(objectives)}")
        # A fixed order: objectives draw from one generator, so their order changes what each draws.
        objectives = by_turn(objectives)
        owners: dict[str, str] = {}
        for name, objective in objectives.items():
            if "." in name or hasattr(nn.ModuleDict, name):
                raise ValueError(f"an objective cannot be called {name!r}: modules of torch have such an attribute")
            for head in objective.heads():
                if other := owners.get(head.kind):
                    raise ValueError(f"objectives {other} and {name} both have a {head.kind} head; a model has one")
                owners[head.kind] = name
        self.model = AllInOne(encoder, [head for objective in objectives.values() for head in objective.heads()])
        self.objectives = nn.ModuleDict(objectives)
        self.weights = dict(weights)

    def forward(
        self, batch: Batch, rng: torch.Generator, progress: float = 0.0
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """Return the weighted sum of the losses of all objectives that apply to this batch, and detached metrics.

        `rng` is for masks and negatives; `progress` is how much of the training is done, from 0 to 1.
        """
        total, metrics = torch.zeros((), device=batch.text_ids.device), {}
        applying = self.applying(batch)
        views = Views(self.model.encoder, batch, applying.values(), rng, progress)
        for name, objective in applying.items():
            losses = objective(views)
            total = total + self.weights[name] * losses.loss
            metrics[f"{name}/loss"] = losses.loss.detach().float()
            metrics |= {f"{name}/{metric}": value.detach().float() for metric, value in losses.metrics.items()}
        return total, metrics

    def applying(self, batch: Batch) -> dict[str, Objective]:
        """Return the objectives that this batch is for, by name."""
        named = ((name, objective) for name, objective in self.objectives.items() if isinstance(objective, Objective))
        return {name: objective for name, objective in named if objective.applies(batch)}

    def named(self) -> dict[str, nn.Parameter]:
        """Return parameters by their name in the checkpoint; those of objectives outside of heads keep their name."""
        return {name.removeprefix("model."): parameter for name, parameter in self.named_parameters()}

    def extra_state(self) -> dict[str, Tensor]:
        """Return the state of the objectives that is no part of the model, which only a resumed run needs."""
        # `keep_vars` returns the tensors themselves, which can be compared by identity; the default detaches them.
        of_model = set(map(id, self.model.state_dict(keep_vars=True).values()))
        return {k: v for k, v in self.objectives.state_dict(keep_vars=True).items() if id(v) not in of_model}


@dataclass(frozen=True, kw_only=True)
class Update:
    """What one step did. All but `wait_sec` are means or sums over the processes, so every process sees the same."""

    loss: float
    metrics: dict[str, float]
    grad_norm: float
    learning_rate: float
    num_clips: float
    sources: tuple[str, ...]
    wait_sec: float
    """Time that this process waited for batches."""
    should_stop: bool
    """Whether a signal has reached any of the processes."""

    @property
    def is_finite(self) -> bool:
        """Whether loss and gradient are finite; otherwise the step has changed nothing."""
        return math.isfinite(self.loss) and math.isfinite(self.grad_norm)

    def not_finite(self) -> list[str]:
        """Say which loss, or the gradient, is not finite."""
        values = {"loss": self.loss, "gradient norm": self.grad_norm}
        values |= {name: value for name, value in self.metrics.items() if name.endswith("/loss")}
        return [f"{name} is {value}" for name, value in values.items() if not math.isfinite(value)]


class Updater:
    """Makes one update of the weights at a time, from `accumulate` batches of each process."""

    def __init__(
        self,
        training_model: TrainingModel,
        optim: Optim,
        sources: Mapping[str, TrainSource],
        config: TrainConfig,
        accumulate: int,
        world: World,
    ):
        self.training_model = training_model
        self.optim = optim
        self.config = config
        self.accumulate = accumulate
        self.world = world
        self.streams = {name: source.loader.forever() for name, source in sources.items()}
        self.probs = sampling_probs(sources)
        self.net: nn.Module = training_model
        if world.size > 1:
            # Batches of questions leave the parameters of a contrastive head unused, and the other way round.
            self.net = DistributedDataParallel(training_model, find_unused_parameters=True, forward_sync_buffers=False)

    def update(self, step: int, is_signaled: bool) -> Update:
        """Make the update that follows `step` others; without effect if its loss or gradient is not finite."""
        sources: list[str] = []
        losses: list[Tensor] = []
        measured: dict[str, list[Tensor]] = defaultdict(list)
        wait_sec, num_clips = 0.0, 0

        # Each batch adds its gradient to those before it.
        for part in range(self.accumulate):
            sources.append(self.draw_source(step, part))
            before = time.perf_counter()
            batch = next(self.streams[sources[-1]])
            wait_sec += time.perf_counter() - before
            num_clips += len(batch)
            loss, metrics = self.backward(batch, sources[-1], step, part)
            losses.append(loss)
            for name, value in metrics.items():
                measured[name].append(value)

        # Every process gets the same means, so all agree on whether to update and whether to stop.
        # The gradients were averaged by DDP, so all processes compute the same norm.
        norm = torch.nn.utils.get_total_norm(self.optim.gradients())
        own = [mean(losses), norm, torch.tensor(num_clips), torch.tensor(is_signaled)]
        own += [mean(values) for values in measured.values()]
        loss, norm_mean, clips_mean, signaled, *means = self.world.mean(as_row(own, self.world.device)).tolist()
        update = Update(
            loss=loss,
            metrics=dict(zip(measured, means, strict=True)),
            grad_norm=norm_mean,
            learning_rate=self.optim.config.learning_rate(step),
            num_clips=clips_mean * self.world.size,
            sources=tuple(sources),
            wait_sec=wait_sec,
            should_stop=signaled > 0,
        )

        if update.is_finite:
            if self.config.clip_norm is not None:
                torch.nn.utils.clip_grads_with_norm_(list(self.optim.parameters.values()), self.config.clip_norm, norm)
            self.optim.step(step)
        # Also after a skipped update, or its gradient would be added to the next one.
        self.optim.zero_grad()
        return update

    def backward(self, batch: Batch, source: str, step: int, part: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Add the gradient of one batch; processes exchange gradients at the last batch of a step."""
        device = self.world.device
        if not self.training_model.applying(batch):
            raise ValueError(
                f"source {source} gives {batch.task}s, which none of the objectives is for: "
                f"{', '.join(self.training_model.weights)}"
            )
        torch.manual_seed(self.seed_of(step, part, purpose=0))  # dropout, order of patches
        rng = torch.Generator().manual_seed(self.seed_of(step, part, purpose=1))  # masks, negatives
        is_last = part == self.accumulate - 1
        net = self.net
        with net.no_sync() if isinstance(net, DistributedDataParallel) and not is_last else nullcontext():
            with torch.autocast(device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"):
                progress = step / self.optim.config.num_steps
                loss, metrics = net(batch.to(device), rng, progress)
            (loss / self.accumulate).backward()  # the mean of the batches, as if they were one
        return loss.detach(), metrics

    def draw_source(self, step: int, part: int) -> str:
        """Draw a source by its sampling weight; the same one in every process."""
        rng = np.random.default_rng((self.config.seed, step, part))
        return list(self.streams)[rng.choice(len(self.probs), p=self.probs)]

    def seed_of(self, step: int, part: int, purpose: int) -> int:
        """Return a seed that no other step, batch, process or purpose has."""
        entropy = (self.config.seed, step, part, self.world.rank, purpose)
        return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))


def sampling_probs(sources: Mapping[str, TrainSource]) -> Float64[np.ndarray, " sources"]:
    """Return the probability of each source, proportional to its sampling weight.

    Raises:
        ValueError: if a weight is negative, or none is positive.
    """
    weights = {name: source.sampling_weight for name, source in sources.items()}
    if not weights or min(weights.values()) < 0 or not 0 < sum(weights.values()) < math.inf:
        raise ValueError(f"sampling weights must be 0 or more, and one of them positive; got {weights}")
    return np.array(list(weights.values())) / sum(weights.values())


def mean(values: list[Tensor]) -> Tensor:
    return torch.stack(values).mean()


def as_row(values: list[Tensor], device: torch.device) -> Float64[Tensor, " M"]:
    """Return scalars as one tensor, which the processes can average in one exchange."""
    return torch.stack([value.detach().to(device, torch.float64) for value in values])
