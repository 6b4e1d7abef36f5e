"""The tensors that travel through the library: `Clip`, `Batch`, `Encoded`, `Losses`.

Dimension letters, the same everywhere: B batch, T frames, C channels, H W pixels, P patches of a frame, N vision tokens
of a frame (special tokens + P), L text tokens, S joint tokens (L + N), K tokens that leave the last block, D width,
E shared embedding, V vocabulary, A answers or classes, O options, M texts (B x O) or pairs, Q queries, G gallery.
Masks are `True` where the token is real.
"""

import dataclasses
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

IGNORE = -100
"""Label that is left out of every loss (`ignore_index` of `cross_entropy`)."""


@dataclass(frozen=True)
class Clip:
    """The frames sampled from one video (or the one frame of an image), before the model's transforms."""

    frames: UInt8[Tensor, "T C H W"]
    times_sec: Float[Tensor, " T"]
    video_id: str


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Clips with one text each or, if the `task` is `choice`, with one text for each option.

    `frames` are uint8 as decoded, or floats that are normalized with the model's mean and standard deviation. `labels`
    depend on the `task` (`Example.task`): the index of the answer of a `question`, of the right option of a `choice`,
    or of the class of a `label`; the `number` itself; None for captions. An unknown one is `IGNORE`.
    """

    frames: UInt8[Tensor, "B T C H W"] | Float[Tensor, "B T C H W"]
    text_ids: Int[Tensor, "M L"]
    text_mask: Bool[Tensor, "M L"]
    video_ids: tuple[str, ...]
    labels: Int[Tensor, " B"] | None = None
    task: str = "caption"

    def __len__(self) -> int:
        return len(self.video_ids)

    def to(self, device: torch.device | str) -> "Batch":
        """Return the batch with its tensors on this device."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        moved = {k: v.to(device, non_blocking=True) for k, v in fields.items() if isinstance(v, Tensor)}
        return dataclasses.replace(self, **moved)


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Token features of the joint mode, after the last norm and the mean over frames."""

    text: Float[Tensor, "B L D"]
    video: Float[Tensor, "B N D"]


@dataclass(frozen=True)
class Losses:
    """A loss to minimize, and metrics to log with it (detached scalars; accuracies in percent)."""

    loss: Float[Tensor, ""]
    metrics: dict[str, Tensor] = field(default_factory=dict)
