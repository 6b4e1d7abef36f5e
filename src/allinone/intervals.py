"""Confidence intervals of scores, by bootstrap over the videos (Efron, https://doi.org/10.1214/aos/1176344552)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int, Shaped, UInt8
from torch import Tensor

from allinone.metrics import median_rank, nonempty

NUM_RESAMPLES = 1000
CHUNK = 2_000_000
"""Weights of samples that are computed at a time (16 MB as doubles), so that a large test set needs little memory."""


@dataclass(frozen=True)
class Score:
    """A score with its 95 % interval; None if it has none: a count, or a score over a single video."""

    value: float
    low: float | None = None
    high: float | None = None


class Bootstrap:
    """Computes scores with intervals from resamples of the *videos*; `videos[n]` is the video of sample n.

    Questions about one video are right or wrong together, so that resampling questions would give intervals that are
    too narrow. The interval goes from the 2.5th to the 97.5th percentile of 1,000 resamples, which are the same for
    every score. `indices` selects the samples of a score, by default all.
    """

    def __init__(self, videos: Sequence[str], seed: int = 0):
        index_of = {video: index for index, video in enumerate(dict.fromkeys(videos))}
        self.num_videos = len(index_of)
        self.video_of = torch.tensor([index_of[video] for video in videos])
        self.seed = seed

    @cached_property
    def draws(self) -> UInt8[Tensor, "R C"]:
        """Return how often each resample has each video."""
        rng = torch.Generator().manual_seed(self.seed)
        # uint8: a video is drawn once per resample on average, and never 256 times.
        counts = torch.zeros(NUM_RESAMPLES, self.num_videos, dtype=torch.uint8)
        # `split` gives views, so this fills `counts`.
        for part in counts.split(max(1, CHUNK // self.num_videos)):
            chosen = torch.randint(self.num_videos, part.shape, generator=rng)
            part.scatter_add_(1, chosen, torch.ones_like(chosen, dtype=torch.uint8))
        return counts

    def mean(self, values: Shaped[Tensor, " N"], indices: Int[Tensor, " M"] | None = None) -> Score:
        """Return the mean of the selected values."""
        indices = self.chosen(indices)
        kept = values[indices].double()
        return self.score(nonempty(kept).mean().item(), indices, lambda weights: weights @ kept / weights.sum(1))

    def percent(self, shares: Shaped[Tensor, " N"], indices: Int[Tensor, " M"] | None = None) -> Score:
        """Return 100 times the mean."""
        return self.mean(100 * shares.double(), indices)

    def median_rank(self, ranks: Int[Tensor, " N"], indices: Int[Tensor, " M"] | None = None) -> Score:
        """Return the median rank, counted from 1."""
        indices = self.chosen(indices)
        indices = indices[ranks[indices].argsort()]
        ordered = ranks[indices].double()

        def medians(weights: Float[Tensor, "r M"]) -> Float[Tensor, " r"]:
            ends = weights.cumsum(1)
            # The two middle positions of each resample's sorted list; they are equal if its size is odd.
            middles = torch.stack([((ends[:, -1] - 1) / 2).floor(), (ends[:, -1] / 2).floor()], dim=1)
            # A sample that a resample has n times takes n places of the sorted list, up to `ends`.
            positions = torch.searchsorted(ends, middles, right=True).clamp(max=len(ordered) - 1)
            # NaN: none of the samples was drawn.
            return torch.where(ends[:, -1] > 0, ordered[positions].mean(1) + 1, torch.nan)

        return self.score(median_rank(ranks[indices]), indices, medians)

    def percent_by_group(self, shares: Shaped[Tensor, " N"], groups: Int[Tensor, " N"]) -> Score:
        """Return the mean over groups (classes) of 100 times their means. A resample may lack some of the groups."""
        values = 100 * shares.double()
        num_groups = int(groups.max()) + 1

        def means(weights: Float[Tensor, "r M"]) -> Float[Tensor, " r"]:
            sums, sizes = (
                torch.zeros(len(weights), num_groups, dtype=torch.double).index_add_(1, groups, addend)
                for addend in (weights * values, weights)
            )
            # A group without a sample is 0 / 0, so NaN, and left out.
            return (sums / sizes).nanmean(1)

        return self.score(means(torch.ones(1, len(values), dtype=torch.double)).item(), self.chosen(None), means)

    def chosen(self, indices: Int[Tensor, " M"] | None) -> Int[Tensor, " M"]:
        """Return the selected samples, or all."""
        return torch.arange(len(self.video_of)) if indices is None else indices

    def score(
        self, value: float, indices: Int[Tensor, " M"], statistic: Callable[[Float[Tensor, "r M"]], Float[Tensor, " r"]]
    ) -> Score:
        """Return the value with its interval. `statistic` gets how often each resample has each selected sample."""
        videos = self.video_of[indices]
        if len(videos.unique()) < 2:  # all resamples would be equal
            return Score(value)
        parts = self.draws.split(max(1, CHUNK // len(indices)))
        found = torch.cat([statistic(part[:, videos].double()) for part in parts])
        low, high = found.nanquantile(torch.tensor([0.025, 0.975], dtype=torch.double)).tolist()
        return Score(value, low, high)
