"""No config takes a value that is none of its choices."""

import dataclasses
import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Optional, get_type_hints

import pytest

import allinone
from allinone.checks import check_literals, did_you_mean, literals
from allinone.objectives.vtm import VTM
from fixed import Fixed

NEEDED = {
    "num_steps": 10, "width": 32, "num_heads": 2, "depth": 1, "data": Fixed(()), "input": "joint", "function": abs,
    "meaning": {},
}  # fmt: skip
"""Arguments of configs that have no default."""


def classes_in(owner: Any, module: str) -> Iterator[type]:
    for value in vars(owner).values():
        if isinstance(value, type) and value.__module__ == module and value.__qualname__.startswith(prefix(owner)):
            yield value
            yield from classes_in(value, module)


def prefix(owner: Any) -> str:
    return f"{owner.__qualname__}." if isinstance(owner, type) else ""


def choices() -> Iterator[tuple[type, str]]:
    """Every field of every dataclass of the package whose type has a `Literal` in it."""
    root = Path(allinone.__path__[0])
    for path in root.rglob("*.py"):
        if path.parent.name == "cli":  # options, whose choices argparse checks
            continue
        # Spelled in the file itself, or a name for one (`Control`) that only DataConfig and its heirs have.
        if "Literal[" in path.read_text() or "DataConfig" in path.read_text():
            module = ".".join(["allinone", *path.relative_to(root).with_suffix("").parts]).removesuffix(".__init__")
            for found in classes_in(importlib.import_module(module), module):
                if dataclasses.is_dataclass(found):
                    yield from ((found, name) for name, kind in get_type_hints(found).items() if literals(kind))


CHOICES = sorted(set(choices()), key=lambda choice: (choice[0].__module__, choice[0].__qualname__, choice[1]))


@pytest.mark.parametrize(("config", "name"), CHOICES, ids=lambda part: getattr(part, "__qualname__", part))
def test_a_value_that_is_no_choice_is_refused(config: type, name: str):
    wanted = {f.name: NEEDED[f.name] for f in dataclasses.fields(config) if f.default is f.default_factory}
    right = literals(get_type_hints(config)[name])[0]
    made = config(**wanted)
    for wrong in (right.title(), f" {right}", "", None):
        object.__setattr__(made, name, wrong)  # as here, where the checker of shapes would come before it
        with pytest.raises(ValueError, match=f"{name} must be .*'{right}'.*, got "):
            made.__post_init__()


def test_the_walk_finds_choices_at_every_depth():
    assert (VTM.Config, "negatives") in CHOICES
    assert len(CHOICES) >= 10


@dataclass(frozen=True)
class Odd:
    plain: int = 3
    perhaps: Optional[Literal["a", "b"]] = None  # noqa: UP045
    number_or: Literal["auto"] | int = "auto"
    several: tuple[Literal["a", "b"], ...] = ()
    pair: "tuple[Literal['a'], int]" = ("a", 1)
    listed: Sequence[Literal["a"]] = ()
    named: Mapping[str, Literal["a"] | None] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        check_literals(self)


@pytest.mark.parametrize(
    "right", [{"perhaps": "b"}, {"number_or": 7}, {"several": ("b", "a")}, {"listed": ["a"]}, {"named": {"x": None}}]
)
def test_choices_inside_other_types_are_taken(right: dict[str, Any]):
    Odd(**right)


@pytest.mark.parametrize(
    "wrong",
    [
        {"perhaps": "A"}, {"perhaps": ""}, {"number_or": "Auto"}, {"number_or": None}, {"several": ("b", "c")},
        {"several": "a"}, {"pair": ("b", 1)}, {"pair": ("a",)}, {"listed": ["a", "b"]}, {"named": {"x": "A"}},
    ],
)  # fmt: skip
def test_wrong_choices_inside_other_types_are_refused(wrong: dict[str, Any]):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be 'a"):
        Odd(**wrong)


def test_a_misspelt_name_gets_the_closest_one():
    assert did_you_mean("Captoned", ["world", "captioned"]) == "did you mean captioned? "
    assert did_you_mean("msrvtt-retrieval", ["msrvtt_retrieval", "msrvtt_choice"]) == "did you mean msrvtt_retrieval? "
    assert did_you_mean("nothing", ["world", "captioned"]) == ""
