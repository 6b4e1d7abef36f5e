"""Which examples make which batch: a function of the seed and the epoch, so that any position can be found again."""

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """How examples, numbered from 0, are dealt to the batches of `world_size` processes.

    An epoch is shuffled; then each window of `length_window` batches is sorted by the length of the texts, so that the
    texts of a batch are about as long. With `unique_videos` no batch, taken over all processes, shows a video more
    often than it must (once, unless there are fewer videos than places): an example that would repeat one waits for
    the next batch. Examples of different `kinds` (captions, questions) share no batch. With `group_size` = n, runs of n
    examples (a clip and its reversal, say) stay in one batch, in place of the two rules before.

    All processes get the same number of batches, of the same sizes. The rest of an epoch that fills no batch is left
    out (`drop_last`), or makes a smaller batch at its end, which repeats examples where it does not divide evenly.
    """

    videos: Sequence[int]
    lengths: Sequence[int]
    kinds: Sequence[str]
    batch_size: int
    world_size: int
    seed: int
    length_window: int
    unique_videos: bool
    drop_last: bool
    group_size: int = 1

    def __post_init__(self):
        for name, examples in self.groups():
            if self.size % self.group_size or len(examples) % self.group_size:
                raise ValueError(
                    f"{len(examples)} {name} in batches of {self.size} cannot stay in groups of {self.group_size}"
                )
            if self.drop_last and len(examples) < self.size:
                raise ValueError(
                    f"{len(examples)} {name} fill no batch of {self.batch_size} for each of {self.world_size} "
                    "processes; use a smaller batch_size, or drop_last=False"
                )

    @property
    def size(self) -> int:
        """Examples of a batch, over all processes."""
        return self.batch_size * self.world_size

    def groups(self) -> Iterator[tuple[str, np.ndarray]]:
        kinds = np.asarray(self.kinds)
        for kind in np.unique(kinds):
            yield str(kind), np.flatnonzero(kinds == kind)

    def __len__(self) -> int:
        """Batches of an epoch, for each process."""
        counts = [len(examples) for _, examples in self.groups()]
        return sum(n // self.size if self.drop_last else -(-n // self.size) for n in counts)

    def epoch(self, epoch: int, rank: int = 0) -> list[list[int]]:
        """The batches of one epoch for one process."""
        rng = np.random.default_rng((self.seed, epoch))
        full, rest = [], []
        for _, examples in self.groups():
            for batch in self.batches(examples, rng):
                (full if len(batch) == self.size else rest).append(batch)
        batches = [full[i] for i in rng.permutation(len(full))]
        if not self.drop_last:
            batches += [
                np.resize(batch, -(-len(batch) // self.world_size) * self.world_size).tolist() for batch in rest
            ]
        return [batch[rank :: self.world_size] for batch in batches]

    def batches(self, examples: np.ndarray, rng: np.random.Generator) -> Iterator[list[int]]:
        """The batches of one epoch over all processes."""
        if self.group_size == 1:
            yield from self.deal(self.by_length(rng.permutation(examples)))
            return
        order = rng.permutation(examples.reshape(-1, self.group_size)).flatten()
        for start in range(0, len(order), self.size):
            yield order[start : start + self.size].tolist()

    def by_length(self, order: np.ndarray) -> list[int]:
        """Sort each window of the order by length; equally long texts stay in their order."""
        lengths = np.asarray(self.lengths)
        window = self.length_window * self.size
        windows = (order[start : start + window] for start in range(0, len(order), window))
        return [i for w in windows for i in w[np.argsort(lengths[w], kind="stable")].tolist()]

    def deal(self, order: Sequence[int]) -> Iterator[list[int]]:
        """Cut an order into batches, with no video more than its share of times in one.

        When nothing is left but examples that wait, they share batches all the same.
        """
        videos = self.videos
        num_videos = len({videos[i] for i in order})
        share = -(-self.size // num_videos) if self.unique_videos else self.size
        stream = iter(order)
        waiting: dict[int, deque[int]] = {}  # by video, in the order of arrival
        for num_left in range(len(order), 0, -self.size):
            room = min(self.size, num_left)
            batch: list[int] = []
            shown: Counter[int] = Counter()
            for video in list(waiting):
                while waiting[video] and shown[video] < share and len(batch) < room:
                    batch.append(waiting[video].popleft())
                    shown[video] += 1
                if not waiting[video]:
                    del waiting[video]
            while len(batch) < room:
                if (i := next(stream, None)) is None:
                    break
                if shown[videos[i]] < share:
                    batch.append(i)
                    shown[videos[i]] += 1
                else:
                    waiting.setdefault(videos[i], deque()).append(i)
            while len(batch) < room:
                video = max(waiting, key=lambda v: len(waiting[v]))
                batch.append(waiting[video].popleft())
                if not waiting[video]:
                    del waiting[video]
            yield batch


@dataclass(frozen=True, kw_only=True)
class EvaluationPlan:
    """Every example once, in the order of the data set: each process takes a stretch of it.

    All processes get the same number of batches, whose sizes may differ by one (so one of batches of 1 may be empty).
    """

    num_examples: int
    batch_size: int
    world_size: int

    def __post_init__(self):
        if self.num_examples < self.world_size:
            raise ValueError(f"{self.num_examples} examples cannot be shared by {self.world_size} processes")

    def __len__(self) -> int:
        longest = -(-self.num_examples // self.world_size)
        return -(-longest // self.batch_size)

    def epoch(self, epoch: int, rank: int = 0) -> list[list[int]]:
        """The batches of one process; every epoch is the same."""
        mine = np.array_split(np.arange(self.num_examples), self.world_size)[rank]
        return [batch.tolist() for batch in np.array_split(mine, len(self))]
