"""Retrieval: find the video that a caption describes (t2v), and the captions of a video (v2t)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from allinone.data.loader import DataConfig
from allinone.evaluators.base import Clips, OnClips
from allinone.inference import Predictor, Progress, all_pairs
from allinone.metrics import mean_rank, median_rank, recall_at, retrieval_ranks
from allinone.model.heads import ContrastiveHead, MatchingHead


class Retrieval:
    """Recall at 1, 5 and 10, median and mean rank, in both directions.

    Every caption is a query of t2v; in v2t the best-placed caption of a video counts. Modes: `dual` compares
    embeddings; `joint` asks the matching head about every pair, at the cost of a pass for each; `two_stage` ranks as
    `dual` does and lets the matching head re-rank the best `top_k` of each list, which stay in front of the rest (the
    numbers of the first stage alone are there as `dual/...`). With `fuse` the second stage adds the cosine over the
    temperature to the matching log-odds, as BLIP does. Two stages keep the frames of all clips in memory, as uint8.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(OnClips):
        mode: Literal["dual", "joint", "two_stage"] = "dual"
        top_k: int = 32
        fuse: bool = False

        def __post_init__(self):
            super().__post_init__()
            if self.mode not in ("dual", "joint", "two_stage"):
                raise ValueError(f"mode must be 'dual', 'joint' or 'two_stage', got {self.mode!r}")
            if self.top_k < 1:
                raise ValueError(f"top_k must be at least 1, got {self.top_k}")
            if self.fuse and self.mode != "two_stage":
                raise ValueError(f"fuse joins two stages, so it wants mode='two_stage', got {self.mode!r}")

        def build(self) -> "Retrieval":
            return Retrieval(self)

    def __init__(self, config: Config):
        self.config = config

    def evaluate(
        self, predictor: Predictor, root: Path, data: DataConfig, on_progress: Progress | None = None
    ) -> dict[str, float]:
        config, predictor = self.config, predictor.using(data)
        if config.mode != "dual":
            predictor.model.require(MatchingHead)
        clips = Clips(config.data, root)
        rows = predictor.rows([example.text for example in clips.examples])
        text = None if config.mode == "joint" else predictor.embed_rows(rows, on_progress=on_progress)
        gallery, columns, kept = [], [], []
        for numbers, frames in clips.read(predictor, config.num_views, config.allow_missing, on_progress):
            gallery += numbers
            if text is not None:
                columns.append(text @ predictor.embed_clips(frames).T)
            else:
                matched = predictor.log_odds(frames, rows, all_pairs(len(frames), len(rows)))
                columns.append(matched.unflatten(0, (len(frames), len(rows))).T)
            if config.mode == "two_stage":
                kept.append(frames)

        own = torch.tensor(clips.of_example)
        relevant = own[:, None] == torch.tensor(gallery)
        queries = relevant.any(dim=1)  # those whose video could be read
        similarity, relevant = torch.cat(columns, dim=1)[queries], relevant[queries]
        results = both_directions(similarity, similarity.T, relevant)
        if config.mode == "two_stage":
            texts = [row for row, is_query in zip(rows, queries.tolist(), strict=True) if is_query]
            second = self.rerank(predictor, similarity, relevant, torch.cat(kept), texts, on_progress)
            results = second | {f"dual/{name}": value for name, value in results.items()}
        return clips.report(results, config.allow_missing)

    def rerank(
        self,
        predictor: Predictor,
        similarity: Float[Tensor, "Q G"],
        relevant: Bool[Tensor, "Q G"],
        frames: Tensor,
        rows: list[list[int]],
        on_progress: Progress | None,
    ) -> dict[str, float]:
        """The numbers of the second stage. A pair that is in the head of both of its lists is scored once."""
        t2v_head = list_head(similarity, relevant, self.config.top_k)
        v2t_head = list_head(similarity.T, relevant.T, self.config.top_k)
        wanted = torch.zeros_like(relevant).scatter(1, t2v_head, True)
        wanted |= torch.zeros_like(relevant.T).scatter(1, v2t_head, True).T
        scores = predictor.log_odds(frames, rows, wanted.nonzero().flip(1), on_progress=on_progress)
        if self.config.fuse:
            scale = predictor.model.require(ContrastiveHead).scale.detach().float().cpu()
            scores = scores + scale * similarity[wanted]
        matched = torch.zeros_like(similarity).masked_scatter(wanted, scores)
        t2v = head_first(similarity, matched, t2v_head)
        v2t = head_first(similarity.T, matched.T, v2t_head)
        return both_directions(t2v, v2t, relevant)


def both_directions(
    t2v: Float[Tensor, "Q G"], v2t: Float[Tensor, "G Q"], relevant: Bool[Tensor, "Q G"]
) -> dict[str, float]:
    results = {}
    for direction, ranks in {"t2v": retrieval_ranks(t2v, relevant), "v2t": retrieval_ranks(v2t, relevant.T)}.items():
        results |= {f"{direction}/R@{k}": recall_at(ranks, k) for k in (1, 5, 10)}
        results |= {f"{direction}/MedR": median_rank(ranks), f"{direction}/MeanR": mean_rank(ranks)}
    return results


def list_head(similarity: Float[Tensor, "Q G"], relevant: Bool[Tensor, "Q G"], top_k: int) -> Int[Tensor, "Q K"]:
    """The best `top_k` of each row, the best first. Of equal ones the relevant come last: ties count against us."""
    order = relevant.int().argsort(dim=1, stable=True)
    by_score = similarity.gather(1, order).argsort(dim=1, descending=True, stable=True)
    return order.gather(1, by_score)[:, :top_k]


def head_first(
    similarity: Float[Tensor, "Q G"], matched: Float[Tensor, "Q G"], head: Int[Tensor, "Q K"]
) -> Float[Tensor, "Q G"]:
    """Scores that rank the head of each row by `matched`, and behind it the rest by `similarity`."""
    scores = matched.gather(1, head).double()
    rest = similarity.double()  # moved down by a constant; doubles, so that this makes no ties
    rest = rest - rest.amax(dim=1, keepdim=True) + scores.amin(dim=1, keepdim=True) - 1
    return rest.scatter(1, head, scores)
