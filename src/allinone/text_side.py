"""Start fast where only texts are embedded: read that part of a checkpoint, once all of it has been hashed.

An index must know that its vectors and a query come from the same weights. Hashing those of a base-size model takes as
long as importing torch, so their digest is kept in the cache folder for each state of the file (path, size, times).
The first call reads, checks and hashes everything; later calls map the tensors of the text side into memory.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from allinone.checkpoint import Checkpoint, find_checkpoints, first_whole, read_checkpoint, read_small_files
from allinone.checkpoint_config import CONFIG, WEIGHTS, check_sizes, read_config
from allinone.files.cache import cache_folder
from allinone.files.tensors import map_tensors, tensor_shapes
from allinone.files.whole import whole_file
from allinone.model.heads import ContrastiveHead
from allinone.model.model import AllInOne

TEXT_SIDE = (
    "encoder.text.",
    "encoder.modality",
    "encoder.blocks.",
    "encoder.norm.",
    f"heads.{ContrastiveHead.kind}.text.",
    f"heads.{ContrastiveHead.kind}.log_scale",
)
"""The tensors that embed a text. The tensors of patches, frames and other heads are not read."""


def load_text_side(source: str | Path) -> tuple[Checkpoint, str]:
    """Read as much of a checkpoint as embeds texts, and the digest of its weights (`weights_digest`).

    The other tensors are on the meta device: using them is an error. The first call for a file reads everything.

    Raises:
        ValueError, PermissionError: as `load_checkpoint`.
    """
    read, _ = first_whole(find_checkpoints(source), _read_text_side)
    return read


def weights_digest(model: AllInOne) -> str:
    """Hash the weights that decide about embeddings: the encoder and the contrastive head."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        if name.startswith(("encoder.", f"heads.{ContrastiveHead.kind}.")):
            digest.update(name.encode())
            # As bytes: numpy has no bfloat16.
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _read_text_side(folder: Path) -> tuple[Checkpoint, str]:
    remembered = cache_folder("digests") / _state_of(folder / WEIGHTS)
    # 1. The first call for this state of the file reads and hashes all of it.
    if not remembered.is_file():
        checkpoint = read_checkpoint(folder)
        digest = weights_digest(checkpoint.model)
        with whole_file(remembered) as unfinished:
            unfinished.write_text(digest)
        return checkpoint, digest
    # 2. Later calls build the model without memory, and map the tensors of the text side.
    digest = remembered.read_text()
    config, heads, _ = read_config(folder / CONFIG)
    check_sizes(folder, config, heads, tensor_shapes(folder / WEIGHTS))
    with _WithoutStart(), torch.device("meta"):  # no memory is filled
        model = AllInOne.build(config, heads)
    model.source = str(folder)
    tensors = map_tensors(folder / WEIGHTS, TEXT_SIDE)
    own = model.state_dict()
    # `assign`: the mapped tensors replace those of the meta device; the rest stays there.
    model.load_state_dict({name: x.to(own[name].dtype) for name, x in tensors.items()}, strict=False, assign=True)
    return Checkpoint(model.eval(), *read_small_files(folder, config), folder), digest


def _state_of(path: Path) -> str:
    """Return a name for a file in its present state; another content has another name."""
    facts = os.stat(path)
    state = [str(path.resolve()), facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino]
    return hashlib.sha256(json.dumps(state).encode()).hexdigest()[:32]


class _WithoutStart(TorchFunctionMode):
    """Leave out the random start of new modules. On the meta device it would import torch's compiler (3 s)."""

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            tensor: Tensor = kwargs["tensor"] if "tensor" in kwargs else args[0]
            return tensor
        return func(*args, **kwargs)
