"""`AllInOne`: an encoder with the heads that its checkpoint holds. An encoder without heads is a valid model."""

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from torch import nn

from allinone.model.config import ModelConfig
from allinone.model.encoder import VideoTextEncoder
from allinone.model.heads import Head, known_heads
from allinone.model.weights import load_all, resize_time

HeadType = TypeVar("HeadType", bound=Head)


class MissingHead(ValueError):
    """A model has none of the heads that something needs."""


class AllInOne(nn.Module):
    """Tensors are named `encoder.*` and `heads.<kind>.*`; there is at most one head of a kind.

    `source` is the name of the checkpoint in error messages and their commands: its folder, if it has one.
    """

    def __init__(self, encoder: VideoTextEncoder, heads: Iterable[Head] = ()):
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleDict({head.kind: head for head in heads})
        self.source = "CHECKPOINT"

    @property
    def config(self) -> ModelConfig:
        """The encoder's config."""
        return self.encoder.config

    @classmethod
    def build(cls, config: ModelConfig, heads: Mapping[str, Any] | None = None) -> "AllInOne":
        """Return a model with random weights. `heads` maps a kind to that head's `Config`."""
        known = known_heads()
        made = [known[kind](head_config, config) for kind, head_config in (heads or {}).items()]
        return cls(VideoTextEncoder(config), made)

    def get(self, head: type[HeadType]) -> HeadType | None:
        """Return the head of this class, or None."""
        return next((found for found in self.heads.values() if isinstance(found, head)), None)

    def require(self, head: type[HeadType]) -> HeadType:
        """Return the head of this class. Raises MissingHead if the model has none."""
        found = self.get(head)
        if found is None:
            raise self.without(head)
        return found

    def without(self, *heads: type[Head], to: str = "") -> MissingHead:
        """Return the error for a model that has none of these heads, one of which is needed `to` do something.

        Its message has the command that adds the last one.
        """
        *others, last = (head.kind for head in heads)
        kinds, can = ", ".join(self.heads) or "none", ", ".join(self.abilities) or "nothing yet"
        if others:
            lacking = f"to {to}, a checkpoint needs a {', '.join(others)} or {last} head (this one has: {kinds})"
        else:
            lacking = f"this checkpoint has no {last} head (it has: {kinds})"
            lacking += "".join(f", so it cannot {ability}" for ability in heads[0].abilities[:1])
        return MissingHead(f"{lacking}; it can: {can}. {self.how_to_add(heads[-1])} adds that head")

    @property
    def abilities(self) -> list[str]:
        """What a predictor with this model can be asked for."""
        known = known_heads().values()
        return list(dict.fromkeys(name for head in known if self.get(head) is not None for name in head.abilities))

    def how_to_add(self, head: type[Head]) -> str:
        """Return the command that trains a head on top of this checkpoint."""
        return f"`allinone train {head.trained_by} --set init={shlex.quote(self.source)} data.root=FOLDER`"

    def with_frames(self, num_frames: int) -> "AllInOne":
        """Return the same model for another number of frames; the temporal embedding is cut, or extended by zeros."""
        if num_frames == self.config.num_frames:
            return self
        configs = {kind: head.config for kind, head in self.heads.items()}
        other = AllInOne.build(replace(self.config, num_frames=num_frames), configs)
        # Of our tensors only the temporal embedding depends on the number of frames.
        tensors = dict(self.state_dict())
        if "encoder.vision.time" in tensors:
            tensors["encoder.vision.time"] = resize_time(tensors["encoder.vision.time"], num_frames)
        load_all(other, tensors)
        other.source = self.source
        return other.to(next(self.parameters()).device).train(self.training)


def known_abilities() -> dict[str, type[Head]]:
    """Return all that a predictor can be asked for, and the first head that is enough for it."""
    found: dict[str, type[Head]] = {}
    for head in known_heads().values():
        for ability in head.abilities:
            found.setdefault(ability, head)
    return found
