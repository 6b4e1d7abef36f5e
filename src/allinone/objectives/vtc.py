"""Video-text contrast (VTC): in the shared space, each clip is nearest to its text and each text to its clip."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float, Int
from torch import Tensor

from allinone.model.heads import ContrastiveHead
from allinone.objectives.base import BuildContext, Objective
from allinone.objectives.views import Views, same_pair
from allinone.types import Losses


class VTC(Objective):
    """InfoNCE (https://arxiv.org/abs/1807.03748), summed over both directions, with negatives from all ranks.

    Clips of the same video, and clips with the same text, are positives of each other and never negatives. The
    released loss (modules/objectives.py:218, 252) has a fixed temperature of 0.05, and negatives from one rank only.
    """

    turn = 0

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """`temperature` is the initial one if it is learned."""

        weight: float = 1.0
        temperature: float = 0.05
        learn_temperature: bool = False

        def build(self, context: BuildContext) -> "VTC":
            return VTC(self, context)

    def __init__(self, config: Config, context: BuildContext):
        super().__init__()
        head = ContrastiveHead.Config(temperature=config.temperature, learn_temperature=config.learn_temperature)
        self.head = ContrastiveHead(head, context.model)

    def forward(self, views: Views) -> Losses:
        text, video = views.embedded
        all_text, all_video = gather(text), gather(video)  # M rows of all ranks
        # Names of videos are not known to other ranks, so pairs are compared by hash.
        positive = same_pair(views.keys, gather_keys(views.keys))  # [B, M]
        scale = self.head.scale
        t2v = scale * text @ all_video.T
        v2t = scale * video @ all_text.T
        # Accuracy: the nearest clip of each text is its own, or one with the same text.
        hit = positive.gather(1, t2v.detach().argmax(1, keepdim=True)).float().mean() * 100
        loss = info_nce(t2v, positive) + info_nce(v2t, positive)
        return Losses(loss, {"accuracy": hit, "temperature": 1 / scale.detach()})


def info_nce(logits: Float[Tensor, "B M"], positive: Bool[Tensor, "B M"]) -> Float[Tensor, ""]:
    """Return the mean cross-entropy against the positives of each row, which share the probability equally."""
    # In float32, also under autocast: the logits are up to 1 / temperature.
    log_probs = logits.float().log_softmax(dim=1)
    weights = positive / positive.sum(dim=1, keepdim=True)
    return -(weights * log_probs).sum(dim=1).mean()


class GatherRows(torch.autograd.Function):
    """Gather the rows of all ranks. The gradients of all ranks flow back to the rank that the rows came from."""

    @staticmethod
    def forward(ctx: Any, local: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.num_rows = len(local)
        rows = [torch.empty_like(local) for _ in range(dist.get_world_size())]
        dist.all_gather(rows, local.contiguous())
        return torch.cat(rows)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        # Every rank has a loss over these rows: sum their gradients, and keep those of the own rows.
        grad = grad.contiguous()
        dist.all_reduce(grad)
        return grad.split(ctx.num_rows)[dist.get_rank()]


def gather(local: Float[Tensor, "B E"]) -> Float[Tensor, "M E"]:
    """Return the rows of all ranks, with gradient."""
    return GatherRows.apply(local) if has_other_ranks() else local  # pyright: ignore[reportReturnType]


def gather_keys(local: Int[Tensor, "B 2"]) -> Int[Tensor, "M 2"]:
    """Return the keys of all ranks."""
    if not has_other_ranks():
        return local
    rows = [torch.empty_like(local) for _ in range(dist.get_world_size())]
    dist.all_gather(rows, local)
    return torch.cat(rows)


def has_other_ranks() -> bool:
    """Return True in a run of several processes."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
