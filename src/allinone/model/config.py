"""`ModelConfig`: every number that fixes what the Transformer computes, and the sizes of the paper."""

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from allinone.checks import check_literals
from allinone.model.time import Rolling, time_of


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The shape of a `VideoTextEncoder`. Checks itself when made; `replace` makes a variant.

    Args:
        distilled: each frame has DeiT's distillation token too, and there is no temporal embedding (as released:
            modules/base_vision_transformer.py:865-960).
        patch_order: order of a frame's patches, which decides which ones `Rolling` moves. The released weights were
            trained with `random` (released: modules/base_vision_transformer.py:772): a new order for each forward pass
            in training, one drawn from `patch_seed` in evaluation. `raster` is row by row.
        init: scale of the random start (`encoder.initialize`). With `fan_in` small models learn order in time from
            scratch, which they do not with the usual 0.02 (`vit`).
        time: how frames exchange information: the `Config` of a class of `model/time.py`, or of your own.
        text_time: add the temporal embedding to each frame's copy of the text too. No released model does.
    """

    width: int
    num_heads: int
    depth: int
    mlp_ratio: int = 4
    image_size: int = 224
    patch_size: int = 16
    num_frames: int = 3
    vocab_size: int = 30522  # BERT's uncased WordPiece vocabulary
    max_text_len: int = 40
    shared_dim: int = 512
    distilled: bool = False
    patch_order: Literal["random", "raster"] = "random"
    patch_seed: int = 0
    dropout: float = 0.1
    init: Literal["vit", "fan_in"] = "vit"
    time: Any = field(default_factory=Rolling.Config)
    text_time: bool = False
    image_mean: tuple[float, float, float] = (0.485, 0.456, 0.406)  # ImageNet's
    image_std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __post_init__(self):
        check_literals(self)
        time_of(self.time)
        at_least_one = ("width", "num_heads", "depth", "mlp_ratio", "image_size", "patch_size", "num_frames")
        least = dict.fromkeys((*at_least_one, "vocab_size", "shared_dim"), 1)
        for name, minimum in {**least, "max_text_len": 2}.items():  # 2: [CLS] and [SEP]
            if getattr(self, name) < minimum:
                raise ValueError(f"{name} must be at least {minimum}, got {getattr(self, name)}")
        if self.width % self.num_heads:
            raise ValueError(f"width {self.width} does not divide into {self.num_heads} heads (num_heads)")
        if self.image_size % self.patch_size:
            raise ValueError(f"image_size {self.image_size} is no multiple of patch_size {self.patch_size}")
        if self.distilled and self.text_time:
            raise ValueError("text_time needs the temporal embedding, which a distilled model does not have")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")
        if not all(0 < std < math.inf for std in self.image_std):
            raise ValueError(f"image_std must be positive, got {self.image_std}")
        if not all(map(math.isfinite, self.image_mean)):
            raise ValueError(f"image_mean must be finite, got {self.image_mean}")

    @property
    def grid(self) -> int:
        """Patches along one side of a frame."""
        return self.image_size // self.patch_size

    @property
    def num_patches(self) -> int:
        """Patches of a frame."""
        return self.grid**2

    @property
    def num_special(self) -> int:
        """Tokens of a frame that are not patches: the class token and, if distilled, the distillation token."""
        return 2 if self.distilled else 1

    def replace(self, **changes) -> "ModelConfig":
        """Return a copy with these fields changed, checked again."""
        return replace(self, **changes)


NANO = ModelConfig(
    width=96, num_heads=4, depth=3, image_size=64, num_frames=3, vocab_size=1000, shared_dim=128,
    patch_order="raster", dropout=0.0, init="fan_in", text_time=True,
)  # fmt: skip
"""Half a million parameters, for tests and the demo: learns the synthetic world from scratch on a CPU."""

TINY = ModelConfig(width=192, num_heads=3, depth=12)
"""The paper's All-in-One-Ti; starts from DeiT-Ti/16."""

SMALL = ModelConfig(width=384, num_heads=6, depth=12)
"""The paper's All-in-One-S without the distillation token; starts from DeiT-S/16."""

SMALL_DISTILLED = SMALL.replace(distilled=True)
"""All-in-One-S as released; starts from the distilled DeiT-S/16."""

BASE = ModelConfig(width=768, num_heads=12, depth=12)
"""The paper's All-in-One-B (and B+); starts from ViT-B/16."""

PAPER_SIZES = {"tiny": TINY, "small": SMALL, "small_distilled": SMALL_DISTILLED, "base": BASE}
SIZES = {"nano": NANO, **PAPER_SIZES}
"""Sizes by the name that a user types (`--set model=tiny`)."""
