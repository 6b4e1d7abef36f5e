"""Word-patch alignment: the words of a matching pair are cheap to transport onto its patches (optimal transport).

The distance is that of UNITER (https://arxiv.org/abs/1909.11740) and ViLT (https://arxiv.org/abs/2102.03334): cosine
costs, and a transport plan by inexact proximal point iterations (IPOT, https://arxiv.org/abs/1802.04307), through which
no gradient flows. Released: modules/objectives.py:20 (cost), 43 (IPOT), 287 (loss).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from allinone.objectives.base import BuildContext, Objective
from allinone.objectives.views import Views
from allinone.types import Losses


class Alignment(Objective):
    """Transport distance of matching pairs minus that of foreign ones, over the pairs of VTM.

    [CLS], [SEP], padding and the special tokens of a frame are left out.
    """

    reads_pair_tokens = True

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """`beta` and `num_iterations` are those of IPOT (`transport_plan`), as released."""

        weight: float = 0.1
        beta: float = 0.5
        num_iterations: int = 50

        def build(self, context: BuildContext) -> "Alignment":
            return Alignment(self, context)

    def __init__(self, config: Config, context: BuildContext):
        super().__init__()
        self.config = config
        self.num_special = context.model.num_special

    def forward(self, views: Views) -> Losses:
        encoded, matched = views.pairs.encoded, views.pairs.matched
        distance = transport_distance(
            encoded.text,
            encoded.video[:, self.num_special :],
            inner_words(views.pairs.text_mask),
            self.config.beta,
            self.config.num_iterations,
        )
        loss = torch.where(matched, distance, -distance).mean()
        return Losses(loss, {"distance": distance.detach()[matched].mean()})


def inner_words(text_mask: Bool[Tensor, "B L"]) -> Bool[Tensor, "B L"]:
    """Return the mask without a text's first token ([CLS]) and last one ([SEP])."""
    is_last = text_mask & ~F.pad(text_mask[:, 1:], (0, 1))  # real, and the next one is not
    return text_mask & ~is_last & (torch.arange(text_mask.shape[1], device=text_mask.device) > 0)


def transport_distance(
    words: Float[Tensor, "B L D"],
    patches: Float[Tensor, "B P D"],
    word_mask: Bool[Tensor, "B L"],
    beta: float = 0.5,
    num_iterations: int = 50,
) -> Float[Tensor, " B"]:
    """Return the cost of moving each text's words onto its clip's patches under the best plan.

    Costs are cosine distances, masses are uniform. A text without words costs 0.
    """
    cosine = F.normalize(words.float(), dim=-1, eps=1e-5) @ F.normalize(patches.float(), dim=-1, eps=1e-5).mT
    cost = (1 - cosine) * word_mask[..., None]  # [B, L, P]
    with torch.no_grad():
        plan = transport_plan(cost, word_mask, beta, num_iterations)
    return (cost * plan).sum(dim=(1, 2))


def transport_plan(
    cost: Float[Tensor, "B L P"], word_mask: Bool[Tensor, "B L"], beta: float, num_iterations: int
) -> Float[Tensor, "B L P"]:
    """Return a plan with rows that sum to 1 / words and columns that sum to 1 / patches (IPOT, one inner iteration).

    `beta` is the weight of the proximal term. Masked words move nothing.
    """
    num_words = word_mask.sum(1)[:, None].clamp(min=1)  # [B, 1]
    num_patches = cost.shape[2]
    any_word = word_mask.any(1)[:, None]  # [B, 1]
    # Start with equal entries, and with words of equal mass.
    kernel = (-cost / beta).exp() * word_mask[..., None]  # [B, L, P]
    plan = word_mask[..., None].expand_as(cost).to(cost.dtype)
    word_scale = word_mask / num_words  # [B, L]
    for _ in range(num_iterations):
        # Proximal step: the last plan times the kernel, so that entries with a high cost shrink in every iteration.
        scaled = kernel * plan
        # One Sinkhorn iteration: scale columns to the mass of a patch, then rows to that of a word. Masked rows, and
        # all of a text without words, are 1 / 0 here, and become 0. The scales are [B, P] and [B, L].
        patch_scale = (1 / (num_patches * torch.einsum("blp,bl->bp", scaled, word_scale))).where(any_word, 0)
        word_scale = (1 / (num_words * torch.einsum("blp,bp->bl", scaled, patch_scale))).where(word_mask, 0)
        plan = word_scale[..., None] * scaled * patch_scale[:, None]
    return plan
