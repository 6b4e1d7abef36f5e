"""Multiple choice: which of several texts is the right answer or caption, or which of several clips fits a text."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from allinone.data.clip_reader import Control
from allinone.data.example import Dataset, Example, option_texts
from allinone.evaluators.base import (
    Clips,
    Evaluation,
    Evaluator,
    EvaluatorConfig,
    Prediction,
    by_kind,
    rounded,
    row_of,
)
from allinone.inference import Predictor
from allinone.intervals import Bootstrap, Score
from allinone.metrics import refuse_nan
from allinone.model.heads import ContrastiveHead


class ChoiceAccuracy(Evaluator):
    """Accuracy over all questions, and over those of each kind (`accuracy/action`). A tie is lost.

    Mode `joint` scores each option together with the clip and the question, by the checkpoint's choice head, or else
    its ranking head, or else its matching head; `dual` compares embeddings. Questions may have different numbers of
    options; `chance` is the accuracy of guessing. `with_question=False` shows how much the options give away by
    themselves. Questions with a secret answer get predictions, and no score.

    `followup` is a second stage about the same questions; their ids are equal up to `#`. In visual commonsense
    reasoning (https://arxiv.org/abs/1811.10830) the answer (Q->A) is followed by its rationale (QA->R). `accuracy` is
    then the share of questions that are right in both (Q->AR), and the stages have the kinds of their examples
    (`accuracy/Q->A`).
    """

    tasks = ("choice",)

    @dataclass(frozen=True, kw_only=True)
    class Config(EvaluatorConfig):
        """How options are scored, and the second stage, if there is one."""

        mode: Literal["joint", "dual"] = "joint"
        with_question: bool = True
        followup: Dataset | None = None

        @property
        def datasets(self) -> tuple[Dataset, ...]:
            return (self.data,) if self.followup is None else (self.data, self.followup)

        def under_control(self, control: Control) -> dict[str, EvaluatorConfig]:
            columns = super().under_control(control)
            return columns | {"answers_only": replace(self, with_question=False)} if control == "blind" else columns

        def build(self) -> "ChoiceAccuracy":
            return ChoiceAccuracy(self)

    def check(self, predictor: Predictor) -> None:
        if self.config.mode == "dual":
            predictor.model.require(ContrastiveHead)
        else:
            predictor.option_head()

    def score(self, predictor: Predictor, clips: Clips) -> tuple[dict[str, Score], list[Prediction]]:
        asked: list[tuple[int, str]] = []
        ends: list[int] = []  # of the options of each example, in `asked`
        for shown, example in zip(clips.of_example, clips.examples, strict=True):
            asked += options_of(example, shown, self.config.with_question)
            ends.append(len(asked))
        # NaN: not asked yet. `refuse_nan` stops if one is left.
        scores = torch.full((len(asked),), torch.nan)
        function = predictor.option_scores if self.config.mode == "joint" else self.similarity(predictor)
        for questions, outputs in clips.ask(predictor, asked, function):
            scores[questions] = outputs

        # A softmax over the options of each question; equal scores are lost.
        predictions = []
        for e in clips.covered():
            own = scores[(ends[e - 1] if e else 0) : ends[e]]
            refuse_nan(own)
            right = clips.examples[e].right
            chosen = best_option(own.tolist(), right)
            predictions.append(
                row_of(clips.examples[e])
                | {"prediction": chosen, "probabilities": rounded(own.softmax(dim=0).tolist())}
                | {"truth": right, "correct": None if right is None else chosen == right}
            )
        return summary(list(map(graded, predictions))), predictions

    def similarity(self, predictor: Predictor) -> Any:
        """Return a function like `option_scores` that compares embeddings, scaled as in training."""
        scale = predictor.model.require(ContrastiveHead).scale.detach().float().cpu()

        def of_pairs(frames: Tensor, rows: list[list[int]], pairs: Tensor) -> Float[Tensor, " M"]:
            video, text = predictor.embed_clips(frames), predictor.embed_tokens(rows)
            return scale * (video[pairs[:, 0]] * text[pairs[:, 1]]).sum(dim=1)

        return of_pairs

    def examine(self, predictor: Predictor, *arguments: Any, **settings: Any) -> Evaluation:
        first = super().examine(predictor, *arguments, **settings)
        if self.config.followup is None:
            return first
        second = ChoiceAccuracy(replace(self.config, data=self.config.followup, followup=None))
        return joined(first, second.examine(predictor, *arguments, **settings))


def options_of(example: Example, clips: Sequence[int], with_question: bool) -> list[tuple[int, str]]:
    """Return clip index and text of each option; `clips` are the indices of the example's clips."""
    question = example.text if with_question else ""
    if example.clips:
        return [(clip, question) for clip in clips]
    return [(clips[0], text) for text in option_texts(question, example.options)]


def best_option(scores: list[float], right: int | None) -> int:
    """Return the first option with the highest score; of equal ones, one that is wrong: ties count against us."""
    best = [option for option, score in enumerate(scores) if score == max(scores)]
    return next((option for option in best if option != right), best[0])


class Graded(NamedTuple):
    """Whether a question was answered right (None if its answer is secret), and the probability of that for a guess."""

    video_id: str
    kind: str | None
    correct: bool | None
    chance: float


def graded(row: Prediction) -> Graded:
    """Return the grade of a prediction."""
    return Graded(row["video_id"], row["kind"], row["correct"], 1 / len(row["probabilities"]))


def summary(answers: Sequence[Graded]) -> dict[str, Score]:
    """Return accuracy and chance, over all questions that are not secret, and by kind."""
    known = [answer for answer in answers if answer.correct is not None]
    if not known:
        return {}
    bootstrap = Bootstrap([answer.video_id for answer in known])
    kinds = [answer.kind for answer in known]
    correct = torch.tensor([answer.correct for answer in known])
    chances = 100 * torch.tensor([answer.chance for answer in known], dtype=torch.double)
    accuracy = by_kind("accuracy", kinds, lambda indices: bootstrap.percent(correct, indices))
    chance = by_kind("chance", kinds, lambda indices: Score(chances[indices].mean().item()))
    return {"accuracy": accuracy.pop("accuracy"), "chance": chance.pop("chance"), **accuracy, **chance}


def joined(first: Evaluation, second: Evaluation) -> Evaluation:
    """Return both stages as one evaluation."""
    # Questions that could be read in both stages.
    then = {question_of(row): graded(row) for row in second.predictions}
    both = [
        Graded(one.video_id, None, one.correct and other.correct, one.chance * other.chance)
        for one, other in ((graded(row), then.get(question_of(row))) for row in first.predictions)
        if other is not None
    ]
    if not both:
        raise ValueError("no question is in both stages: the parts of their ids before `#` have nothing in common")
    scores = summary(both)
    for stage in (first, second):
        scores |= {name: score for name, score in stage.scores.items() if "/" in name}  # by kind: `accuracy/Q->A`
    skipped = first.skipped | second.skipped
    # Where nothing may be missing, `missing` is no score.
    counts = {"missing": float(len(skipped))} if "missing" in first.scores else {}
    short = [stage.scores["missing_records"].value for stage in (first, second) if "missing_records" in stage.scores]
    if short:
        counts["missing_records"] = sum(short)
    return Evaluation(
        scores=scores | {name: Score(count) for name, count in counts.items()},
        predictions=[*first.predictions, *second.predictions],
        num_samples=len(both),
        skipped=skipped,
    )


def question_of(row: Prediction) -> str:
    """Return the part of an id that both stages of a question share."""
    return str(row["id"]).partition("#")[0]
