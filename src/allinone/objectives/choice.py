"""Choice of the right text among several: options of a question, or captions of which one is the clip's."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor

from allinone.checks import check_literals
from allinone.model.heads import ChoiceHead, RankingHead
from allinone.objectives.base import BuildContext, Objective
from allinone.objectives.views import Views, pair_keys, same_pair
from allinone.types import IGNORE, Batch, Losses


class Choice(Objective):
    """Cross-entropy over the options, each read by the joint mode together with the clip and its question.

    Captions become a choice by wrong ones that are drawn from the batch.
    """

    tasks = ("choice", "caption")

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """What chooses, and how many options a caption gets.

        `head` is `ranking`, one linear layer, which starts as the matching head (released: modules/objectives.py:586),
        or `choice`, two new layers (released: modules/objectives.py:533). `num_options` counts the right one too.
        """

        weight: float = 1.0
        head: Literal["ranking", "choice"] = "ranking"
        num_options: int = 5

        def __post_init__(self):
            check_literals(self)
            if self.num_options < 2:
                raise ValueError(f"num_options must be at least 2, got {self.num_options}")

        def build(self, context: BuildContext) -> "Choice":
            return Choice(self, context)

    def __init__(self, config: Config, context: BuildContext):
        super().__init__()
        self.num_options = config.num_options
        if config.head == "ranking":
            self.head = RankingHead(RankingHead.Config(), context.model)
        else:
            self.head = ChoiceHead(ChoiceHead.Config(), context.model)

    def forward(self, views: Views) -> Losses:
        batch, encoder = views.batch, views.encoder
        if batch.task == "caption":
            batch = with_foreign_captions(batch, self.num_options, views.rng)
        assert batch.labels is not None
        # Each clip once for each of its options.
        frames = batch.frames.repeat_interleave(len(batch.text_ids) // len(batch), dim=0)
        encoded = encoder(frames, batch.text_ids, batch.text_mask, num_out_tokens=1)
        logits = self.head(encoder.pool(encoded.text)).float().unflatten(0, (len(batch), -1))  # [B, O]
        count = (batch.labels != IGNORE).sum().clamp(min=1)
        loss = F.cross_entropy(logits, batch.labels, ignore_index=IGNORE, reduction="sum") / count
        return Losses(loss, {"accuracy": (logits.argmax(-1) == batch.labels).sum() * 100 / count})


def with_foreign_captions(batch: Batch, num_options: int, rng: torch.Generator) -> Batch:
    """Return each clip with its own caption first, then captions of other videos, none twice unless there are too few.

    That the right option is always first gives nothing away, because options are read one by one.
    """
    keys = pair_keys(batch)
    allowed = (~same_pair(keys, keys)).float().cpu()
    if without := (allowed.sum(1) == 0).nonzero().flatten().tolist():
        raise ValueError(
            f"no other caption in the batch for {batch.video_ids[without[0]]}, to choose from; use a larger batch_size"
        )
    # With replacement only if a clip has fewer foreign captions than options.
    enough = int((allowed > 0).sum(1).min()) >= num_options - 1
    foreign = torch.multinomial(allowed, num_options - 1, replacement=not enough, generator=rng)  # [B, O - 1]
    own = torch.arange(len(batch))[:, None]  # [B, 1]
    chosen: Int[Tensor, " M"] = torch.cat([own, foreign], dim=1).flatten().to(batch.text_ids.device)
    return replace(
        batch,
        text_ids=batch.text_ids[chosen],
        text_mask=batch.text_mask[chosen],
        labels=torch.zeros(len(batch), dtype=torch.long, device=chosen.device),
        task="choice",
    )
