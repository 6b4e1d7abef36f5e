"""Ranks, recall and accuracy: pure functions, in percent for shares. Ties and unknown answers count against us."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor


def retrieval_ranks(
    similarity: Float[Tensor, "Q G"], targets: Int[Tensor, " Q"] | Bool[Tensor, "Q G"]
) -> Int[Tensor, " Q"]:
    """Return the rank, from 0, of each query's relevant item; of several (a mask), that of the best.

    Items that score as high as the relevant one rank before it, so that constant scores rank it last.

    Raises:
        ValueError: a score is NaN, or nothing is relevant for a query.
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
    best = similarity.masked_fill(~relevant, float("-inf")).amax(dim=1, keepdim=True)  # [Q, 1]
    return ((similarity >= best) & ~relevant).sum(dim=1)


def first_of(similarity: Float[Tensor, "Q G"], relevant: Bool[Tensor, "Q G"]) -> Int[Tensor, " Q"]:
    """Return the top item of each query; of equal ones, one that is not relevant: ties count against us."""
    right = similarity.masked_fill(~relevant, float("-inf")).max(dim=1)
    wrong = similarity.masked_fill(relevant, float("-inf")).max(dim=1)
    return torch.where(right.values > wrong.values, right.indices, wrong.indices)


def recall_at(k: int, ranks: Int[Tensor, " Q"]) -> Bool[Tensor, " Q"]:
    """Return whether each query finds its item among the first `k` (R@k is the mean of this, in percent)."""
    return ranks < k


def top_k_indices(similarity: Float[Tensor, "Q G"], relevant: Bool[Tensor, "Q G"], top_k: int) -> Int[Tensor, "Q K"]:
    """Return the best `top_k` items of each query, best first. Of equal ones the relevant come last."""
    # Relevant items go last, and the stable sort by score keeps them behind equal ones.
    order = relevant.int().argsort(dim=1, stable=True)
    by_score = similarity.gather(1, order).argsort(dim=1, descending=True, stable=True)
    return order.gather(1, by_score)[:, :top_k]


def median_rank(ranks: Int[Tensor, " Q"]) -> float:
    """Return the median rank, counted from 1 as in publications; of an even number, the mean of the middle two."""
    ordered = nonempty(ranks).sort().values
    middle = (len(ordered) - 1) // 2, len(ordered) // 2
    return sum(ordered[i].item() for i in middle) / 2 + 1


def best_constant(credits: Sequence[Mapping[str, float]]) -> float:
    """Return the best accuracy, in percent, of the same answer to every question: the chance level.

    `credits[q]` has the credit of each answer to question q, from 0 to 1; other answers have none.
    """
    if not credits:
        raise ValueError("nothing to measure: there are no questions")
    totals: dict[str, float] = defaultdict(float)
    for credit in credits:
        for answer, earned in credit.items():
            totals[answer] += earned
    return 100 * max(totals.values(), default=0.0) / len(credits)


def human_credit(human_answers: Sequence[str]) -> dict[str, float]:
    """Return VQA's soft accuracy of each answer that people gave (normalized before).

    An answer earns a third for each person who gave it, at most 1. As in the official scorer, this is averaged over
    all subsets without one of the people.
    """
    counts, num_people = Counter(human_answers), len(human_answers)
    if num_people < 2:
        raise ValueError(f"needs answers of at least two people, got {num_people}")
    # Subsets without a person who gave this answer have count - 1 who did, the others have count.
    return {
        answer: (count * min(1, (count - 1) / 3) + (num_people - count) * min(1, count / 3)) / num_people
        for answer, count in counts.items()
    }


def whole_numbers(predicted: Float[Tensor, " N"], low: int = 1, high: int = 10) -> Int[Tensor, " N"]:
    """Round, and clamp to the range of counts, as TGIF-QA's scorer does before it computes errors."""
    refuse_nan(predicted)
    return predicted.round().clamp(low, high).long()


def indices_by_kind(kinds: Sequence[str | None]) -> dict[str, Int[Tensor, " M"]]:
    """Return the indices of each kind, in alphabetical order of the kinds; samples without a kind are in none."""
    names = sorted({kind for kind in kinds if kind is not None})
    return {name: torch.tensor([i for i, kind in enumerate(kinds) if kind == name]) for name in names}


def prefers_own(scores: Float[Tensor, "P 2 2"], tie: int | float = 0.0) -> Float[Tensor, "P 2"]:
    """Return 1 for each query that prefers its own item to that of the other query of its pair, and 0 for others.

    `scores[p, q, i]` is the score of item i for query q of pair p; item q is its own. `tie` is the value of a tie: 0.5
    in a control, so that chance is 50 %, whatever the number of ties.
    """
    refuse_nan(scores)
    # Each [P, 2]: scores of the pair's own items, and of the other's.
    own, other = scores.diagonal(dim1=1, dim2=2), scores.flip(2).diagonal(dim1=1, dim2=2)
    return (own > other).double() + tie * (own == other).double()


def nonempty(values: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """Return the values; raise ValueError if there are none, since their mean would be NaN."""
    if not values.numel():
        raise ValueError("nothing to measure: there are no rows")
    return values


def refuse_nan(scores: Float[Tensor, "..."]) -> None:
    """Raise ValueError if a score is NaN, which compares as neither higher nor lower than others."""
    count = int(scores.isnan().sum())
    if count:
        raise ValueError(
            f"{count} of {scores.numel()} scores are NaN, which has no rank; are weights and inputs finite?"
        )
