"""The baseline of the benchmarks: All-in-One with the cost structure of the released code, in float32.

Written for this benchmark, and plain on purpose: attention is a product, a mask over all 40 padded text positions, a
softmax and a product; text-only mode runs a copy of the text for each frame; every frame's patches are gathered in a
random order; pre-training is two full passes, the first with the vocabulary head on every position; 50 rounds of
optimal transport; a video is decoded in order, its frames scaled to 512 x 512 and resized by PIL.
It holds the tensors of an `AllInOne` of ours, so that `tests/model/test_parity.py` compares the two, and both the
released code's outputs.
"""

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from PIL import Image
from torch import Tensor

from allinone.model.heads import MatchingHead, MLMHead
from allinone.model.layers import Block
from allinone.model.model import AllInOne
from allinone.types import IGNORE

OT_ROUNDS, OT_BETA, OT_WEIGHT = 50, 0.5, 0.1
DECODED, RESIZED, CROPPED = 512, 268, 224


class Reference:
    """The released computation on the tensors of `model`. Texts have all of the model's text positions."""

    def __init__(self, model: AllInOne):
        self.model = model
        self.config = model.config

    def joint(
        self,
        frames: Float[Tensor, "B T 3 H W"],
        ids: Int[Tensor, "B L"],
        mask: Bool[Tensor, "B L"],
        perm: Int[Tensor, "B T P"] | None = None,
    ) -> tuple[Float[Tensor, "B L D"], Float[Tensor, "B N D"]]:
        """Features of the text and of the vision tokens."""
        encoder, num_frames = self.model.encoder, frames.shape[1]
        words = (encoder.text(ids) + encoder.modality[0]).repeat_interleave(num_frames, dim=0)
        vision = self.vision(frames, perm if perm is not None else self.random_order(frames)) + encoder.modality[1]
        word_mask = mask.repeat_interleave(num_frames, dim=0)
        key_mask = torch.cat([word_mask, torch.ones(vision.shape[:2], dtype=torch.bool)], dim=1)
        tokens = self.run(torch.cat([words, vision], dim=1), key_mask, num_frames, num_text=ids.shape[1])
        return tokens[:, : ids.shape[1]], tokens[:, ids.shape[1] :]

    def video(self, frames: Float[Tensor, "B T 3 H W"]) -> Float[Tensor, "B N D"]:
        vision = self.vision(frames, None) + self.model.encoder.modality[1]
        return self.run(vision, torch.ones(vision.shape[:2], dtype=torch.bool), frames.shape[1])

    def text(self, ids: Int[Tensor, "B L"], mask: Bool[Tensor, "B L"], num_frames: int = 3) -> Float[Tensor, "B L D"]:
        encoder = self.model.encoder
        words = (encoder.text(ids) + encoder.modality[0]).repeat_interleave(num_frames, dim=0)
        return self.run(words, mask.repeat_interleave(num_frames, dim=0), num_frames)

    def vision(self, frames: Float[Tensor, "B T 3 H W"], perm: Int[Tensor, "B T P"] | None) -> Float[Tensor, "M N D"]:
        vision, num_special = self.model.encoder.vision, self.config.num_special
        patches = vision.patch(frames.flatten(0, 1)).flatten(2).transpose(1, 2)
        patches = patches + vision.position[num_special:]
        if vision.time is not None:
            patches = patches + vision.time[: frames.shape[1]].repeat(len(frames), 1)[:, None]
        if perm is not None:
            patches = patches.gather(1, perm.flatten(0, 1)[..., None].expand_as(patches))
        special = (vision.special + vision.position[:num_special]).expand(len(patches), -1, -1)
        return torch.cat([special, patches], dim=1)

    def random_order(self, frames: Float[Tensor, "B T 3 H W"]) -> Int[Tensor, "B T P"]:
        return torch.rand(*frames.shape[:2], self.config.num_patches).argsort(dim=-1)

    def run(
        self, x: Float[Tensor, "M S D"], key_mask: Bool[Tensor, "M S"], num_frames: int, num_text: int | None = None
    ) -> Float[Tensor, "B S D"]:
        """All blocks on rows of one frame each, the last norm, and the mean over frames."""
        for block in self.model.encoder.blocks:
            if num_text is not None:
                x = self.roll(x, num_frames, num_text)
            x = self.block(block, x, key_mask)  # pyright: ignore[reportArgumentType]
        return self.model.encoder.norm(x).unflatten(0, (-1, num_frames)).mean(dim=1)

    def roll(self, x: Float[Tensor, "M S D"], num_frames: int, num_text: int) -> Float[Tensor, "M S D"]:
        tokens = x.unflatten(0, (-1, num_frames))
        first, fold = num_text + 1, (tokens.shape[2] - num_text) // 8
        rolled = tokens.clone()
        rolled[:, :, first : first + fold] = tokens[:, :, first : first + fold].roll(1, dims=1)
        rolled[:, :, -fold:] = tokens[:, :, -fold:].roll(-1, dims=1)
        return rolled.flatten(0, 1)

    def block(self, block: Block, x: Float[Tensor, "M S D"], key_mask: Bool[Tensor, "M S"]) -> Float[Tensor, "M S D"]:
        heads = self.config.num_heads
        qkv = block.attn.qkv(block.norm1(x)).unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = qkv[0], qkv[1], qkv[2]
        logits = (query @ key.transpose(-2, -1)) * query.shape[-1] ** -0.5
        logits = logits.masked_fill(~key_mask[:, None, None, :], float("-inf"))
        attended = (logits.softmax(dim=-1) @ value).transpose(1, 2).flatten(2)
        x = x + self.dropout(block.attn.proj(attended))
        hidden = self.dropout(F.gelu(block.mlp.fc1(block.norm2(x))))
        return x + self.dropout(block.mlp.fc2(hidden))

    def dropout(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.config.dropout, self.model.training)

    def pool(self, text: Float[Tensor, "B L D"]) -> Float[Tensor, "B D"]:
        return self.model.encoder.pooler(text[:, 0]).tanh()

    def pretraining_loss(self, batch: "PretrainingBatch") -> Tensor:
        """MLM, matching and word-patch alignment: two full passes."""
        text, _ = self.joint(batch.frames, batch.masked_ids, batch.mask)
        logits = self.model.require(MLMHead)(text)
        mlm = F.cross_entropy(logits.flatten(0, 1), batch.labels.flatten(), ignore_index=IGNORE)
        chosen = torch.where(batch.matched[:, None, None, None, None], batch.frames, batch.false_frames)
        text, video = self.joint(chosen, batch.ids, batch.mask)
        itm = F.cross_entropy(self.model.require(MatchingHead)(self.pool(text)), batch.matched.long())
        distance = self.transport(text, video[:, self.config.num_special :], batch.mask)
        return mlm + itm + OT_WEIGHT * torch.where(batch.matched, distance, -distance).mean()

    def transport(
        self, text: Float[Tensor, "B L D"], patches: Float[Tensor, "B P D"], mask: Bool[Tensor, "B L"]
    ) -> Float[Tensor, " B"]:
        """Optimal transport of words (without [CLS], [SEP], padding) onto patches, on all padded positions."""
        ends = mask & ~F.pad(mask[:, 1:], (0, 1))
        words = mask & ~ends
        words[:, 0] = False
        cost = 1 - F.normalize(text, dim=-1) @ F.normalize(patches, dim=-1).transpose(1, 2)
        cost = cost.masked_fill(~words[..., None], 0)
        with torch.no_grad():
            kernel = torch.exp(-cost.transpose(1, 2) / OT_BETA).masked_fill(~words[:, None], 0)  # [B, P, L]
            count = words.sum(1)[:, None]
            plan = torch.ones_like(kernel).masked_fill(~words[:, None], 0)
            sigma = words / count
            for _ in range(OT_ROUNDS):
                scaled = kernel * plan
                delta = 1 / (kernel.shape[1] * (scaled @ sigma[..., None])[..., 0])
                sigma = 1 / (count * (delta[:, None] @ scaled)[:, 0])
                sigma = sigma.masked_fill(~words, 0)
                plan = delta[..., None] * scaled * sigma[:, None]
        return (cost * plan.transpose(1, 2)).sum(dim=(1, 2))


@dataclass(frozen=True)
class PretrainingBatch:
    """Clips with their texts, masked and not, and another clip for each, which half of the pairs get."""

    frames: Float[Tensor, "B T 3 H W"]
    false_frames: Float[Tensor, "B T 3 H W"]
    ids: Int[Tensor, "B L"]
    masked_ids: Int[Tensor, "B L"]
    labels: Int[Tensor, "B L"]
    mask: Bool[Tensor, "B L"]
    matched: Bool[Tensor, " B"]


def read_clip(video: Path, times_sec: list[float], mean: np.ndarray, std: np.ndarray) -> Float[Tensor, "T 3 S S"]:
    """Decode in order up to the last frame wanted; 512 x 512, resized and cut by PIL, normalized floats."""
    shots: list[np.ndarray] = []
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for frame in container.decode(stream):
            while len(shots) < len(times_sec) and frame.time is not None and frame.time >= times_sec[len(shots)]:
                shots.append(frame.to_ndarray(format="rgb24", width=DECODED, height=DECODED))
            if len(shots) == len(times_sec):
                break
    edge = (RESIZED - CROPPED) // 2
    clip = []
    for shot in shots:
        picture = Image.fromarray(shot).resize((RESIZED, RESIZED), Image.Resampling.BICUBIC)
        picture = picture.crop((edge, edge, edge + CROPPED, edge + CROPPED))
        clip.append((np.asarray(picture, dtype=np.float32) / 255 - mean) / std)
    return torch.from_numpy(np.stack(clip)).permute(0, 3, 1, 2).contiguous()
