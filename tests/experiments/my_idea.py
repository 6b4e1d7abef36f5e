"""Ideas in one file outside of the package: is a clip played forward? And: frames that see the mean over time.

A head, a loss, an evaluator, a way of time, and the experiments. `test_own_file.py` runs them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from allinone.data.example import Example
from allinone.data.sources import Source
from allinone.evaluators.base import Clips, Evaluator, EvaluatorConfig, row_of
from allinone.experiment import Data, Experiment
from allinone.intervals import Score
from allinone.model.config import NANO
from allinone.model.heads import Head
from allinone.model.init import initialize
from allinone.model.time import Time
from allinone.objectives.base import Objective
from allinone.train.config import TrainConfig
from allinone.train.optim import Optim
from allinone.types import Losses
from allinone.video.transforms import Transform


class OrderHead(Head):
    kind = "order"
    purpose = "tells whether a clip is played forward"
    starts_untrained = True
    input = "video"
    output = "logits of: played backward, played forward"

    @dataclass(frozen=True, kw_only=True)
    class Config:
        pass

    def __init__(self, config, model):
        super().__init__(config, model)
        self.linear = nn.Linear(model.width, 2)
        initialize(self, model)

    def forward(self, video):
        return self.linear(video[:, 0])


class FrameOrder(Objective):
    @dataclass(frozen=True, kw_only=True)
    class Config:
        weight: float = 1.0

        def build(self, context):
            return FrameOrder(self, context)

    def __init__(self, config, context):
        super().__init__()
        self.head = OrderHead(OrderHead.Config(), context.model)

    def forward(self, views):
        frames = views.batch.frames
        forward = (torch.rand(len(frames), generator=views.rng) < 0.5).to(frames.device)
        shown = torch.where(forward[:, None, None, None, None], frames, frames.flip(1))
        logits = self.head(views.encoder.encode_video(shown, num_out_tokens=1)).float()
        accuracy = (logits.argmax(-1) == forward).float().mean() * 100
        return Losses(F.cross_entropy(logits, forward.long()), {"accuracy": accuracy})


class OrderAccuracy(Evaluator):
    tasks = ("caption",)

    @dataclass(frozen=True, kw_only=True)
    class Config(EvaluatorConfig):
        def build(self):
            return OrderAccuracy(self)

    def check(self, predictor):
        predictor.model.require(OrderHead)

    def score(self, predictor, clips: Clips):
        head, right = predictor.model.require(OrderHead), torch.zeros(len(clips.examples))
        for indices, frames in clips.read(predictor):
            forward, backward = (predictor.video_only(head, shown).argmax(1) for shown in (frames, frames.flip(2)))
            right[indices] = ((forward == 1).float() + (backward == 0).float()) / 2
        predictions = [row_of(clips.examples[e]) | {"correct": right[e].item()} for e in clips.covered()]
        return {"accuracy": Score(right[clips.covered()].mean().item() * 100)}, predictions


class Blend(Time):
    kind = "blend"

    @dataclass(frozen=True, kw_only=True)
    class Config:
        start: float = 0.1

    def __init__(self, config, model):
        super().__init__(config, model)
        self.share = nn.Parameter(torch.full((model.depth,), config.start))

    def forward(self, tokens, num_text, block):
        text, vision = tokens[:, :, :num_text], tokens[:, :, num_text:]
        return torch.cat([text, vision + self.share[block] * vision.mean(dim=1, keepdim=True)], dim=2)


@dataclass(frozen=True)
class Folder:
    def examples(self, root: Path) -> Iterator[Example]:
        for path in sorted(root.glob("*.mp4")):
            yield Example(video=path, video_id=path.stem, text=f"clip {path.stem}")


def frame_order() -> Experiment:
    return Experiment(
        model=NANO.replace(width=32, num_heads=2, depth=2, image_size=32, patch_size=8, shared_dim=16),
        train_data={"clips": Source(data=Folder())},
        objectives={"order": FrameOrder.Config()},
        evaluators={"order": OrderAccuracy.Config(data=Folder())},
        optim=Optim.Config(lr=1e-3, num_steps=4, warmup=0),
        data=Data(batch_size=4, transform=Transform.Config(resize=32, crop=32)),
        train=TrainConfig(save_every=2, tensorboard=False),
    )


def blended() -> Experiment:
    order = frame_order()
    return Experiment(**{**vars(order), "model": order.model.replace(time=Blend.Config(start=0.2))})
