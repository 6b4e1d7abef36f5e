"""Data sets by the names that users type: the modules here that have a `CARD`. A module is imported on demand."""

import importlib
import inspect
import pkgutil
from dataclasses import dataclass

from allinone.checks import did_you_mean, plain
from allinone.datasets.base import Card


@dataclass(frozen=True)
class DatasetEntry:
    """A data set: its name, its card, and the docstring of its module."""

    name: str
    card: Card
    about: str


def known(name: str) -> DatasetEntry | None:
    """Return the data set of a module; None if the module is not one."""
    module = importlib.import_module(f"{__name__}.{name}")
    card = getattr(module, "CARD", None)
    return DatasetEntry(name, card, inspect.getdoc(module) or "") if isinstance(card, Card) else None


def all_known() -> list[DatasetEntry]:
    """Return every data set, by name."""
    return [entry for name in module_names() if (entry := known(name))]


def find(name: str) -> DatasetEntry:
    """Return the data set of a name, in which case and punctuation do not matter: `MSR-VTT` is `msrvtt`.

    Raises:
        ValueError: there is none; it suggests a similar name and lists all.
    """
    names = {plain(module): module for module in module_names()}
    if plain(name) in names and (entry := known(names[plain(name)])):
        return entry
    listed = [entry.name for entry in all_known()]
    raise ValueError(f"no data set called {name!r}; {did_you_mean(name, listed)}there are: {', '.join(listed)}")


def module_names() -> list[str]:
    """Return the names of all modules here, data sets or not."""
    return [module.name for module in pkgutil.iter_modules(__path__)]
