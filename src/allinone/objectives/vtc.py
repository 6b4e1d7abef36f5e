"""Video-text contrast (VTC): in the shared space, each clip lies nearest to its text and each text to its clip."""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float, Int
from torch import Tensor

from allinone.model.encoder import VideoTextEncoder
from allinone.model.heads import ContrastiveHead
from allinone.objectives.base import Ingredients, Objective, Step
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

        def build(self, ingredients: Ingredients) -> "VTC":
            return VTC(self, ingredients)

    def __init__(self, config: Config, ingredients: Ingredients):
        super().__init__()
        head = ContrastiveHead.Config(temperature=config.temperature, learn_temperature=config.learn_temperature)
        self.head = ContrastiveHead(head, ingredients.model)

    def forward(self, encoder: VideoTextEncoder, batch: Batch, step: Step) -> Losses:
        text = self.head.embed_text(encoder.encode_text(batch.text_ids, batch.text_mask))
        video = self.head.embed_video(encoder.encode_video(batch.frames))
        step.similarity = (text @ video.T).detach().float()
        keys = torch.stack([video_keys(batch).to(text.device), text_keys(batch)], dim=1)
        all_text, all_video, all_keys = gather(text), gather(video), gather_keys(keys)
        positive = (keys[:, None] == all_keys[None]).any(-1)
        scale = self.head.scale
        t2v = info_nce(scale * text @ all_video.T, positive)
        v2t = info_nce(scale * video @ all_text.T, positive)
        hit = positive.gather(1, (text @ all_video.T).argmax(1, keepdim=True)).float().mean() * 100
        return Losses(t2v + v2t, {"accuracy": hit.detach(), "temperature": 1 / scale.detach()})


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


def video_keys(batch: Batch) -> Int[Tensor, " B"]:
    """A number for each video's name that is the same on every rank."""
    digests = (blake2b(name.encode(), digest_size=8).digest() for name in batch.video_ids)
    return torch.tensor([int.from_bytes(d, "big", signed=True) for d in digests])


def text_keys(batch: Batch) -> Int[Tensor, " B"]:
    """A number for each text that is the same on every rank, whatever the padding (a polynomial hash modulo 2^64)."""
    ids = (batch.text_ids + 1).masked_fill(~batch.text_mask, 0)
    powers = torch.full((ids.shape[1],), 6364136223846793005, device=ids.device).cumprod(0)
    return (ids * powers).sum(1)
