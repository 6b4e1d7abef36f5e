"""Code of a user's own, outside of the package: load a file, write the names of its classes to JSON, find them again.

Only files that a user names are run. The names and hashes in a checkpoint are compared with the code that is loaded;
nothing is ever loaded because a checkpoint mentions it.
"""

import dataclasses
import hashlib
import importlib
import importlib.util
import logging
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

log = logging.getLogger(__name__)

OURS = re.compile(r"allinone(?!\.(?:apps|cli)\b)(\.[a-z]\w*)+")
"""Modules of this package that configs may come from. `allinone.__main__` and some of `apps` are scripts, which run."""

NAMED_FOLDERS: set[Path] = set()
"""Folders of the files that were loaded. Their classes, and those of files next to them, can be found by name."""

LOADED: dict[Path, tuple[str, ModuleType]] = {}
"""The files that were loaded, with their SHA-256 at that time."""


class CodeNotLoaded(ValueError):
    """Something was made with a user's own code, which has not been loaded."""


def load_code(where: str) -> ModuleType:
    """Load a file (`my_idea.py`) or an importable module (`my_idea`); a file may import others in its folder.

    A file that has not changed since it was loaded is not run again, so its classes stay the same.

    Raises:
        ValueError: there is no such file or module.
    """
    # 1. An importable module.
    path = Path(where if where.endswith(".py") else f"{where.replace('.', '/')}.py")
    if not where.endswith(".py"):
        try:
            module = importlib.import_module(where)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{where}.".startswith(f"{error.name}."):
                raise  # the module exists, but not one that it imports
        else:
            if module.__file__:
                NAMED_FOLDERS.add(Path(module.__file__).resolve().parent)
            return module
    # 2. A file, unless it is loaded as it is now.
    if not path.is_file():
        raise ValueError(f"{where}: no such file or module; an experiment of your own is FILE.py:FUNCTION")
    hash_now, (hash_then, loaded) = sha256(path), LOADED.get(path.resolve(), ("", None))
    if loaded is not None and hash_then == hash_now:
        return loaded
    # 3. Run it as a module of this name.
    name = path.name  # with its ending, so that a file called random.py replaces no library
    spec = importlib.util.spec_from_file_location(name, path.absolute())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    NAMED_FOLDERS.add(path.resolve().parent)
    # The last place, for the same reason, and only for the imports of this file.
    added = {str(path.parent.absolute())} - set(sys.path)
    sys.path += added
    try:
        spec.loader.exec_module(module)
    finally:
        for folder in added:
            sys.path.remove(folder)
    LOADED[path.resolve()] = hash_now, module
    return module


def class_name(kind: type) -> str:
    """Return the name of a class for JSON: `allinone.objectives.vtc:VTC.Config` or `my_idea.py:FrameOrder.Config`."""
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    where = kind.__module__ if file is None or OURS.fullmatch(kind.__module__) else Path(file).name
    return f"{where}:{kind.__qualname__}"


def find_class(name: str) -> type:
    """Return the config class of this name, from this package or from the code that the user named.

    Raises:
        ValueError: its file was not named, or it has no such dataclass.
    """
    where, _, qualname = name.partition(":")
    if OURS.fullmatch(where):
        try:
            module = importlib.import_module(where)
        except ModuleNotFoundError as error:
            raise ValueError(f"{name}: this version of allinone has no module {where}") from error
    else:
        module = loaded_file(where)
        if module is None:
            way = "define it here first" if where == "__main__" else f"name its file with --code {where}"
            raise CodeNotLoaded(f"{name} is code of your own; {way}")
    found: Any = module
    for part in qualname.split("."):
        # Not `getattr`, which may run code.
        found = vars(found).get(part) if isinstance(found, type | ModuleType) else None
    # Defined there, not only imported.
    if not (isinstance(found, type) and dataclasses.is_dataclass(found) and found.__module__ == module.__name__):
        raise ValueError(f"{name}: {where} defines no such config")
    return found


def loaded_file(name: str) -> ModuleType | None:
    """Return the module that was loaded from a file of this name, if a user named it or a file next to it.

    A notebook has no file, and is called `__main__`.
    """
    if name == "__main__" and getattr(sys.modules[name], "__file__", None) is None:
        return sys.modules[name]
    for module in modules_of(name):
        if module.__name__ == "__main__" or file_of(module).resolve().parent in NAMED_FOLDERS:
            return module
    return None


def modules_of(name: str) -> list[ModuleType]:
    """Return all modules that were loaded from files of this name."""
    files = ((module, getattr(module, "__file__", None)) for module in list(sys.modules.values()))
    return [module for module, file in files if file and Path(file).name == name]


def code_hashes(description: Any) -> dict[str, str]:
    """Return the files outside of this package that a described experiment has classes from, with their SHA-256."""
    hashes = {}
    for name in sorted({where for where in class_files(description) if not OURS.fullmatch(where)}):
        if modules := modules_of(name):  # a notebook has no file
            hashes[name] = sha256(file_of(loaded_file(name) or modules[0]))
    return hashes


def class_files(description: Any) -> Iterator[str]:
    """Yield the module or file of every class that a description names."""
    if isinstance(description, Mapping) and isinstance(name := description.get("class"), str):
        yield name.partition(":")[0]
    if isinstance(description, Mapping | list):
        for value in description.values() if isinstance(description, Mapping) else description:
            yield from class_files(value)


def warn_of_other_code(hashes: Mapping[str, str], where: str) -> None:
    """Warn of each loaded file that has changed since `where` was made with it."""
    for name, expected in hashes.items():
        module = loaded_file(name)
        if module is not None and sha256(file_of(module)) != expected:
            log.warning("%s was made with another version of %s", where, module.__file__)


def file_of(module: ModuleType) -> Path:
    return Path(str(module.__file__))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
