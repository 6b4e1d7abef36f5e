"""Video-text contrast (VTC): in the shared space, each clip lies nearest to its text and each text to its clip."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float, Int
from torch import Tensor

from allinone.model.encoder import VideoTextEncoder
from allinone.model.heads import ContrastiveHead
from allinone.objectives.base import BuildContext, Objective, Step, pair_keys, same_pair
from allinone.types import Batch, Losses


class VTC(Objective):
    """Sum of both directions of InfoNCE (released: temperature 0.05), with negatives from all ranks.

    Clips of one video, and clips with the very same text, are positives of each other and never negatives.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        weight: float = 1.0
        temperature: float = 0.05
        learn_temperature: bool = False

        def build(self, ingredients: BuildContext) -> "VTC":
            return VTC(self, ingredients)

    def __init__(self, config: Config, ingredients: BuildContext):
        super().__init__()
        head = ContrastiveHead.Config(temperature=config.temperature, learn_temperature=config.learn_temperature)
        self.head = ContrastiveHead(head, ingredients.model)

    def forward(self, encoder: VideoTextEncoder, batch: Batch, step: Step) -> Losses:
        text = self.head.embed_text(encoder.encode_text(batch.text_ids, batch.text_mask, num_out_tokens=1))
        video = self.head.embed_video(encoder.encode_video(batch.frames, num_out_tokens=1))
        step.similarity = (text @ video.T).detach().float()
        keys = pair_keys(batch)
        all_text, all_video = gather(text), gather(video)
        positive = same_pair(keys, gather_keys(keys))
        scale = self.head.scale
        t2v = scale * text @ all_video.T
        v2t = scale * video @ all_text.T
        hit = positive.gather(1, t2v.detach().argmax(1, keepdim=True)).float().mean() * 100
        loss = info_nce(t2v, positive) + info_nce(v2t, positive)
        return Losses(loss, {"accuracy": hit, "temperature": 1 / scale.detach()})


def info_nce(logits: Float[Tensor, "B M"], positive: Bool[Tensor, "B M"]) -> Float[Tensor, ""]:
    """Cross-entropy against the positives of each row, which share the probability equally."""
    log_probs = logits.float().log_softmax(dim=1)
    weights = positive / positive.sum(dim=1, keepdim=True)
    return -(weights * log_probs).sum(dim=1).mean()


class GatherRows(torch.autograd.Function):
    """Rows of all ranks; the gradients of all ranks flow back to the rank that the rows came from."""

    @staticmethod
    def forward(ctx: Any, local: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.num_rows = len(local)
        rows = [torch.empty_like(local) for _ in range(dist.get_world_size())]
        dist.all_gather(rows, local.contiguous())
        return torch.cat(rows)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        grad = grad.contiguous()
        dist.all_reduce(grad)
        return grad.split(ctx.num_rows)[dist.get_rank()]


def gather(local: Float[Tensor, "B E"]) -> Float[Tensor, "M E"]:
    return GatherRows.apply(local) if has_other_ranks() else local  # pyright: ignore[reportReturnType]


def gather_keys(local: Int[Tensor, "B 2"]) -> Int[Tensor, "M 2"]:
    if not has_other_ranks():
        return local
    rows = [torch.empty_like(local) for _ in range(dist.get_world_size())]
    dist.all_gather(rows, local)
    return torch.cat(rows)


def has_other_ranks() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
