"""Examples to batches, in worker processes: the same batches whatever the number of workers, and from any position."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from allinone.checks import check_literals
from allinone.data.batch_reader import MAX_DRAWS, BatchReader, Planned, Read, TextReader, read_ahead
from allinone.data.cache import FrameCache
from allinone.data.clip_reader import ClipReader, Control, Span
from allinone.data.example import Example
from allinone.data.plan import EvaluationPlan, TrainingPlan
from allinone.data.table import ExampleTable
from allinone.text.answers import AnswerVocabulary
from allinone.text.tokenizer import Tokenizer, cut_note
from allinone.types import Batch
from allinone.video import VideoError
from allinone.video.transforms import Transform

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """How examples become batches; each of several processes has its own `batch_size` and `num_workers`.

    `transform` is the one for training; evaluation skips its random parts. `cache_mb` is memory for whole decoded
    videos, which pays for data sets of small videos that fit. `control` withholds frames from the model: a run with
    `control=blind` learns what can be known without them. For `unique_videos`, `length_window` and `drop_last`, which
    are for training, see `TrainingPlan`.

    The number of frames and of tokens is not set here but by the model (`ModelConfig`).
    """

    batch_size: int = 64
    transform: Transform.Config = field(default_factory=Transform.Config)
    num_workers: int = 0
    seed: int = 0
    cache_mb: int = 0
    unique_videos: bool = True
    length_window: int = 16
    drop_last: bool = True
    control: Control = "none"

    def __post_init__(self):
        check_literals(self)
        least = {"batch_size": 1, "length_window": 1}
        for name, minimum in least.items() | dict.fromkeys(("num_workers", "seed", "cache_mb"), 0).items():
            if getattr(self, name) < minimum:
                raise ValueError(f"{name} must be at least {minimum}, got {getattr(self, name)}")


class Loader:
    """Batches of what a `reader` reads, in the order of a `plan`; see `example_loader` and `clip_loader`.

    With a `TrainingPlan`, iterating gives the rest of the current epoch, and `forever` goes on with the next ones;
    `state_dict` is the position after the last batch. A video that cannot be read is logged, and another example
    takes its place, the same in every run. With an `EvaluationPlan` unreadable videos are one error that lists all of
    them, unless `allow_missing`: then they are skipped. `unreadable` has the reason for each.
    """

    def __init__(
        self,
        reader: BatchReader,
        plan: TrainingPlan | EvaluationPlan,
        *,
        digest: str = "",
        rank: int = 0,
        num_workers: int = 0,
        allow_missing: bool = False,
    ):
        self.reader = reader
        self.plan = plan
        self.digest = digest
        self.rank = rank
        self.num_workers = num_workers
        self.allow_missing = allow_missing
        self.unreadable: dict[Any, str] = {}
        self.epoch = 0
        self.batches_done = 0

    def __len__(self) -> int:
        return len(self.plan)

    def __iter__(self) -> Iterator[Batch]:
        return (batch for _, batch in self.indexed())

    def indexed(self) -> Iterator[tuple[list[int], Batch]]:
        """Yield batches with the indices of their examples."""
        return ((read.indices, Batch(**read.fields)) for read in self.reads())

    def clips(self) -> Iterator[tuple[list[int], UInt8[Tensor, "BV T C H W"]]]:
        """Yield frames without texts, with the indices of their sources."""
        return ((read.indices, read.fields["frames"]) for read in self.reads())

    def forever(self) -> Iterator[Batch]:
        """Yield training batches without end, epoch after epoch."""
        assert isinstance(self.plan, TrainingPlan)
        return (Batch(**read.fields) for read in self.train(self.planned(endless=True)))

    def reads(self) -> Iterator[Read]:
        planned = self.planned(endless=False)
        return self.train(planned) if isinstance(self.plan, TrainingPlan) else self.evaluate(planned)

    def planned(self, endless: bool) -> Iterator[Planned]:
        # Workers read ahead of the training, so this runs ahead of `self.epoch` and `self.batches_done`.
        epoch, done = self.epoch, self.batches_done
        while True:
            for indices in self.plan.epoch(epoch, self.rank)[done:]:
                yield Planned(epoch, indices.tolist())
            if not endless:
                return
            epoch, done = epoch + 1, 0

    def train(self, planned: Iterable[Planned]) -> Iterator[Read]:
        for read in read_ahead(self.reader, planned, self.num_workers):
            if not read.indices:
                reasons = read.unreadable.values()
                raise VideoError("\n  ".join([f"none of {MAX_DRAWS} videos tried can be read:", *reasons]))
            # A video is logged once, however often it is drawn.
            for name in read.unreadable.keys() - self.unreadable.keys():
                log.warning("skipped in training: %s", read.unreadable[name])
            self.unreadable |= read.unreadable
            # Before the yield: a checkpoint that is made after this batch must point to the next one.
            self.batches_done += 1
            if self.batches_done == len(self.plan):
                self.epoch, self.batches_done = self.epoch + 1, 0
            yield read

    def evaluate(self, planned: Iterable[Planned]) -> Iterator[Read]:
        reads = read_ahead(self.reader, planned, self.num_workers)
        for read in reads:
            self.unreadable |= read.unreadable
            if read.unreadable and not self.allow_missing:
                # Read all the others too, so that one error lists every bad video.
                for later in reads:
                    self.unreadable |= later.unreadable
                raise unreadable_error(self.unreadable.values(), is_only=len(self.reader.sources) == 1)
            if read.indices:
                yield read

    def state_dict(self) -> dict[str, Any]:
        """Return the position, ready for JSON: the same on every rank."""
        return {"epoch": self.epoch, "batches_done": self.batches_done, "made_of": self.made_of()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue with exactly the batches that would have come next.

        Raises:
            ValueError: the examples or settings are not those of the state.
        """
        now, before = self.made_of(), state["made_of"]
        changed = [f"{k} was {before.get(k)}, is {now.get(k)}" for k in now | before if now.get(k) != before.get(k)]
        if changed:
            raise ValueError(f"cannot continue in the middle of other data: {'; '.join(changed)}")
        self.epoch, self.batches_done = state["epoch"], state["batches_done"]

    def made_of(self) -> dict[str, int | str]:
        """Return everything that decides which examples make which batch."""
        names = (
            "seed", "batch_size", "unique_videos", "length_window", "drop_last", "group_size", "world_size",
        )  # fmt: skip
        settings = {name: getattr(self.plan, name) for name in names}
        return {**settings, "num_examples": len(self.reader.sources), "examples": self.digest}


def example_loader(
    examples: Iterable[Example],
    tokenizer: Tokenizer,
    config: DataConfig,
    *,
    training: bool,
    num_frames: int,
    max_text_len: int,
    group_size: int = 1,
    answers: AnswerVocabulary | None = None,
    classes: Sequence[str] = (),
    rank: int = 0,
    world_size: int = 1,
    allow_missing: bool = False,
    cache: FrameCache | None = None,
) -> Loader:
    """Return a loader of examples with their texts: shuffled epochs for training, or one pass in order.

    Args:
        examples: best as an `ExampleTable`; others are made into one.
        max_text_len: longer texts are cut, which is logged once.
        group_size: see `TrainingPlan`.
        answers: the labels of questions are indices in it.
        classes: the labels of clips with a class are indices in it.
        allow_missing: see `Loader`; for evaluation.
        cache: one that several loaders share; by default a new one of `config.cache_mb`.
    """
    table = ExampleTable.of(examples)
    kinds = table.by_kind()
    texts = TextReader(tokenizer, max_text_len, answers, {name: index for index, name in enumerate(classes)})
    # 1. Refuse what workers would fail on much later.
    if not len(table):
        raise ValueError("no examples to load")
    texts.check(table, kinds)
    if not training and len(kinds) > 1:
        raise ValueError(f"evaluate {' and '.join(kinds)} apart from each other")
    if not 0 <= rank < world_size:
        raise ValueError(f"rank must be from 0 to world_size - 1, got {rank} of {world_size}")
    # 2. How clips are read, and a warning about texts that will be cut (from one process only).
    clips = clip_reader(config, num_frames, training, cache, table.files())
    counts = table.token_counts(tokenizer)
    if rank == 0 and (note := cut_note(counts, max_text_len)):
        log.warning("%s; set model.max_text_len to read more", note)
    # 3. Evaluation: one pass in order, nothing drawn.
    if not training:
        reader, plan = (
            BatchReader(table, clips, texts),
            EvaluationPlan(num_examples=len(table), batch_size=config.batch_size),
        )
        return Loader(reader, plan, num_workers=config.num_workers, allow_missing=allow_missing)
    # 4. Training: `digest` covers what decides the content of a batch and is no setting of the plan.
    plan = training_plan(table, kinds, counts, max_text_len, config, group_size, world_size)
    made_of = (table.digest, tokenizer.fingerprint, max_text_len, answers and answers.answers, tuple(classes))
    return Loader(
        BatchReader(table, clips, texts, seed=config.seed, kinds=kinds),
        plan,
        digest=blake2b(repr(made_of).encode(), digest_size=8).hexdigest(),
        rank=rank,
        num_workers=config.num_workers,
    )


def training_plan(
    table: ExampleTable,
    kinds: Mapping[str, np.ndarray],
    token_counts: np.ndarray,
    max_text_len: int,
    config: DataConfig,
    group_size: int,
    world_size: int,
) -> TrainingPlan:
    """Return the plan of a table; `token_counts` are those of whole texts, which are cut to `max_text_len`."""
    return TrainingPlan(
        videos=table.video_keys(),
        lengths=table.longest(np.minimum(token_counts, max_text_len)),
        kinds=kinds,
        batch_size=config.batch_size,
        world_size=world_size,
        seed=config.seed,
        length_window=config.length_window,
        unique_videos=config.unique_videos,
        drop_last=config.drop_last,
        group_size=group_size,
    )


def clip_loader(
    sources: Sequence[str | Path | bytes | Span | Example],
    config: DataConfig,
    *,
    num_frames: int,
    num_views: int = 1,
    allow_missing: bool = False,
    cache: FrameCache | None = None,
) -> Loader:
    """Return a loader of clips without texts, in the order given; iterate over its `clips()`."""
    spans = [Span.of(source) for source in sources]
    videos = (span.file for span in spans if isinstance(span.file, Path))
    reader = BatchReader(spans, clip_reader(config, num_frames, False, cache, videos), num_views=num_views)
    plan = EvaluationPlan(num_examples=len(spans), batch_size=config.batch_size)
    return Loader(reader, plan, num_workers=config.num_workers, allow_missing=allow_missing)


def clip_reader(
    config: DataConfig, num_frames: int, training: bool, cache: FrameCache | None, videos: Iterable[Path]
) -> ClipReader:
    """Return a reader with the transform and the cache of a config; `videos` are those that a new cache may keep."""
    transform = config.transform
    if not training:
        transform = replace(transform, random_crop=False, flip_prob=0.0, augment=0)
    if cache is None and config.cache_mb:
        cache = FrameCache(videos, config.cache_mb, transform.resize)
    # Frames in a cache are scaled already, so it is for one size only.
    if cache and cache.size != transform.resize:
        raise ValueError(f"the cache holds frames of size {cache.size}, but transform.resize is {transform.resize}")
    return ClipReader(num_frames, Transform(transform), cache, config.control)


def unreadable_error(reasons: Iterable[str], is_only: bool) -> VideoError:
    """Return one error for all videos that cannot be read; with `is_only` there is nothing to skip it from."""
    lines = list(dict.fromkeys(reasons))
    if is_only:
        return VideoError(*lines)
    some, them = ("1 video", "it") if len(lines) == 1 else (f"{len(lines)} videos", "them")
    return VideoError("\n  ".join([f"{some} cannot be read (allow_missing skips {them}):", *lines]))
