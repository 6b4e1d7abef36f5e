"""Token rolling: neighbouring frames swap a few patch tokens before each block (paper, section 3)."""

import torch
from jaxtyping import Shaped
from torch import Tensor


def token_rolling(tokens: Shaped[Tensor, "B T K D"], num_rolled: int, num_text: int = 0) -> Shaped[Tensor, "B T K D"]:
    """Move `num_rolled` patch tokens one frame later and as many one frame earlier.

    A frame's tokens are `num_text` of text, which stay; its class token, which stays; those that arrive from the frame
    before; those that stay; and those from the frame after. Time is a ring: what leaves the last frame enters the
    first. The operation has no weights.

    With `num_rolled=0`, which frames of fewer than eight tokens give, whole frames move one step earlier, class token
    and all: so does the released code, and weights trained with it expect it.
    """
    num_still = num_text + 1
    num_middle = tokens.shape[2] - num_still - 2 * num_rolled
    if num_middle < 0:
        raise ValueError(f"cannot roll 2 x {num_rolled} of {tokens.shape[2] - num_still} patch tokens")
    if num_rolled == 0:
        return torch.cat([tokens[:, :, :num_text], tokens[:, :, num_text:].roll(-1, dims=1)], dim=2)
    still, later, middle, earlier = tokens.split([num_still, num_rolled, num_middle, num_rolled], dim=2)
    return torch.cat([still, later.roll(1, dims=1), middle, earlier.roll(-1, dims=1)], dim=2)
