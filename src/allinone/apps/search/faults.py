"""Errors of LanceDB as one sentence that says how to go on: a damaged index, a full disk, missing permission."""

import errno
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from traceback import walk_tb
from typing import Any, TypeVar

from allinone.files.faults import system_error

Class = TypeVar("Class")

ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR}
"""Errors of the operating system that mean damage: a file of the index is missing, or is a folder."""


class DamagedIndex(OSError):
    """An index that cannot be read; the message says how to restore it."""


class Unfit(Exception):
    """A table that LanceDB can read, but that does not have our fields."""


@contextmanager
def explained(path: str, damaged: Path | None, advice: str) -> Iterator[None]:
    """Raise OSError or DamagedIndex in place of errors of LanceDB.

    Args:
        path: the name of the index in errors.
        damaged: the folder to call damaged; None on object storage, which may just be out of reach.
        advice: how to go on without that folder.
    """
    try:
        yield
    except Exception as error:
        # Broken files raise RuntimeError, ValueError or OSError. Whether it was LanceDB is seen from the traceback.
        modules = (frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__))
        if not isinstance(error, Unfit) and not any(name.startswith("lancedb") for name in modules):
            raise
        fault = system_error(error, path)
        if fault is not None and fault.errno not in ABSENT:
            raise fault from error
        if damaged is None:
            raise OSError(f"{path}: {cause_of(error)}") from error
        raise DamagedIndex(f"{damaged}: damaged ({cause_of(error)}). {advice}") from error


def cause_of(error: Exception) -> str:
    """Return LanceDB's message without the names of its layers and source files."""
    text = re.sub(r",? /\S+\.rs\S*", "", " ".join(str(error).split()))
    text = re.sub(r"(lance error|LanceError\(\w+\)|Generic [\w/]+ error|Wrapped error|Invalid input)[:,] ", "", text)
    return text if len(text) <= 200 else f"{text[:200]}..."


def explains_faults(cls: type[Class]) -> type[Class]:
    """Decorate a class that has a `store`: its public methods and `len` raise errors as `explained` does."""
    for name, method in vars(cls).items():
        if callable(method) and (not name.startswith("_") or name == "__len__"):
            setattr(cls, name, _explaining(method))
    return cls


def _explaining(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        with self.store.explained():
            return method(self, *args, **kwargs)

    return call
