"""The Transformer block (pre-norm, as in ViT), the embeddings that enter it, and the two layers of some heads."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from allinone.model.config import ModelConfig
from allinone.model.cpu import Dropout, attend_in_chunks, attention_weights


class Attention(nn.Module):
    """Multi-head self-attention; padding is never attended to."""

    def __init__(self, width: int, num_heads: int, dropout: float):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.dropout = Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "M S D"], key_mask: Bool[Tensor, "M S"] | None, num_out_tokens: int | None = None
    ) -> Float[Tensor, "M Q D"]:
        """Return the first `num_out_tokens` (default: all) tokens after they have attended to all."""
        query, key, value = self.project(x, num_out_tokens)
        return self.dropout(self.proj(attend(query, key, value, key_mask).transpose(1, 2).flatten(2)))

    def weights(self, x: Float[Tensor, "M S D"], key_mask: Bool[Tensor, "M S"] | None) -> Float[Tensor, "M heads S S"]:
        """Return how much each token (a row) attends to each other; rows sum to 1."""
        query, key, _ = self.project(x, None)
        return attention_weights(query, key, key_mask)

    def project(
        self, x: Float[Tensor, "M S D"], num_queries: int | None
    ) -> tuple[Float[Tensor, "M heads Q d"], Float[Tensor, "M heads S d"], Float[Tensor, "M heads S d"]]:
        """Return queries of the first `num_queries` (default: all) tokens, and keys and values of all."""
        width = x.shape[-1]
        # One product for all three, unless only a few queries are needed (the last block).
        if num_queries is None:
            queries, keys = self.qkv(x).split([width, 2 * width], dim=-1)  # [M, S, D], [M, S, 2 x D]
        else:
            queries = F.linear(x[:, :num_queries], self.qkv.weight[:width], self.qkv.bias[:width])
            keys = F.linear(x, self.qkv.weight[width:], self.qkv.bias[width:])
        query = queries.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # [M, heads, Q, d]
        key, value = keys.unflatten(-1, (2, self.num_heads, -1)).permute(2, 0, 3, 1, 4)  # each [M, heads, S, d]
        return query, key, value


def attend(
    query: Float[Tensor, "M heads Q d"],
    key: Float[Tensor, "M heads S d"],
    value: Float[Tensor, "M heads S d"],
    key_mask: Bool[Tensor, "M S"] | None,
) -> Float[Tensor, "M heads Q d"]:
    """Scaled dot-product attention."""
    # Here plain products are faster than torch's fused kernel (docs/performance.md).
    if query.device.type == "cpu" and query.dtype == torch.bfloat16:
        return attend_in_chunks(query, key, value, key_mask)
    mask = None if key_mask is None else key_mask[:, None, None]  # [M, 1, 1, S]
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)


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
    """Attention, then MLP, each on a normalized copy that is added back."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, eps=1e-6)
        self.attn = Attention(config.width, config.num_heads, config.dropout)
        self.norm2 = nn.LayerNorm(config.width, eps=1e-6)
        self.mlp = MLP(config.width, config.mlp_ratio * config.width, config.dropout)

    def forward(
        self, x: Float[Tensor, "M S D"], key_mask: Bool[Tensor, "M S"] | None, num_out_tokens: int | None = None
    ) -> Float[Tensor, "M Q D"]:
        """Return the first `num_out_tokens` (default: all) tokens, which have attended to all."""
        x = x[:, :num_out_tokens] + self.attn(self.norm1(x), key_mask, num_out_tokens)
        return x + self.mlp(self.norm2(x))


class TextEmbedding(nn.Module):
    """Words, their positions and BERT's token type, which is constant, normalized as in BERT."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.word = nn.Embedding(config.vocab_size, config.width)
        self.position = nn.Embedding(config.max_text_len, config.width)
        self.token_type = nn.Parameter(torch.zeros(1, config.width))
        self.norm = nn.LayerNorm(config.width, eps=1e-12)  # BERT's eps; ViT's norms have 1e-6
        self.dropout = Dropout(config.dropout)

    def forward(self, text_ids: Int[Tensor, "B L"]) -> Float[Tensor, "B L D"]:
        length, longest = text_ids.shape[1], self.position.num_embeddings
        if length > longest:
            raise ValueError(f"texts of {length} tokens, but this model has positions for {longest}")
        x = self.word(text_ids) + self.token_type + self.position.weight[:length]
        return self.dropout(self.norm(x))


class FrameEmbedding(nn.Module):
    """Patches of raw frames, with their position in the frame and in time, after the frame's special tokens.

    Special tokens are the class token and, in a distilled model, the distillation token. They have a position but no
    temporal embedding; a distilled model has none at all.
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
        self, frames: Float[Tensor, "B T C H W"], patch_order: Int[Tensor, "B T P"] | None = None
    ) -> Float[Tensor, "B T N D"]:
        """Embed normalized frames.

        Slot j of frame t holds raster patch `patch_order[b, t, j]`, with its position embedding. Default: raster order.
        """
        num_frames = frames.shape[1]
        if frames.shape[-2:] != (self.config.image_size, self.config.image_size):
            raise ValueError(f"frames of {tuple(frames.shape[-2:])} pixels, wanted {self.config.image_size} squared")
        if self.time is not None and num_frames > len(self.time):
            raise ValueError(
                f"{num_frames} frames, but this model has a temporal embedding for {len(self.time)}; "
                f"load it with num_frames={num_frames} to extend it"
            )
        # Patches get their position and time before they are reordered, so both travel with them.
        patches = self.patch(frames.flatten(0, 1)).flatten(2).transpose(1, 2)  # [B x T, P, D]
        patches = patches.unflatten(0, frames.shape[:2])  # [B, T, P, D]
        special_position, patch_position = self.position.split([self.config.num_special, self.config.num_patches])
        patches = patches + patch_position
        if self.time is not None:
            patches = patches + self.time[:num_frames, None]
        if patch_order is not None:
            patches = patches.gather(2, patch_order[..., None].expand_as(patches))
        special = (self.special + special_position).expand(*frames.shape[:2], -1, -1)  # [B, T, K, D]
        return self.dropout(torch.cat([special, patches], dim=2))


@dataclass(frozen=True, kw_only=True)
class TwoLayerConfig:
    """Width and dropout of `two_layers`."""

    hidden: int | None = None
    dropout: float = 0.1

    def __post_init__(self):
        if self.hidden is not None and self.hidden < 1:
            raise ValueError(f"hidden must be at least 1, got {self.hidden}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")


def two_layers(width: int, hidden: int, out: int, dropout: float) -> nn.Sequential:
    """The head of the released question answering (modules/objectives.py:533, 641): dropout first, then two layers."""
    return nn.Sequential(
        nn.Dropout(dropout), nn.Linear(width, hidden), nn.LayerNorm(hidden), nn.GELU(), nn.Linear(hidden, out)
    )
