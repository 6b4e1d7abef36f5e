from pathlib import Path

import pytest
import torch

from allinone.evaluators.number import Number
from allinone.inference import Predictor
from allinone.model.heads import NumberHead
from allinone.scoring import all_pairs
from fixed import Fixed, evaluated, example
from tiny import tiny_predictor

TRUTH = [2, 2, 3, 10, 4]
DATA = Fixed(tuple(example(v, "how many times?", number=n, id=str(v)) for v, n in enumerate(TRUTH)))


def saying(number: float) -> Predictor:
    """A model that gives about the same number to every question."""
    predictor = tiny_predictor(heads={"number": NumberHead.Config(hidden=8)})
    last = predictor.model.get_submodule("heads.number.layers.4")
    assert isinstance(last, torch.nn.Linear)
    with torch.no_grad():
        last.bias.fill_(number)
        last.weight.mul_(0.01)
    return predictor


@pytest.mark.parametrize(("said", "counted"), [(2.4, 2), (-7.0, 1), (40.0, 10)])
def test_numbers_are_rounded_kept_in_range_and_compared(root: Path, said: float, counted: int):
    found = evaluated(Number.Config(data=DATA), saying(said), root)
    assert {row["prediction"] for row in found.predictions} == {counted}
    assert found.scores["mse"].value == pytest.approx(sum((n - counted) ** 2 for n in TRUTH) / 5)
    assert found.scores["accuracy"].value == pytest.approx(100 * TRUTH.count(counted) / 5)


def test_chance_is_the_best_single_number(root: Path):
    scores = evaluated(Number.Config(data=DATA), saying(1.0), root).scores
    assert scores["mse_chance"].value == pytest.approx(min(sum((n - c) ** 2 for n in TRUTH) / 5 for c in range(1, 11)))
    assert scores["chance"].value == 40


def test_outputs_are_those_of_the_head(root: Path):
    predictor = tiny_predictor(heads={"number": NumberHead.Config(hidden=8)})
    frames = torch.cat([clips for _, clips in predictor.clips([root / f"{v:02}.mp4" for v in range(5)])])
    wanted = predictor.joint(
        predictor.model.require(NumberHead), frames, predictor.tokenize(["how many times?"]), all_pairs(5, 1)
    )
    found = evaluated(Number.Config(data=DATA), predictor, root).predictions
    assert [row["output"] for row in found] == pytest.approx(wanted.tolist(), abs=1e-5)


def test_the_range_may_be_another(root: Path):
    found = evaluated(Number.Config(data=DATA, low=0, high=4), saying(9.0), root)
    assert {row["prediction"] for row in found.predictions} == {4}
    with pytest.raises(ValueError, match="low must be less than high"):
        Number.Config(data=DATA, low=3, high=3)
