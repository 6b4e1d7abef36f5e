"""The runs themselves: one function each, found by name."""

import importlib
import inspect
from collections.abc import Callable

from allinone.experiment import Experiment

MODULES = ("captioned", "finetune", "pretrain", "world", "zero_shot")


def experiments() -> dict[str, Callable[[], Experiment]]:
    """Every experiment by name: the public functions of these modules that return one."""
    found: dict[str, Callable[[], Experiment]] = {}
    for module_name in MODULES:
        module = importlib.import_module(f"allinone.experiments.{module_name}")
        for name, value in vars(module).items():
            if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_"):
                found[name] = value
    return found


def find(name: str) -> Experiment:
    """The experiment of this name; ValueError lists those there are."""
    known = experiments()
    if name not in known:
        raise ValueError(f"no experiment called {name!r}; there are: {', '.join(sorted(known))}")
    return known[name]()
