"""What an objective is: a module that owns its heads and turns a batch into `Losses`."""

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from allinone.model.config import ModelConfig
from allinone.model.encoder import VideoTextEncoder
from allinone.model.heads import Head
from allinone.text.answers import AnswerVocabulary
from allinone.text.tokenizer import Tokenizer
from allinone.types import Batch, Encoded, Losses


@dataclass(frozen=True)
class Ingredients:
    """What objectives are built from. `answers` is None where the training data asks no questions."""

    model: ModelConfig
    tokenizer: Tokenizer
    answers: AnswerVocabulary | None = None


@dataclass(frozen=True)
class Pairs:
    """Clips and texts that went through the joint mode together, and whether they belong together."""

    encoded: Encoded
    text_mask: Bool[Tensor, "M L"]
    matched: Bool[Tensor, " M"]


@dataclass
class Step:
    """One optimisation step: its randomness, how far training is (0 to 1), and what one objective leaves to the next.

    `similarity` is left by VTC and read by VTM with hard negatives; `pairs` is left by VTM and read by the alignment.
    """

    rng: torch.Generator
    progress: float = 0.0
    similarity: Float[Tensor, "B B"] | None = None
    pairs: Pairs | None = None


@runtime_checkable
class ObjectiveConfig(Protocol):
    """The frozen `Config` of an objective."""

    @property
    def weight(self) -> float:
        """Multiplies the loss, whatever its size."""
        ...

    def build(self, ingredients: Ingredients) -> "Objective": ...


class Objective(nn.Module):
    """Base of the objectives. `reads` says to which batches it applies."""

    reads: ClassVar[Literal["captions", "questions"]] = "captions"

    def forward(self, encoder: VideoTextEncoder, batch: Batch, step: Step) -> Losses:
        raise TypeError(f"{type(self).__name__} has no forward pass of its own")

    def heads(self) -> list[Head]:
        """The heads that it owns, and that a checkpoint keeps."""
        return [child for child in self.children() if isinstance(child, Head)]

    def applies(self, batch: Batch) -> bool:
        return (batch.labels is None) == (self.reads == "captions")


def same_text(text_ids: Int[Tensor, "B L"], text_mask: Bool[Tensor, "B L"]) -> Bool[Tensor, "B B"]:
    """Which texts of a batch are equal, word for word."""
    ids = text_ids.masked_fill(~text_mask, -1)
    return (ids[:, None] == ids[None]).all(-1)


def same_pair(batch: Batch) -> Bool[Tensor, "B B"]:
    """Which clip j may not be a negative of text i: the same video, or another one with the very same text."""
    names = {name: i for i, name in enumerate(dict.fromkeys(batch.video_ids))}
    videos = torch.tensor([names[name] for name in batch.video_ids], device=batch.text_ids.device)
    return (videos[:, None] == videos[None]) | same_text(batch.text_ids, batch.text_mask)
