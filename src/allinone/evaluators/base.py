"""What an evaluator is: it asks a predictor about a data set, and returns named numbers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from jaxtyping import UInt8
from torch import Tensor

from allinone.data.example import Dataset, Example
from allinone.data.loader import DataConfig
from allinone.data.samples import unique_clips
from allinone.inference import Predictor, Progress


@runtime_checkable
class Evaluator(Protocol):
    """`evaluate` finds the data set under `root` and reads it as `data` says, at the model's own number of frames.

    Shares are in percent. A video that cannot be read is an error that lists all of them, unless the evaluator allows
    missing ones: then the number `missing` tells how many videos the others do not cover.
    """

    def evaluate(
        self, predictor: Predictor, root: Path, data: DataConfig, on_progress: Progress | None = None
    ) -> dict[str, float]: ...


@runtime_checkable
class EvaluatorConfig(Protocol):
    """The frozen `Config` of an evaluator."""

    def build(self) -> Evaluator: ...


@dataclass(frozen=True, kw_only=True)
class OnClips:
    """What the `Config` of every evaluator has: on which data set, and how its clips are read."""

    data: Dataset
    num_views: int = 1
    allow_missing: bool = False

    def __post_init__(self):
        if self.num_views < 1:
            raise ValueError(f"num_views must be at least 1, got {self.num_views}")


class Clips:
    """The examples of a data set and their distinct clips, each of which is read once.

    Iterating gives the numbers of the clips in a batch and their frames; when that is done, `missing` holds the
    numbers of the clips that could not be read.
    """

    def __init__(self, dataset: Dataset, root: Path):
        self.examples = list(dataset.examples(Path(root)))
        if not self.examples:
            raise ValueError(f"{root}: {dataset} has no examples to evaluate on")
        self.firsts, self.of_example = unique_clips(self.examples)
        self.missing: set[int] = set()

    def read(
        self, predictor: Predictor, num_views: int, allow_missing: bool, on_progress: Progress | None
    ) -> Iterator[tuple[list[int], UInt8[Tensor, "G V T C H W"]]]:
        found: set[int] = set()
        batches = predictor.clips(
            self.firsts, num_views=num_views, allow_missing=allow_missing, on_progress=on_progress
        )
        for numbers, frames in batches:
            found.update(numbers)
            yield numbers, frames
        self.missing = set(range(len(self.firsts))) - found
        if not found:
            raise ValueError(f"none of the {len(self.firsts)} videos can be read")

    def examples_of(self, clips: Sequence[int]) -> list[tuple[int, Example]]:
        """The examples about these clips, each with the place of its clip among them."""
        place = {clip: i for i, clip in enumerate(clips)}
        return [(place[c], e) for c, e in zip(self.of_example, self.examples, strict=True) if c in place]

    def report(self, results: dict[str, float], allow_missing: bool) -> dict[str, float]:
        """The results, with the number of missing videos where some may be missing."""
        return results | {"missing": float(len(self.missing))} if allow_missing else results
