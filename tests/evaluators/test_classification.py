from pathlib import Path

import pytest
import torch

from allinone.evaluators.classification import AnswerAccuracy
from allinone.inference import Predictor
from allinone.model.heads import AnswerHead
from fixed import Fixed, evaluated, example, values
from tiny import ANSWERS, tiny_predictor

QUESTIONS = Fixed(
    (
        example(0, "what colour?", answer="Red.", kind="colour"),
        example(1, "what colour?", answer="green", kind="colour"),
        example(0, "how many?", answer="two", kind="count"),
        example(2, "how many?", answer="seven", kind="count"),
        example(3, "what colour?", answer="red", kind="colour"),
        example(4, "what else?", answer="red"),
    )
)


def test_answers_are_scored_over_all_and_by_kind(predictor: Predictor, root: Path):
    results = values(AnswerAccuracy.Config(data=QUESTIONS), predictor, root)
    given = [predictor.answer(root / q.files[0], q.text, top_k=1)[0][0] for q in QUESTIONS.items]
    right = [a == w for a, w in zip(given, ["red", "green", "two", "seven", "red", "red"], strict=True)]
    assert results == pytest.approx(
        {
            "accuracy": 100 * sum(right) / 6,
            "accuracy/colour": 100 * (right[0] + right[1] + right[4]) / 3,
            "accuracy/count": 100 * (right[2] + right[3]) / 2,
            "chance": 50,
            "chance/colour": 200 / 3,
            "chance/count": 50,
            "oov": 100 / 6,
        }
    )


def test_a_model_that_knows_the_answers_gets_them_right(root: Path):
    predictor = tiny_predictor()
    last = predictor.model.get_submodule("heads.answer.layers.4")
    assert isinstance(last, torch.nn.Linear)
    with torch.no_grad():
        last.bias.copy_(torch.tensor([100.0, 0, 0]))
    results = values(AnswerAccuracy.Config(data=QUESTIONS), predictor, root)
    assert ANSWERS[0] == "red"
    assert results["accuracy"] == results["chance"] == 50
    assert results["accuracy/count"] == 0


def test_captions_are_no_questions(predictor: Predictor, root: Path):
    data = Fixed((*QUESTIONS.items, example(0, "a caption")))
    with pytest.raises(ValueError, match=r"1 of 7 examples .* are of the task caption, but AnswerAccuracy is for"):
        evaluated(AnswerAccuracy.Config(data=data), predictor, root)


def test_what_people_answered_is_worth_as_much_as_they_agree(root: Path):
    predictor = tiny_predictor(heads={"answer": AnswerHead.Config(answers=("red", "2", "a dog"))})
    people = [("Red.",) * 2 + ("pink",) * 8, ("two",) * 4 + ("3",) * 6, ("the dog",) * 3 + ("cat",) * 7, ("sun",) * 10]
    data = Fixed(tuple(example(v, "what?", answer=p[-1], human_answers=p) for v, p in enumerate(people)))
    found = evaluated(AnswerAccuracy.Config(data=data), predictor, root)
    worth = [{"red": 0.6}, {"2": 1.0}, {"a dog": 0.9}, {}]
    earned = [w.get(row["prediction"], 0.0) for w, row in zip(worth, found.predictions, strict=True)]
    assert [row["correct"] for row in found.predictions] == pytest.approx(earned)
    assert found.scores["accuracy"].value == pytest.approx(25 * sum(earned))
    assert found.scores["chance"].value == 25
    assert found.scores["oov"].value == 25


def test_secret_questions_are_answered_and_not_scored(predictor: Predictor, root: Path):
    data = Fixed((*QUESTIONS.items, example(5, "what colour?", answer="", kind="colour")))
    found, whole = (evaluated(AnswerAccuracy.Config(data=d), predictor, root) for d in (data, QUESTIONS))
    assert found.scores == whole.scores
    for row, wanted in zip(found.predictions, whole.predictions, strict=False):  # in other batches, so rounded apart
        assert row == {**wanted, "probability": pytest.approx(wanted["probability"], abs=2e-6)}
    assert (found.predictions[-1]["truth"], found.predictions[-1]["correct"]) == (None, None)
