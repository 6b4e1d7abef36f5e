"""Which examples make which batch: a function of the seed and the epoch, so that any position can be found again."""

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

CHUNK = 1 << 16
"""Examples that are looked at together: the working memory of a plan does not grow with the number of examples."""


@runtime_checkable
class Indexable(Protocol):
    """An array, or values that are looked up when an array of indices asks for them."""

    def __getitem__(self, indices: np.ndarray, /) -> np.ndarray: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingPlan:
    """How examples, given by their indices, become the shuffled batches of `world_size` processes.

    Each epoch is shuffled. Then each window of `length_window` batches is sorted by the length of the texts, so that
    the texts of a batch need little padding. With `unique_videos` no batch, taken over all processes, has a video more
    than `ceil(batch / number of videos)` times, mostly once: an example that would repeat one waits for the next batch.
    Examples of different `kinds` (captions, questions) are never in one batch. With `group_size` = n, runs of n
    examples (for example a clip and its reversal) stay together in one batch, which replaces the two rules before.

    All processes get the same number of batches, of the same sizes. The rest of an epoch that fills no batch is
    skipped (`drop_last`), or makes a smaller last batch, which repeats examples if it does not divide evenly.

    `videos` and `lengths` have a value for each example; equal values of `videos` mean the same video. `kinds` are
    the indices of each kind, ascending.
    """

    videos: Indexable
    lengths: np.ndarray
    kinds: Mapping[str, np.ndarray]
    batch_size: int
    world_size: int
    seed: int
    length_window: int
    unique_videos: bool
    drop_last: bool
    group_size: int = 1

    def __post_init__(self):
        for name, rows in self.kinds.items():
            if self.size % self.group_size or len(rows) % self.group_size:
                raise ValueError(
                    f"{len(rows)} {name} in batches of {self.size} cannot stay in groups of {self.group_size}"
                )
            if self.drop_last and len(rows) < self.size:
                raise ValueError(
                    f"{len(rows)} {name} fill no batch of {self.batch_size} for each of {self.world_size} "
                    "processes; use a smaller batch_size, or drop_last=False"
                )

    @property
    def size(self) -> int:
        """Examples of a batch, over all processes."""
        return self.batch_size * self.world_size

    def __len__(self) -> int:
        """Batches of an epoch, for each process."""
        counts = [len(rows) for rows in self.kinds.values()]
        return sum(n // self.size if self.drop_last else -(-n // self.size) for n in counts)

    def epoch(self, epoch: int, rank: int = 0) -> list[np.ndarray]:
        """Return the batches of one epoch for one process. Every process computes the same epoch."""
        # A pair as the seed: the sum would make epoch 1 of seed 0 the same as epoch 0 of seed 1.
        rng = np.random.default_rng((self.seed, epoch))
        full, rests = [], []
        for rows in self.kinds.values():
            order = self.order(rows, rng)
            num_full = len(order) // self.size * self.size
            full.append(order[:num_full].reshape(-1, self.size))  # [M, B x W]: M batches over all W processes
            if num_full < len(order) and not self.drop_last:
                rests.append(order[num_full:])
        batches = full[0] if len(full) == 1 else np.concatenate(full)
        # Batches come out of `order` by kind and length, so they are shuffled once more.
        mine = batches[rng.permutation(len(batches)), rank :: self.world_size]  # [M, B]
        # `np.resize` repeats from the start until all processes get as many.
        even = (np.resize(rest, -(-len(rest) // self.world_size) * self.world_size) for rest in rests)
        return [*mine, *(rest[rank :: self.world_size] for rest in even)]

    def order(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the examples of one kind so that each `size` of them, one after another, are a batch."""
        if self.group_size > 1:
            return rng.permutation(rows.reshape(-1, self.group_size)).flatten()  # [groups, n]: moves whole groups
        order = rng.permutation(rows)
        window = self.length_window * self.size
        for start in range(0, len(order), window):
            part = order[start : start + window]
            # A stable sort: equally long texts keep their random order.
            order[start : start + window] = part[np.argsort(self.lengths[part], kind="stable")]
        return self.spread(order) if self.unique_videos else order

    def spread(self, order: np.ndarray) -> np.ndarray:
        """Move examples back in this order until no batch has a video more than its share of times, and return it.

        Batches without a repeat stay as they are; so do all of them for most collections from the web, and numpy
        finds that out in a second for millions. Only from a batch with a repeat on, examples are dealt one by one,
        until none waits; at that point as many were dealt as were taken, so the following batches are as before.
        """
        num_videos = len(np.unique(self.videos[order[:CHUNK]]))
        if num_videos < self.size:  # else each video is in a batch once, however many there are
            num_videos = len(np.unique(self.videos[order]))
        share, done = -(-self.size // num_videos), 0
        for start in self.repeats(order, share):
            # Batches before `done` were dealt together with an earlier one.
            if start >= done:
                done = start
                # In place: what is dealt goes to positions whose examples were taken before.
                for batch in self.deal(order[start:], share):
                    order[done : done + len(batch)] = batch
                    done += len(batch)
        return order

    def repeats(self, order: np.ndarray, share: int) -> Iterator[int]:
        """Find the batches that have a video more than `share` times: where they begin."""
        if share >= self.size:
            return
        step = max(1, CHUNK // self.size) * self.size
        for start in range(0, len(order), step):
            part = self.videos[order[start : start + step]]
            full = part[: len(part) // self.size * self.size].reshape(-1, self.size)
            for batches in (full, part[full.size :][None]):  # the second is the rest at the end
                # In sorted order, a video that occurs too often is equal to its neighbor `share` positions on.
                ordered = np.sort(batches, axis=1)
                is_repeat = (ordered[:, share:] == ordered[:, :-share]).any(axis=1)
                first = start if batches is full else start + full.size
                yield from (first + self.size * np.flatnonzero(is_repeat)).tolist()

    def deal(self, order: np.ndarray, share: int) -> Iterator[list[int]]:
        """Cut an order into batches with each video at most `share` times, until no example waits.

        When nothing is left but examples that wait, they share batches in spite of the rule.
        """
        stream = pairs(order, self.videos, self.size)
        waiting: dict[int, deque[int]] = {}  # by video, in the order of arrival
        for num_left in range(len(order), 0, -self.size):
            room = min(self.size, num_left)
            batch: list[int] = []
            shown: Counter[int] = Counter()
            # 1. Those that have waited, the oldest video first.
            for video in list(waiting):
                while waiting[video] and shown[video] < share and len(batch) < room:
                    batch.append(waiting[video].popleft())
                    shown[video] += 1
                if not waiting[video]:
                    del waiting[video]
            # 2. The next ones in order; repeats wait.
            while len(batch) < room and (pair := next(stream, None)) is not None:
                example, video = pair
                if shown[video] < share:
                    batch.append(example)
                    shown[video] += 1
                else:
                    waiting.setdefault(video, deque()).append(example)
            # 3. At the end of the epoch, repeats after all, from the video with most examples left.
            while len(batch) < room:
                video = max(waiting, key=lambda v: len(waiting[v]))
                batch.append(waiting[video].popleft())
                if not waiting[video]:
                    del waiting[video]
            yield batch
            if not waiting:
                return


def pairs(order: np.ndarray, videos: Indexable, num_first: int) -> Iterator[tuple[int, int]]:
    """Yield examples with their videos as Python's integers, made of a part of the order at a time.

    The parts double from `num_first` on: mostly a few batches are asked for, sometimes all of an epoch.
    """
    start, step = 0, num_first
    while start < len(order):
        part = order[start : start + step]
        yield from zip(part.tolist(), videos[part].tolist(), strict=True)
        start, step = start + step, min(2 * step, CHUNK)


@dataclass(frozen=True, kw_only=True)
class EvaluationPlan:
    """Every example once, in the order of the data set."""

    num_examples: int
    batch_size: int

    def __len__(self) -> int:
        return -(-self.num_examples // self.batch_size)

    def epoch(self, epoch: int, rank: int = 0) -> list[np.ndarray]:
        """Return all batches; every epoch is the same."""
        everything = np.arange(self.num_examples)
        return [everything[start : start + self.batch_size] for start in everything[:: self.batch_size]]
