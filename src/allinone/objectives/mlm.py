"""Masked language modelling (MLM): recover hidden words from the clip and the rest of the text."""

from dataclasses import dataclass

import torch.nn.functional as F

from allinone.model.encoder import VideoTextEncoder
from allinone.model.heads import MLMHead
from allinone.objectives.base import BuildContext, Objective, Step
from allinone.text.masking import mask_tokens
from allinone.types import IGNORE, Batch, Losses


class MLM(Objective):
    """Whole words are masked (15 %, paper section 3.3); the head runs on the masked positions alone.

    `max_pairs` limits the clips of a batch that take part.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        weight: float = 1.0
        mask_prob: float = 0.15
        max_pairs: int | None = None

        def __post_init__(self):
            if not 0 < self.mask_prob <= 1:
                raise ValueError(f"mask_prob must be in (0, 1], got {self.mask_prob}")

        def build(self, ingredients: BuildContext) -> "MLM":
            return MLM(self, ingredients)

    def __init__(self, config: Config, ingredients: BuildContext):
        super().__init__()
        self.config = config
        self.tokenizer = ingredients.tokenizer
        self.head = MLMHead(MLMHead.Config(), ingredients.model)

    def forward(self, encoder: VideoTextEncoder, batch: Batch, step: Step) -> Losses:
        rows = slice(self.config.max_pairs)
        text_ids, text_mask = batch.text_ids[rows], batch.text_mask[rows]
        masked = mask_tokens(text_ids, text_mask, self.tokenizer, self.config.mask_prob, step.rng)
        encoded = encoder(batch.frames[rows], masked.ids, text_mask, num_out_tokens=text_ids.shape[1])
        hidden = masked.labels != IGNORE
        logits, labels = self.head(encoded.text[hidden]).float(), masked.labels[hidden]
        count = max(len(labels), 1)  # a batch of empty captions has no word to recover
        loss = F.cross_entropy(logits, labels, reduction="sum") / count
        return Losses(loss, {"accuracy": (logits.argmax(-1) == labels).sum() * 100 / count})
