"""A copy of an encoder for inference on a CPU in bfloat16: weights are laid out once, and small steps are fused.

It computes what `torch.autocast` would, up to rounding. Word and position embeddings, the last norm, the pooler and the
exchange between frames stay in float32, shared with the encoder that was packed.
"""

import copy
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from allinone.model.config import ModelConfig
from allinone.model.encoder import VideoTextEncoder
from allinone.model.layers import Block
from allinone.model.time import Time

MIN_WIDTH = 192
"""Narrower models are as fast in float32 (measured at 96, where bfloat16 is slower, and at 192, where it is faster)."""

DOT_PRODUCTS = ("avx512_bf16", "amx_bf16")
"""CPU instructions that make a bfloat16 matrix product faster than one in float32."""

LOGITS_IN_CHUNK = 1 << 21
"""Attention logits in one chunk: 4 MB in bfloat16, which stay in the processor's cache."""

ModuleType = TypeVar("ModuleType", bound=nn.Module)


def bfloat16_pays(config: ModelConfig, device: torch.device) -> bool:
    """Return True if this model is faster in bfloat16 on this device: most GPUs, and some CPUs if it is wide."""
    if device.type == "cpu":
        can = torch.cpu.get_capabilities()
        return config.width >= MIN_WIDTH and any(can.get(name, False) for name in DOT_PRODUCTS)
    return device.type == "cuda" and torch.cuda.is_bf16_supported()


def pack(encoder: VideoTextEncoder) -> VideoTextEncoder:
    """Return the copy. It runs under `torch.inference_mode` only, and does not follow later changes of the weights."""
    packed, vision = shallow_copy(encoder), shallow_copy(encoder.vision)
    with torch.inference_mode():
        # The vision part and the encoder are shallow copies, so that only the copies get the packed parts.
        vision.patch = PackedPatches(encoder.vision.patch)  # pyright: ignore[reportAttributeAccessIssue]
        packed.vision = vision
        packed.blocks = nn.ModuleList(PackedBlock(block) for block in encoder.blocks)  # pyright: ignore[reportArgumentType]
        packed.norm = FloatNorm(encoder.norm)  # pyright: ignore[reportAttributeAccessIssue]
        # Rolling has no parameters: it only moves tokens, whatever their type.
        packed.time = FloatTime(encoder.time) if [*encoder.time.parameters()] else encoder.time  # pyright: ignore[reportAttributeAccessIssue]
    return packed.eval()


def shallow_copy(module: ModuleType) -> ModuleType:
    """Return a module with the same children, which can be replaced without a change to the first."""
    other = copy.copy(module)
    other._modules = dict(module._modules)
    return other


class PackedLinear(nn.Module):
    """A linear layer with weights in the layout of oneDNN, the library behind torch, which else converts every call."""

    def __init__(self, weight: Float[Tensor, "O I"], bias: Float[Tensor, " O"]):
        super().__init__()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.bfloat16().contiguous(), None)
        self.bias = bias.bfloat16()

    def forward(self, x: Float[Tensor, "*shape I"], activation: str = "none") -> Float[Tensor, "*shape O"]:
        """Return the output, through the `activation` (`none` or `gelu`) while it is in cache."""
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, activation, [], "none")

    def add_to(self, y: Float[Tensor, "*shape O"], x: Float[Tensor, "*shape I"]) -> Float[Tensor, "*shape O"]:
        """Return y plus the output for x."""
        return torch.ops.mkldnn._linear_pointwise.binary(x, y, self.weight, self.bias, "add")

    def __reduce__(self):
        # Weights in oneDNN's layout cannot be pickled, so a copy packs them again.
        return PackedLinear, (self.weight.to_dense(), self.bias)


class PackedBlock(nn.Module):
    """`Block` without dropout."""

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
        self, x: Float[Tensor, "M S D"], key_mask: Bool[Tensor, "M S"] | None, num_out_tokens: int | None = None
    ) -> Float[Tensor, "M Q D"]:
        x = x.bfloat16()  # the first block gets float32
        normalized = self.norm1(x)
        # Queries only of the tokens that leave, keys and values of all.
        query = self.query(normalized[:, :num_out_tokens]).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        key, value = self.key_value(normalized).unflatten(-1, (2, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        x = self.proj.add_to(x[:, :num_out_tokens], attend(query, key, value, key_mask))
        return self.fc2.add_to(x, self.fc1(self.norm2(x), activation="gelu"))


def attend(
    query: Float[Tensor, "M heads Q d"],
    key: Float[Tensor, "M heads S d"],
    value: Float[Tensor, "M heads S d"],
    key_mask: Bool[Tensor, "M S"] | None,
) -> Float[Tensor, "M Q D"]:
    """Scaled dot-product attention without gradients, in place and in chunks, with the heads joined in the output."""
    num_sequences, heads, num_queries, width = query.shape
    hidden, num_masked = None, 0  # keys after the first `num_masked` are all real: mostly, those after the text
    if key_mask is not None and not key_mask.all():
        hidden = ~key_mask[:, None, None]  # [M, 1, 1, S]
        num_masked = int(hidden.any(dim=0).nonzero()[-1, -1]) + 1  # after the last key that any sequence hides
    # Heads after queries in memory, so that they are joined without a copy.
    attended = query.new_empty(num_sequences, num_queries, heads, width)
    size = max(1, LOGITS_IN_CHUNK // (heads * num_queries * key.shape[2]))
    for chunk in map(slice, range(0, num_sequences, size), range(size, num_sequences + size, size)):
        logits = (query[chunk] * width**-0.5) @ key[chunk].mT  # scaling the query is cheaper than the logits
        if hidden is not None:
            logits[..., :num_masked].masked_fill_(hidden[chunk, ..., :num_masked], float("-inf"))
        torch.softmax(logits, -1, out=logits)
        attended[chunk] = (logits @ value[chunk]).transpose(1, 2)
    return attended.flatten(2)


class PackedPatches(nn.Module):
    """The patch projection as one matrix product instead of a convolution."""

    def __init__(self, patch: nn.Conv2d):
        super().__init__()
        self.side = patch.kernel_size[0]
        assert patch.bias is not None
        self.linear = PackedLinear(patch.weight.flatten(1), patch.bias)

    def forward(self, frames: Float[Tensor, "M C H W"]) -> Float[Tensor, "M D rows columns"]:
        grid = (frames.shape[-2] // self.side, frames.shape[-1] // self.side)
        # [M, C, rows, side, columns, side]
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


class FloatTime(nn.Module):
    """A way of time that has parameters, in float32."""

    def __init__(self, time: Time):
        super().__init__()
        self.time = time

    def forward(self, tokens: Shaped[Tensor, "B T S D"], num_text: int, block: int) -> Shaped[Tensor, "B T S D"]:
        return self.time(tokens.float(), num_text, block)

    def video(self, tokens: Shaped[Tensor, "B T N D"], block: int) -> Shaped[Tensor, "B T N D"]:
        return self.time.video(tokens.float(), block)
