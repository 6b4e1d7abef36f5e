"""Counting: a question of how many times, answered with a number (TGIF-QA Count)."""

from dataclasses import dataclass

import torch.nn.functional as F

from allinone.model.encoder import VideoTextEncoder
from allinone.model.heads import NumberHead
from allinone.objectives.base import BuildContext, Objective, Step
from allinone.types import Batch, Losses


class Counting(Objective):
    """Mean squared error of a number that the joint feature gives, as the official baseline of TGIF-QA has it."""

    reads = ("number",)

    @dataclass(frozen=True, kw_only=True)
    class Config:
        weight: float = 1.0

        def build(self, ingredients: BuildContext) -> "Counting":
            return Counting(self, ingredients)

    def __init__(self, config: Config, ingredients: BuildContext):
        super().__init__()
        self.head = NumberHead(NumberHead.Config(), ingredients.model)

    def forward(self, encoder: VideoTextEncoder, batch: Batch, step: Step) -> Losses:
        assert batch.labels is not None
        encoded = encoder(batch.frames, batch.text_ids, batch.text_mask, num_out_tokens=1)
        counted = self.head(encoder.pool(encoded.text)).float()
        exact = (counted.detach().round() == batch.labels).float().mean() * 100
        return Losses(F.mse_loss(counted, batch.labels.float()), {"accuracy": exact})
