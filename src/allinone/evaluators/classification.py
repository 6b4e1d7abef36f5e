"""Classification: open questions about videos, answered with one label of the checkpoint's closed list."""

from dataclasses import dataclass
from pathlib import Path

import torch

from allinone.data.loader import DataConfig
from allinone.evaluators.base import Clips, OnClips
from allinone.inference import Predictor, Progress
from allinone.metrics import accuracy, accuracy_per_kind, majority_share, percent, rows_by_kind
from allinone.model.heads import AnswerHead
from allinone.text.answers import normalize_answer
from allinone.types import IGNORE


class Classification:
    """Accuracy over all questions, and over those of each kind (`accuracy/colour`).

    A question whose answer is not on the list counts as wrong; `unlisted` is their share. `chance` is what the most
    frequent answer of these very questions would reach, given to all of them, and `chance/colour` to that kind.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(OnClips):
        def build(self) -> "Classification":
            return Classification(self)

    def __init__(self, config: Config):
        self.config = config

    def evaluate(
        self, predictor: Predictor, root: Path, data: DataConfig, on_progress: Progress | None = None
    ) -> dict[str, float]:
        config, predictor = self.config, predictor.using(data)
        answers = [normalize_answer(answer) for answer in predictor.model.require(AnswerHead).config.answers]
        label_of = {answer: label for label, answer in reversed(list(enumerate(answers)))}
        clips = Clips(config.data, root)
        unanswered = sum(example.answer is None for example in clips.examples)
        if unanswered:
            raise ValueError(
                f"{unanswered} of {len(clips.examples)} examples of {config.data} have no answer; "
                "to classify, choose a data set of questions"
            )
        predictions, labels, kinds = [], [], []
        for numbers, frames in clips.read(predictor, config.num_views, config.allow_missing, on_progress):
            asked = clips.examples_of(numbers)
            rows = predictor.rows([example.text for _, example in asked])
            pairs = torch.tensor([[clip, text] for text, (clip, _) in enumerate(asked)])
            found = predictor.answer_logits(frames, rows, pairs).argmax(dim=1).tolist()
            predictions += [label_of[answers[label]] for label in found]  # two spellings of an answer are one
            labels += [label_of.get(normalize_answer(example.answer or ""), IGNORE) for _, example in asked]
            kinds += [example.kind for _, example in asked]
        predicted, wanted = torch.tensor(predictions), torch.tensor(labels)
        results = {
            "accuracy": accuracy(predicted, wanted),
            "chance": majority_share(wanted),
            "unlisted": percent(wanted == IGNORE),
        }
        results |= {f"accuracy/{kind}": a for kind, a in accuracy_per_kind(predicted, wanted, kinds).items()}
        results |= {f"chance/{kind}": majority_share(wanted[chosen]) for kind, chosen in rows_by_kind(kinds).items()}
        return clips.report(results, config.allow_missing)
