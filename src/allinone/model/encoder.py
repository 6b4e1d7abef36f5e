"""The unified encoder: one Transformer for video and words together, for video alone, and for words alone."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from allinone.model.config import ModelConfig
from allinone.model.layers import Block, FrameEmbedding, TextEmbedding
from allinone.model.rolling import token_rolling
from allinone.types import Encoded


@dataclass
class Trace:
    """What a picture of one pass needs. Hand an empty one to the encoder, and it is filled block by block.

    `attention`: query by key weights, with the keys and queries of one frame [text; special; patches].
    `blocks`: the tokens that leave each block, before the last norm.
    `sources`: (frame, raster patch) that each vision token holds in this block, -1 for a special token.
    """

    attention: list[Float[Tensor, "B T heads S S"]] = field(default_factory=list)
    blocks: list[Float[Tensor, "B T S D"]] = field(default_factory=list)
    sources: list[Int[Tensor, "B T N 2"]] = field(default_factory=list)


class VideoTextEncoder(nn.Module):
    """All-in-One without heads (paper, section 3; what the released weights compute).

    `forward` is the joint mode; `encode_video` and `encode_text` are the two streams. All modes share all weights.
    Frames are uint8, normalised here with the config's mean and deviation, or floats that are normalised already.
    """

    TEXT, VISION = 0, 1  # rows of the modality embedding, BERT's outer token type
    recompute = False
    """Keep only what enters each block, and compute the rest again for the gradient: a third of the memory or less,
    a third more time."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.text = TextEmbedding(config)
        self.vision = FrameEmbedding(config)
        self.modality = nn.Parameter(torch.zeros(2, config.width))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width, eps=1e-6)
        self.pooler = nn.Linear(config.width, config.width)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(config.image_mean)[:, None, None] * 255, persistent=False)
        self.register_buffer("std", torch.tensor(config.image_std)[:, None, None] * 255, persistent=False)
        initialize(self, config)

    def forward(
        self,
        frames: UInt8[Tensor, "B T C H W"] | Float[Tensor, "B T C H W"],
        text_ids: Int[Tensor, "B L"],
        text_mask: Bool[Tensor, "B L"],
        *,
        patch_perm: Int[Tensor, "B T P"] | None = None,
        real_grid: Int[Tensor, "B 2"] | None = None,
        trace: Trace | None = None,
        keep: int | None = None,
    ) -> Encoded:
        """Joint mode: each frame's patches and a copy of the text attend to each other, tokens roll between frames.

        `patch_perm` overrides the order of patches that the config asks for; `real_grid` marks padded frames
        (see `FrameEmbedding`); `trace` collects what happened. With `keep`, here and in the other modes, only the first
        so many tokens leave the last block: most heads read token 0 alone.
        """
        num_frames, num_words = frames.shape[1], text_ids.shape[1]
        if patch_perm is None and self.config.patch_order == "random":
            patch_perm = self.draw_order(frames.shape[0], num_frames)
        words = (self.text(text_ids) + self.modality[self.TEXT])[:, None].expand(-1, num_frames, -1, -1)
        if self.config.text_time:
            assert self.vision.time is not None
            words = words + self.vision.time[:num_frames, None]
        vision, vision_mask = self.vision(self.normalize(frames), patch_perm, real_grid)
        if vision_mask is None:
            vision_mask = text_mask.new_ones(frames.shape[0], vision.shape[2])
        tokens = torch.cat([words, vision + self.modality[self.VISION]], dim=2)  # [B, T, L + N, D]
        key_mask = torch.cat([text_mask, vision_mask], dim=1)
        if trace is not None:
            trace.sources = self.trace_rolling(frames.shape[0], num_frames, patch_perm)
        tokens = self.run(tokens, key_mask, num_text=num_words, trace=trace, keep=keep)
        return Encoded(text=tokens[:, :num_words], video=tokens[:, num_words:])

    def encode_video(
        self,
        frames: UInt8[Tensor, "B T C H W"] | Float[Tensor, "B T C H W"],
        trace: Trace | None = None,
        keep: int | None = None,
    ) -> Float[Tensor, "B K D"]:
        """Video-only mode: frames, in raster order, meet only in the mean, unless the config has `roll_video`."""
        vision, _ = self.vision(self.normalize(frames))
        num_text = 0 if self.config.roll_video else None
        return self.run(vision + self.modality[self.VISION], None, num_text, trace, keep)

    def encode_text(
        self, text_ids: Int[Tensor, "B L"], text_mask: Bool[Tensor, "B L"], keep: int | None = None
    ) -> Float[Tensor, "B K D"]:
        """Text-only mode. The text runs once: its copies for the frames would all be equal."""
        words = self.text(text_ids) + self.modality[self.TEXT]
        return self.run(words[:, None], text_mask, num_text=None, keep=keep)

    def pool(self, tokens: Float[Tensor, "B K D"]) -> Float[Tensor, "B D"]:
        """The pooled feature that matching and answering read: tanh of a linear layer on token 0."""
        return self.pooler(tokens[:, 0]).tanh()

    def run(
        self,
        tokens: Float[Tensor, "B T S D"],
        key_mask: Bool[Tensor, "B S"] | None,
        num_text: int | None,
        trace: Trace | None = None,
        keep: int | None = None,
    ) -> Float[Tensor, "B K D"]:
        """All blocks on each frame's tokens, a last norm, and the mean over frames.

        Tokens roll, behind the first `num_text`, where that is given.
        """
        batch, num_frames = tokens.shape[:2]
        if key_mask is not None:
            key_mask = key_mask[:, None].expand(-1, num_frames, -1).flatten(0, 1)
        for block in self.blocks:
            if num_text is not None:
                tokens = token_rolling(tokens, self.config.num_rolled, num_text)
            kept = keep if block is self.blocks[-1] else None
            options = {"want_weights": trace is not None, "keep": kept}
            if self.recompute and torch.is_grad_enabled():
                flat, attention = checkpoint(block, tokens.flatten(0, 1), key_mask, use_reentrant=False, **options)
            else:
                flat, attention = block(tokens.flatten(0, 1), key_mask, **options)
            tokens = flat.unflatten(0, (batch, num_frames))
            if trace is not None:
                trace.attention.append(attention.unflatten(0, (batch, num_frames)))
                trace.blocks.append(tokens)
        return self.norm(tokens).mean(dim=1)

    def normalize(self, frames: UInt8[Tensor, "B T C H W"] | Float[Tensor, "B T C H W"]) -> Float[Tensor, "B T C H W"]:
        return frames if frames.is_floating_point() else (frames - self.mean) / self.std

    def draw_order(self, batch: int, num_frames: int) -> Int[Tensor, "B T P"]:
        """A random order of each frame's patches.

        In training every clip draws afresh from torch's global generator. In evaluation every clip gets the one that
        `patch_seed` gives, so that a result depends neither on the batch nor on the call.
        """
        num_patches, device = self.config.num_patches, self.modality.device
        if self.training:
            return torch.rand(batch, num_frames, num_patches, device=device).argsort(dim=-1)
        generator = torch.Generator().manual_seed(self.config.patch_seed)
        order = torch.rand(num_frames, num_patches, generator=generator).argsort(dim=-1)
        return order.to(device).expand(batch, -1, -1)

    def trace_rolling(
        self, batch: int, num_frames: int, patch_perm: Int[Tensor, "B T P"] | None
    ) -> list[Int[Tensor, "B T N 2"]]:
        """Follow (frame, raster patch) pairs through the rolling of every block."""
        if patch_perm is None:
            patch_perm = torch.arange(self.config.num_patches, device=self.modality.device).expand(
                batch, num_frames, -1
            )
        frame = torch.arange(num_frames, device=patch_perm.device)[None, :, None].expand_as(patch_perm)
        places = torch.stack([frame, patch_perm], dim=-1)
        special = places.new_full((batch, num_frames, self.config.num_special, 2), -1)
        held, sources = torch.cat([special, places], dim=2), []
        for _ in self.blocks:
            held = token_rolling(held, self.config.num_rolled)
            sources.append(held)
        return sources


def initialize(encoder: VideoTextEncoder, config: ModelConfig) -> None:
    """Random weights: ViT's 0.02 everywhere, or scaled so that small models learn order in time from scratch.

    In the scaled start (`init="fan_in"`) weights have 1/sqrt(fan in), words unit variance, and where and when a patch
    is stands out (a normal of deviation 2 that is cut at 2, so 1.1). What all tokens share stays small: it would make
    all texts, and all clips, nearly alike at first, and contrast would learn slowly.
    """
    scaled = config.init == "fan_in"
    for module in encoder.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            fan_in = module.weight[0].numel()
            nn.init.trunc_normal_(module.weight, std=fan_in**-0.5 if scaled else 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=1.0 if scaled else 0.02)
    vision = encoder.vision
    for shared in (encoder.modality, encoder.text.token_type, vision.special, vision.position):
        nn.init.trunc_normal_(shared, std=0.02)
    if vision.time is not None:
        nn.init.trunc_normal_(vision.time, std=2.0 if scaled else 0.02)
    if scaled:
        nn.init.trunc_normal_(vision.position[config.num_special :], std=2.0)
