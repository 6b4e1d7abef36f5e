"""Experiments as JSON: written, and read back as they were."""

import json

import pytest

from allinone.checkpoint import save_checkpoint
from allinone.experiment import describe_experiment
from allinone.experiments import experiment_of, experiments, find, read_experiment
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
        ("optim.lr", "fast", r"run\.json\.optim\.lr: needs float, got 'fast'"),
        ("optim.lr", True, r"optim\.lr: needs float"),
        ("optim.lr", -1.0, r"run\.json\.optim: lr must be positive"),
        ("optim.rate", 1.0, r"optim: no such key as 'rate'; there are: num_steps, lr"),
        ("optim", 3, r"optim: needs Config, got 3"),
        ("train.precision", "float16", r"train\.precision: needs Literal"),
        ("objectives.vtc.class", "allinone.train.config:TrainConfig", r"objectives\.vtc: no such key as 'weight'"),
        ("objectives.vtc", {}, r"objectives\.vtc: needs the name of its class"),
        ("train_data.captions.data", {"class": "allinone.train.config:TrainConfig"}, r"needs Dataset, got allinone\."),
        ("model", {"width": 3}, r"run\.json\.model: .*missing.* required"),
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
