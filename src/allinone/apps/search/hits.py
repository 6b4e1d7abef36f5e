"""A search's page of hits: its settings (`Query`), and how neighboring segments become one hit (`merge`)."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

from allinone.apps.search.filters import Filters

MARGIN = 0.05
"""A neighboring segment joins a hit if its cosine is at most this much below the hit's best."""


@dataclass(frozen=True)
class Hit:
    """A moment that matches a search: a segment, or several neighboring ones.

    `score` is the cosine of its best segment, `segment` the id of that. `match` is the probability that text and
    moment belong together; None unless the hit was re-ranked.
    """

    video: str
    start_sec: float
    end_sec: float
    score: float
    match: float | None = None
    segment: str = ""
    gone: bool = False
    """The file no longer exists."""

    def __repr__(self) -> str:
        match = "" if self.match is None else f", match {self.match:.3f}"
        gone = ", gone" if self.gone else ""
        return f"Hit({self.video!r}, {self.start_sec:g} to {self.end_sec:g} s, score {self.score:.3f}{match}{gone})"


class Options(TypedDict, total=False):
    """The keywords that all searches take; see `Query`."""

    offset: int
    where: Filters | None
    merge: bool


@dataclass(frozen=True, kw_only=True)
class Query:
    """Which hits of a search to return: `top_k` of them, after skipping the best `offset`.

    `where` limits the segments that are searched. With `merge`, neighboring segments with nearly the same score are one
    hit. With `rerank` = k, the matching head reads the best k again, text and frames together, and reorders them.
    """

    top_k: int = 10
    offset: int = 0
    where: Filters | None = None
    merge: bool = True
    rerank: int = 0

    def __post_init__(self) -> None:
        if self.top_k < 1 or self.offset < 0:
            raise ValueError(f"top_k must be at least 1 and offset at least 0, got {self.top_k} and {self.offset}")
        if self.rerank < 0:
            raise ValueError(f"rerank is a number of hits, 0 or more; got {self.rerank}")

    @property
    def num_hits(self) -> int:
        """How many of the best hits must be known to return this page of them."""
        return max(self.offset + self.top_k, self.rerank)

    @property
    def condition(self) -> str | None:
        """The SQL condition of `where`."""
        return None if self.where is None else self.where.sql()

    def page(self, hits: Sequence[Hit]) -> list[Hit]:
        """Return the hits of this page, with `gone` set where the file no longer exists."""
        shown = hits[self.offset : self.offset + self.top_k]
        exists = {video: os.path.exists(video) for video in {hit.video for hit in shown}}
        return [hit if exists[hit.video] else replace(hit, gone=True) for hit in shown]


def merge(segments: Iterable[Hit]) -> list[Hit]:
    """Join neighboring segments to hits. `segments` come best first, and so do the hits.

    A segment that touches or overlaps a hit, with a score within `MARGIN` of the hit's, widens the first such hit; any
    other segment begins a new hit. This is greedy in the order of scores, so a longer list of segments never changes
    which hits there are and their order: page n + 1 agrees with page n.
    """
    hits: list[Hit] = []
    of_video: dict[str, list[int]] = {}  # indices in `hits`
    for segment in segments:
        indices = of_video.setdefault(segment.video, [])
        for index in indices:
            hit = hits[index]
            # The tolerance: bounds of windows are sums of floats.
            touches = segment.start_sec <= hit.end_sec + 1e-6 and hit.start_sec <= segment.end_sec + 1e-6
            if touches and segment.score >= hit.score - MARGIN:
                start, end = min(hit.start_sec, segment.start_sec), max(hit.end_sec, segment.end_sec)
                hits[index] = replace(hit, start_sec=start, end_sec=end)
                break
        else:
            indices.append(len(hits))
            hits.append(segment)
    return hits
