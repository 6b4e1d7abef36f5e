"""Whole-word masking: some words are hidden with all their pieces, for the model to recover (BERT's 80/10/10)."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from allinone.types import IGNORE


@runtime_checkable
class Vocabulary(Protocol):
    """What masking must know of the tokens; a `Tokenizer` is one."""

    mask_id: int
    special_ids: Int[Tensor, " X"]
    is_word_start: Bool[Tensor, " V"]


@dataclass(frozen=True)
class Masked:
    """`ids` with words hidden; `labels` are the true tokens where something was hidden and `IGNORE` elsewhere."""

    ids: Int[Tensor, "B L"]
    labels: Int[Tensor, "B L"]


def mask_tokens(
    ids: Int[Tensor, "B L"],
    mask: Bool[Tensor, "B L"],
    vocabulary: Vocabulary,
    mask_prob: float,
    rng: torch.Generator,
) -> Masked:
    """Hide `mask_prob` of each text's words, on average; at least one, if the text has a word.

    Of the hidden tokens 80 % become [MASK], 10 % another token that is not special, 10 % stay. A number of words that
    is not whole is rounded up or down at random, so that texts of more than 1 / `mask_prob` words keep to the share.
    The draws depend on the shape of `ids` and on `rng` alone (they are made where `rng` lives), not on the texts.
    """
    if not 0 < mask_prob <= 1:
        raise ValueError(f"mask_prob must be in (0, 1], got {mask_prob}")
    batch, length = ids.shape
    is_special = torch.zeros_like(vocabulary.is_word_start).index_fill(0, vocabulary.special_ids, True)
    ordinary = (~is_special).nonzero()[:, 0].to(ids.device)
    word_order = torch.rand(batch, length, generator=rng, device=rng.device).to(ids.device)
    rounding = torch.rand(batch, generator=rng, device=rng.device).to(ids.device)
    treatment = torch.rand(batch, length, generator=rng, device=rng.device).to(ids.device)
    choice = torch.randint(len(ordinary), (batch, length), generator=rng, device=rng.device).to(ids.device)

    word = word_numbers(ids, mask & ~is_special.to(ids.device)[ids], vocabulary.is_word_start.to(ids.device)[ids])
    num_words = word.amax(dim=1) if length else word.sum(dim=1)
    num_hidden = (num_words * mask_prob + rounding).long().clamp(min=1).minimum(num_words)

    slot = torch.arange(length, device=ids.device)  # word 1 draws its place in slot 0
    place = word_order.masked_fill(slot >= num_words[:, None], 2).argsort(dim=1).argsort(dim=1)
    is_hidden_word = place < num_hidden[:, None]
    hidden = is_hidden_word.gather(1, (word - 1).clamp(min=0)) & (word > 0)

    changed = torch.where(treatment < 0.8, vocabulary.mask_id, torch.where(treatment < 0.9, ordinary[choice], ids))
    return Masked(torch.where(hidden, changed, ids), torch.where(hidden, ids, IGNORE))


def word_numbers(
    ids: Int[Tensor, "B L"], maskable: Bool[Tensor, "B L"], starts: Bool[Tensor, "B L"]
) -> Int[Tensor, "B L"]:
    """Which word of its text a token belongs to, counted from 1; 0 for tokens of no word.

    A piece that follows no token of a word begins one, whatever its spelling.
    """
    follows = torch.zeros_like(maskable)
    follows[:, 1:] = maskable[:, :-1]
    begins = maskable & (starts | ~follows)
    return begins.cumsum(dim=1) * maskable
