"""Counting: questions with a number as the answer (how many times does the cat jump?)."""

from dataclasses import dataclass
from functools import partial

import torch

from allinone.evaluators.base import Clips, Evaluator, EvaluatorConfig, Prediction, row_of
from allinone.inference import Predictor
from allinone.intervals import Bootstrap, Score
from allinone.metrics import best_constant, whole_numbers
from allinone.model.heads import NumberHead


class Number(Evaluator):
    """Mean squared error, and accuracy in percent, after rounding and clamping to 1 to 10 as in TGIF-QA's scorer.

    `mse_chance` and `chance` are the best scores of the same number for all questions.
    """

    tasks = ("number",)

    @dataclass(frozen=True, kw_only=True)
    class Config(EvaluatorConfig):
        """The range of counts, to which predictions are clamped."""

        low: int = 1
        high: int = 10

        def __post_init__(self):
            super().__post_init__()
            if self.low >= self.high:
                raise ValueError(f"low must be less than high, got {self.low} and {self.high}")

        def build(self) -> "Number":
            return Number(self)

    def check(self, predictor: Predictor) -> None:
        predictor.model.require(NumberHead)

    def score(self, predictor: Predictor, clips: Clips) -> tuple[dict[str, Score], list[Prediction]]:
        low, high = self.config.low, self.config.high
        asked = [(clip, example.text) for (clip,), example in zip(clips.of_example, clips.examples, strict=True)]
        outputs = torch.full((len(asked),), torch.nan)
        for questions, values in clips.ask(
            predictor, asked, partial(predictor.joint, predictor.model.require(NumberHead))
        ):
            outputs[questions] = values
        covered = clips.covered()
        examples = [clips.examples[e] for e in covered]
        counted = whole_numbers(outputs[covered], low, high)
        truth = torch.tensor([example.number for example in examples])
        bootstrap = Bootstrap([example.video_id for example in examples])
        constants = torch.arange(low, high + 1)
        scores = {
            "mse": bootstrap.mean((counted - truth).square()),
            # [numbers, questions]: the best constant answer of the range.
            "mse_chance": Score((constants[:, None] - truth).double().square().mean(dim=1).min().item()),
            "accuracy": bootstrap.percent(counted == truth),
            "chance": Score(best_constant([{str(number): 1.0} for number in truth.tolist()])),
        }
        return scores, [
            row_of(example) | {"prediction": found, "output": round(raw, 6), "truth": right, "correct": found == right}
            for example, found, raw, right in zip(
                examples, counted.tolist(), outputs[covered].tolist(), truth.tolist(), strict=True
            )
        ]
