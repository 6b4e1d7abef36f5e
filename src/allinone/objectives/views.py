"""`Views`: what the objectives of one step share. Each view is computed once, by whoever asks for it first."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from allinone.model.encoder import VideoTextEncoder
from allinone.model.heads import ContrastiveHead, Head
from allinone.types import Batch, Encoded


class ChosenPairs(NamedTuple):
    """Indices of the texts and of the clips of a batch that go through the joint mode, and whether they match."""

    text: Int[Tensor, " M"]
    video: Int[Tensor, " M"]
    matched: Bool[Tensor, " M"]


@dataclass(frozen=True)
class Pairs:
    """Matching and foreign pairs after the joint mode.

    `encoded` has all tokens if an objective of the step `reads_pair_tokens`, otherwise only token 0 of the text.
    """

    encoded: Encoded
    text_mask: Bool[Tensor, "M L"]
    matched: Bool[Tensor, " M"]


@runtime_checkable
class Shares(Protocol):
    """What `Views` asks of an objective; see `Objective`."""

    reads_pair_tokens: bool

    def heads(self) -> list[Head]: ...

    def choose_pairs(self, views: "Views") -> ChosenPairs | None: ...


class Views:
    """One batch as seen by the objectives of one step.

    Args:
        objectives: those that apply to the batch. They provide the contrastive head and the choice of pairs.
        rng: the random generator of the step, on the CPU.
        progress: how much of the training is done, from 0 to 1.
    """

    def __init__(
        self,
        encoder: VideoTextEncoder,
        batch: Batch,
        objectives: Iterable[Shares],
        rng: torch.Generator,
        progress: float = 0.0,
    ):
        self.encoder = encoder
        self.batch = batch
        self.objectives = list(objectives)
        self.rng = rng
        self.progress = progress

    @cached_property
    def text(self) -> Float[Tensor, "M 1 D"]:
        """Token 0 of the text-only mode."""
        return self.encoder.encode_text(self.batch.text_ids, self.batch.text_mask, num_out_tokens=1)

    @cached_property
    def video(self) -> Float[Tensor, "B 1 D"]:
        """Token 0 of the video-only mode."""
        return self.encoder.encode_video(self.batch.frames, num_out_tokens=1)

    @cached_property
    def joint(self) -> Float[Tensor, "B D"]:
        """The pooled joint feature of each clip with its own text."""
        batch = self.batch
        encoded = self.encoder(batch.frames, batch.text_ids, batch.text_mask, num_out_tokens=1)
        return self.encoder.pool(encoded.text)

    @cached_property
    def embedded(self) -> tuple[Float[Tensor, "B E"], Float[Tensor, "B E"]]:
        """Texts and clips in the shared space, of unit length."""
        heads = (head for objective in self.objectives for head in objective.heads())
        head = next((head for head in heads if isinstance(head, ContrastiveHead)), None)
        if head is None:
            raise ValueError("similarity needs a contrastive head: train with a vtc objective too")
        return head.embed_text(self.text), head.embed_video(self.video)

    @cached_property
    def similarity(self) -> Float[Tensor, "B B"]:
        """Cosine of each text (a row) and each clip, without gradient."""
        text, video = self.embedded
        return (text @ video.T).detach().float()

    @cached_property
    def pairs(self) -> Pairs:
        """Matching and foreign pairs of the batch in the joint mode."""
        chosen = (objective.choose_pairs(self) for objective in self.objectives)
        pairs = next((pairs for pairs in chosen if pairs is not None), None)
        if pairs is None:
            raise ValueError("no objective chooses pairs: train with a vtm objective too")
        # Alignment reads all tokens; for VTM the last block computes token 0 only.
        batch, text_mask = self.batch, self.batch.text_mask[pairs.text]
        all_tokens = any(objective.reads_pair_tokens for objective in self.objectives)
        encoded = self.encoder(
            batch.frames[pairs.video],
            batch.text_ids[pairs.text],
            text_mask,
            num_out_tokens=None if all_tokens else 1,
        )
        return Pairs(encoded, text_mask, pairs.matched)

    @cached_property
    def keys(self) -> Int[Tensor, "B 2"]:
        """See `pair_keys`."""
        return pair_keys(self.batch)


def pair_keys(batch: Batch) -> Int[Tensor, "B 2"]:
    """Return a hash of the video and a hash of the text of each row, the same on every rank."""
    digests = (blake2b(name.encode(), digest_size=8).digest() for name in batch.video_ids)
    videos = torch.tensor([int.from_bytes(d, "big", signed=True) for d in digests], device=batch.text_ids.device)
    return torch.stack([videos, text_keys(batch)], dim=1)


def text_keys(batch: Batch) -> Int[Tensor, " B"]:
    """Return a hash of each text that does not depend on padding (a polynomial hash modulo 2^64)."""
    ids = (batch.text_ids + 1).masked_fill(~batch.text_mask, 0)  # + 1, because padding is 0 and token ids begin at 0
    # Powers of Knuth's multiplier for 64-bit linear congruential generators, which spreads all bits.
    powers = torch.full((ids.shape[1],), 6364136223846793005, device=ids.device).cumprod(0)
    return (ids * powers).sum(1)


def same_pair(keys: Int[Tensor, "B 2"], others: Int[Tensor, "M 2"]) -> Bool[Tensor, "B M"]:
    """Return which rows have the same video or the same text. They are not negatives of each other."""
    return (keys[:, None] == others[None]).any(-1)
