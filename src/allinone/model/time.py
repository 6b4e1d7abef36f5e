"""How the frames of a clip exchange information. Each way is one class, and the encoder is given one of them.

`Rolling` is the paper's (All-in-One, section 3.2, https://arxiv.org/abs/2203.07303). A way of your own is one class in
a file of your own:

    class Reverse(Time):
        kind = "reverse"  # its name in config.json

        @dataclass(frozen=True, kw_only=True)
        class Config:
            pass

        def forward(self, tokens, num_text, block):
            return torch.cat([tokens[:, :, :num_text], tokens[:, :, num_text:].flip(1)], dim=2)

`model.replace(time=Reverse.Config())` makes a model with it. Its parameters, if it has some, are trained and saved as
`encoder.time.*`. A checkpoint with it loads where that file has been imported.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

Tokens = Shaped[Tensor, "B T S *rest"]
"""Anything that each token of each frame has: its features, or an index. S counts the text, if any, and N."""

TIMES: dict[str, type["Time"]] = {}
"""Kind, as written in a checkpoint's config.json, to class. A class is listed from its definition on."""


class Time(nn.Module):
    """Base of the ways of time. `config` is the frozen `Config`, `model` the `ModelConfig` with the sizes.

    A subclass has its own `kind` and `Config`, and initializes its own parameters.
    """

    kind: ClassVar[str]
    Config: ClassVar[type]
    is_permutation: ClassVar[bool] = False
    """True if tokens only change places. Then `features` applies it to indices, and knows where each token is from."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if not {"kind", "Config"} <= vars(cls).keys():
            raise TypeError(f"{cls.__qualname__}: a way of time needs its own `kind` and its own `Config`")
        if cls.kind in TIMES and TIMES[cls.kind].__module__ == __name__:
            raise ValueError(f"{cls.__qualname__}: kind {cls.kind!r} is that of {TIMES[cls.kind].__name__}")
        TIMES[cls.kind] = cls

    def __init__(self, config: Any, model: Any):
        super().__init__()
        self.config = config

    def forward(self, tokens: Tokens, num_text: int, block: int) -> Tokens:
        """Return the tokens that enter block number `block` of the joint mode.

        The tokens of a frame are `num_text` of its copy of the text, special tokens, patches.
        """
        raise NotImplementedError(f"{type(self).__name__} has no forward pass")

    def video(self, tokens: Tokens, block: int) -> Tokens:
        """Return the tokens that enter block number `block` of the video-only mode. Default: as in the joint mode."""
        return self(tokens, 0, block)


class Rolling(Time):
    """Token rolling: neighboring frames exchange a quarter of their patch tokens before each block. No parameters.

    An eighth of a frame's tokens, rounded down, goes each way (released: modules/temporal_roll.py:6-62). The released
    model rolls in the joint mode only; `video` rolls in the video-only mode too.
    """

    kind = "rolling"
    is_permutation = True

    @dataclass(frozen=True, kw_only=True)
    class Config:
        video: bool = False

    def forward(self, tokens: Tokens, num_text: int, block: int) -> Tokens:
        return token_rolling(tokens, (tokens.shape[2] - num_text) // 8, num_text)

    def video(self, tokens: Tokens, block: int) -> Tokens:
        return super().video(tokens, block) if self.config.video else tokens


class NoExchange(Time):
    """Frames meet in the mean after the last block only."""

    kind = "none"
    is_permutation = True

    @dataclass(frozen=True, kw_only=True)
    class Config:
        pass

    def forward(self, tokens: Tokens, num_text: int, block: int) -> Tokens:
        return tokens


def token_rolling(tokens: Tokens, num_rolled: int, num_text: int = 0) -> Tokens:
    """Shift `num_rolled` patch tokens one frame later and as many one frame earlier.

    The first `num_text` tokens of each frame (its copy of the text) and the class token behind them do not move. Time
    is circular: tokens that leave the last frame enter the first.

    With `num_rolled=0`, which frames of fewer than eight tokens get, whole frames move one step earlier, class token
    included. The released code does so because its slice `[-0:]` is everything, and weights trained with it expect it.

    Raises:
        ValueError: if a frame has fewer than 2 x `num_rolled` patch tokens.
    """
    num_first = num_text + 1  # text and class token
    num_fixed = tokens.shape[2] - num_first - 2 * num_rolled
    if num_fixed < 0:
        raise ValueError(f"cannot roll 2 x {num_rolled} of {tokens.shape[2] - num_first} patch tokens")
    if num_rolled == 0:
        return torch.cat([tokens[:, :, :num_text], tokens[:, :, num_text:].roll(-1, dims=1)], dim=2)
    first, forward, fixed, backward = tokens.split([num_first, num_rolled, num_fixed, num_rolled], dim=2)
    return torch.cat([first, forward.roll(1, dims=1), fixed, backward.roll(-1, dims=1)], dim=2)


def time_of(config: Any) -> type[Time]:
    """Return the way of time that a `Config` belongs to. Raises ValueError where it belongs to none."""
    for time in TIMES.values():
        if type(config) is time.Config:
            return time
    raise ValueError(f"time must be the Config of a way of time ({', '.join(TIMES)}), got {config!r}")
