"""What an objective is: a module that owns its heads and returns the `Losses` of a batch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from torch import nn

from allinone.model.config import ModelConfig
from allinone.model.heads import Head
from allinone.objectives.views import ChosenPairs, Views
from allinone.text.answers import AnswerVocabulary
from allinone.text.tokenizer import Tokenizer
from allinone.types import Batch, Losses


@dataclass(frozen=True)
class BuildContext:
    """What objectives are built from.

    `answers` is None if the training data has no questions; `classes` is empty if it has no labels.
    """

    model: ModelConfig
    tokenizer: Tokenizer
    answers: AnswerVocabulary | None = None
    classes: tuple[str, ...] = ()


@runtime_checkable
class ObjectiveConfig(Protocol):
    """The frozen `Config` of an objective."""

    @property
    def weight(self) -> float:
        """Factor of the loss in the sum of a step."""
        ...

    def build(self, context: BuildContext) -> "Objective":
        """Return the objective, with heads that start at random."""
        ...


class Objective(nn.Module):
    """Base of the objectives. `forward` reads what it needs of the `Views` of a step; heads are its attributes.

    Objectives do not depend on the order in which a run lists them: see `turn`.
    """

    tasks: ClassVar[tuple[str, ...]] = ("caption",)
    """The tasks of the batches that it is for (`Batch.task`)."""
    turn: ClassVar[int] = 3
    """Objectives of a step are computed by turn, then by name, so that their random draws are always the same."""
    reads_pair_tokens: bool = False
    """True if it reads more of `Views.pairs` than token 0 of the text; otherwise the last block computes only that."""

    def forward(self, views: Views) -> Losses:
        raise NotImplementedError(f"{type(self).__name__} has no forward pass")

    def choose_pairs(self, views: Views) -> ChosenPairs | None:
        """Choose the pairs of `Views.pairs`; None if this objective does not."""
        return None

    def heads(self) -> list[Head]:
        """The heads that it owns, which a checkpoint keeps."""
        return [child for child in self.children() if isinstance(child, Head)]

    def applies(self, batch: Batch) -> bool:
        """Return True if it is for batches of this task."""
        return batch.task in self.tasks


def by_turn(objectives: Mapping[str, Objective]) -> dict[str, Objective]:
    """Return the objectives in the order in which a step computes them, whatever the order they are listed in."""
    return dict(sorted(objectives.items(), key=lambda item: (item[1].turn, item[0])))
