"""Masked language modeling (MLM): predict hidden words from the clip and the rest of the text."""

from dataclasses import dataclass

import torch.nn.functional as F

from allinone.model.heads import MLMHead
from allinone.objectives.base import BuildContext, Objective
from allinone.objectives.views import Views
from allinone.text.masking import mask_tokens
from allinone.types import IGNORE, Losses


class MLM(Objective):
    """Cross-entropy of masked whole words (15 %, paper section 3.3; BERT, https://arxiv.org/abs/1810.04805).

    The head runs on the masked positions only, and the last block on the text only. The released code runs both on all
    tokens (modules/objectives.py:94), which gives the same loss.
    """

    turn = 2

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """`mask_prob` is the share of words that are masked; `max_pairs` limits the clips that take part."""

        weight: float = 1.0
        mask_prob: float = 0.15
        max_pairs: int | None = None

        def __post_init__(self):
            if not 0 < self.mask_prob <= 1:
                raise ValueError(f"mask_prob must be in (0, 1], got {self.mask_prob}")

        def build(self, context: BuildContext) -> "MLM":
            return MLM(self, context)

    def __init__(self, config: Config, context: BuildContext):
        super().__init__()
        self.config = config
        self.tokenizer = context.tokenizer
        self.head = MLMHead(MLMHead.Config(), context.model)

    def forward(self, views: Views) -> Losses:
        batch, first = views.batch, slice(self.config.max_pairs)
        text_ids, text_mask = batch.text_ids[first], batch.text_mask[first]
        masked = mask_tokens(text_ids, text_mask, self.tokenizer, self.config.mask_prob, views.rng)
        encoded = views.encoder(batch.frames[first], masked.ids, text_mask, num_out_tokens=text_ids.shape[1])
        # A position has as many logits as the vocabulary has tokens (30,522), so only masked ones get them.
        hidden = masked.labels != IGNORE  # [B, L]
        logits, labels = self.head(encoded.text[hidden]).float(), masked.labels[hidden]
        count = max(len(labels), 1)  # a batch of empty captions has no word to predict
        loss = F.cross_entropy(logits, labels, reduction="sum") / count
        return Losses(loss, {"accuracy": (logits.argmax(-1) == labels).sum() * 100 / count})
