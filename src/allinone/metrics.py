"""Arithmetic on scores, in percent where it is a share. Ties and unknown answers count against us."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int, Shaped, UInt8
from torch import Tensor

NUM_RESAMPLES = 1000


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


def first_of(similarity: Float[Tensor, "Q G"], relevant: Bool[Tensor, "Q G"]) -> Int[Tensor, " Q"]:
    """The item that comes first in each list; of equal ones, one that is not relevant: ties count against us."""
    right = similarity.masked_fill(~relevant, float("-inf")).max(dim=1)
    wrong = similarity.masked_fill(relevant, float("-inf")).max(dim=1)
    return torch.where(right.values > wrong.values, right.indices, wrong.indices)


def top_k_indices(similarity: Float[Tensor, "Q G"], relevant: Bool[Tensor, "Q G"], top_k: int) -> Int[Tensor, "Q K"]:
    """The best `top_k` of each row, the best first. Of equal ones the relevant come last: ties count against us."""
    order = relevant.int().argsort(dim=1, stable=True)
    by_score = similarity.gather(1, order).argsort(dim=1, descending=True, stable=True)
    return order.gather(1, by_score)[:, :top_k]


def median_rank(ranks: Int[Tensor, " Q"]) -> float:
    """Median place, counted from 1 as in publications; between the middle two of an even number."""
    ordered = nonempty(ranks).sort().values
    middle = (len(ordered) - 1) // 2, len(ordered) // 2
    return sum(ordered[i].item() for i in middle) / 2 + 1


def best_constant(credits: Sequence[Mapping[str, float]]) -> float:
    """What giving one and the same answer to every question would reach, in percent, at best: the chance level.

    `credits[q]` is what each answer to question q earns, from 0 to 1; others earn nothing.
    """
    if not credits:
        raise ValueError("nothing to measure: there are no questions")
    totals: dict[str, float] = defaultdict(float)
    for credit in credits:
        for answer, earned in credit.items():
            totals[answer] += earned
    return 100 * max(totals.values(), default=0.0) / len(credits)


def human_credit(human_answers: Sequence[str]) -> dict[str, float]:
    """VQA's soft accuracy of each answer that people gave (normalised before).

    An answer is worth a third for each of them who gave it, at most 1; officially this is averaged over all ways to
    leave one of the people out.
    """
    counts, num_people = Counter(human_answers), len(human_answers)
    if num_people < 2:
        raise ValueError(f"answers of two people or more are wanted, got {num_people}")
    return {
        answer: (count * min(1, (count - 1) / 3) + (num_people - count) * min(1, count / 3)) / num_people
        for answer, count in counts.items()
    }


def whole_numbers(predicted: Float[Tensor, " N"], low: int = 1, high: int = 10) -> Int[Tensor, " N"]:
    """Rounded and kept within what can be counted: TGIF-QA's scorer does so before it takes errors."""
    refuse_nan(predicted)
    return predicted.round().clamp(low, high).long()


def rows_by_kind(kinds: Sequence[str | None]) -> dict[str, Int[Tensor, " M"]]:
    """The rows of each kind, in alphabetical order of the kinds; rows without a kind are in none."""
    names = sorted({kind for kind in kinds if kind is not None})
    return {name: torch.tensor([i for i, kind in enumerate(kinds) if kind == name]) for name in names}


def prefers_own(scores: Float[Tensor, "P 2 2"], tie: int | float = 0.0) -> Float[Tensor, "P 2"]:
    """Two queries and two items that are easily confused: 1 for each query that prefers its own item, 0 for others.

    `scores[p, q, i]` is what query q of pair p gives to item i; its own has the same number. A tie counts as wrong, or
    as much as `tie` says: 0.5 for a control, whose chance level is then 50 however many ties there are.
    """
    refuse_nan(scores)
    own, other = scores.diagonal(dim1=1, dim2=2), scores.flip(2).diagonal(dim1=1, dim2=2)
    return (own > other).double() + tie * (own == other).double()


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


@dataclass(frozen=True)
class Score:
    """A number and its 95 % interval; None where there is none, as of a count, or of answers about a single video."""

    value: float
    low: float | None = None
    high: float | None = None


class Bootstrap:
    """Scores with intervals, from resamples of the *videos* (`videos[n]` is that of sample n).

    Questions about one video are right or wrong together, so resampling questions would promise too much. The interval
    goes from the 2.5th to the 97.5th percentile of 1,000 resamples, the same ones for every score. `rows` are the
    samples that a score is about, by default all.
    """

    def __init__(self, videos: Sequence[str], seed: int = 0):
        numbers = {video: number for number, video in enumerate(dict.fromkeys(videos))}
        self.num_videos = len(numbers)
        self.video_of = torch.tensor([numbers[video] for video in videos])
        self.seed = seed

    @cached_property
    def draws(self) -> UInt8[Tensor, "R C"]:
        """How often each resample has each video."""
        rng = torch.Generator().manual_seed(self.seed)
        counts = torch.zeros(NUM_RESAMPLES, self.num_videos, dtype=torch.uint8)
        for part in counts.split(max(1, 2_000_000 // self.num_videos)):
            chosen = torch.randint(self.num_videos, part.shape, generator=rng)
            part.scatter_add_(1, chosen, torch.ones_like(chosen, dtype=torch.uint8))
        return counts

    def mean(self, values: Shaped[Tensor, " N"], rows: Int[Tensor, " M"] | None = None) -> Score:
        rows = self.chosen(rows)
        kept = values[rows].double()
        return self.score(nonempty(kept).mean().item(), rows, lambda weights: weights @ kept / weights.sum(1))

    def percent(self, shares: Shaped[Tensor, " N"], rows: Int[Tensor, " M"] | None = None) -> Score:
        """100 times the mean."""
        return self.mean(100 * shares.double(), rows)

    def median_rank(self, ranks: Int[Tensor, " N"], rows: Int[Tensor, " M"] | None = None) -> Score:
        rows = self.chosen(rows)
        rows = rows[ranks[rows].argsort()]
        ordered = ranks[rows].double()

        def medians(weights: Float[Tensor, "r M"]) -> Float[Tensor, " r"]:
            ends = weights.cumsum(1)
            middles = torch.stack([((ends[:, -1] - 1) / 2).floor(), (ends[:, -1] / 2).floor()], dim=1)
            places = torch.searchsorted(ends, middles, right=True).clamp(max=len(ordered) - 1)
            return torch.where(ends[:, -1] > 0, ordered[places].mean(1) + 1, torch.nan)

        return self.score(median_rank(ranks[rows]), rows, medians)

    def percent_by_group(self, shares: Shaped[Tensor, " N"], groups: Int[Tensor, " N"]) -> Score:
        """The mean over groups, such as classes, of 100 times their means. A resample may lack some of the groups."""
        values = 100 * shares.double()
        num_groups = int(groups.max()) + 1

        def means(weights: Float[Tensor, "r M"]) -> Float[Tensor, " r"]:
            sums, sizes = (
                torch.zeros(len(weights), num_groups, dtype=torch.double).index_add_(1, groups, addend)
                for addend in (weights * values, weights)
            )
            return (sums / sizes).nanmean(1)

        return self.score(means(torch.ones(1, len(values), dtype=torch.double)).item(), self.chosen(None), means)

    def chosen(self, rows: Int[Tensor, " M"] | None) -> Int[Tensor, " M"]:
        return torch.arange(len(self.video_of)) if rows is None else rows

    def score(
        self, value: float, rows: Int[Tensor, " M"], statistic: Callable[[Float[Tensor, "r M"]], Float[Tensor, " r"]]
    ) -> Score:
        """The value with its interval. `statistic` is told how often each resample has each row."""
        videos = self.video_of[rows]
        if len(videos.unique()) < 2:
            return Score(value)
        parts = self.draws.split(max(1, 2_000_000 // len(rows)))
        found = torch.cat([statistic(part[:, videos].double()) for part in parts])
        low, high = found.nanquantile(torch.tensor([0.025, 0.975], dtype=torch.double)).tolist()
        return Score(value, low, high)
