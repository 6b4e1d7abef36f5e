"""Data sets by the names that users type: the modules here that have a `CARD`. A module is imported when asked for."""

import importlib
import inspect
import pkgutil
from dataclasses import dataclass

from allinone.checks import did_you_mean, plain
from allinone.datasets.base import Card


@dataclass(frozen=True)
class DatasetEntry:
    """A data set by name: its card, and what its module tells of layout and records."""

    name: str
    card: Card
    about: str


def known(name: str) -> DatasetEntry | None:
    """What the module of this name tells, or None where it is no data set."""
    module = importlib.import_module(f"{__name__}.{name}")
    card = getattr(module, "CARD", None)
    return DatasetEntry(name, card, inspect.getdoc(module) or "") if isinstance(card, Card) else None


def all_known() -> list[DatasetEntry]:
    """Every data set, by name."""
    return [there for name in module_names() if (there := known(name))]


def find(name: str) -> DatasetEntry:
    """The data set of this name; capitals, hyphens and the like do not matter (`MSR-VTT` is `msrvtt`)."""
    names = {plain(module): module for module in module_names()}
    if plain(name) in names and (there := known(names[plain(name)])):
        return there
    there = [known.name for known in all_known()]
    raise ValueError(f"no data set called {name!r}; {did_you_mean(name, there)}there are: {', '.join(there)}")


def module_names() -> list[str]:
    return [module.name for module in pkgutil.iter_modules(__path__)]
