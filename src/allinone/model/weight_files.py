"""Weights in files of others: safetensors, and pickles of which no code runs."""

import logging
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from allinone.files.faults import first_line
from allinone.files.reading import check_readable
from allinone.files.tensors import load_tensors
from allinone.model.pickled import Inert, read_inert
from allinone.model.weights import check_plain

log = logging.getLogger(__name__)

WRAPPERS = ("state_dict", "model", "module")
"""Keys under which files of weights have their dictionary of tensors, outer ones first."""

INSERTED = re.compile(r"(?<![^.])(?:module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""Prefixes that DDP, `torch.compile`, FSDP and activation checkpointing add to names inside modules that they wrap."""

OUTER = re.compile(r"^(?:model\.)+")
"""Prefix of all names where the model was an attribute of a training module."""


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file or of a pickle (`.ckpt`, `.pth`, `.pt`, `.bin`).

    Names lose the prefixes of wrappers such as `module.` and `_orig_mod.`. No class that a pickle names is looked up,
    and none of its code runs.

    Raises:
        ValueError: the file is missing or damaged, or holds anything other than tensors and plain data.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    if path.suffix == ".safetensors":
        return without_wrappers(path, load_tensors(path))
    check_readable(path)
    loaded, inert = read_pickle(path)
    # {"state_dict": {...}} and the like, also nested.
    for wrapper in WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping | Inert):
            loaded = loaded[wrapper]
    if isinstance(loaded, Inert):
        raise ValueError(
            f"{path}: refused, since its weights are objects of {', '.join(inert[:3])} instead of tensors and plain "
            "data, and could run code; save model.state_dict() instead"
        )
    if not isinstance(loaded, Mapping) or not loaded:
        raise ValueError(f"{path}: wanted a dictionary of tensors, got {type(loaded).__name__}")
    other = [str(name) for name, value in loaded.items() if not isinstance(value, Tensor)]
    if other:
        raise ValueError(f"{path}: wanted tensors only, but these are none: {', '.join(other[:5])}")
    if inert:
        log.info("%s: names %s, which were ignored", path, ", ".join(inert))
    return without_wrappers(path, {str(name): value for name, value in loaded.items()})


def read_pickle(path: Path) -> tuple[Any, list[str]]:
    """Return the content of a file of `torch.save`, and the names of the classes in it that were not looked up."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of old pickle protocols
            return torch.load(path, map_location="cpu", weights_only=True), []
    except pickle.UnpicklingError:
        pass  # it names classes: `read_inert` ignores them
    except Exception as error:  # a damaged pickle can raise anything
        raise ValueError(f"{path}: not a file of weights, or a damaged one ({first_line(error)})") from error
    try:
        return read_inert(path)
    except Exception as error:  # as above
        raise ValueError(
            f"{path}: damaged, or refused because its pickle wants more than tensors and plain data, and could run "
            f"code ({first_line(error)})"
        ) from error


def without_wrappers(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors by their names in the model itself.

    Raises:
        ValueError: two tensors have the same name then, for example of the model and of its moving average.
    """
    check_plain(tensors, path)
    named: dict[str, Tensor] = {}
    removed: set[str] = set()
    for name, tensor in tensors.items():
        # In this order, because a wrapper may be outermost: `module.model.blocks`.
        inner = OUTER.sub("", INSERTED.sub("", name))
        if inner in named:
            raise ValueError(f"{path}: two tensors are {inner} without the prefixes of wrappers; {name} is one of them")
        named[inner] = tensor
        if inner != name:
            removed.add(name.removesuffix(inner) or name)
    if removed:
        log.info("%s: prefixes taken off: %s", path, ", ".join(sorted(removed)[:5]))
    return named
