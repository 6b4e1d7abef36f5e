"""Video-text matching (VTM): in the joint mode, tell the texts of a clip from those of other clips in the batch."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from allinone.checks import check_literals
from allinone.model.heads import MatchingHead
from allinone.objectives.base import BuildContext, Objective
from allinone.objectives.views import ChosenPairs, Views, same_pair
from allinone.types import Losses


class VTM(Objective):
    """As many matching pairs as foreign ones, made within the batch, so that no clip is decoded to be a negative.

    The released loss is modules/objectives.py:287, with random foreign clips.

    A foreign pair keeps the text or the clip of a matching one, in turn, and its other side is drawn.
    """

    turn = 1

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """How foreign pairs are drawn.

        Args:
            negatives: `random` draws uniformly, `hard` by VTC similarity (ALBEF, https://arxiv.org/abs/2107.07651).
            hard_warmup: part of the training over which the share of hard draws grows linearly from 0 to 1, because
                hard negatives from the first step teach nothing.
            hard_scale: 1 / temperature of the hard draws.
            max_pairs: limit of the matching pairs, because the joint mode costs more than VTC.
        """

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
                raise ValueError(f"hard_warmup must be in [0, 1], a fraction of the training, got {self.hard_warmup}")

        def build(self, context: BuildContext) -> "VTM":
            return VTM(self, context)

    def __init__(self, config: Config, context: BuildContext):
        super().__init__()
        self.config = config
        self.head = MatchingHead(MatchingHead.Config(), context.model)

    def forward(self, views: Views) -> Losses:
        matched = views.pairs.matched
        logits = self.head(views.encoder.pool(views.pairs.encoded.text))
        accuracy = (logits.argmax(-1) == matched).float().mean() * 100
        return Losses(F.cross_entropy(logits.float(), matched.long()), {"accuracy": accuracy})

    def choose_pairs(self, views: Views) -> ChosenPairs:
        """Draw the foreign pairs; matching ones come first."""
        config, num_clips = self.config, len(views.batch)
        # Weight of clip j as a negative of text i: 0 if they belong together.
        allowed = ~same_pair(views.keys, views.keys)  # [B, B]
        weights = allowed.float()
        if config.negatives == "hard":
            # Mix the two distributions, so that hard negatives come in slowly. Rows without any negative are NaN.
            share = min(views.progress / config.hard_warmup, 1.0) if config.hard_warmup else 1.0  # no warmup: all hard
            hard = (views.similarity * config.hard_scale).masked_fill(~allowed, float("-inf")).softmax(1)
            uniform = weights / weights.sum(1, keepdim=True).clamp(min=1)
            weights = share * hard.nan_to_num() + (1 - share) * uniform
        # Even rows keep their text and get another clip, odd rows the other way; not where there is no other.
        rows = torch.arange(min(num_clips, config.max_pairs or num_clips), device=weights.device)
        keep_text = rows[(rows % 2 == 0) & (weights[rows].sum(1) > 0)]
        keep_clip = rows[(rows % 2 == 1) & (weights.T[rows].sum(1) > 0)]
        other_clip = draw(weights[keep_text], views.rng)
        other_text = draw(weights.T[keep_clip], views.rng)
        # Matching pairs, then foreign ones that keep their text, then those that keep their clip.
        text = torch.cat([rows, keep_text, other_text])
        video = torch.cat([rows, other_clip, keep_clip])
        return ChosenPairs(text, video, torch.arange(len(text), device=text.device) < len(rows))


def draw(weights: Float[Tensor, "M B"], rng: torch.Generator) -> Int[Tensor, " M"]:
    """Draw one column for each row, in proportion to the weights, on the CPU because the generator is there."""
    if not len(weights):
        return torch.empty(0, dtype=torch.long, device=weights.device)
    return torch.multinomial(weights.cpu(), 1, generator=rng)[:, 0].to(weights.device)
