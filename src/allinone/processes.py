"""Start processes that do not import from the current folder.

Python puts the current folder first on the import path of `python -c` and `python -m`, and multiprocessing starts its
servers like this. A file called `random.py` in a folder of downloads would run there. So no process of ours has that
folder on its path, unless PYTHONPATH names it.
"""

from __future__ import annotations

# Imports before the call of `leave_current_folder` may come from that folder, so only modules that Python has loaded.
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.context import BaseContext

OWN_FOLDERS = {os.path.dirname(os.path.dirname(__file__)), os.path.dirname(os.__file__)}
"""Folders of this package and of the standard library; one of them may be the current folder."""


def named_folders() -> list[str]:
    """Return the entries of PYTHONPATH, without empty ones.

    An empty entry means the current folder, mostly by accident, as in `PYTHONPATH=$PYTHONPATH:/mine`.
    """
    return [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]


def leave_current_folder() -> None:
    """Remove the current folder from the import path of this process."""
    try:
        here = os.getcwd()
    except FileNotFoundError:  # it was removed
        here = ""
    if here not in OWN_FOLDERS | {os.path.abspath(entry) for entry in named_folders()}:
        sys.path[:] = [entry for entry in sys.path if entry not in ("", here)]


@contextmanager
def without_current_folder() -> Iterator[None]:
    """Keep the current folder off the import path of Python processes that are started meanwhile."""
    path, names = sys.path.copy(), ("PYTHONSAFEPATH", "PYTHONPATH")
    before = {name: os.environ.get(name) for name in names}
    try:
        leave_current_folder()  # workers get a copy of this process's path
        os.environ.update(PYTHONSAFEPATH="1", PYTHONPATH=os.pathsep.join(named_folders()))
        yield
    finally:
        sys.path[:] = path
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def forkserver(preload: Sequence[str] = ()) -> BaseContext:
    """Return a context that starts processes by a server with `preload` imported: they inherit no threads and pipes."""
    from multiprocessing import get_context
    from multiprocessing.forkserver import ensure_running

    context = get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    with without_current_folder():
        ensure_running()
    return context


def worker_context(preload: Sequence[str] = ()) -> BaseContext:
    """Return the context for processes that need much of this one's memory.

    On Linux they are forked, and share the memory. LanceDB's threads do not survive a fork, so once it is loaded, and
    on other systems, a server with `preload` imported starts them.
    """
    from multiprocessing import get_context

    if sys.platform == "linux" and not sys.modules.get("lancedb"):
        return get_context("fork")
    return forkserver(preload) if os.name == "posix" else get_context()
