"""Errors of LanceDB as one sentence: a damaged index, a full disk, a folder that may not be written."""

import errno
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from traceback import walk_tb
from typing import Any, TypeVar

from allinone.files.faults import system_error

Kind = TypeVar("Kind")

ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR}
"""Errors of the operating system that mean damage: a file of the index is gone, or is a folder."""


class DamagedIndex(OSError):
    """An index that cannot be read, and how to get one that can."""


class Unfit(Exception):
    """A row or a header that LanceDB reads, but that has not the fields of ours."""


@contextmanager
def explained(path: str, damaged: Path | None, advice: str) -> Iterator[None]:
    """Raise OSError or DamagedIndex in place of what LanceDB raises inside.

    Args:
        path: the index, as errors name it.
        damaged: the folder that is damaged if anything is; None on object storage, which may just not be reached.
        advice: how to go on without it.
    """
    try:
        yield
    except Exception as error:
        # Broken files come as RuntimeError, ValueError or OSError; only those of LanceDB have passed through it.
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
    """LanceDB's message without its layers and the places in its source."""
    text = re.sub(r",? /\S+\.rs\S*", "", " ".join(str(error).split()))
    text = re.sub(r"(lance error|LanceError\(\w+\)|Generic [\w/]+ error|Wrapped error|Invalid input)[:,] ", "", text)
    return text if len(text) <= 200 else f"{text[:200]}..."


def explains_faults(kind: type[Kind]) -> type[Kind]:
    """Let every public method of a class, which has a `store`, explain the errors of LanceDB."""
    for name, method in vars(kind).items():
        if callable(method) and (not name.startswith("_") or name == "__len__"):
            setattr(kind, name, _explaining(method))
    return kind


def _explaining(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        with self.store.explained():
            return method(self, *args, **kwargs)

    return call
