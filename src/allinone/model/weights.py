"""Tensors of a model: load all or none, check them, resize embeddings, report what became of each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


@dataclass
class Report:
    """What became of each tensor, as lines for people: taken, resized, dropped with a reason, or new (random).

    `abilities` are lines on what the model can do then. `str` joins all but these.
    """

    taken: list[str] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    abilities: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [f"{len(self.taken)} tensors taken"]
        for name in ("resized", "dropped", "new"):
            lines = getattr(self, name)
            parts.append(f"{len(lines)} {name}" + (":" if lines else ""))
            parts.extend(f"  {line}" for line in lines)
        return "\n".join(parts)


def load_all(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load every tensor of a model.

    Raises:
        ValueError: a tensor is missing, left over, misshapen, or holds NaN or infinity; nothing is loaded then.
    """
    own = model.state_dict()
    problems = [f"{name} is missing" for name in own.keys() - tensors.keys()]
    problems += [f"{name} is left over" for name in tensors.keys() - own.keys()]
    problems += [
        f"{name} is {tuple(tensors[name].shape)}, wanted {tuple(own[name].shape)}"
        for name in own.keys() & tensors.keys()
        if own[name].shape != tensors[name].shape
    ]
    if problems:
        raise ValueError("weights do not fit the model: " + "; ".join(sorted(problems)))
    check_plain(tensors)
    check_finite(tensors)
    model.load_state_dict(dict(tensors))


DTYPES = {
    torch.float16, torch.bfloat16, torch.float32, torch.float64,
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
}  # fmt: skip
"""Types of elements that weights, and constants saved with them, have."""


def check_plain(tensors: Mapping[str, Tensor], path: Path | None = None) -> None:
    """Raise ValueError, naming the tensors, where some are not plain (see `is_plain`)."""
    if odd := [name for name, tensor in tensors.items() if not is_plain(tensor)]:
        where = "" if path is None else f"{path}: "
        raise ValueError(f"{where}wanted ordinary tensors of numbers that are all stored, not {', '.join(odd[:5])}")


def is_plain(tensor: Tensor) -> bool:
    """Return False for a sparse, quantized or complex tensor, and for one larger than its storage.

    A tensor of a few bytes can claim any shape by repeating them (a stride of 0), and would fill the memory.
    """
    if tensor.dtype not in DTYPES or tensor.layout != torch.strided or tensor.is_nested or tensor.is_meta:
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def check_finite(tensors: Mapping[str, Tensor]) -> None:
    """Raise ValueError, naming the tensors, where an element is NaN or infinite."""
    # One such element makes the sum not finite, and the sum takes a tenth of the time: 3 ms for 100 MB.
    broken = [name for name, x in tensors.items() if not x.sum().isfinite() and not x.isfinite().all()]
    if broken:
        more = f" and {len(broken) - 5} more" if len(broken) > 5 else ""
        raise ValueError(f"NaN or infinite numbers in {', '.join(broken[:5])}{more}; use an earlier checkpoint")


def misshapen(tensors: Mapping[str, Tensor], needed: Mapping[str, int], optional: Mapping[str, int]) -> list[str]:
    """Return the tensors that are empty or have another number of dimensions, and needed ones that are missing."""
    present = {name: dims for name, dims in optional.items() if name in tensors}
    return [
        name
        for name, dims in {**needed, **present}.items()
        if name not in tensors or tensors[name].ndim != dims or not tensors[name].numel()
    ]


def longest_prefix(name: str, prefixes: Mapping[str, Any]) -> str | None:
    """Return the longest of the prefixes that is `name` or one of the modules that it is in."""
    matching = [prefix for prefix in prefixes if name == prefix or name.startswith(prefix + ".")]
    return max(matching, key=len, default=None)


def resize_time(time: Float[Tensor, "T D"], num_frames: int) -> Float[Tensor, "num_frames D"]:
    """Cut a temporal embedding, or extend it by zeros (released: modules/allinone_module.py:514-542)."""
    missing = max(num_frames - len(time), 0)
    return torch.cat([time[:num_frames], time.new_zeros(missing, time.shape[1])])


def resize_position(position: Float[Tensor, "N D"], num_patches: int, num_special: int) -> Float[Tensor, "_ D"]:
    """Resize the patches' part of a position embedding to another square grid (bicubic)."""
    special, patches = position[:num_special], position[num_special:]
    side, new_side = round(len(patches) ** 0.5), round(num_patches**0.5)
    if side == new_side:
        return position
    square = patches.T.reshape(1, -1, side, side).float()  # [1, D, side, side]
    resized = F.interpolate(square, size=(new_side, new_side), mode="bicubic", antialias=True)
    return torch.cat([special, resized[0].flatten(1).T.to(position.dtype)])
