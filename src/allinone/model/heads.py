"""Heads: what a task adds to the encoder. Each owns its parameters and is saved in a checkpoint under its `kind`."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from allinone.model.config import ModelConfig
from allinone.model.init import initialize


class Head(nn.Module):
    """Base of the heads. `config` is the frozen `Config` that, with the model's, builds the same head again.

    What there is to know of a head is an attribute of its class. A head of a user's own code, with a `kind` of its own,
    is known from its definition on.
    """

    kind: ClassVar[str]
    Config: ClassVar[type]
    about: ClassVar[str] = "a head of your own"
    """What a model with this head can do, for its card."""
    abilities: ClassVar[tuple[str, ...]] = ()
    """What a `Predictor` can be asked for with this head alone: names of its methods."""
    trained_by: ClassVar[str]
    """The experiment that adds this head to a checkpoint."""
    learns_fast: ClassVar[bool] = False
    """Whether no pre-training prepares it, so that it learns at `head_lr_mult` times the rate."""
    sizes: ClassVar[dict[str, str]] = {}
    """Fields of `Config` that are the first dimension of a tensor, and that tensor."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "kind" in vars(cls) and cls.__module__ != __name__:
            if cls.kind in HEADS:
                raise ValueError(f"{cls.__qualname__}: kind {cls.kind!r} is that of {HEADS[cls.kind].__name__}")
            OWN_HEADS[cls.kind] = cls

    def __init__(self, config: Any, model: ModelConfig):
        super().__init__()
        self.config = config


class MLMHead(Head):
    """Vocabulary logits of text features; the decoder is not tied to the word embedding (as released)."""

    kind = "mlm"
    about = "`fill`: the word at the [MASK] of a text"
    abilities = ("fill",)
    trained_by = "captioned"

    @dataclass(frozen=True, kw_only=True)
    class Config:
        pass

    def __init__(self, config: Config, model: ModelConfig):
        super().__init__(config, model)
        self.dense = nn.Linear(model.width, model.width)
        self.norm = nn.LayerNorm(model.width, eps=1e-12)
        self.decoder = nn.Linear(model.width, model.vocab_size)
        initialize(self, model)

    def forward(self, text: Float[Tensor, "*shape D"]) -> Float[Tensor, "*shape V"]:
        return self.decoder(self.norm(F.gelu(self.dense(text))))


class MatchingHead(Head):
    """Do this clip and this text belong together? Logits (no, yes) of the pooled joint feature."""

    kind = "matching"
    about = "`match`: does a text belong to a video?"
    abilities = ("match", "choose", "classify")
    trained_by = "captioned"

    @dataclass(frozen=True, kw_only=True)
    class Config:
        pass

    def __init__(self, config: Config, model: ModelConfig):
        super().__init__(config, model)
        self.linear = nn.Linear(model.width, 2)
        initialize(self, model)

    def forward(self, pooled: Float[Tensor, "*shape D"]) -> Float[Tensor, "*shape 2"]:
        return self.linear(pooled)


class RankingHead(Head):
    """One number for each option, from the pooled joint feature. Starts as the `yes` row of a matching head."""

    kind = "ranking"
    about = "`choose`: which of several texts belongs to a video?"
    abilities = ("choose",)
    trained_by = "msrvtt_choice"

    @dataclass(frozen=True, kw_only=True)
    class Config:
        pass

    def __init__(self, config: Config, model: ModelConfig):
        super().__init__(config, model)
        self.linear = nn.Linear(model.width, 1)
        initialize(self, model)

    @torch.no_grad()
    def start_from(self, matching: MatchingHead) -> None:
        self.linear.weight.copy_(matching.linear.weight[1:])
        self.linear.bias.copy_(matching.linear.bias[1:])

    def forward(self, pooled: Float[Tensor, "*shape D"]) -> Shaped[Tensor, "*shape"]:
        return self.linear(pooled)[..., 0]


class ContrastiveHead(Head):
    """The shared space of the two streams: token 0 of each, projected to unit length; cosines over a temperature."""

    kind = "contrastive"
    about = "`embed_video`, `embed_text`: dual-stream retrieval"
    abilities = ("embed", "classify")
    trained_by = "captioned"

    @dataclass(frozen=True, kw_only=True)
    class Config:
        temperature: float = 0.05
        learn_temperature: bool = False

        def __post_init__(self):
            if not 1e-6 <= self.temperature <= 1e6:
                raise ValueError(f"temperature must be positive, from 1e-6 to 1e6, got {self.temperature}")

    def __init__(self, config: Config, model: ModelConfig):
        super().__init__(config, model)
        self.text = nn.Linear(model.width, model.shared_dim)
        self.video = nn.Linear(model.width, model.shared_dim)
        self.log_scale: Tensor
        log_scale = -torch.tensor(config.temperature).log()
        if config.learn_temperature:
            self.log_scale = nn.Parameter(log_scale)
        else:
            self.register_buffer("log_scale", log_scale, persistent=False)
        initialize(self, model)

    @property
    def scale(self) -> Float[Tensor, ""]:
        """One over the temperature; a learned one stays within 1 and 100, as in CLIP."""
        return self.log_scale.clamp(0, 4.6052).exp() if self.config.learn_temperature else self.log_scale.exp()

    def embed_text(self, text: Float[Tensor, "B L D"]) -> Float[Tensor, "B E"]:
        return F.normalize(self.text(text[:, 0]), dim=-1)

    def embed_video(self, video: Float[Tensor, "B N D"]) -> Float[Tensor, "B E"]:
        return F.normalize(self.video(video[:, 0]), dim=-1)


class AnswerHead(Head):
    """Logits over a closed vocabulary of answers, from the pooled joint feature. `hidden` is by default width / 2."""

    kind = "answer"
    about = "`answer`: open questions with a closed list of answers"
    abilities = ("answer",)
    trained_by = "msrvtt_questions"
    learns_fast = True
    sizes: ClassVar = {"hidden": "layers.1.weight", "answers": "layers.4.weight"}

    @dataclass(frozen=True, kw_only=True)
    class Config:
        answers: tuple[str, ...]
        hidden: int | None = None
        dropout: float = 0.5

        def __post_init__(self):
            check_layers(self.hidden, self.dropout)
            if not self.answers:
                raise ValueError("an answer head needs at least one answer")
            if len(set(self.answers)) < len(self.answers):
                raise ValueError(f"{len(self.answers)} answers of which only {len(set(self.answers))} are distinct")

    def __init__(self, config: Config, model: ModelConfig):
        super().__init__(config, model)
        self.layers = two_layers(model.width, config.hidden or model.width // 2, len(config.answers), config.dropout)
        initialize(self, model)

    def forward(self, pooled: Float[Tensor, "*shape D"]) -> Float[Tensor, "*shape A"]:
        return self.layers(pooled)


class OneNumber(Head):
    """Base of heads that say one number of the pooled joint feature: two layers."""

    sizes: ClassVar = {"hidden": "layers.1.weight"}

    @dataclass(frozen=True, kw_only=True)
    class Config:
        hidden: int = 256
        dropout: float = 0.1

        def __post_init__(self):
            check_layers(self.hidden, self.dropout)

    def __init__(self, config: Config, model: ModelConfig):
        super().__init__(config, model)
        self.layers = two_layers(model.width, config.hidden, 1, config.dropout)
        initialize(self, model)

    def forward(self, pooled: Float[Tensor, "*shape D"]) -> Shaped[Tensor, "*shape"]:
        return self.layers(pooled)[..., 0]


class ChoiceHead(OneNumber):
    """How good an option of a multiple-choice question is, read together with the question."""

    kind = "choice"
    about = "`choose`: multiple-choice questions"
    abilities = ("choose",)
    trained_by = "tgif_action"
    learns_fast = True


class NumberHead(OneNumber):
    """A number that answers a question: how many times?"""

    kind = "number"
    about = "how many times? (a number that answers a question)"
    trained_by = "tgif_count"
    learns_fast = True


class LabelHead(Head):
    """Logits over the classes of a recognition task: one linear layer on token 0 of the video-only mode."""

    kind = "label"
    about = "recognition: which of the classes does a clip show?"
    trained_by = "ucf101_finetune"
    learns_fast = True
    sizes: ClassVar = {"classes": "linear.weight"}

    @dataclass(frozen=True, kw_only=True)
    class Config:
        classes: tuple[str, ...]

        def __post_init__(self):
            if not self.classes or len(set(self.classes)) < len(self.classes):
                raise ValueError(f"wanted one class or more, each once; got {len(self.classes)}")

    def __init__(self, config: Config, model: ModelConfig):
        super().__init__(config, model)
        self.linear = nn.Linear(model.width, len(config.classes))
        initialize(self, model)

    def forward(self, video: Float[Tensor, "B N D"]) -> Float[Tensor, "B A"]:
        return self.linear(video[:, 0])


HEADS: dict[str, type[Head]] = {
    head.kind: head
    for head in (
        MLMHead, MatchingHead, RankingHead, ContrastiveHead, AnswerHead, ChoiceHead, NumberHead, LabelHead,
    )
}  # fmt: skip
"""Kind, as written in a checkpoint's config.json, to head."""

OWN_HEADS: dict[str, type[Head]] = {}
"""Heads of users' own code by kind, as far as it is imported."""

ABILITIES: dict[str, type[Head]] = {}
"""What a predictor can be asked for, and the first head that is enough for it."""
for _head in HEADS.values():
    for _ability in _head.abilities:
        ABILITIES.setdefault(_ability, _head)


def check_layers(hidden: int | None, dropout: float) -> None:
    """ValueError where `two_layers` cannot be made."""
    if hidden is not None and hidden < 1:
        raise ValueError(f"hidden must be at least 1, got {hidden}")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be in [0, 1), got {dropout}")


def two_layers(width: int, hidden: int, out: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Dropout(dropout), nn.Linear(width, hidden), nn.LayerNorm(hidden), nn.GELU(), nn.Linear(hidden, out)
    )


def known_heads() -> dict[str, type[Head]]:
    """All heads by kind: ours, and those of users' own code."""
    return HEADS | OWN_HEADS
