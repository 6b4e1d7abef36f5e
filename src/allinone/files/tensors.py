"""Tensors in safetensors files with a checksum, so that a damaged file is never taken for a whole one.

The checksum is in the header of the file, where other programs ignore it. CRC-32 costs 24 ms for 100 MB on a core where
BLAKE2b takes 106 and SHA-256 55. It finds every single damaged byte, and misses one in four billion of larger damages.
"""

import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from allinone.files.faults import system_error
from allinone.files.reading import check_readable

CHECKSUM = "crc32"


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a file with the permissions of any other new file.

    Raises:
        OSError: the disk is full, or another error of the system.
    """
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # Made first, to learn the permissions that a new file gets here.
    path.touch()
    permissions = path.stat().st_mode
    try:
        save_file(on_cpu, path, {"format": "pt", CHECKSUM: checksum(on_cpu)})
    except SafetensorError as error:
        # A full disk comes as an error of safetensors.
        if (fault := system_error(error, path)) is None:
            raise
        raise fault from error
    path.chmod(permissions)  # safetensors writes files that only their owner can read


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read all tensors of a file. A file without a checksum, such as other programs write, is not checked.

    Raises:
        ValueError: the file is missing or damaged.
        PermissionError: this user may not read it.
    """
    with _opened(path) as file:
        written = (file.metadata() or {}).get(CHECKSUM)
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no dictionary)
    if written is not None and written != checksum(tensors):
        raise ValueError(f"{path}: damaged: its tensors have another checksum than when they were saved")
    return tensors


def map_tensors(path: Path, prefixes: tuple[str, ...]) -> dict[str, Tensor]:
    """Map tensors of a file into memory, by the beginning of their names; they are read when they are used.

    The checksum is not compared, because that would read everything. Raises as `load_tensors`.
    """
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys() if name.startswith(prefixes)}  # noqa: SIM118


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Read the shapes of all tensors, from the header of the file. Raises as `load_tensors`."""
    with _opened(path) as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        check_readable(path)
        with safe_open(path, framework="pt") as file:
            yield file
    except PermissionError:
        raise
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path}: missing or damaged ({str(error).splitlines()[0]})") from error


def checksum(tensors: Mapping[str, Tensor]) -> str:
    """Return the CRC-32 of names, types, shapes and elements, whatever their order."""
    total = 0
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        total = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), total)
        total = zlib.crc32(tensor.flatten().view(torch.uint8).numpy().data, total)  # bytes, since numpy has no bfloat16
    return f"{total:08x}"
