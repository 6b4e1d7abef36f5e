"""Look inside an encoder: the tokens of any block, their attention, and which patch each token comes from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn

from allinone.model.encoder import VideoTextEncoder
from allinone.model.layers import Block
from allinone.model.packed import shallow_copy


@dataclass(frozen=True, kw_only=True)
class BlockFeatures:
    """Tokens that leave one block, for each frame, before the last norm and the mean over frames.

    `text` is None in the video-only mode, `special` (the class token and, if distilled, the distillation token) and
    `patches` in the text-only mode, where T is 1. `attention` (None unless asked for) is from each token (a row) to
    each other inside this block, with the tokens in the order text, special, patches.

    In the joint mode the patches of a frame are in the model's patch order, and some come from its neighbors. `sources`
    holds the frame and the raster patch that each was embedded from, and is None where frames mix tokens instead of
    moving them (`Time.is_permutation`). `on_grid` puts them back.
    """

    block: int
    text: Float[Tensor, "B T L D"] | None
    special: Float[Tensor, "B T K D"] | None
    patches: Float[Tensor, "B T P D"] | None
    attention: Float[Tensor, "B T heads S S"] | None
    sources: Int[Tensor, "B T P 2"] | None

    @property
    def tokens(self) -> Float[Tensor, "B T S D"]:
        """All tokens in the order of the encoder: text, special, patches."""
        return torch.cat([x for x in (self.text, self.special, self.patches) if x is not None], dim=2)

    def cpu(self) -> "BlockFeatures":
        """Return the same on the CPU."""
        return replace(self, **{name: x.cpu() for name, x in vars(self).items() if isinstance(x, Tensor)})

    @property
    def cls(self) -> Float[Tensor, "B T D"] | None:
        """The class token of each frame."""
        return None if self.special is None else self.special[:, :, 0]

    def on_grid(self) -> Float[Tensor, "B T rows columns D"]:
        """Return the patches in the frame and at the position that they were embedded from.

        Raises:
            ValueError: there are no patches, or they cannot be followed.
        """
        if self.patches is None or self.sources is None:
            raise ValueError("no patches to put back: a mode without video, or a way of time that mixes tokens")
        num_frames, num_patches, width = self.patches.shape[1:]
        places = (self.sources[..., 0] * num_patches + self.sources[..., 1]).flatten(1)  # [B, T x P]
        # Every position is filled, because the exchange only permutes patches.
        grid = torch.empty_like(self.patches).flatten(1, 2)
        grid = grid.scatter(1, places[..., None].expand(-1, -1, width), self.patches.flatten(1, 2))  # [B, T x P, D]
        side = round(num_patches**0.5)
        return grid.unflatten(1, (num_frames, side, side))


class Recorder(nn.Module):
    """A block that keeps its output and, if asked for, its attention."""

    def __init__(self, block: Block, with_attention: bool):
        super().__init__()
        self.block = block
        self.with_attention = with_attention
        self.attention: Tensor | None = None

    def forward(
        self, x: Float[Tensor, "M S D"], key_mask: Bool[Tensor, "M S"] | None, num_out_tokens: int | None = None
    ) -> Float[Tensor, "M Q D"]:
        if self.with_attention:
            self.attention = self.block.attn.weights(self.block.norm1(x), key_mask)
        self.tokens = self.block(x, key_mask, num_out_tokens)
        return self.tokens


def features(
    encoder: VideoTextEncoder,
    frames: UInt8[Tensor, "B T C H W"] | Float[Tensor, "B T C H W"] | None = None,
    text_ids: Int[Tensor, "B L"] | None = None,
    text_mask: Bool[Tensor, "B L"] | None = None,
    *,
    layers: Sequence[int] = (-1,),
    attention: bool = False,
    patch_order: Int[Tensor, "B T P"] | None = None,
) -> list[BlockFeatures]:
    """Run an encoder once and return what leaves the blocks in `layers` (negative ones count from the end).

    The inputs decide the mode: joint, video-only or text-only. The encoder is not changed, so other threads may use
    it at the same time. `encoder` must not be packed, because packed blocks give no attention.

    Raises:
        ValueError: neither frames nor text are given, or there is no such block.
    """
    if (text_ids is None) != (text_mask is None):
        raise ValueError("text_ids and text_mask are given together")
    depth = len(encoder.blocks)
    if outside := [layer for layer in layers if not -depth <= layer < depth]:
        raise ValueError(f"no block {outside[0]}: this model has blocks 0 to {depth - 1}, or -{depth} to -1")
    wanted = [layer % depth for layer in layers]
    # A shallow copy with recording blocks: the encoder itself has no hooks, so others may use it meanwhile.
    recorders = [Recorder(block, attention and i in wanted) for i, block in enumerate(encoder.blocks)]  # pyright: ignore[reportArgumentType]
    recorded = shallow_copy(encoder)
    recorded.blocks = nn.ModuleList(recorders)
    sources = run(recorded, frames, text_ids, text_mask, patch_order)
    num_text, num_frames = 0 if text_ids is None else text_ids.shape[1], 1 if frames is None else frames.shape[1]
    return [
        BlockFeatures(
            block=i,
            **split(recorders[i].tokens.unflatten(0, (-1, num_frames)), num_text, encoder.config.num_special),
            attention=unflatten(recorders[i].attention, num_frames),
            sources=None if sources is None else sources[i],
        )
        for i in wanted
    ]


def run(
    encoder: VideoTextEncoder,
    frames: Tensor | None,
    text_ids: Tensor | None,
    text_mask: Tensor | None,
    patch_order: Tensor | None,
) -> list[Tensor] | None:
    """Run the encoder in the mode that the inputs decide, and return the sources of the patches in each block."""
    if text_ids is None or text_mask is None:
        if frames is None:
            raise ValueError("features of what? Give a video, a text, or both")
        encoder.encode_video(frames)
        return follow(encoder, raster_order(encoder, frames), encoder.time.video)
    if frames is None:
        encoder.encode_text(text_ids, text_mask)
        return None
    if patch_order is None:
        is_random = encoder.config.patch_order == "random"
        patch_order = encoder.draw_order(*frames.shape[:2]) if is_random else raster_order(encoder, frames)
    encoder(frames, text_ids, text_mask, patch_order=patch_order)
    # No text: `follow` moves the indices of special tokens and patches only.
    return follow(encoder, patch_order, partial(encoder.time, num_text=0))


def unflatten(x: Tensor | None, num_frames: int) -> Tensor | None:
    """Return [B x T, ...] as [B, T, ...]."""
    return None if x is None else x.unflatten(0, (-1, num_frames))


def split(tokens: Float[Tensor, "B T S D"], num_text: int, num_special: int) -> dict[str, Tensor | None]:
    """Return the tokens of each kind; None for those that a mode does not have."""
    text, vision = tokens[:, :, :num_text], tokens[:, :, num_text:]
    has_vision = vision.shape[2] > 0
    return {
        "text": text if num_text else None,
        "special": vision[:, :, :num_special] if has_vision else None,
        "patches": vision[:, :, num_special:] if has_vision else None,
    }


def raster_order(encoder: VideoTextEncoder, frames: Tensor) -> Int[Tensor, "B T P"]:
    """Return the patches of each frame row by row."""
    return torch.arange(encoder.config.num_patches, device=frames.device).expand(*frames.shape[:2], -1)


def follow(
    encoder: VideoTextEncoder, patch_order: Int[Tensor, "B T P"], exchange: Callable[..., Tensor]
) -> list[Tensor] | None:
    """Return (frame, raster patch) of the patches in each block; None if the way of time mixes tokens."""
    if not encoder.time.is_permutation:
        return None
    # Apply the exchange to indices instead of features.
    num_frames, num_special = patch_order.shape[1], encoder.config.num_special
    frame = torch.arange(num_frames, device=patch_order.device)[None, :, None].expand_as(patch_order)
    held = torch.stack([frame, patch_order], dim=-1)  # [B, T, P, 2]
    held = F.pad(held, (0, 0, num_special, 0), value=-1)  # special tokens are no patches: -1
    sources = []
    for block in range(len(encoder.blocks)):
        held = exchange(held, block=block)
        sources.append(held[:, :, num_special:])
    return sources
