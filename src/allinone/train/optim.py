"""AdamW as in the paper: which parameters decay, which have a higher learning rate, and the schedule of the rate."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from allinone.checks import check_literals
from allinone.model.heads import known_heads


class Optim:
    """AdamW over named parameters, with the parameter groups and the learning-rate schedule of the paper.

    The defaults are those of the released configuration (released: modules/allinone_utils.py:326).
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Settings of the optimizer.

        Args:
            head_lr_mult: multiplies the learning rate of heads that no pre-training prepares.
            warmup: number of steps of linear warmup; below 1, a fraction of `num_steps`.
            schedule: after the warmup, `polynomial` decays to `end_lr` with `power` (1 is linear), `cosine` along half
                a wave, and `constant` does not decay.
        """

        num_steps: int
        lr: float = 1e-4
        betas: tuple[float, float] = (0.9, 0.98)
        eps: float = 1e-8
        weight_decay: float = 0.01
        head_lr_mult: float = 10.0
        warmup: int | float = 0.1
        schedule: Literal["polynomial", "cosine", "constant"] = "polynomial"
        power: float = 1.0
        end_lr: float = 0.0

        def __post_init__(self):
            check_literals(self)
            if self.num_steps < 1:
                raise ValueError(f"num_steps must be at least 1, got {self.num_steps}")
            for name in ("lr", "eps", "head_lr_mult", "power"):
                if not 0 < getattr(self, name) < math.inf:
                    raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
            if not 0 <= self.weight_decay < math.inf:
                raise ValueError(f"weight_decay must not be negative, got {self.weight_decay}")
            if not all(0 <= beta < 1 for beta in self.betas):
                raise ValueError(f"betas must be in [0, 1), got {self.betas}")
            if not 0 <= self.end_lr <= self.lr:
                raise ValueError(f"end_lr must be from 0 to lr {self.lr}, got {self.end_lr}")
            # From 1 on it is a number of steps, so 2.5 would be a mistake.
            if self.warmup < 0 or (self.warmup >= 1 and self.warmup != int(self.warmup)):
                raise ValueError(f"warmup must be a number of steps or a fraction below 1, got {self.warmup}")
            if self.num_warmup >= self.num_steps:
                raise ValueError(f"a warm-up of {self.num_warmup} steps leaves none of {self.num_steps} to learn in")

        @property
        def num_warmup(self) -> int:
            """Steps of warmup."""
            return int(self.warmup) if self.warmup >= 1 else round(self.warmup * self.num_steps)

        def learning_rate(self, step: int) -> float:
            """Return the learning rate of the update that follows `step` others."""
            if step < self.num_warmup:
                return self.lr * step / self.num_warmup
            done = min((step - self.num_warmup) / (self.num_steps - self.num_warmup), 1.0)
            left = {
                "polynomial": (1 - done) ** self.power,
                "cosine": (1 + math.cos(math.pi * done)) / 2,
                "constant": 1.0,
            }
            return self.end_lr + (self.lr - self.end_lr) * left[self.schedule]

    def __init__(self, config: Config, parameters: Iterable[tuple[str, nn.Parameter]]):
        self.config = config
        self.parameters = {name: parameter for name, parameter in parameters if parameter.requires_grad}
        groups = parameter_groups(self.parameters.items(), config)
        self.adamw = torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=True)

    def step(self, step: int) -> None:
        """Update the parameters that have a gradient, at the learning rate of this step."""
        for group in self.adamw.param_groups:
            group["lr"] = self.config.learning_rate(step) * group["lr_mult"]
        self.adamw.step()

    def zero_grad(self) -> None:
        """Set all gradients to None, so that a parameter without one is not updated."""
        self.adamw.zero_grad(set_to_none=True)

    def gradients(self) -> list[Tensor]:
        """Return the gradients of the last backward passes, without parameters that had no part in them."""
        return [parameter.grad for parameter in self.parameters.values() if parameter.grad is not None]

    def tensors(self) -> dict[str, Tensor]:
        """Return moments and step counts, for example `exp_avg.<parameter>`; none for parameters never updated."""
        return {
            f"{kind}.{name}": value
            for name, parameter in self.parameters.items()
            for kind, value in self.adamw.state.get(parameter, {}).items()
        }

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Replace the state by what `tensors` returned.

        Raises:
            ValueError: if it is the state of other parameters.
        """
        self.adamw.state.clear()
        for key, value in tensors.items():
            kind, name = key.split(".", 1)  # parameters have dots in their names
            if name not in self.parameters:
                raise ValueError(f"the optimizer's state is of another model: it has {name}")
            parameter = self.parameters[name]
            if value.shape not in (parameter.shape, ()):  # () is the step count
                raise ValueError(f"the optimizer's {key} is {tuple(value.shape)}, wanted {tuple(parameter.shape)}")
            self.adamw.state[parameter][kind] = value.to(parameter.device)


def parameter_groups(parameters: Iterable[tuple[str, nn.Parameter]], config: Optim.Config) -> list[dict[str, Any]]:
    """Return AdamW's parameter groups: with the usual and the higher learning rate, each with and without decay."""
    fast = tuple(f"heads.{kind}." for kind, head in known_heads().items() if head.starts_untrained)
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in parameters:
        lr_mult = config.head_lr_mult if name.startswith(fast) else 1.0
        decay = config.weight_decay if decays(name, parameter) else 0.0
        empty = {"params": [], "names": [], "lr": config.lr * lr_mult, "lr_mult": lr_mult, "weight_decay": decay}
        group = groups.setdefault((lr_mult, decay), empty)
        group["params"].append(parameter)
        group["names"].append(name)
    return list(groups.values())


def decays(name: str, parameter: Tensor) -> bool:
    """Return whether weight decay applies: not to biases, norms and scalars.

    As released, the norm inside the answer and choice heads does decay (released: modules/allinone_utils.py:326).
    """
    *modules, last = name.split(".")
    is_norm = bool(modules) and modules[-1].startswith("norm")
    return last != "bias" and not is_norm and parameter.ndim > 0
