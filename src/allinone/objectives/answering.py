"""Classification of the joint feature: open-ended questions, each answered with one label of a closed vocabulary."""

from dataclasses import dataclass

import torch.nn.functional as F

from allinone.model.encoder import VideoTextEncoder
from allinone.model.heads import AnswerHead
from allinone.objectives.base import BuildContext, Objective, Step
from allinone.types import IGNORE, Batch, Losses


class Answering(Objective):
    """Cross-entropy over the answers of the training data; a question with another answer teaches nothing."""

    reads = ("question",)

    @dataclass(frozen=True, kw_only=True)
    class Config:
        weight: float = 1.0
        hidden: int | None = None
        dropout: float = 0.5

        def build(self, ingredients: BuildContext) -> "Answering":
            return Answering(self, ingredients)

    def __init__(self, config: Config, ingredients: BuildContext):
        super().__init__()
        if ingredients.answers is None:
            raise ValueError("an objective that classifies answers needs training data with questions and answers")
        head = AnswerHead.Config(answers=ingredients.answers.answers, hidden=config.hidden, dropout=config.dropout)
        self.head = AnswerHead(head, ingredients.model)

    def forward(self, encoder: VideoTextEncoder, batch: Batch, step: Step) -> Losses:
        assert batch.labels is not None
        encoded = encoder(batch.frames, batch.text_ids, batch.text_mask, num_out_tokens=1)
        logits = self.head(encoder.pool(encoded.text)).float()
        count = (batch.labels != IGNORE).sum().clamp(min=1)
        loss = F.cross_entropy(logits, batch.labels, ignore_index=IGNORE, reduction="sum") / count
        return Losses(loss, {"accuracy": (logits.argmax(-1) == batch.labels).sum() * 100 / count})
