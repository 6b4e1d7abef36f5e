"""Recognition by words: which of a data set's distinct texts, such as the names of classes, fits a clip best?"""

from dataclasses import dataclass
from pathlib import Path

import torch

from allinone.data.loader import DataConfig
from allinone.evaluators.base import Clips, OnClips
from allinone.inference import Predictor, Progress
from allinone.metrics import accuracy, majority_share


class Recognition:
    """Accuracy of the dual stream's best text, over the clips; `chance` is the share of the most frequent text.

    A tie goes to the text that comes last in the order of the data set, whichever is right.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(OnClips):
        def build(self) -> "Recognition":
            return Recognition(self)

    def __init__(self, config: Config):
        self.config = config

    def evaluate(
        self, predictor: Predictor, root: Path, data: DataConfig, on_progress: Progress | None = None
    ) -> dict[str, float]:
        config, predictor = self.config, predictor.using(data)
        clips = Clips(config.data, root)
        names = list(dict.fromkeys(example.text for example in clips.examples))
        text = predictor.embed_rows(predictor.rows(names))
        predicted, wanted = [], []
        for numbers, frames in clips.read(predictor, config.num_views, config.allow_missing, on_progress):
            similarity = predictor.embed_clips(frames) @ text.T
            best = len(names) - 1 - similarity.flip(1).argmax(dim=1)
            for place, example in clips.examples_of(numbers):
                predicted.append(int(best[place]))
                wanted.append(names.index(example.text))
        labels = torch.tensor(wanted)
        results = {"accuracy": accuracy(torch.tensor(predicted), labels), "chance": majority_share(labels)}
        return clips.report(results, config.allow_missing)
