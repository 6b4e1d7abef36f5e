"""The encoder: one Transformer for video and text together, for video only, and for text only.

Design (All-in-One, section 3, https://arxiv.org/abs/2203.07303):

- Raw pixels and WordPiece tokens enter the same blocks; there is no text encoder and no video encoder.
- In the joint mode each frame has its own sequence, [text; class token; patches], with a copy of the text.
- Between blocks frames exchange tokens (`model/time.py`): token rolling, which costs nothing.
- After the last block and norm, every token is averaged over the frames.
- Blocks are ViT's (https://arxiv.org/abs/2010.11929): pre-norm, exact GELU, bias in the projections.
- Word embeddings are BERT's (https://arxiv.org/abs/1810.04805): position, token type, their own norm.
- Patches have a position and, per frame, a temporal embedding; the class token has no temporal embedding.
"""

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from allinone.model.config import ModelConfig
from allinone.model.init import initialize
from allinone.model.layers import Block, FrameEmbedding, TextEmbedding
from allinone.model.time import time_of
from allinone.types import Encoded

Exchange = Callable[..., Tensor]
"""Takes the tokens [B, T, S, D] of all frames and the number of a block; returns the tokens that enter that block."""


class VideoTextEncoder(nn.Module):
    """All-in-One without heads. All modes share all weights, and compute what the released weights were trained for.

    `forward` is the joint mode; `encode_video` and `encode_text` are the two streams. In each of them
    `num_out_tokens` limits the tokens that leave the last block to the first ones: most heads read token 0 only.
    Frames are uint8, normalized here with the config's mean and standard deviation, or floats that are normalized.
    """

    TEXT, VISION = 0, 1  # rows of the modality embedding
    recompute = False
    """Activation checkpointing: keep only the input of each block, and compute the rest again for the gradient. It
    takes a third of the memory or less, and a third more time."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.text = TextEmbedding(config)
        self.vision = FrameEmbedding(config)
        self.modality = nn.Parameter(torch.zeros(2, config.width))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width, eps=1e-6)  # ViT's eps, as in the blocks
        self.pooler = nn.Linear(config.width, config.width)
        self.mean: Tensor
        self.std: Tensor
        # On the CPU even where modules are built without memory (`torch.device("meta")`): arithmetic there would import
        # torch's compiler, which takes seconds.
        mean, std = (torch.tensor(each, device="cpu") for each in (config.image_mean, config.image_std))
        self.register_buffer("mean", mean[:, None, None] * 255, persistent=False)  # frames are 0 to 255
        self.register_buffer("std", std[:, None, None] * 255, persistent=False)
        initialize(self, config)
        self.time = time_of(config.time)(config.time, config)  # after `initialize`, because it has its own start

    def forward(
        self,
        frames: UInt8[Tensor, "B T C H W"] | Float[Tensor, "B T C H W"],
        text_ids: Int[Tensor, "B L"],
        text_mask: Bool[Tensor, "B L"],
        *,
        patch_order: Int[Tensor, "B T P"] | None = None,
        num_out_tokens: int | None = None,
    ) -> Encoded:
        """Joint mode: each frame's patches and a copy of the text attend to each other.

        Args:
            patch_order: slot j of frame t holds raster patch `patch_order[b, t, j]`. Default: as the config says.
            num_out_tokens: see the class. Tokens of the text come first.
        """
        batch, num_frames = frames.shape[:2]
        num_text = text_ids.shape[1]
        if patch_order is None and self.config.patch_order == "random":
            patch_order = self.draw_order(batch, num_frames)
        # 1. Embed both modalities, and say which is which.
        # [B, T, L, D]: a view, not copies.
        words = (self.text(text_ids) + self.modality[self.TEXT])[:, None].expand(-1, num_frames, -1, -1)
        # A copy of the text has the time of its frame too, if the config says so.
        if self.config.text_time:
            assert self.vision.time is not None
            words = words + self.vision.time[:num_frames, None]
        vision = self.vision(self.normalize(frames), patch_order) + self.modality[self.VISION]  # [B, T, N, D]
        # 2. One sequence for each frame. Only padding of the text is hidden from attention.
        tokens = torch.cat([words, vision], dim=2)  # [B, T, L + N, D]
        key_mask = torch.cat([text_mask, text_mask.new_ones(batch, vision.shape[2])], dim=1)  # [B, L + N]
        # 3. Blocks with rolling between them, the last norm, and the mean over frames.
        tokens = self.run(tokens, key_mask, partial(self.time, num_text=num_text), num_out_tokens)
        return Encoded(text=tokens[:, :num_text], video=tokens[:, num_text:])

    def encode_video(
        self,
        frames: UInt8[Tensor, "B T C H W"] | Float[Tensor, "B T C H W"],
        num_out_tokens: int | None = None,
    ) -> Float[Tensor, "B K D"]:
        """Video-only mode, patches in raster order. As released, frames meet in the mean only (see `Rolling`)."""
        vision = self.vision(self.normalize(frames)) + self.modality[self.VISION]
        return self.run(vision, None, self.time.video, num_out_tokens)

    def encode_text(
        self, text_ids: Int[Tensor, "B L"], text_mask: Bool[Tensor, "B L"], num_out_tokens: int | None = None
    ) -> Float[Tensor, "B K D"]:
        """Text-only mode. The text runs once: the copies for each frame that the released code makes are equal."""
        words = self.text(text_ids) + self.modality[self.TEXT]
        # [B, 1, L, D]: a clip of one frame, so the mean over frames changes nothing.
        return self.run(words[:, None], text_mask, lambda tokens, block: tokens, num_out_tokens)

    def pool(self, tokens: Float[Tensor, "B K D"]) -> Float[Tensor, "B D"]:
        """Return the pooled feature, tanh of a linear layer on token 0 (released: modules/heads.py:8)."""
        return self.pooler(tokens[:, 0]).tanh()

    def run(
        self,
        tokens: Float[Tensor, "B T S D"],
        key_mask: Bool[Tensor, "B S"] | None,
        exchange: Exchange,
        num_out_tokens: int | None = None,
    ) -> Float[Tensor, "B K D"]:
        """Run all blocks on the tokens of each frame, the last norm, and average over the frames."""
        batch, num_frames = tokens.shape[:2]
        if key_mask is not None:
            key_mask = key_mask[:, None].expand(-1, num_frames, -1).flatten(0, 1)  # [B x T, S]
        for i, block in enumerate(self.blocks):
            tokens = exchange(tokens, block=i)
            # Only the last block may drop tokens, because all tokens are keys and values of the next one.
            num_out = num_out_tokens if i + 1 == len(self.blocks) else None
            if self.recompute and torch.is_grad_enabled():
                flat = checkpoint(block, tokens.flatten(0, 1), key_mask, num_out, use_reentrant=False)
            else:
                flat = block(tokens.flatten(0, 1), key_mask, num_out)
            tokens = flat.unflatten(0, (batch, num_frames))
        return self.norm(tokens).mean(dim=1)

    def normalize(self, frames: UInt8[Tensor, "B T C H W"] | Float[Tensor, "B T C H W"]) -> Float[Tensor, "B T C H W"]:
        """Return uint8 frames normalized; floats are returned as they are."""
        return frames if frames.is_floating_point() else (frames - self.mean) / self.std

    def draw_order(self, batch: int, num_frames: int) -> Int[Tensor, "B T P"]:
        """Draw a random order of each frame's patches.

        In training every clip has its own, from torch's global generator. In evaluation all clips have the one that
        `patch_seed` gives, so that a result depends neither on the batch nor on the call.
        """
        num_patches, device = self.config.num_patches, self.modality.device
        # Ranks of random numbers are a random permutation.
        if self.training:
            return torch.rand(batch, num_frames, num_patches, device=device).argsort(dim=-1)
        generator = torch.Generator().manual_seed(self.config.patch_seed)
        order = torch.rand(num_frames, num_patches, generator=generator).argsort(dim=-1)
        return order.to(device).expand(batch, -1, -1)
