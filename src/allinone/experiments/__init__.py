"""The runs themselves: one function each, found by name, here or in a file of the user's own."""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType

from allinone.checks import did_you_mean
from allinone.experiment import Experiment

MODULES = ("captioned", "finetune", "pretrain", "world", "zero_shot")


def experiments() -> dict[str, Callable[[], Experiment]]:
    """Every experiment by name: the public functions of these modules that return one."""
    found: dict[str, Callable[[], Experiment]] = {}
    for module_name in MODULES:
        found |= functions(importlib.import_module(f"allinone.experiments.{module_name}"))
    return found


def find(name: str) -> Experiment:
    """The experiment of this name, or one of the user's own: `my_idea.py:frame_order`, or `module:function`.

    Raises:
        ValueError: there is none of this name; those there are, are listed.
    """
    where, colon, function = name.rpartition(":")
    if name.endswith(".py"):
        where, colon, function = name, ":", ""  # the error lists the functions of that file
    known = functions(user_module(where)) if colon else experiments()
    if function not in known:
        place = f" in {where}" if colon else ""
        hint, there = did_you_mean(function, known), ", ".join(sorted(known)) or "none"
        called = f"experiment called {function!r}" if function else "name of an experiment"
        raise ValueError(f"no {called}{place}; {hint}there are: {there}")
    made = known[function]()
    if not isinstance(made, Experiment):
        raise ValueError(f"{name} returns {type(made).__name__}, not an Experiment")
    return made


def short_name(name: str) -> str:
    """What folders of an experiment are called: `my_idea.py:frame_order` is `frame_order`."""
    return name.rpartition(":")[2]


def functions(module: ModuleType) -> dict[str, Callable[[], Experiment]]:
    """The public functions that are written in a module and can be called without arguments."""
    return {
        name: value
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
        if all(given.default is not given.empty or given.kind in VARIABLE for given in parameters(value))
    }


VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def parameters(function: Callable[..., object]) -> Iterable[inspect.Parameter]:
    return inspect.signature(function).parameters.values()


def user_module(where: str) -> ModuleType:
    """The module of the user's own, a file or an importable name; a file may import others that lie beside it."""
    path = Path(where if where.endswith(".py") else f"{where.replace('.', '/')}.py")
    if not where.endswith(".py"):
        try:
            return importlib.import_module(where)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{where}.".startswith(f"{error.name}."):
                raise  # the module is there, but not what it imports
    if not path.is_file():
        raise ValueError(f"{where}: no such file or module; an experiment of your own is FILE.py:FUNCTION")
    name = path.name  # with its ending, so that a file called random.py stands in for no library
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    # The last place, for the same reason, and only for the imports of this file.
    beside = {str(path.parent.absolute())} - set(sys.path)
    sys.path += beside
    try:
        spec.loader.exec_module(module)
    finally:
        for folder in beside:
            sys.path.remove(folder)
    return module
