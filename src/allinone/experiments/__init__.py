"""The runs: one function each. Find one by name, in a file of the user's own, in JSON, or in a checkpoint."""

import importlib
import inspect
import reprlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from allinone.checkpoint import find_checkpoints
from allinone.checkpoint_config import EXPERIMENT
from allinone.checks import did_you_mean
from allinone.experiment import Experiment
from allinone.files.reading import read_json
from allinone.own_code import CodeNotLoaded, load_code, loaded_file, warn_of_other_code
from allinone.settings import restore

MODULES = ("captioned", "pretrain", "questions", "recognition", "retrieval", "world", "zero_shot")


def experiments() -> dict[str, Callable[[], Experiment]]:
    """Return every experiment by name: the public functions of these modules that return one."""
    found: dict[str, Callable[[], Experiment]] = {}
    for module_name in MODULES:
        found |= functions(importlib.import_module(f"allinone.experiments.{module_name}"))
    return found


def find(name: str) -> Experiment:
    """Return the experiment of this name, or one of the user's own: `my_idea.py:frame_order`, or `module:function`.

    Raises:
        ValueError: there is none of this name; the error lists all.
    """
    where, colon, function = name.rpartition(":")  # the last colon: C:\my_idea.py:frame_order
    if name.endswith(".py"):
        where, colon, function = name, ":", ""  # the error lists the functions of that file
    known = functions(load_code(where)) if colon else experiments()
    if function not in known:
        place = f" in {where}" if colon else ""
        hint, there = did_you_mean(function, known), ", ".join(sorted(known)) or "none"
        called = f"experiment called {function!r}" if function else "name of an experiment"
        raise ValueError(f"no {called}{place}; {hint}there are: {there}")
    made = known[function]()
    if not isinstance(made, Experiment):
        raise ValueError(f"{name} returns {type(made).__name__}, not an Experiment")
    return made


def read_experiment(description: Mapping[str, Any], where: str | Path) -> Experiment:
    """Return the experiment that `describe_experiment` wrote, for example to the `experiment.json` of a checkpoint.

    `where` is named in errors. Logs a warning where a file of the user's has changed since.

    Raises:
        ValueError: it is none, or it uses a file of the user's that was not loaded (`own_code.load_code`).
    """
    # Facts about the run, and no settings.
    fields = {name: value for name, value in description.items() if name not in ("code", "num_processes")}
    code: Any = description.get("code", {})
    if not (isinstance(code, dict) and all(isinstance(sha256, str) for sha256 in code.values())):
        raise ValueError(f"{where}.code: expected hashes by the names of files, got {reprlib.repr(code)}")
    missing = [name for name in code if loaded_file(name) is None]
    if missing:
        raise CodeNotLoaded(f"{where}: made with code of your own; name its file with --code {missing[0]}")
    warn_of_other_code(code, str(where))  # no error: most changes of a file leave its losses as they are
    return restore(fields, Experiment, str(where))


def experiment_of(checkpoint: str | Path) -> Experiment:
    """Return the experiment of a checkpoint folder, of a run or of a hub id, as it was configured for training.

    Raises:
        ValueError: it has none, because its weights were converted, for example.
    """
    path = find_checkpoints(checkpoint)[0] / EXPERIMENT
    if not path.exists():
        raise ValueError(f"{checkpoint}: has no {EXPERIMENT}, so name the experiment that has the evaluators")
    return read_experiment(read_json(path), path)


def short_name(name: str) -> str:
    """Return the name for folders of an experiment: `frame_order` of `my_idea.py:frame_order`."""
    return name.rpartition(":")[2]


def functions(module: ModuleType) -> dict[str, Callable[[], Experiment]]:
    """Return the public functions that a module defines and that can be called without arguments."""
    return {
        name: value
        for name, value in vars(module).items()
        # Not what it imports.
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
        if all(p.default is not p.empty or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters(value))
    }


def parameters(function: Callable[..., object]) -> Iterable[inspect.Parameter]:
    return inspect.signature(function).parameters.values()
