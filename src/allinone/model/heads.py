"""Heads: what a task adds to the encoder. A checkpoint holds their parameters under `heads.<kind>`.

Everything that others need to know of a head is in its class: what it is for, whether it starts untrained, what it lets
a user do, how it is exported. The model card, error messages, the optimizer's groups, `start_from` and
`allinone export` read it there, and none of them keeps a list of heads.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from allinone.checks import check_literals
from allinone.model.config import ModelConfig
from allinone.model.init import initialize
from allinone.model.layers import TwoLayerConfig, two_layers

HEADS: dict[str, type["Head"]] = {}
"""Heads of this file by kind, as written in a checkpoint's config.json. A class is listed by its definition."""

OWN_HEADS: dict[str, type["Head"]] = {}
"""Heads defined elsewhere by kind, as far as they are imported."""

Input = Literal["joint", "video", "text"]
"""`joint` is the pooled feature of a clip and a text [M, D]; `video` and `text` are the tokens of the streams
[B, K, D], of which a head may read token 0 only."""


@dataclass(frozen=True, kw_only=True)
class Export:
    """One file of `allinone export`: what it reads, the head's function, and what its output means (JSON)."""

    input: Input
    function: Callable[[Tensor], Tensor]
    meaning: Mapping[str, Any]

    def __post_init__(self):
        check_literals(self)


@dataclass(frozen=True, kw_only=True)
class NoSettings:
    """The `Config` of a head that has no settings."""


class Head(nn.Module):
    """Base of the heads. `config` is the frozen `Config` that, with the model's, builds the same head again.

    A head defined outside of this package, with its own `kind`, is known from its definition on: define it before a
    checkpoint that has it is loaded.
    """

    kind: ClassVar[str]
    Config: ClassVar[type] = NoSettings
    purpose: ClassVar[str] = "a head of your own"
    """What a model with this head can do, for the model card."""
    abilities: ClassVar[tuple[str, ...]] = ()
    """What a user can ask a `Predictor` with this head for: names of its methods."""
    trained_by: ClassVar[str] = "FILE.py:EXPERIMENT"
    """The experiment that adds this head to a checkpoint."""
    starts_untrained: ClassVar[bool] = False
    """True if no pre-training prepares it. Then it learns at `head_lr_mult` times the learning rate."""
    input: ClassVar[Input | None] = None
    """What `forward` reads. None: something else, and the head is not exported."""
    output: ClassVar[str] = "output of a head of your own"
    """What the output of `forward` means, for whoever reads an export."""
    sizes: ClassVar[dict[str, str]] = {}
    """Fields of `Config` that are the first dimension of a tensor, and that tensor."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "kind" not in vars(cls):
            return  # a base of other heads
        # A notebook may define its own head twice, but a kind of this package cannot be replaced.
        if cls.kind in HEADS:
            raise ValueError(f"{cls.__qualname__}: kind {cls.kind!r} is that of {HEADS[cls.kind].__name__}")
        (HEADS if cls.__module__ == __name__ else OWN_HEADS)[cls.kind] = cls

    def __init__(self, config: Any, model: ModelConfig):
        super().__init__()
        self.config = config

    def exports(self) -> dict[str, Export]:
        """The files that `allinone export` writes for this head, by name without `.onnx`."""
        if self.input is None:
            return {}
        export = Export(input=self.input, function=self, meaning={"meaning": self.output, **self.labels()})
        return {f"{self.input}_{self.kind}": export}

    def labels(self) -> dict[str, Sequence[str]]:
        """Names of the outputs, by the field of `Config` that holds them: those of `sizes` that are a tuple."""
        fields = {field: getattr(self.config, field) for field in self.sizes}
        return {field: names for field, names in fields.items() if isinstance(names, tuple)}

    def row_names(self, tokens: Sequence[str]) -> dict[str, Sequence[str]]:
        """Tensors with one row for each name: `tokens` of the vocabulary, or this head's own labels.

        `start_from` takes such rows by name, so that another vocabulary keeps what both have.
        """
        weights = {self.sizes[field]: names for field, names in self.labels().items()}
        # The bias of a layer has the same rows as its weight.
        return weights | {name.replace(".weight", ".bias"): names for name, names in weights.items()}

    def start_from_others(self, heads: Mapping[str, nn.Module]) -> str | None:
        """Start from other heads of a checkpoint that has none of this kind. Returns a line for the report, or None."""
        return None


SCORE = "a score of each text; their softmax over the options of a question is the probability of each"


class MLMHead(Head):
    """Vocabulary logits of text features (released: modules/heads.py:32).

    The decoder is not tied to the word embedding.
    """

    kind = "mlm"
    purpose = "`fill`: the word at the [MASK] of a text"
    abilities = ("fill",)
    trained_by = "captioned"

    def __init__(self, config: NoSettings, model: ModelConfig):
        super().__init__(config, model)
        self.dense = nn.Linear(model.width, model.width)
        self.norm = nn.LayerNorm(model.width, eps=1e-12)  # BERT's eps
        self.decoder = nn.Linear(model.width, model.vocab_size)
        initialize(self, model)

    def forward(self, text: Float[Tensor, "*shape D"]) -> Float[Tensor, "*shape V"]:
        return self.decoder(self.norm(F.gelu(self.dense(text))))

    def row_names(self, tokens: Sequence[str]) -> dict[str, Sequence[str]]:
        return {"decoder.weight": tokens, "decoder.bias": tokens}


class MatchingHead(Head):
    """Logits (no, yes) of whether a clip and a text belong together (released: modules/heads.py:22)."""

    kind = "matching"
    purpose = "`match`: does a text belong to a video?"
    abilities = ("match", "choose", "classify")
    input = "joint"
    output = "logits of: clip and text do not belong together, they do"
    trained_by = "captioned"

    def __init__(self, config: NoSettings, model: ModelConfig):
        super().__init__(config, model)
        self.linear = nn.Linear(model.width, 2)
        initialize(self, model)

    def forward(self, pooled: Float[Tensor, "*shape D"]) -> Float[Tensor, "*shape 2"]:
        return self.linear(pooled)


class RankingHead(Head):
    """A score of one option, from the pooled joint feature.

    It starts as the `yes` row of a matching head, so that a pre-trained model can choose (as released).
    """

    kind = "ranking"
    purpose = "`choose`: which of several texts belongs to a video?"
    abilities = ("choose",)
    input = "joint"
    output = SCORE
    trained_by = "msrvtt_choice"

    def __init__(self, config: NoSettings, model: ModelConfig):
        super().__init__(config, model)
        self.linear = nn.Linear(model.width, 1)
        initialize(self, model)

    @torch.no_grad()
    def start_from_others(self, heads: Mapping[str, nn.Module]) -> str | None:
        matching = heads.get(MatchingHead.kind)
        if not isinstance(matching, MatchingHead):
            return None
        self.linear.weight.copy_(matching.linear.weight[1:])  # row 1 is `yes`
        self.linear.bias.copy_(matching.linear.bias[1:])
        return "heads.matching.linear -> heads.ranking.linear (the row of a matching pair)"

    def forward(self, pooled: Float[Tensor, "*shape D"]) -> Shaped[Tensor, "*shape"]:
        return self.linear(pooled)[..., 0]


class ContrastiveHead(Head):
    """The space that the two streams share: token 0 of each, projected to unit length.

    Logits are cosines divided by the temperature (released: 0.05, fixed).
    """

    kind = "contrastive"
    purpose = "`embed_video`, `embed_text`: dual-stream retrieval"
    abilities = ("embed", "classify")
    trained_by = "captioned"

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """`temperature` is the initial one if it is learned; a fixed one is no parameter and is not saved."""

        temperature: float = 0.05
        learn_temperature: bool = False

        def __post_init__(self):
            if not 1e-6 <= self.temperature <= 1e6:
                raise ValueError(f"temperature must be positive, from 1e-6 to 1e6, got {self.temperature}")

    def __init__(self, config: Config, model: ModelConfig):
        super().__init__(config, model)
        self.text = nn.Linear(model.width, model.shared_dim)
        self.video = nn.Linear(model.width, model.shared_dim)
        # As a logarithm, so that steps of the optimizer are relative. A fixed one is in the config and not saved.
        self.log_scale: Tensor
        log_scale = -torch.tensor(config.temperature, device="cpu").log()  # on the CPU as the encoder's `mean`
        if config.learn_temperature:
            self.log_scale = nn.Parameter(log_scale)
        else:
            self.register_buffer("log_scale", log_scale, persistent=False)
        initialize(self, model)

    @property
    def scale(self) -> Float[Tensor, ""]:
        """One over the temperature; a learned one stays within 1 and 100, as in CLIP."""
        # 4.6052 is log(100).
        return self.log_scale.clamp(0, 4.6052).exp() if self.config.learn_temperature else self.log_scale.exp()

    def embed_text(self, text: Float[Tensor, "B K D"]) -> Float[Tensor, "B E"]:
        """Return unit vectors from the tokens of the text-only mode."""
        return F.normalize(self.text(text[:, 0]), dim=-1)

    def embed_video(self, video: Float[Tensor, "B K D"]) -> Float[Tensor, "B E"]:
        """Return unit vectors from the tokens of the video-only mode."""
        return F.normalize(self.video(video[:, 0]), dim=-1)

    def exports(self) -> dict[str, Export]:
        meaning = {
            "meaning": "vectors of unit length; the product of a video's and a text's is their similarity",
            "temperature": 1 / self.scale.item(),
        }
        return {
            "video": Export(input="video", function=self.embed_video, meaning=meaning),
            "text": Export(input="text", function=self.embed_text, meaning=meaning),
        }


class AnswerHead(Head):
    """Logits over a closed vocabulary of answers, from the pooled joint feature. `hidden` defaults to width / 2."""

    kind = "answer"
    purpose = "`answer`: open questions with a closed list of answers"
    abilities = ("answer",)
    input = "joint"
    output = "logits of the answers"
    trained_by = "msrvtt_questions"
    starts_untrained = True
    # The first and the second linear layer of `two_layers`.
    sizes: ClassVar = {"hidden": "layers.1.weight", "answers": "layers.4.weight"}

    @dataclass(frozen=True, kw_only=True)
    class Config(TwoLayerConfig):
        answers: tuple[str, ...]
        dropout: float = 0.5

        def __post_init__(self):
            super().__post_init__()
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
    """Base of heads that output one number: two layers on the pooled joint feature."""

    input = "joint"
    sizes: ClassVar = {"hidden": "layers.1.weight"}

    @dataclass(frozen=True, kw_only=True)
    class Config(TwoLayerConfig):
        hidden: int = 256

    def __init__(self, config: Config, model: ModelConfig):
        super().__init__(config, model)
        self.layers = two_layers(model.width, config.hidden, 1, config.dropout)
        initialize(self, model)

    def forward(self, pooled: Float[Tensor, "*shape D"]) -> Shaped[Tensor, "*shape"]:
        return self.layers(pooled)[..., 0]


class ChoiceHead(OneNumber):
    """A score of one option of a multiple-choice question, which is read together with the question."""

    kind = "choice"
    purpose = "`choose`: multiple-choice questions"
    abilities = ("choose",)
    output = SCORE
    trained_by = "tgif_action"
    starts_untrained = True


class NumberHead(OneNumber):
    """A number that answers a question: how many times?"""

    kind = "number"
    purpose = "how many times? (a number that answers a question)"
    output = "the number that is counted"
    trained_by = "tgif_count"
    starts_untrained = True


class LabelHead(Head):
    """Logits over the classes of a recognition task: one linear layer on token 0 of the video-only mode."""

    kind = "label"
    purpose = "recognition: which of the classes does a clip show?"
    input = "video"
    output = "logits of the classes"
    trained_by = "ucf101_finetune"
    starts_untrained = True
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

    def forward(self, video: Float[Tensor, "B K D"]) -> Float[Tensor, "B A"]:
        return self.linear(video[:, 0])


def known_heads() -> dict[str, type[Head]]:
    """All heads by kind, those of this package first."""
    return HEADS | OWN_HEADS
