"""Recognition: which class does a clip show? One linear layer on the video-only mode."""

from dataclasses import dataclass

import torch.nn.functional as F

from allinone.model.encoder import VideoTextEncoder
from allinone.model.heads import LabelHead
from allinone.objectives.base import BuildContext, Objective, Step
from allinone.types import Batch, Losses


class Recognition(Objective):
    """Cross-entropy over the classes. With `train.freeze_encoder=true` it is the linear probe of the paper."""

    reads = ("label",)

    @dataclass(frozen=True, kw_only=True)
    class Config:
        weight: float = 1.0

        def build(self, ingredients: BuildContext) -> "Recognition":
            return Recognition(self, ingredients)

    def __init__(self, config: Config, ingredients: BuildContext):
        super().__init__()
        if not ingredients.classes:
            raise ValueError("an objective that recognises classes needs training data with labels")
        self.head = LabelHead(LabelHead.Config(classes=ingredients.classes), ingredients.model)

    def forward(self, encoder: VideoTextEncoder, batch: Batch, step: Step) -> Losses:
        assert batch.labels is not None
        logits = self.head(encoder.encode_video(batch.frames, num_out_tokens=1)).float()
        accuracy = (logits.argmax(-1) == batch.labels).float().mean() * 100
        return Losses(F.cross_entropy(logits, batch.labels), {"accuracy": accuracy})
