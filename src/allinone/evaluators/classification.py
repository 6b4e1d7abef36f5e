"""Open questions about videos, answered by classification: one label of the checkpoint's closed list."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch

from allinone.data.example import Example
from allinone.evaluators.base import (
    Clips,
    Evaluator,
    EvaluatorConfig,
    Prediction,
    by_kind,
    row_of,
)
from allinone.inference import Predictor
from allinone.intervals import Bootstrap, Score
from allinone.metrics import best_constant, human_credit
from allinone.model.heads import AnswerHead
from allinone.text.answers import normalize_answer, normalize_vqa_answer


class AnswerAccuracy(Evaluator):
    """Accuracy over all questions, and over those of each kind (`accuracy/color`).

    A question with an answer that is not on the list (out of vocabulary) counts as wrong; `oov` is their share.
    `chance` is the accuracy of the best constant answer to all questions, `chance/color` of that to one kind. If
    several people answered, VQA's soft accuracy (https://arxiv.org/abs/1505.00468) replaces right and wrong. Questions
    with a secret answer get predictions, and no score.
    """

    tasks = ("question",)

    @dataclass(frozen=True, kw_only=True)
    class Config(EvaluatorConfig):
        def build(self) -> "AnswerAccuracy":
            return AnswerAccuracy(self)

    def check(self, predictor: Predictor) -> None:
        predictor.model.require(AnswerHead)

    def score(self, predictor: Predictor, clips: Clips) -> tuple[dict[str, Score], list[Prediction]]:
        head = predictor.model.require(AnswerHead)
        answers = head.config.answers
        asked = [(clip, example.text) for (clip,), example in zip(clips.of_example, clips.examples, strict=True)]
        found: dict[int, tuple[str, float]] = {}
        for questions, logits in clips.ask(predictor, asked, partial(predictor.joint, head)):
            probs, labels = logits.softmax(dim=1).max(dim=1)
            best = [(answers[label], prob) for label, prob in zip(labels.tolist(), probs.tolist(), strict=True)]
            found |= dict(zip(questions, best, strict=True))

        predictions, credits, graded = [], [], []
        for e in clips.covered():
            example, (answer, prob) = clips.examples[e], found[e]
            row = row_of(example) | {
                "prediction": answer,
                "probability": round(prob, 6),
                "truth": None,
                "correct": None,
            }
            if example.answer or example.human_answers:
                credit = credit_of(example)
                earned = credit.get(normalized(answer, example), 0.0)
                row["truth"] = list(example.human_answers) or example.answer
                # A share if several people answered, otherwise right or wrong.
                row["correct"] = earned if example.human_answers else earned == 1
                credits.append(credit)
                graded.append((example, earned))
            predictions.append(row)
        return self.summary(answers, graded, credits), predictions

    def summary(
        self, answers: tuple[str, ...], graded: list[tuple[Example, float]], credits: list[dict[str, float]]
    ) -> dict[str, Score]:
        """Return accuracy, chance and `oov`; nothing if all answers are secret."""
        if not graded:
            return {}
        examples = [example for example, _ in graded]
        # Chance and `oov` count only answers that the model can give.
        # One example decides how answers are normalized: a data set asks one person for all questions, or several.
        listed = {normalized(answer, examples[0]) for answer in answers}
        reachable = [{a: earned for a, earned in credit.items() if a in listed} for credit in credits]
        earned, kinds = torch.tensor([earned for _, earned in graded]), [example.kind for example in examples]
        bootstrap = Bootstrap([example.video_id for example in examples])
        oov = torch.tensor([not credit for credit in reachable])
        accuracy = by_kind("accuracy", kinds, lambda indices: bootstrap.percent(earned, indices))
        chance = by_kind(
            "chance", kinds, lambda indices: Score(best_constant([reachable[i] for i in indices.tolist()]))
        )
        overall = {"accuracy": accuracy.pop("accuracy"), "chance": chance.pop("chance")}
        return {**overall, "oov": bootstrap.percent(oov), **accuracy, **chance}


def credit_of(example: Example) -> Mapping[str, float]:
    """Return the credit of each answer, from 0 to 1."""
    if example.human_answers:
        return human_credit([normalized(answer, example) for answer in example.human_answers])
    return {normalized(example.answer or "", example): 1.0}


def normalized(answer: str, example: Example) -> str:
    """Return the normalized answer: as VQA's scorer does if several people were asked."""
    return normalize_vqa_answer(answer) if example.human_answers else normalize_answer(answer)
