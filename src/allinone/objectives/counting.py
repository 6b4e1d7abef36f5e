"""Counting: a question of how many times, answered with a number (TGIF-QA Count, https://arxiv.org/abs/1704.04497)."""

from dataclasses import dataclass

import torch.nn.functional as F

from allinone.model.heads import NumberHead
from allinone.objectives.base import BuildContext, Objective
from allinone.objectives.views import Views
from allinone.types import Losses


class Counting(Objective):
    """Mean squared error of a number read off the joint feature, as in the official baseline of TGIF-QA."""

    tasks = ("number",)

    @dataclass(frozen=True, kw_only=True)
    class Config:
        weight: float = 1.0

        def build(self, context: BuildContext) -> "Counting":
            return Counting(self, context)

    def __init__(self, config: Config, context: BuildContext):
        super().__init__()
        self.head = NumberHead(NumberHead.Config(), context.model)

    def forward(self, views: Views) -> Losses:
        labels = views.batch.labels
        assert labels is not None
        counted = self.head(views.joint).float()
        exact = (counted.detach().round() == labels).float().mean() * 100
        return Losses(F.mse_loss(counted, labels.float()), {"accuracy": exact})
