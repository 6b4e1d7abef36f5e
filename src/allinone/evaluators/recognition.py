"""Recognition: which of a closed list of classes, or of the distinct captions of a data set, does a clip show?"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import one_hot

from allinone.data.example import HasClasses
from allinone.evaluators.base import Clips, Evaluator, EvaluatorConfig, Prediction, rounded, row_of
from allinone.inference import Predictor
from allinone.intervals import Bootstrap, Score
from allinone.metrics import best_constant, retrieval_ranks, top_k_indices
from allinone.model.heads import ContrastiveHead, LabelHead, MatchingHead

TOP = 5


class RecognitionAccuracy(Evaluator):
    """Top-1 accuracy (`accuracy`), and top-5 accuracy (`top5`) if there are more than five classes.

    `mean_class_accuracy` is the mean over the classes of their accuracies; `chance` the share of the most frequent
    class. A tie is lost.

    Mode `head` uses the head that was trained for the classes, by a linear probe or with the whole model. `dual` and
    `joint` are zero-shot: the classes become texts by the `template` ("a video of {}"), and the embeddings or the
    matching head score them. The texts are all classes of the data set, even those that the split lacks; for captions,
    the distinct ones.
    """

    tasks = ("label", "caption")

    @dataclass(frozen=True, kw_only=True)
    class Config(EvaluatorConfig):
        """`template` is for the modes without training, `dual` and `joint`."""

        mode: Literal["dual", "joint", "head"] = "dual"
        template: str = "{}"

        def __post_init__(self):
            super().__post_init__()
            if self.template.count("{}") != 1:
                raise ValueError(f"a template must have one {{}} for the name of the class, got {self.template!r}")

        def build(self) -> "RecognitionAccuracy":
            return RecognitionAccuracy(self)

    def check(self, predictor: Predictor) -> None:
        heads = {"dual": ContrastiveHead, "joint": MatchingHead, "head": LabelHead}
        predictor.model.require(heads[self.config.mode])

    def score(self, predictor: Predictor, clips: Clips) -> tuple[dict[str, Score], list[Prediction]]:
        truths = [example.text if example.label is None else example.label for example in clips.examples]
        names = self.names(predictor, clips, truths)
        self.check_known(truths, names)
        index_of = {name: index for index, name in enumerate(names)}
        logits = torch.full((len(clips.firsts), len(names)), torch.nan)  # [G, A]
        token_ids = (
            [] if self.config.mode == "head" else predictor.tokenize([self.config.template.format(n) for n in names])
        )
        # Embedded once for all clips; in the joint mode the texts go through the model with each clip.
        text = predictor.embed_tokens(token_ids) if self.config.mode == "dual" else None
        for indices, frames in clips.read(predictor):
            logits[indices] = self.logits(predictor, frames, token_ids, text)

        # From clips to examples, of which several may show the same clip.
        covered = clips.covered()
        examples = [clips.examples[e] for e in covered]
        labels = torch.tensor([index_of[truths[e]] for e in covered])
        own_logits = logits[[clips.of_example[e][0] for e in covered]]  # [Q, A]
        ranks = retrieval_ranks(own_logits, labels)
        bootstrap = Bootstrap([example.video_id for example in examples])
        scores = {
            "accuracy": bootstrap.percent(ranks < 1),
            "chance": Score(best_constant([{str(label): 1.0} for label in labels.tolist()])),
            "mean_class_accuracy": bootstrap.percent_by_group(ranks < 1, labels),
        }
        if len(names) > TOP:
            scores["top5"] = bootstrap.percent(ranks < TOP)
        # For the prediction file: the best classes, in the order that the ranks count.
        best = top_k_indices(own_logits, one_hot(labels, len(names)).bool(), TOP)
        probs = own_logits.softmax(dim=1).gather(1, best)
        return scores, [
            row_of(example)
            | {"prediction": names[top[0]], "best": [names[n] for n in top], "probabilities": rounded(top_probs)}
            | {"truth": names[label], "correct": rank == 0}
            for example, top, top_probs, label, rank in zip(
                examples, best.tolist(), probs.tolist(), labels.tolist(), ranks.tolist(), strict=True
            )
        ]

    def names(self, predictor: Predictor, clips: Clips, truths: list[str]) -> list[str]:
        """Return the classes to choose from."""
        data = self.config.data
        if self.config.mode == "head":
            return list(predictor.model.require(LabelHead).config.classes)
        listed = data.classes(clips.root) if isinstance(data, HasClasses) else ()
        return list(listed or dict.fromkeys(truths))

    def check_known(self, truths: list[str], names: list[str]) -> None:
        """Raise ValueError if examples are of classes that cannot be chosen."""
        if unknown := sorted(set(truths) - set(names)):
            raise ValueError(
                f"{len(unknown)} classes of {self.config.data} are not among the {len(names)} to choose from: "
                f"{', '.join(unknown[:5])}; is this checkpoint's head of another data set?"
            )

    def logits(
        self, predictor: Predictor, frames: Tensor, token_ids: list[list[int]], text: Float[Tensor, "A E"] | None
    ) -> Float[Tensor, "G A"]:
        """Return the score of each class for each clip, by the token ids or the embeddings of their texts."""
        if self.config.mode == "head":
            return predictor.video_only(predictor.model.require(LabelHead), frames)
        if text is not None:
            scale = predictor.model.require(ContrastiveHead).scale.detach().float().cpu()
            return scale * (predictor.embed_clips(frames) @ text.T)
        return predictor.match_all(frames, token_ids)
