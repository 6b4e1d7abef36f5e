"""Order in time: pairs of clips and captions that differ only in the order of events."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from allinone.data.example import Dataset, Example
from allinone.evaluators.base import Clips, Evaluator, EvaluatorConfig, Prediction, by_kind, row_of
from allinone.inference import Predictor
from allinone.intervals import Bootstrap, Score
from allinone.metrics import prefers_own
from allinone.model.heads import ContrastiveHead, MatchingHead
from allinone.progress import Progress


class Order(Evaluator):
    """Share of captions that prefer their own clip (`t2v/pairs`), and of clips that prefer their own caption (`v2t/`).

    The data set gives the pairs as examples 2i and 2i + 1. Chance is 50, and a tie is wrong. If there are several kinds
    of pairs, each has its own scores.

    The control (`single_frame/...`) does the same with every frame of a clip replaced by one of them, for each frame
    in turn, and takes the mean; a tie counts half. It differs from 50 if single frames distinguish a pair. For exact
    reversals it must be 50, whatever the model does, because the frames are the same in reverse order: a check of the
    data.

    A prediction is the clip that a caption prefers; `clip_correct` is whether its clip prefers the caption.
    """

    tasks = ("caption",)

    @dataclass(frozen=True, kw_only=True)
    class Config(EvaluatorConfig):
        """`control=False` saves the passes over still clips, as many as a clip has frames."""

        mode: Literal["dual", "joint"] = "joint"
        control: bool = True

        def build(self) -> "Order":
            return Order(self)

    def check(self, predictor: Predictor) -> None:
        predictor.model.require(ContrastiveHead if self.config.mode == "dual" else MatchingHead)

    def score(self, predictor: Predictor, clips: Clips) -> tuple[dict[str, Score], list[Prediction]]:
        config = self.config
        check_pairs(clips.examples, config.data)
        order, kept = [], []  # clip indices, and their frames
        for indices, frames in clips.read(predictor):
            order += indices
            kept.append(frames)
        frames = torch.cat(kept)  # [G, V, T, C, H, W]
        pairs = complete_pairs(clips, order)
        # Two rows of `frames`, two examples and two texts for each pair that is complete.
        chosen = torch.tensor([[one, other] for _, one, other in pairs])  # [P, 2]
        examples = [clips.examples[i] for first, _, _ in pairs for i in (first, first + 1)]
        token_ids = predictor.tokenize([example.text for example in examples])
        others = [clips.examples[i] for first, _, _ in pairs for i in (first + 1, first)]
        kinds = [example.kind for example in examples[::2]]

        asked = chosen, token_ids, clips.on_progress
        own = self.preferred(predictor, frames, *asked, tie=0.0)
        scores = shares(own, kinds)
        if config.control:
            # A clip of T frames gives T still clips.
            halves = [
                self.preferred(predictor, frames[:, :, [t]].expand_as(frames), *asked, tie=0.5)
                for t in range(frames.shape[2])
            ]
            stills = [torch.stack(some).mean(dim=0) for some in zip(*halves, strict=True)]
            scores |= {f"single_frame/{name}": share for name, share in shares(stills, kinds).items()}
        # Rows of a prediction alternate as the examples do: 2i, 2i + 1.
        t2v, v2t = ((preferred.flatten() == 1).tolist() for preferred in own)
        return scores, [
            row_of(example)
            | {"prediction": (example if text_right else other).video_id}
            | {"truth": example.video_id, "correct": text_right, "clip_correct": clip_right}
            for example, other, text_right, clip_right in zip(examples, others, t2v, v2t, strict=True)
        ]

    def preferred(
        self,
        predictor: Predictor,
        frames: UInt8[Tensor, "G V T C H W"],
        chosen: Int[Tensor, "P 2"],
        token_ids: list[list[int]],
        on_progress: Progress | None,
        tie: float,
    ) -> list[Float[Tensor, "P 2"]]:
        """Return which texts prefer their own clip, and which clips their own text."""
        scores = self.scores(predictor, frames, chosen, token_ids, on_progress)
        return [prefers_own(scores, tie), prefers_own(scores.mT, tie)]

    def scores(
        self,
        predictor: Predictor,
        frames: UInt8[Tensor, "G V T C H W"],
        chosen: Int[Tensor, "P 2"],
        token_ids: list[list[int]],
        on_progress: Progress | None,
    ) -> Float[Tensor, "P 2 2"]:
        """Return the score of each clip of a pair for each caption of the pair."""
        if self.config.mode == "dual":
            video, text = predictor.embed_clips(frames), predictor.embed_tokens(token_ids)
            # [P, texts, clips]
            return torch.einsum("pqe,pie->pqi", text.unflatten(0, chosen.shape), video[chosen])
        # All four combinations of a pair, as pairs (row of a clip, index of a text).
        texts = torch.arange(len(token_ids)).reshape(-1, 2, 1).expand(-1, 2, 2)
        clips = chosen[:, None, :].expand(-1, 2, 2)
        asked = torch.stack([clips, texts], dim=-1).flatten(0, 2)  # [P x 4, 2]
        return predictor.log_odds(frames, token_ids, asked, on_progress=on_progress).reshape(-1, 2, 2)


def complete_pairs(clips: Clips, order: list[int]) -> list[tuple[int, int, int]]:
    """Return the pairs of which both clips were read, in this `order`: index of the first example, rows of the clips.

    Raises:
        ValueError: there are none.
    """
    row_of_clip = {clip: row for row, clip in enumerate(order)}
    pairs = [
        (2 * i, row_of_clip[one], row_of_clip[other])
        for i, ((one,), (other,)) in enumerate(zip(clips.of_example[::2], clips.of_example[1::2], strict=True))
        if one in row_of_clip and other in row_of_clip
    ]
    if not pairs:
        raise ValueError(f"of none of the {len(clips.examples) // 2} pairs can both videos be read")
    return pairs


def check_pairs(examples: list[Example], dataset: Dataset) -> None:
    """Raise ValueError if examples 2i and 2i + 1 are not two videos and two texts of one kind."""
    if len(examples) % 2:
        raise ValueError(f"{dataset} has {len(examples)} examples, which make no pairs: 2i and 2i + 1 belong together")
    for i, (one, other) in enumerate(zip(examples[::2], examples[1::2], strict=True)):
        if one.video_id == other.video_id or one.text == other.text or one.kind != other.kind:
            raise ValueError(
                f"examples {2 * i} and {2 * i + 1} of {dataset} are no pair (needs two videos and two texts of one "
                f"kind): {one.video_id} {one.text!r} {one.kind}, {other.video_id} {other.text!r} {other.kind}"
            )


def shares(preferred: list[Float[Tensor, "P 2"]], kinds: list[str | None]) -> dict[str, Score]:
    """Return the share of texts, and of clips, that prefer their own, over all pairs and over those of each kind."""
    # Pairs are resampled, because both halves of one are right or wrong together.
    bootstrap = Bootstrap([str(pair) for pair in range(len(kinds))])
    t2v, v2t = (some.mean(dim=1) for some in preferred)
    found = [
        by_kind(f"{direction}/pairs", kinds, lambda indices, values=values: bootstrap.percent(values, indices))
        for direction, values in (("t2v", t2v), ("v2t", v2t))
    ]
    return {name: score for pair in zip(*(some.items() for some in found), strict=True) for name, score in pair}
