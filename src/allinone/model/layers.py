"""The Transformer block (pre-norm, as in ViT), and the embeddings of words and frames that enter it."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Int8
from torch import Tensor, nn

from allinone.model.config import ModelConfig

LOGITS_AT_ONCE = 1 << 23
"""Attention logits that a CPU makes at a time (16 MB in bfloat16), lest they travel through memory."""

NUMBERS_AT_ONCE = 1 << 17
"""Numbers that dropout draws at a time, for the same reason."""


class Dropout(nn.Module):
    """Dropout from 16 random bits a number, where torch on a CPU draws them one by one: a seventh of a training step.

    The bits come from a generator that torch's own one seeds. On a CPU in training it overwrites its input, which may
    not be needed for a gradient: it stands behind linear layers, GELUs and norms.
    """

    def __init__(self, prob: float):
        super().__init__()
        self.prob = prob

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        if not self.training or not self.prob or x.device.type != "cpu":
            return F.dropout(x, self.prob, self.training)
        return KeepSome.apply(x, draw_kept(x.shape, self.prob), 1 / (1 - self.prob))


def draw_kept(shape: torch.Size, prob: float) -> Int8[Tensor, "*shape"]:
    """Ones, and with probability `prob` zeros. Drawn in pieces that stay in the processor's cache."""
    generator = np.random.SFC64(int(torch.randint(2**63 - 1, ())))
    kept = np.empty(shape.numel(), dtype=bool)
    for start in range(0, len(kept), NUMBERS_AT_ONCE):
        part = kept[start : start + NUMBERS_AT_ONCE]
        bits = generator.random_raw(-(-len(part) // 4)).view(np.int16)[: len(part)]
        np.greater_equal(bits, round(prob * 2**16) - 2**15, out=part)
    return torch.from_numpy(kept.view(np.int8)).view(shape)


class KeepSome(torch.autograd.Function):
    """`x` times `scale` where `kept` is 1, and zero where it is 0, in place.

    `kept` is of int8, since torch takes five times as long with bool.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, kept: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(kept)
        ctx.scale = scale
        ctx.mark_dirty(x)
        return x.mul_(kept.to(x.dtype)).mul_(scale)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (kept,) = ctx.saved_tensors
        return kept.to(grad.dtype).mul_(grad).mul_(ctx.scale), None, None


class Attention(nn.Module):
    """Multi-head self-attention over tokens in which padding is never looked at."""

    def __init__(self, width: int, num_heads: int, dropout: float):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "M S D"],
        key_mask: Bool[Tensor, "M S"] | None,
        want_weights: bool = False,
        keep: int | None = None,
    ) -> tuple[Float[Tensor, "M Q D"], Float[Tensor, "M heads Q S"] | None]:
        """Return the attended tokens (the first `keep`), and, only when asked for, the attention weights."""
        width = x.shape[-1]
        if keep is None:
            queries, keys = self.qkv(x).split([width, 2 * width], dim=-1)
        else:
            queries = F.linear(x[:, :keep], self.qkv.weight[:width], self.qkv.bias[:width])
            keys = F.linear(x, self.qkv.weight[width:], self.qkv.bias[width:])
        query = queries.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        key, value = keys.unflatten(-1, (2, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        x = self.dropout(self.proj(attend(query, key, value, key_mask).transpose(1, 2).flatten(2)))
        return x, attention_weights(query, key, key_mask) if want_weights else None


def attend(
    query: Float[Tensor, "M heads Q d"],
    key: Float[Tensor, "M heads S d"],
    value: Float[Tensor, "M heads S d"],
    key_mask: Bool[Tensor, "M S"] | None,
) -> Float[Tensor, "M heads Q d"]:
    """What each query reads from the values whose keys fit it.

    On a CPU in bfloat16 plain products are faster than torch's fused kernel: 1.4 times forward, 3 times with backward.
    """
    if query.device.type != "cpu" or query.dtype != torch.bfloat16:
        mask = None if key_mask is None else key_mask[:, None, None]
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    if key_mask is not None and key_mask.all():
        key_mask = None
    rows = max(1, LOGITS_AT_ONCE // (query.shape[1] * query.shape[2] * key.shape[2]))
    masks = [None] * len(query) if key_mask is None else key_mask.split(rows)
    parts = zip(query.split(rows), key.split(rows), value.split(rows), masks, strict=False)
    return torch.cat([attention_weights(q, k, mask) @ v for q, k, v, mask in parts])


def attention_weights(
    query: Float[Tensor, "M heads Q d"], key: Float[Tensor, "M heads S d"], key_mask: Bool[Tensor, "M S"] | None
) -> Float[Tensor, "M heads Q S"]:
    logits = (query * query.shape[-1] ** -0.5) @ key.mT
    if key_mask is not None:
        logits = logits.masked_fill(~key_mask[:, None, None], float("-inf"))
    return logits.softmax(-1)


class MLP(nn.Module):
    """Two linear layers with the exact GELU between them."""

    def __init__(self, width: int, hidden: int, dropout: float):
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Float[Tensor, "*shape D"]) -> Float[Tensor, "*shape D"]:
        return self.dropout(self.fc2(self.dropout(F.gelu(self.fc1(x)))))


class Block(nn.Module):
    """Attention, then MLP, each on a normalised copy that is added back."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, eps=1e-6)
        self.attn = Attention(config.width, config.num_heads, config.dropout)
        self.norm2 = nn.LayerNorm(config.width, eps=1e-6)
        self.mlp = MLP(config.width, config.mlp_ratio * config.width, config.dropout)

    def forward(
        self,
        x: Float[Tensor, "M S D"],
        key_mask: Bool[Tensor, "M S"] | None,
        want_weights: bool = False,
        keep: int | None = None,
    ) -> tuple[Float[Tensor, "M Q D"], Float[Tensor, "M heads Q S"] | None]:
        """All tokens, or the first `keep` alone, which the keys and values of all still reach."""
        attended, weights = self.attn(self.norm1(x), key_mask, want_weights, keep)
        x = x[:, :keep] + attended
        return x + self.mlp(self.norm2(x)), weights


class TextEmbedding(nn.Module):
    """Words, their positions and BERT's (constant) token type, normalised as in BERT."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.word = nn.Embedding(config.vocab_size, config.width)
        self.position = nn.Embedding(config.max_text_len, config.width)
        self.token_type = nn.Parameter(torch.zeros(1, config.width))
        self.norm = nn.LayerNorm(config.width, eps=1e-12)
        self.dropout = Dropout(config.dropout)

    def forward(self, text_ids: Int[Tensor, "B L"]) -> Float[Tensor, "B L D"]:
        length, longest = text_ids.shape[1], self.position.num_embeddings
        if length > longest:
            raise ValueError(f"texts of {length} tokens, but this model has positions for {longest}")
        x = self.word(text_ids) + self.token_type + self.position.weight[:length]
        return self.dropout(self.norm(x))


class FrameEmbedding(nn.Module):
    """Patches of raw frames with their place in the frame and in time, behind the frame's special tokens.

    A distilled model has the distillation token in slot 1, and no temporal embedding.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.patch = nn.Conv2d(3, config.width, config.patch_size, stride=config.patch_size)
        self.special = nn.Parameter(torch.zeros(config.num_special, config.width))
        self.position = nn.Parameter(torch.zeros(config.num_special + config.num_patches, config.width))
        self.time = None if config.distilled else nn.Parameter(torch.zeros(config.num_frames, config.width))
        self.dropout = Dropout(config.dropout)

    def forward(
        self,
        frames: Float[Tensor, "B T C H W"],
        patch_perm: Int[Tensor, "B T P"] | None = None,
        real_grid: Int[Tensor, "B 2"] | None = None,
    ) -> tuple[Float[Tensor, "B T N D"], Bool[Tensor, "B N"] | None]:
        """Embed normalised frames; return the tokens and, with `real_grid`, which of them are real.

        Slot j of frame t holds raster patch `patch_perm[b, t, j]`, its position embedding with it.
        `real_grid` tells how many rows and columns of patches (from the top left corner) are real: the position
        embedding is resized to that grid, and the patches outside it move behind the real ones.
        """
        num_frames, num_special = frames.shape[1], self.config.num_special
        if frames.shape[-2:] != (self.config.image_size, self.config.image_size):
            raise ValueError(f"frames of {tuple(frames.shape[-2:])} pixels, wanted {self.config.image_size} squared")
        if self.time is not None and num_frames > len(self.time):
            raise ValueError(
                f"{num_frames} frames, but this model has a temporal embedding for {len(self.time)}; "
                f"load it with num_frames={num_frames} to extend it"
            )
        patches = self.patch(frames.flatten(0, 1)).flatten(2).transpose(1, 2)
        patches = patches.unflatten(0, frames.shape[:2])  # [B, T, P, D]
        special_position, patch_position = self.position.split([num_special, self.config.num_patches])
        token_mask = None
        if real_grid is None:
            patches = patches + patch_position
        else:
            positions, patch_mask = place_on_grid(patch_position, real_grid)
            patches = patches + positions[:, None]
            real_first = (~patch_mask).int().argsort(dim=1, stable=True)
            patches = take_patches(patches, real_first[:, None].expand(-1, num_frames, -1))
            token_mask = F.pad(patch_mask.gather(1, real_first), (num_special, 0), value=True)
        if self.time is not None:
            patches = patches + self.time[:num_frames, None]
        if patch_perm is not None:
            patches = take_patches(patches, patch_perm)
        special = (self.special + special_position).expand(*frames.shape[:2], -1, -1)
        return self.dropout(torch.cat([special, patches], dim=2)), token_mask


def take_patches(patches: Float[Tensor, "B T P D"], perm: Int[Tensor, "B T P"]) -> Float[Tensor, "B T P D"]:
    """Put patch `perm[b, t, j]` into slot j of frame t."""
    return patches.gather(2, perm[..., None].expand_as(patches))


def place_on_grid(
    position: Float[Tensor, "P D"], real_grid: Int[Tensor, "B 2"]
) -> tuple[Float[Tensor, "B P D"], Bool[Tensor, "B P"]]:
    """Shrink the position embedding to each clip's real rows and columns; tell which patches are real."""
    side = round(len(position) ** 0.5)
    square = position.T.reshape(1, -1, side, side)
    positions, masks = [], []
    for rows, columns in real_grid.tolist():
        if not (1 <= rows <= side and 1 <= columns <= side):
            raise ValueError(f"a real grid of {rows} x {columns} patches, wanted 1 to {side} each")
        small = F.interpolate(square, size=(rows, columns), mode="bilinear", align_corners=True)
        room = (0, side - columns, 0, side - rows)
        positions.append(F.pad(small, room)[0].flatten(1).T)
        masks.append(F.pad(torch.ones(rows, columns, dtype=torch.bool, device=position.device), room).flatten())
    return torch.stack(positions), torch.stack(masks)
