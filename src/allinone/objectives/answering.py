"""Open-ended questions: the answer is one label of a closed vocabulary."""

from dataclasses import dataclass

import torch.nn.functional as F

from allinone.model.heads import AnswerHead
from allinone.objectives.base import BuildContext, Objective
from allinone.objectives.views import Views
from allinone.types import IGNORE, Losses


class Answering(Objective):
    """Cross-entropy over the answers of the training data (released: modules/objectives.py:641).

    A question with an answer outside of the vocabulary is left out of the loss and of the accuracy.
    """

    tasks = ("question",)

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """`hidden` (default: half the width) and `dropout` are those of `AnswerHead`."""

        weight: float = 1.0
        hidden: int | None = None
        dropout: float = 0.5

        def build(self, context: BuildContext) -> "Answering":
            return Answering(self, context)

    def __init__(self, config: Config, context: BuildContext):
        super().__init__()
        if context.answers is None:
            raise ValueError("an objective that classifies answers needs training data with questions and answers")
        head = AnswerHead.Config(answers=context.answers.answers, hidden=config.hidden, dropout=config.dropout)
        self.head = AnswerHead(head, context.model)

    def forward(self, views: Views) -> Losses:
        labels = views.batch.labels
        assert labels is not None
        logits = self.head(views.joint).float()  # [B, A]
        count = (labels != IGNORE).sum().clamp(min=1)
        loss = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum") / count
        return Losses(loss, {"accuracy": (logits.argmax(-1) == labels).sum() * 100 / count})
