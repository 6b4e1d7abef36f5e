"""Recognition: which class does a clip show? One linear layer on the video-only mode."""

from dataclasses import dataclass

import torch.nn.functional as F

from allinone.model.heads import LabelHead
from allinone.objectives.base import BuildContext, Objective
from allinone.objectives.views import Views
from allinone.types import Losses


class Recognition(Objective):
    """Cross-entropy over the classes. With `train.freeze_encoder=true` it is the linear probe of the paper."""

    tasks = ("label",)

    @dataclass(frozen=True, kw_only=True)
    class Config:
        weight: float = 1.0

        def build(self, context: BuildContext) -> "Recognition":
            return Recognition(self, context)

    def __init__(self, config: Config, context: BuildContext):
        super().__init__()
        if not context.classes:
            raise ValueError("an objective that recognizes classes needs training data with labels")
        self.head = LabelHead(LabelHead.Config(classes=context.classes), context.model)

    def forward(self, views: Views) -> Losses:
        labels = views.batch.labels
        assert labels is not None
        logits = self.head(views.video).float()  # [B, A]
        accuracy = (logits.argmax(-1) == labels).float().mean() * 100
        return Losses(F.cross_entropy(logits, labels), {"accuracy": accuracy})
