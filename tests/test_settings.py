"""Experiments as JSON: written, and read back as they were."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from allinone.checkpoint import save_checkpoint
from allinone.experiment import describe_experiment
from allinone.experiments import experiment_of, experiments, find, read_experiment
from allinone.settings import changed, describe, restore, settable
from tiny import tiny_predictor


@pytest.mark.parametrize("name", sorted(experiments()))
def test_every_experiment_is_read_back_from_json_as_it_was(name: str):
    experiment = experiments()[name]()
    text = json.dumps(describe_experiment(experiment))
    again = read_experiment(json.loads(text), "run.json")
    assert again == experiment
    assert {key: type(objective) for key, objective in again.objectives.items()} == {
        key: type(objective) for key, objective in experiment.objectives.items()
    }
    assert json.dumps(describe_experiment(again)) == text


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("optim.lr", "fast", r"run\.json\.optim\.lr: expected float, got 'fast'"),
        ("optim.lr", True, r"optim\.lr: expected float"),
        ("optim.lr", -1.0, r"run\.json\.optim: lr must be positive"),
        ("optim.warmup", float("inf"), r"run\.json\.optim: cannot convert float infinity"),
        ("optim.rate", 1.0, r"optim: no such key as 'rate'; there are: num_steps, lr"),
        ("optim", 3, r"optim: expected Optim\.Config, got 3"),
        ("train.precision", "float16", r"train\.precision: expected Literal"),
        ("objectives.vtc.class", "allinone.train.config:TrainConfig", r"objectives\.vtc: no such key as 'weight'"),
        ("objectives.vtc", {}, r"objectives\.vtc: expected the name of a class"),
        (
            "train_data.captions.data",
            {"class": "allinone.train.config:TrainConfig"},
            r"expected Dataset, got ",
        ),
        ("model", {"width": 3}, r"run\.json\.model: .*missing.* required"),
        ("code", None, r"run\.json\.code: expected hashes by the names of files, got None"),
        ("code", ["my_idea.py"], r"code: expected hashes"),
        ("extra", 1, r"run\.json: no such key as 'extra'; .*there are: model"),
    ],
)
def test_json_that_is_no_experiment_says_where(path: str, value: object, message: str):
    description = describe_experiment(find("captioned"))
    owner = description
    *parts, last = path.split(".")
    for part in parts:
        owner = owner[part]
    owner[last] = value
    with pytest.raises(ValueError, match=message):
        read_experiment(description, "run.json")


def test_a_checkpoint_without_an_experiment_asks_for_one(tmp_path):
    predictor = tiny_predictor()
    save_checkpoint(tmp_path / "converted", predictor.model, predictor.tokenizer)
    with pytest.raises(ValueError, match=r"converted: has no experiment\.json, so name the experiment"):
        experiment_of(tmp_path / "converted")


@dataclass(frozen=True)
class Inner:
    x: int = 1


@dataclass(frozen=True)
class Everything:
    """What a config of a user's own may have."""

    path: Path = Path("a/b")
    maybe: Path | None = None
    paths: tuple[Path, ...] = (Path("a"),)
    pairs: tuple[tuple[int, float], ...] = ((1, 2.5), (3, 4.5))
    sizes: list[int] = field(default_factory=lambda: [1, 2])
    names: Sequence[str] = ("a",)
    by_name: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: {"a": (1, 2), "class": ()})
    inner: tuple[Inner, ...] = (Inner(2), Inner(3))
    other: Inner | None = field(default_factory=Inner)
    anything: Any = None
    remembered: dict[str, int] = field(default_factory=dict, init=False)


def test_configs_of_ones_own_are_read_back_from_json(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("allinone.own_code.NAMED_FOLDERS", {Path(__file__).resolve().parent})
    config = Everything(maybe=Path("c"), anything={"a": (1, "b")})
    again = restore(json.loads(json.dumps(describe(config, Everything))), Everything, "run.json")
    assert again == config
    assert (type(again.path), type(again.sizes), type(again.names)) == (type(Path()), list, tuple)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("path", 3, r"run\.json\.path: expected Path, got 3"),
        ("maybe", ["a"], r"maybe: expected pathlib\.Path | None, got \['a'\]"),
        ("pairs", [[1, 2.5], [3]], r"run\.json\.pairs\[1\]: expected tuple\[int, float\], got \[3\]"),
        ("names", "abc", r"names: expected .*Sequence\[str\], got 'abc'"),
        ("names", {"a": 1}, r"run\.json\.names"),
        ("sizes", ["1"], r"run\.json\.sizes\[0\]: expected int, got '1'"),
        ("by_name", {"a": 1}, r"run\.json\.by_name\.a: expected tuple"),
        ("by_name", [1], r"by_name: expected .*Mapping"),
        ("other", {"y": 1}, r"run\.json\.other: no such key as 'y'; there are: x"),
        ("remembered", {}, r"no such key as 'remembered'"),
    ],
)
def test_values_of_a_wrong_type_are_one_error_with_the_key(key: str, value: object, message: str):
    with pytest.raises(ValueError, match=message):
        restore({key: value}, Everything, "run.json")


@pytest.mark.parametrize("value", [{1}, b"a", Enum("Color", "RED"), {1: "a"}, print])
def test_what_json_does_not_have_is_an_error_with_the_key(value: object):
    with pytest.raises(ValueError, match=r"train_data\.anything: .*cannot be written to a checkpoint"):
        describe(Everything(anything=(value,)), where="train_data")


def test_values_in_a_dictionary_can_be_set():
    @dataclass(frozen=True)
    class Weights:
        of: Mapping[str, float]

    weights = Weights({"a": 1.0})
    assert changed(weights, {"of": {"a": "2.5"}}, {}, list(settable(weights, {}))) == Weights({"a": 2.5})
    assert changed(Everything(), {"path": "d"}, {}, []).path == Path("d")
