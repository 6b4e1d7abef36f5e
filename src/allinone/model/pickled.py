"""Tensors out of a checkpoint whose pickle names classes that we do not have, without running anything of it.

`torch.load(weights_only=True)` stops at the first class it does not know, and checkpoints of PyTorch Lightning 1.x are
full of them (callbacks, hyperparameters). Here every name in the pickle becomes an inert class, except those of storage
types and of the functions that rebuild a tensor, for which this file has its own.
"""

import pickle
import zipfile
from collections import OrderedDict
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
REBUILD_TENSOR = ("_rebuild_tensor", "_rebuild_tensor_v2")
REBUILD_PARAMETER = ("_rebuild_parameter", "_rebuild_parameter_with_state")


class Inert:
    """Stands for anything that a pickle names: takes all that unpickling can do to an object, and ignores it."""

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
    """Reads `data.pkl` of a file of `torch.save`. Whatever the pickle names is not looked up: nothing is imported."""

    def __init__(self, archive: zipfile.ZipFile):
        pickle_name = next((name for name in archive.namelist() if name.endswith("/data.pkl")), None)
        if pickle_name is None:
            raise pickle.UnpicklingError("no data.pkl in this zip file")
        super().__init__(archive.open(pickle_name))
        self.archive = archive
        self.folder = pickle_name.removesuffix("data.pkl") + "data/"
        self.storages: dict[str, Tensor] = {}
        self.inert: dict[str, type[Inert]] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module in ("torch", "torch.cuda") and name in STORAGES:
            return STORAGES[name]
        # Functions made anew for each file: a pickle can set attributes of what it names.
        if module == "torch._utils" and name in REBUILD_TENSOR:
            return lambda storage, offset, size, stride, *_: torch.as_strided(storage, size, stride, offset)
        if module == "torch._utils" and name in REBUILD_PARAMETER:
            return lambda tensor, *_: tensor
        full_name = f"{module}.{name}"
        return self.inert.setdefault(full_name, type(name, (Inert,), {"__module__": module}))

    def persistent_load(self, pid: Any) -> Tensor:
        """The storage `key` as a tensor of one dimension."""
        kind, dtype, key, *_ = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError(f"unknown storage {pid!r}")
        if key not in self.storages:
            entry = self.archive.getinfo(f"{self.folder}{key}")
            if entry.compress_type != zipfile.ZIP_STORED:  # torch.save never does; a bomb would
                raise pickle.UnpicklingError(f"{entry.filename} is compressed")
            content = bytearray(self.archive.read(entry))
            self.storages[key] = torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
        return self.storages[key]


def read_inert(path: Path) -> tuple[Any, list[str]]:
    """What a file of `torch.save` holds, with inert objects for all but tensors and plain data; and their names."""
    with zipfile.ZipFile(path) as archive:
        unpickler = InertUnpickler(archive)
        return unpickler.load(), sorted(unpickler.inert)
