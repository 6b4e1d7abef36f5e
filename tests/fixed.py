"""A data set that is written down in a test, and what an evaluator finds in it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from allinone.data.example import Example
from allinone.evaluators.base import Evaluation, EvaluatorConfig
from allinone.inference import Predictor


@dataclass(frozen=True)
class Fixed:
    """Examples whose videos lie below the root, and the classes there are, if they have labels."""

    items: tuple[Example, ...]
    names: tuple[str, ...] = ()

    def examples(self, root: Path) -> list[Example]:
        return [placed(item, root) for item in self.items]

    def classes(self, root: Path) -> Sequence[str]:
        return self.names


def placed(item: Example, root: Path) -> Example:
    assert isinstance(item.video, Path)
    return replace(item, video=root / item.video, clips=tuple(placed(clip, root) for clip in item.clips))


def example(video: int | str, text: str = "", **fields: Any) -> Example:
    name = f"{video:02}" if isinstance(video, int) else video
    return Example(video=Path(f"{name}.mp4"), video_id=name, text=text, **fields)


def evaluated(config: EvaluatorConfig, predictor: Predictor, root: Path, **settings: Any) -> Evaluation:
    return config.build().evaluate(predictor, root, settings.pop("data", predictor.data), **settings)


def values(config: EvaluatorConfig, predictor: Predictor, root: Path, **settings: Any) -> dict[str, float]:
    """The scores without their intervals."""
    return {name: score.value for name, score in evaluated(config, predictor, root, **settings).scores.items()}
