"""Read tensors from a pickle that names unknown classes, without running any code of it.

`torch.load(weights_only=True)` stops at the first unknown class, and checkpoints of PyTorch Lightning 1.x are full of
them (callbacks, hyperparameters). Here every name in the pickle becomes an inert class, except storage types and the
functions that rebuild a tensor, which are replaced by functions of this file.
"""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
OLD_MAGIC = 0x1950A86A20F9469CFC6C
"""First value in files of `torch.save` before PyTorch 1.6."""

Storage = Callable[[str, torch.dtype, int], Tensor]
REBUILD_TENSOR = ("_rebuild_tensor", "_rebuild_tensor_v2")
REBUILD_PARAMETER = ("_rebuild_parameter", "_rebuild_parameter_with_state")


class Inert:
    """Placeholder of anything that a pickle names. It accepts, and ignores, all that unpickling does to an object."""

    def __init__(self, *args: Any, **kwargs: Any):
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> "Inert":
        return self

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        pass

    extend = add = append


class InertUnpickler(pickle.Unpickler):
    """Unpickler of files of `torch.save` that looks up no name and imports nothing.

    Args:
        file: open at the start of a pickle.
        storage: returns the storage of a key, a type and a length, as a tensor of one dimension.
        inert: is filled with the placeholder of each name in the pickle.
    """

    def __init__(self, file: BufferedIOBase, storage: Storage, inert: dict[str, type[Inert]]):
        super().__init__(file)
        self.storage = storage
        self.inert = inert

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module in ("torch", "torch.cuda") and name in STORAGES:
            return STORAGES[name]
        # New functions for each file, because a pickle can set attributes of an object that it names.
        if module == "torch._utils" and name in REBUILD_TENSOR:
            return lambda storage, offset, size, stride, *_: torch.as_strided(storage, size, stride, offset)
        if module == "torch._utils" and name in REBUILD_PARAMETER:
            return lambda tensor, *_: tensor
        full_name = f"{module}.{name}"
        return self.inert.setdefault(full_name, type(name, (Inert,), {"__module__": module}))

    def persistent_load(self, pid: Any) -> Tensor:
        kind, dtype, key, _, length, *view = pid  # the fourth is the device that it was on
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError(f"unknown storage {pid!r}")
        storage = self.storage(key, dtype, length)
        if view and view[0] is not None:  # only in the old format: a part of another storage
            _, start, length = view[0]
            return storage[start : start + length]
        return storage


def read_inert(path: Path) -> tuple[Any, list[str]]:
    """Return the content of a file of `torch.save`, and the names in it that became inert objects."""
    inert: dict[str, type[Inert]] = {}
    loaded = read_zip(path, inert) if zipfile.is_zipfile(path) else read_old(path, inert)
    return loaded, sorted(inert)


def read_zip(path: Path, inert: dict[str, type[Inert]]) -> Any:
    """Read the format since PyTorch 1.6: a zip with `data.pkl` and a file for each storage."""
    storages: dict[str, Tensor] = {}
    with zipfile.ZipFile(path) as archive:
        pickle_name = next((name for name in archive.namelist() if name.endswith("/data.pkl")), None)
        if pickle_name is None:
            raise pickle.UnpicklingError("no data.pkl in this zip file")
        folder = pickle_name.removesuffix("data.pkl") + "data/"

        def read(name: str) -> bytes:
            # torch.save never compresses; a zip bomb would.
            if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
                raise pickle.UnpicklingError(f"{name} is compressed")
            return archive.read(name)

        def storage(key: str, dtype: torch.dtype, length: int) -> Tensor:
            if key not in storages:
                content = bytearray(read(f"{folder}{key}"))
                # `frombuffer` refuses an empty buffer.
                storages[key] = torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
            return storages[key]

        return InertUnpickler(BytesIO(read(pickle_name)), storage, inert).load()


def read_old(path: Path, inert: dict[str, type[Inert]]) -> Any:
    """Read the older format: five pickles (magic, version, system, objects, keys), then each storage."""
    storages: dict[str, Tensor] = {}
    size = path.stat().st_size

    def storage(key: str, dtype: torch.dtype, length: int) -> Tensor:
        if key not in storages:
            # Checked before the memory is taken: a damaged length may be anything.
            if sum(other.nbytes for other in storages.values()) + length * dtype.itemsize > size:
                raise pickle.UnpicklingError("storages larger than the file")
            storages[key] = torch.empty(length, dtype=dtype)
        return storages[key]

    with path.open("rb") as file:
        if InertUnpickler(file, storage, inert).load() != OLD_MAGIC:
            raise pickle.UnpicklingError("no file of torch.save")
        *_, loaded, keys = (InertUnpickler(file, storage, inert).load() for _ in range(4))
        # Objects refer to storages by key before these are filled.
        for key in keys:
            content = storages[key].view(torch.uint8).numpy().data
            length = int.from_bytes(file.read(8), "little")  # the number of elements comes first
            if length != len(storages[key]) or file.readinto(content) != len(content):
                raise pickle.UnpicklingError(f"storage {key} is cut off")
    return loaded
