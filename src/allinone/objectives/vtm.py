"""Video-text matching (VTM): in the joint mode, tell the texts of a clip from those of others in the batch."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from allinone.checks import check_literals
from allinone.model.encoder import VideoTextEncoder
from allinone.model.heads import MatchingHead
from allinone.objectives.base import BuildContext, Objective, Pairs, Step, pair_keys, same_pair
from allinone.types import Batch, Losses


class VTM(Objective):
    """As many matching pairs as foreign ones, made within the batch: no clip is decoded to be a negative.

    A foreign pair keeps, in turn, the text or the clip. `random` negatives are uniform; `hard` ones are drawn by
    VTC similarity, in a share that grows linearly from none to all over the first `hard_warmup` of training, since hard
    negatives from the first step teach nothing. `max_pairs` limits the matching pairs: the joint mode costs more
    than VTC.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        weight: float = 1.0
        negatives: Literal["random", "hard"] = "random"
        hard_warmup: float = 0.3
        hard_scale: float = 20.0
        max_pairs: int | None = None

        def __post_init__(self):
            check_literals(self)
            if self.max_pairs is not None and self.max_pairs < 1:
                raise ValueError(f"max_pairs must be at least 1, got {self.max_pairs}")
            if not 0 <= self.hard_warmup <= 1:
                raise ValueError(f"hard_warmup is a share of training, in [0, 1]; got {self.hard_warmup}")

        def build(self, ingredients: BuildContext) -> "VTM":
            return VTM(self, ingredients)

    def __init__(self, config: Config, ingredients: BuildContext):
        super().__init__()
        self.config = config
        self.head = MatchingHead(MatchingHead.Config(), ingredients.model)

    def forward(self, encoder: VideoTextEncoder, batch: Batch, step: Step) -> Losses:
        text, video, matched = self.choose_pairs(batch, step)
        text_mask = batch.text_mask[text]
        keep = None if step.pairs_are_read else 1
        encoded = encoder(batch.frames[video], batch.text_ids[text], text_mask, num_out_tokens=keep)
        logits = self.head(encoder.pool(encoded.text))
        step.pairs = Pairs(encoded, text_mask, matched) if step.pairs_are_read else None
        accuracy = (logits.argmax(-1) == matched).float().mean() * 100
        return Losses(F.cross_entropy(logits.float(), matched.long()), {"accuracy": accuracy})

    def choose_pairs(self, batch: Batch, step: Step) -> tuple[Int[Tensor, " M"], Int[Tensor, " M"], Bool[Tensor, " M"]]:
        """Rows of the texts and of the clips that meet, and whether they belong together."""
        keys = pair_keys(batch)
        allowed = ~same_pair(keys, keys)
        weights = allowed.float()
        if self.config.negatives == "hard":
            if step.similarity is None:
                raise ValueError("hard negatives need the similarity of VTC: list a vtc objective before vtm")
            hard_warmup = min(step.progress / self.config.hard_warmup, 1.0) if self.config.hard_warmup else 1.0
            hard = (step.similarity * self.config.hard_scale).masked_fill(~allowed, float("-inf")).softmax(1)
            uniform = weights / weights.sum(1, keepdim=True).clamp(min=1)
            weights = hard_warmup * hard.nan_to_num() + (1 - hard_warmup) * uniform
        rows = torch.arange(min(len(batch), self.config.max_pairs or len(batch)), device=weights.device)
        keep_text = rows[(rows % 2 == 0) & (weights[rows].sum(1) > 0)]
        keep_clip = rows[(rows % 2 == 1) & (weights.T[rows].sum(1) > 0)]
        other_clip = draw(weights[keep_text], step.rng)
        other_text = draw(weights.T[keep_clip], step.rng)
        text = torch.cat([rows, keep_text, other_text])
        video = torch.cat([rows, other_clip, keep_clip])
        return text, video, torch.arange(len(text), device=text.device) < len(rows)


def draw(weights: Float[Tensor, "M B"], rng: torch.Generator) -> Int[Tensor, " M"]:
    """One column for each row, with the probability of its weight (drawn on the CPU, where the generator lives)."""
    if not len(weights):
        return torch.empty(0, dtype=torch.long, device=weights.device)
    return torch.multinomial(weights.cpu(), 1, generator=rng)[:, 0].to(weights.device)
