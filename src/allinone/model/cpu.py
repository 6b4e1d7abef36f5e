"""A copy of an encoder for inference on a CPU that computes in bfloat16: weights laid out once, small steps fused.

It computes what `torch.autocast` would, up to rounding. Words, positions, the last norm and the pooler stay in
float32, and shared with the encoder that it was made of.
"""

import copy
from typing import TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from allinone.model.config import ModelConfig
from allinone.model.encoder import VideoTextEncoder
from allinone.model.layers import Block

LEAST_WIDTH = 192
"""Below, float32 is as fast (measured at 96, where bfloat16 loses, and at 192, where it gains)."""

DOT_PRODUCTS = ("avx512_bf16", "amx_bf16")
"""Instructions that make a bfloat16 product of matrices faster than one in float32."""


def bfloat16_pays(config: ModelConfig, device: torch.device) -> bool:
    """Whether a model is faster in bfloat16 here: on a GPU, and on a CPU with instructions for it if it is wide."""
    if device.type == "cpu":
        can = torch.cpu.get_capabilities()
        return config.width >= LEAST_WIDTH and any(can.get(name, False) for name in DOT_PRODUCTS)
    return device.type == "cuda" and torch.cuda.is_bf16_supported()


def pack(encoder: VideoTextEncoder) -> VideoTextEncoder:
    """The copy. It runs under `torch.inference_mode` alone, and later changes of the encoder's weights miss it."""
    packed, vision = shallow(encoder), shallow(encoder.vision)
    with torch.inference_mode():
        vision.patch = PackedPatches(encoder.vision.patch)  # pyright: ignore[reportAttributeAccessIssue]
        packed.vision = vision
        packed.blocks = nn.ModuleList(PackedBlock(block) for block in encoder.blocks)  # pyright: ignore[reportArgumentType]
        packed.norm = FloatNorm(encoder.norm)  # pyright: ignore[reportAttributeAccessIssue]
    return packed.eval()


LOGITS_AT_ONCE = 1 << 21
"""Attention logits made at a time (4 MB), which stay in the cache until they are weights and used."""

ModuleType = TypeVar("ModuleType", bound=nn.Module)


def shallow(module: ModuleType) -> ModuleType:
    """Another module with the same parts, which may be exchanged."""
    other = copy.copy(module)
    other._modules = dict(module._modules)
    return other


class PackedLinear(nn.Module):
    """A linear layer whose weights the library behind torch (oneDNN) need not rearrange on every call."""

    def __init__(self, weight: Float[Tensor, "O I"], bias: Float[Tensor, " O"]):
        super().__init__()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.bfloat16().contiguous(), None)
        self.bias = bias.bfloat16()

    def forward(self, x: Float[Tensor, "*shape I"], then: str = "none") -> Float[Tensor, "*shape O"]:
        """`then` names what is done with the result while it is at hand: `none` or `gelu`."""
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, then, [], "none")

    def __reduce__(self):
        return PackedLinear, (self.weight.to_dense(), self.bias)

    def added_to(self, y: Float[Tensor, "*shape O"], x: Float[Tensor, "*shape I"]) -> Float[Tensor, "*shape O"]:
        return torch.ops.mkldnn._linear_pointwise.binary(x, y, self.weight, self.bias, "add")


class PackedBlock(nn.Module):
    """`Block` without dropout and pictures of attention."""

    def __init__(self, block: Block):
        super().__init__()
        self.num_heads = block.attn.num_heads
        self.norm1, self.norm2 = (copy.deepcopy(norm).bfloat16() for norm in (block.norm1, block.norm2))
        width, qkv = len(block.norm1.weight), block.attn.qkv
        self.query = PackedLinear(qkv.weight[:width], qkv.bias[:width])
        self.key_value = PackedLinear(qkv.weight[width:], qkv.bias[width:])
        self.proj, self.fc1, self.fc2 = (
            PackedLinear(linear.weight, linear.bias) for linear in (block.attn.proj, block.mlp.fc1, block.mlp.fc2)
        )

    def forward(
        self,
        x: Float[Tensor, "M S D"],
        key_mask: Bool[Tensor, "M S"] | None,
        want_weights: bool = False,
        keep: int | None = None,
    ) -> tuple[Float[Tensor, "M Q D"], None]:
        if want_weights:
            raise ValueError("a packed encoder gives no attention weights; trace the one that it was made of")
        x = x.bfloat16()  # the first block gets float32
        normal = self.norm1(x)
        query = self.query(normal[:, :keep]).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        key, value = self.key_value(normal).unflatten(-1, (2, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        x = self.proj.added_to(x[:, :keep], attend(query, key, value, key_mask))
        return self.fc2.added_to(x, self.fc1(self.norm2(x), then="gelu")), None


def attend(
    query: Float[Tensor, "M heads Q d"],
    key: Float[Tensor, "M heads S d"],
    value: Float[Tensor, "M heads S d"],
    key_mask: Bool[Tensor, "M S"] | None,
) -> Float[Tensor, "M Q D"]:
    """As that of `layers`, without gradients: a few rows at a time and in place, heads side by side in the end."""
    num_rows, heads, queries, width = query.shape
    hidden, padded = None, 0  # all keys from `padded` on are seen: mostly, those behind the text
    if key_mask is not None and not key_mask.all():
        hidden = ~key_mask[:, None, None]
        padded = int(hidden.any(dim=0).nonzero()[-1, -1]) + 1
    attended = query.new_empty(num_rows, queries, heads, width)
    step = max(1, LOGITS_AT_ONCE // (heads * queries * key.shape[2]))
    for rows in map(slice, range(0, num_rows, step), range(step, num_rows + step, step)):
        logits = (query[rows] * width**-0.5) @ key[rows].mT
        if hidden is not None:
            logits[..., :padded].masked_fill_(hidden[rows, ..., :padded], float("-inf"))
        torch.softmax(logits, -1, out=logits)
        attended[rows] = (logits @ value[rows]).transpose(1, 2)
    return attended.flatten(2)


class PackedPatches(nn.Module):
    """The patch projection as one product: [M, 3, H, W] to [M, D, rows, columns], as the convolution."""

    def __init__(self, patch: nn.Conv2d):
        super().__init__()
        self.side = patch.kernel_size[0]
        assert patch.bias is not None
        self.linear = PackedLinear(patch.weight.flatten(1), patch.bias)

    def forward(self, frames: Float[Tensor, "M C H W"]) -> Float[Tensor, "M D rows columns"]:
        grid = (frames.shape[-2] // self.side, frames.shape[-1] // self.side)
        split = frames.bfloat16().unflatten(-1, (grid[1], self.side)).unflatten(-3, (grid[0], self.side))
        patches = split.permute(0, 2, 4, 1, 3, 5).flatten(3)  # [M, rows, columns, C x side x side]
        return self.linear(patches).permute(0, 3, 1, 2)


class FloatNorm(nn.Module):
    """The last norm, from bfloat16 to float32."""

    def __init__(self, norm: nn.LayerNorm):
        super().__init__()
        self.norm = norm

    def forward(self, x: Float[Tensor, "*shape D"]) -> Float[Tensor, "*shape D"]:
        return self.norm(x.float())
