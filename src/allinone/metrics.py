"""Arithmetic on scores, in percent where it is a share. Ties and unknown answers count against us."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from allinone.types import IGNORE


def retrieval_ranks(
    similarity: Float[Tensor, "Q G"], targets: Int[Tensor, " Q"] | Bool[Tensor, "Q G"]
) -> Int[Tensor, " Q"]:
    """The place, from 0, of each query's relevant item; of several (a mask of them), the best-placed one's.

    Everything that scores as high as the relevant item stands before it, so constant scores rank it last.
    """
    refuse_nan(similarity)
    if targets.dtype == torch.bool:
        relevant = targets
    else:
        if len(targets) and not (int(targets.min()) >= 0 and int(targets.max()) < similarity.shape[1]):
            raise ValueError(f"targets {targets.min()} to {targets.max()}, but {similarity.shape[1]} items to find")
        relevant = torch.zeros_like(similarity, dtype=torch.bool).scatter(1, targets[:, None], True)
    lonely = (~relevant.any(dim=1)).nonzero().flatten().tolist()
    if lonely:
        raise ValueError(f"nothing is relevant for {len(lonely)} of {len(relevant)} queries: {lonely[:10]}")
    if not similarity.numel():
        return torch.zeros(0, dtype=torch.long)
    best = similarity.masked_fill(~relevant, float("-inf")).amax(dim=1, keepdim=True)
    return ((similarity >= best) & ~relevant).sum(dim=1)


def recall_at(ranks: Int[Tensor, " Q"], k: int) -> float:
    """Share of queries that find what they seek among the first k."""
    if k < 1:
        raise ValueError(f"recall at k wants k of at least 1, got {k}")
    return percent(ranks < k)


def median_rank(ranks: Int[Tensor, " Q"]) -> float:
    """Median place, counted from 1 as in publications; between the middle two of an even number."""
    ordered = nonempty(ranks).sort().values
    middle = (len(ordered) - 1) // 2, len(ordered) // 2
    return sum(ordered[i].item() for i in middle) / 2 + 1


def mean_rank(ranks: Int[Tensor, " Q"]) -> float:
    """Mean place, counted from 1."""
    return nonempty(ranks).double().mean().item() + 1


def accuracy(predictions: Int[Tensor, " N"], labels: Int[Tensor, " N"]) -> float:
    """Share of right predictions. A label that is `IGNORE`, an answer that no prediction can be, counts as missed."""
    return percent((predictions == labels) & (labels != IGNORE))


def majority_share(labels: Int[Tensor, " N"]) -> float:
    """What always predicting the most frequent label would reach: the chance level of `accuracy`."""
    known = nonempty(labels)[labels != IGNORE]
    return 100 * int(known.unique(return_counts=True)[1].max()) / len(labels) if len(known) else 0.0


def rows_by_kind(kinds: Sequence[str | None]) -> dict[str, Int[Tensor, " M"]]:
    """The rows of each kind, in alphabetical order of the kinds; rows without a kind are in none."""
    names = sorted({kind for kind in kinds if kind is not None})
    return {name: torch.tensor([i for i, kind in enumerate(kinds) if kind == name]) for name in names}


def accuracy_per_kind(
    predictions: Int[Tensor, " N"], labels: Int[Tensor, " N"], kinds: Sequence[str | None]
) -> dict[str, float]:
    """`accuracy` of the rows of each kind."""
    return {kind: accuracy(predictions[rows], labels[rows]) for kind, rows in rows_by_kind(kinds).items()}


def pair_accuracy(scores: Float[Tensor, "P 2 2"], tie: int | float = 0.0) -> float:
    """Two queries and two items that are easily confused: share of queries that prefer their own item.

    `scores[p, q, i]` is what query q of pair p gives to item i; its own has the same number. A tie counts as wrong, or
    as much as `tie` says: 0.5 for a control, whose chance level is then 50 however many ties there are.
    """
    refuse_nan(scores)
    own, other = scores.diagonal(dim1=1, dim2=2), scores.flip(2).diagonal(dim1=1, dim2=2)
    return percent((own > other).double() + tie * (own == other).double())


def percent(share: Shaped[Tensor, "..."]) -> float:
    """100 times the mean; ValueError where there is nothing to take a mean of."""
    return 100 * nonempty(share).double().mean().item()


def nonempty(values: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    if not values.numel():
        raise ValueError("nothing to measure: there are no rows")
    return values


def refuse_nan(scores: Float[Tensor, "..."]) -> None:
    count = int(scores.isnan().sum())
    if count:
        raise ValueError(
            f"{count} of {scores.numel()} scores are NaN, which has no rank; are weights and inputs finite?"
        )
