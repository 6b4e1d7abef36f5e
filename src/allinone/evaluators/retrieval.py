"""Retrieval: find the video that a caption describes (t2v), and the captions of a video (v2t)."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from allinone.data.example import Example
from allinone.evaluators.base import Clips, Evaluator, EvaluatorConfig, Prediction, row_of
from allinone.inference import Predictor
from allinone.intervals import Bootstrap, Score
from allinone.metrics import first_of, recall_at, retrieval_ranks, top_k_indices
from allinone.model.heads import ContrastiveHead, MatchingHead
from allinone.progress import Progress


class Retrieval(Evaluator):
    """Recall at 1, 5 and 10, median and mean rank, in both directions.

    Every caption is a query of t2v; in v2t the best caption of a video counts. Modes: `dual` compares embeddings;
    `joint` runs the matching head on every pair, one forward pass for each; `two_stage` ranks as `dual` does and lets
    the matching head re-rank the `top_k` of each list, which stay in front of the rest (the scores of the first stage
    are `dual/...`). With `add_cosine` the second stage adds the cosine over the temperature to the matching log-odds,
    as BLIP does (https://arxiv.org/abs/2201.12086). Two stages keep the frames of all clips in memory, as uint8.

    Intervals are over resampled queries; the gallery is fixed. A prediction is the first result of a query, with the
    `rank` of the relevant item, from 1; v2t adds a row for each video.
    """

    tasks = ("caption",)

    @dataclass(frozen=True, kw_only=True)
    class Config(EvaluatorConfig):
        """`top_k` and `add_cosine` are for mode `two_stage`."""

        mode: Literal["dual", "joint", "two_stage"] = "dual"
        top_k: int = 32
        add_cosine: bool = False

        def __post_init__(self):
            super().__post_init__()
            if self.top_k < 1:
                raise ValueError(f"top_k must be at least 1, got {self.top_k}")
            if self.add_cosine and self.mode != "two_stage":
                raise ValueError(f"add_cosine joins two stages, so it needs mode='two_stage', got {self.mode!r}")

        def build(self) -> "Retrieval":
            return Retrieval(self)

    def check(self, predictor: Predictor) -> None:
        if self.config.mode != "joint":
            predictor.model.require(ContrastiveHead)
        if self.config.mode != "dual":
            predictor.model.require(MatchingHead)

    def score(self, predictor: Predictor, clips: Clips) -> tuple[dict[str, Score], list[Prediction]]:
        config = self.config
        token_ids = predictor.tokenize([example.text for example in clips.examples])
        text = None if config.mode == "joint" else predictor.embed_tokens(token_ids, on_progress=clips.on_progress)
        gallery, columns, kept = [], [], []
        for indices, frames in clips.read(predictor):
            gallery += indices
            if text is not None:
                columns.append(text @ predictor.embed_clips(frames).T)  # [captions, clips of this batch]
            else:
                columns.append(predictor.match_all(frames, token_ids).T)
            if config.mode == "two_stage":
                kept.append(frames)

        # Rows of the similarity are captions, of which some may be skipped; columns are clips in the order read.
        queries = clips.covered()
        examples = [clips.examples[q] for q in queries]
        videos = [clips.firsts[clip] for clip in gallery]
        own = torch.tensor([clips.of_example[q][0] for q in queries])
        relevant = own[:, None] == torch.tensor(gallery)
        similarity = torch.cat(columns, dim=1)[queries]
        first, t2v, v2t = {}, similarity, similarity.T
        if config.mode == "two_stage":
            first = scores_of(similarity, similarity.T, relevant, examples, videos)
            texts = [token_ids[q] for q in queries]
            t2v, v2t = self.rerank(predictor, similarity, relevant, torch.cat(kept), texts, clips.on_progress)
        scores = scores_of(t2v, v2t, relevant, examples, videos)
        scores |= {f"dual/{name}": score for name, score in first.items()}
        return scores, found_first(t2v, v2t, relevant, examples, videos)

    def rerank(
        self,
        predictor: Predictor,
        similarity: Float[Tensor, "Q G"],
        relevant: Bool[Tensor, "Q G"],
        frames: Tensor,
        token_ids: list[list[int]],
        on_progress: Progress | None,
    ) -> tuple[Float[Tensor, "Q G"], Float[Tensor, "G Q"]]:
        """Return the scores of the second stage in both directions, which have different shortlists.

        A pair that is in both of its shortlists is scored once.
        """
        # The pairs to score are those in either shortlist.
        t2v_shortlist = top_k_indices(similarity, relevant, self.config.top_k)
        v2t_shortlist = top_k_indices(similarity.T, relevant.T, self.config.top_k)
        is_scored = torch.zeros_like(relevant).scatter(1, t2v_shortlist, True)
        is_scored |= torch.zeros_like(relevant.T).scatter(1, v2t_shortlist, True).T
        # Pairs (clip, text): the similarity has texts in rows.
        scores = predictor.log_odds(frames, token_ids, is_scored.nonzero().flip(1), on_progress=on_progress)
        if self.config.add_cosine:
            scale = predictor.model.require(ContrastiveHead).scale.detach().float().cpu()
            scores = scores + scale * similarity[is_scored]
        # Back to a matrix: `nonzero` and `masked_scatter` go through the pairs in the same order.
        matched = torch.zeros_like(similarity).masked_scatter(is_scored, scores)
        t2v = shortlist_first(similarity, matched, t2v_shortlist)
        return t2v, shortlist_first(similarity.T, matched.T, v2t_shortlist)


def scores_of(
    t2v: Float[Tensor, "Q G"],
    v2t: Float[Tensor, "G Q"],
    relevant: Bool[Tensor, "Q G"],
    examples: list[Example],
    videos: list[Example],
) -> dict[str, Score]:
    """Return the scores of both directions."""
    scores = {}
    for direction, similarity, targets, queries in (
        ("t2v", t2v, relevant, examples),
        ("v2t", v2t, relevant.T, videos),
    ):
        ranks = retrieval_ranks(similarity, targets)
        bootstrap = Bootstrap([query.video_id for query in queries])
        scores |= {f"{direction}/R@{k}": bootstrap.percent(recall_at(k, ranks)) for k in (1, 5, 10)}
        scores[f"{direction}/MedR"] = bootstrap.median_rank(ranks)
        scores[f"{direction}/MeanR"] = bootstrap.mean(ranks + 1)
    return scores


def found_first(
    t2v: Float[Tensor, "Q G"],
    v2t: Float[Tensor, "G Q"],
    relevant: Bool[Tensor, "Q G"],
    examples: list[Example],
    videos: list[Example],
) -> list[Prediction]:
    """Return the top result of each caption, and of each video."""
    predictions = [
        row_of(example)
        | {"direction": "t2v", "prediction": videos[found].video_id}
        | {"truth": example.video_id, "correct": rank == 0, "rank": rank + 1}
        for example, found, rank in zip(
            examples, first_of(t2v, relevant).tolist(), retrieval_ranks(t2v, relevant).tolist(), strict=True
        )
    ]
    found, ranks = first_of(v2t, relevant.T).tolist(), retrieval_ranks(v2t, relevant.T).tolist()
    for number, video in enumerate(videos):
        truths = [examples[q].text for q in relevant[:, number].nonzero().flatten().tolist()]
        predictions.append(
            row_of(replace(video, text="", id=None, kind=None))
            | {"direction": "v2t", "prediction": examples[found[number]].text, "truth": truths}
            | {"correct": ranks[number] == 0, "rank": ranks[number] + 1}
        )
    return predictions


def shortlist_first(
    similarity: Float[Tensor, "Q G"], matched: Float[Tensor, "Q G"], shortlist: Int[Tensor, "Q K"]
) -> Float[Tensor, "Q G"]:
    """Return scores that rank the shortlist of each row by `matched`, and behind it the rest by `similarity`."""
    scores = matched.gather(1, shortlist).double()
    rest = similarity.double()  # moved below the shortlist; as doubles, so that this makes no ties
    # The best of the rest comes 1 below the worst of the shortlist.
    rest = rest - rest.amax(dim=1, keepdim=True) + scores.amin(dim=1, keepdim=True) - 1
    return rest.scatter(1, shortlist, scores)
