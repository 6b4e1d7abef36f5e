"""Word-patch alignment: the words of a matching pair are cheap to transport onto its patches (optimal transport).

The distance is that of UNITER and ViLT: cosine costs, a transport plan by inexact proximal point iterations
(IPOT, Xie et al. 2019), through which no gradient flows.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from allinone.model.encoder import VideoTextEncoder
from allinone.objectives.base import BuildContext, Objective, Step
from allinone.types import Batch, Losses


class Alignment(Objective):
    """Distance of matching pairs minus that of foreign ones, over the pairs that VTM made in this step.

    Left out are [CLS], [SEP], padding, and the special tokens of a frame.
    """

    reads_pairs = True

    @dataclass(frozen=True, kw_only=True)
    class Config:
        weight: float = 0.1
        beta: float = 0.5
        num_iterations: int = 50

        def build(self, ingredients: BuildContext) -> "Alignment":
            return Alignment(self, ingredients)

    def __init__(self, config: Config, ingredients: BuildContext):
        super().__init__()
        self.config = config
        self.num_special = ingredients.model.num_special

    def forward(self, encoder: VideoTextEncoder, batch: Batch, step: Step) -> Losses:
        if step.pairs is None:
            raise ValueError("the alignment reads the pairs of VTM: list a vtm objective before it")
        encoded, matched = step.pairs.encoded, step.pairs.matched
        words = inner_words(step.pairs.text_mask)
        distance = transport_distance(
            encoded.text, encoded.video[:, self.num_special :], words, self.config.beta, self.config.num_iterations
        )
        loss = torch.where(matched, distance, -distance).mean()
        return Losses(loss, {"distance": distance.detach()[matched].mean()})


def inner_words(text_mask: Bool[Tensor, "B L"]) -> Bool[Tensor, "B L"]:
    """The mask without a text's first token ([CLS]) and last one ([SEP])."""
    is_last = text_mask & ~F.pad(text_mask[:, 1:], (0, 1))
    return text_mask & ~is_last & (torch.arange(text_mask.shape[1], device=text_mask.device) > 0)


def transport_distance(
    words: Float[Tensor, "B L D"],
    patches: Float[Tensor, "B P D"],
    word_mask: Bool[Tensor, "B L"],
    beta: float = 0.5,
    num_iterations: int = 50,
) -> Float[Tensor, " B"]:
    """Cost of moving each text's words onto its clip's patches under the best plan (cosine distance, uniform masses).

    A text without words costs nothing.
    """
    cosine = F.normalize(words.float(), dim=-1, eps=1e-5) @ F.normalize(patches.float(), dim=-1, eps=1e-5).mT
    cost = (1 - cosine) * word_mask[..., None]
    with torch.no_grad():
        plan = transport_plan(cost, word_mask, beta, num_iterations)
    return (cost * plan).sum(dim=(1, 2))


def transport_plan(
    cost: Float[Tensor, "B L P"], word_mask: Bool[Tensor, "B L"], beta: float, num_iterations: int
) -> Float[Tensor, "B L P"]:
    """IPOT with one inner iteration. `beta` is the strength of the proximal term; rows outside the mask get no mass."""
    num_words = word_mask.sum(1)[:, None].clamp(min=1)
    num_patches = cost.shape[2]
    kernel = (-cost / beta).exp() * word_mask[..., None]
    plan = word_mask[..., None].expand_as(cost).to(cost.dtype)
    word_scale = word_mask / num_words  # [B, L]
    patch_scale = cost.new_zeros(cost.shape[0], num_patches)
    any_word = word_mask.any(1)[:, None]
    for _ in range(num_iterations):
        scaled = kernel * plan
        patch_scale = (1 / (num_patches * torch.einsum("blp,bl->bp", scaled, word_scale))).where(any_word, 0)
        word_scale = (1 / (num_words * torch.einsum("blp,bp->bl", scaled, patch_scale))).where(word_mask, 0)
        plan = word_scale[..., None] * scaled * patch_scale[:, None]
    return plan
