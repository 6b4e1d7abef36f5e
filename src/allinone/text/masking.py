"""Whole-word masking: hide some words with all their pieces, for the model to predict (BERT's 80/10/10).

BERT: https://arxiv.org/abs/1810.04805, section 3.1 and appendix A.1.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from allinone.types import IGNORE


@runtime_checkable
class Vocabulary(Protocol):
    """What masking needs of a `Tokenizer`."""

    mask_id: int
    special_ids: Int[Tensor, " X"]
    is_word_start: Bool[Tensor, " V"]


@dataclass(frozen=True)
class Masked:
    """`ids` with words hidden; `labels` are the true tokens where one was hidden, and `IGNORE` elsewhere."""

    ids: Int[Tensor, "B L"]
    labels: Int[Tensor, "B L"]


def mask_tokens(
    ids: Int[Tensor, "B L"],
    mask: Bool[Tensor, "B L"],
    vocabulary: Vocabulary,
    mask_prob: float,
    rng: torch.Generator,
) -> Masked:
    """Hide `mask_prob` of the words of each text, on average, and at least one if the text has a word.

    Of the hidden tokens 80 % become [MASK], 10 % a random token that is not special, and 10 % stay. A number of words
    that is not whole is rounded up or down at random, so that the average holds for texts of more than 1 / `mask_prob`
    words. The random numbers are drawn on the device of `rng` and depend only on it and on the shape of `ids`.
    """
    if not 0 < mask_prob <= 1:
        raise ValueError(f"mask_prob must be in (0, 1], got {mask_prob}")
    batch, length = ids.shape
    is_special = torch.zeros_like(vocabulary.is_word_start).index_fill(0, vocabulary.special_ids, True)
    ordinary = (~is_special).nonzero()[:, 0].to(ids.device)
    # All draws come first and have the size of the batch, whatever its texts are: a resumed run repeats them.
    word_order = torch.rand(batch, length, generator=rng, device=rng.device).to(ids.device)
    rounding = torch.rand(batch, generator=rng, device=rng.device).to(ids.device)
    treatment = torch.rand(batch, length, generator=rng, device=rng.device).to(ids.device)
    choice = torch.randint(len(ordinary), (batch, length), generator=rng, device=rng.device).to(ids.device)

    # How many words of each text to hide. Adding a number in [0, 1) before the cut rounds at random.
    maskable = mask & ~is_special.to(ids.device)[ids]
    word = word_indices(ids, maskable, vocabulary.is_word_start.to(ids.device)[ids])  # 0: no word
    num_words = word.amax(dim=1) if length else word.sum(dim=1)  # `amax` fails on texts of no tokens
    num_hidden = (num_words * mask_prob + rounding).long().clamp(min=1).minimum(num_words)

    # Which words: slot w - 1 belongs to word w. Slots beyond the last word get 2, more than any draw, and so rank last;
    # the words with the lowest ranks are hidden. The second argsort turns an order into ranks.
    slot = torch.arange(length, device=ids.device)
    rank = word_order.masked_fill(slot >= num_words[:, None], 2).argsort(dim=1).argsort(dim=1)
    is_hidden_word = rank < num_hidden[:, None]
    hidden = is_hidden_word.gather(1, (word - 1).clamp(min=0)) & (word > 0)  # word by token

    changed = torch.where(treatment < 0.8, vocabulary.mask_id, torch.where(treatment < 0.9, ordinary[choice], ids))
    return Masked(torch.where(hidden, changed, ids), torch.where(hidden, ids, IGNORE))


def word_indices(
    ids: Int[Tensor, "B L"], maskable: Bool[Tensor, "B L"], starts: Bool[Tensor, "B L"]
) -> Int[Tensor, "B L"]:
    """Return which word of its text each token belongs to, counted from 1; 0 for tokens of no word.

    A piece after a token that cannot be hidden begins a word, whatever its spelling.
    """
    follows = torch.zeros_like(maskable)
    follows[:, 1:] = maskable[:, :-1]
    begins = maskable & (starts | ~follows)
    return begins.cumsum(dim=1) * maskable
