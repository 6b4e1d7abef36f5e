"""What an objective is: a module that owns its heads and turns a batch into `Losses`."""

from dataclasses import dataclass
from hashlib import blake2b
from typing import ClassVar, Protocol, runtime_checkable

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
class BuildContext:
    """What objectives are built from. `answers` is None where the training data asks no questions, and `classes` are
    none where it has no labels."""

    model: ModelConfig
    tokenizer: Tokenizer
    answers: AnswerVocabulary | None = None
    classes: tuple[str, ...] = ()


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
    Where `pairs_are_read` is false, VTM spares itself all tokens but those that it reads.
    """

    rng: torch.Generator
    progress: float = 0.0
    similarity: Float[Tensor, "B B"] | None = None
    pairs: Pairs | None = None
    pairs_are_read: bool = True


@runtime_checkable
class ObjectiveConfig(Protocol):
    """The frozen `Config` of an objective."""

    @property
    def weight(self) -> float:
        """Multiplies the loss, whatever its size."""
        ...

    def build(self, ingredients: BuildContext) -> "Objective": ...


class Objective(nn.Module):
    """Base of the objectives. `reads` says to batches of which tasks it applies, `reads_pairs` that it needs VTM's."""

    reads: ClassVar[tuple[str, ...]] = ("caption",)
    reads_pairs: ClassVar[bool] = False

    def forward(self, encoder: VideoTextEncoder, batch: Batch, step: Step) -> Losses:
        raise TypeError(f"{type(self).__name__} has no forward pass of its own")

    def heads(self) -> list[Head]:
        """The heads that it owns, and that a checkpoint keeps."""
        return [child for child in self.children() if isinstance(child, Head)]

    def applies(self, batch: Batch) -> bool:
        return batch.task in self.reads


def pair_keys(batch: Batch) -> Int[Tensor, "B 2"]:
    """A number for the video of each row, and one for its text, that are the same on every rank."""
    digests = (blake2b(name.encode(), digest_size=8).digest() for name in batch.video_ids)
    videos = torch.tensor([int.from_bytes(d, "big", signed=True) for d in digests], device=batch.text_ids.device)
    return torch.stack([videos, text_keys(batch)], dim=1)


def text_keys(batch: Batch) -> Int[Tensor, " B"]:
    """A number for each text, whatever the padding (a polynomial hash modulo 2^64)."""
    ids = (batch.text_ids + 1).masked_fill(~batch.text_mask, 0)
    powers = torch.full((ids.shape[1],), 6364136223846793005, device=ids.device).cumprod(0)
    return (ids * powers).sum(1)


def same_pair(keys: Int[Tensor, "B 2"], others: Int[Tensor, "M 2"]) -> Bool[Tensor, "B M"]:
    """Which rows show the same video, or another one with the very same text: they are no negatives of each other."""
    return (keys[:, None] == others[None]).any(-1)
