"""`TrainConfig`: how a run proceeds, apart from what it learns (the objectives) and how fast (the optimizer)."""

from dataclasses import dataclass
from typing import Literal

from allinone.checks import check_literals


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of the training loop; a step is one update.

    Args:
        clip_norm: largest norm of the gradient; None for no clipping.
        max_bad_steps: a step with a loss or gradient that is not finite is skipped; more of them than this among the
            last hundred stop the run.
        eval_every: steps between evaluations; None evaluates only at the end.
        keep: number of checkpoints to keep.
        best: name of a metric, for example `test/t2v/R@1`; the weights with its highest value are also kept in `best/`.
        device: a GPU by default, and the CPU where torch finds none.
        repeatable: ask for GPU kernels that give the same bits every time.
        freeze_encoder: train only the heads, on features of the encoder in evaluation mode (a linear probe).
        recompute: gradient checkpointing of each block: less memory, a third more time.
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
        least = {"log_every": 1, "save_every": 1, "eval_every": 1, "keep": 1, "seed": 0, "max_bad_steps": 0}
        for name, minimum in least.items():
            value = getattr(self, name)
            if value is not None and value < minimum:
                raise ValueError(f"{name} must be at least {minimum}, got {value}")
        if self.seed >= 2**63:
            raise ValueError(f"seed must be below 2**63, got {self.seed}")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ValueError(f"clip_norm must be positive, or None for no clipping, got {self.clip_norm}")
