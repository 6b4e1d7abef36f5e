"""Examples to batches, in worker processes: the same batches whatever the number of workers, and from any position."""

import hashlib
import logging
import os
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from allinone.checks import check_literals
from allinone.data.cache import FrameCache
from allinone.data.clip_reader import ClipReader, Control, Span
from allinone.data.example import Example
from allinone.data.plan import EvaluationPlan, TrainingPlan
from allinone.processes import worker_context
from allinone.text.answers import AnswerVocabulary
from allinone.text.tokenizer import Tokenizer, cut_note, pad
from allinone.types import IGNORE, Batch
from allinone.video import VideoError
from allinone.video.transforms import Transform

log = logging.getLogger(__name__)
T = TypeVar("T")

MAX_DRAWS = 200
"""Training stops when so many examples tried in place of an unreadable one cannot be read."""


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """How examples become batches; each of several processes has `batch_size` and `num_workers` of its own.

    `transform` is that of training; evaluation leaves out what is random in it. `cache_mb` is memory for whole decoded
    videos, which pays for data sets of small videos that fit. `control` withholds frames from the model: a run with
    `control=blind` learns, and one evaluated so tells, what can be known without them. For `unique_videos`,
    `length_window` and `drop_last`, which concern training alone, see `TrainingPlan`.

    How many frames and how many tokens are read is no setting here: that is the model's (`ModelConfig`).
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
    """Batches of examples: shuffled epochs for training, or one pass in order for evaluation.

    In training, iterating gives the rest of the current epoch, and `forever` goes on with the next ones; `state_dict`
    is the position after the batch that was given last. Every random draw depends on the seed, the epoch and the
    example alone. A batch holds examples of one task (and of one number of options); the labels of questions are those
    of `answers`, and those of classes their places in `classes`. Clips have `num_frames` frames; texts of more than
    `max_text_len` tokens are cut, which is logged once. For `group_size` see `TrainingPlan`.
    Evaluation keeps the order of the examples; `indexed` tells which ones a batch holds.

    A video that cannot be read is named in `unreadable` (video id: reason). In training it is logged, and other
    examples take its place, the same in every run. In evaluation it is an error that lists all of them, unless
    `allow_missing`: then batches come without them.

    Loaders may share a `cache`; without one, each makes its own of `config.cache_mb`.
    """

    def __init__(
        self,
        examples: Sequence[Example],
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
    ):
        kinds = [kind_of(e) for e in examples]
        if not examples:
            raise ValueError("no examples to load")
        if "questions" in kinds and answers is None:
            raise ValueError("examples with questions need the vocabulary of their answers: answers=...")
        if not training and len(set(kinds)) > 1:
            raise ValueError(f"evaluate {' and '.join(sorted(set(kinds)))} apart from each other")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank must be from 0 to world_size - 1, got {rank} of {world_size}")
        self.examples = examples
        self.config = config
        self.training = training
        self.group_size = group_size
        self.rank = rank
        self.world_size = world_size
        self.allow_missing = allow_missing
        self.unreadable: dict[str, str] = {}
        self.epoch = 0
        self.batches_done = 0
        rows = tokenizer.tokenize([text for e in examples for text in e.texts])
        if rank == 0 and (note := cut_note(rows, max_text_len)):
            log.warning("%s; set model.max_text_len to read more", note)
        rows = [tokenizer.cut(row, max_text_len) for row in rows]
        clips = clip_reader(config, num_frames, training, cache, (path for e in examples for path in e.files))
        class_numbers = {name: number for number, name in enumerate(classes)}
        labels = [label_of(e, answers, class_numbers) for e in examples]
        self.reader = BatchReader(examples, kinds, rows, labels, clips, config.seed, tokenizer.pad_id, training)
        self.plan = self.make_plan(kinds, self.reader.lengths)

    def make_plan(self, kinds: list[str], lengths: list[int]) -> TrainingPlan | EvaluationPlan:
        config = self.config
        if not self.training:
            return EvaluationPlan(
                num_examples=len(self.examples), batch_size=config.batch_size, world_size=self.world_size
            )
        number: dict[str, int] = {}
        return TrainingPlan(
            videos=[number.setdefault(e.video_id, len(number)) for e in self.examples],
            lengths=lengths,
            kinds=kinds,
            batch_size=config.batch_size,
            world_size=self.world_size,
            seed=config.seed,
            length_window=config.length_window,
            unique_videos=config.unique_videos,
            drop_last=config.drop_last,
            group_size=self.group_size,
        )

    def __len__(self) -> int:
        """Batches of an epoch, the same number for every process."""
        return len(self.plan)

    def __iter__(self) -> Iterator[Batch]:
        return (batch for _, batch in self.indexed())

    def indexed(self) -> Iterator[tuple[list[int], Batch]]:
        """As iterating, with the numbers of the examples in each batch."""
        return self.train(self.planned(endless=False)) if self.training else self.evaluate()

    def forever(self) -> Iterator[Batch]:
        """Training batches without end, epoch after epoch."""
        assert self.training
        return (batch for _, batch in self.train(self.planned(endless=True)))

    def planned(self, endless: bool) -> Iterator["Planned"]:
        epoch, done = self.epoch, self.batches_done
        while True:
            for indices in self.plan.epoch(epoch, self.rank)[done:]:
                yield Planned(epoch, indices)
            if not endless:
                return
            epoch, done = epoch + 1, 0

    def train(self, planned: Iterable["Planned"]) -> Iterator[tuple[list[int], Batch]]:
        for read in read_ahead(self.reader, planned, self.config.num_workers):
            if not read.indices:
                reasons = read.unreadable.values()
                raise VideoError("\n  ".join([f"none of {MAX_DRAWS} videos tried can be read:", *reasons]))
            for video_id in read.unreadable.keys() - self.unreadable.keys():
                log.warning("left out of training: %s", read.unreadable[video_id])
            self.unreadable |= read.unreadable
            self.batches_done += 1
            if self.batches_done == len(self.plan):
                self.epoch, self.batches_done = self.epoch + 1, 0
            yield read.indices, self.batch(read)

    def evaluate(self) -> Iterator[tuple[list[int], Batch]]:
        reads = read_ahead(self.reader, self.planned(endless=False), self.config.num_workers)
        for read in reads:
            self.unreadable |= read.unreadable
            if read.unreadable and not self.allow_missing:
                for later in reads:
                    self.unreadable |= later.unreadable
                raise unreadable_error(self.unreadable.values())
            if read.indices:
                yield read.indices, self.batch(read)

    def batch(self, read: "Read") -> Batch:
        return Batch(
            frames=read.frames,
            text_ids=read.text_ids,
            text_mask=read.text_mask,
            video_ids=tuple(self.examples[i].video_id for i in read.indices),
            labels=read.labels,
            task=self.examples[read.indices[0]].task,
        )

    def state_dict(self) -> dict[str, Any]:
        """The position, ready for JSON: the same on every rank."""
        return {"epoch": self.epoch, "batches_done": self.batches_done, "made_of": self.made_of()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with exactly the batches that would have come next; that needs the same examples and settings."""
        here, there = self.made_of(), state["made_of"]
        changed = [f"{k} was {there.get(k)}, is {here.get(k)}" for k in here | there if here.get(k) != there.get(k)]
        if changed:
            raise ValueError(f"cannot go on in the middle of other data: {'; '.join(changed)}")
        self.epoch, self.batches_done = state["epoch"], state["batches_done"]

    def made_of(self) -> dict[str, int | str]:
        """What decides which examples make which batch."""
        names = ("seed", "batch_size", "unique_videos", "length_window", "drop_last")
        return {
            **{name: getattr(self.config, name) for name in names},
            "group_size": self.group_size,
            "world_size": self.world_size,
            "num_examples": len(self.examples),
            "examples": self.reader.digest,
        }


class ClipLoader:
    """Clips alone, in the order given, for whoever embeds videos: yields numbers of the sources, and their frames.

    With `num_views` = V the clips of a source lie beside each other, B x V in a batch; view v looks at other moments.
    Videos that cannot be read are one error that lists them all; with `allow_missing` they are left out, and named in
    `unreadable` (number of the source: reason).
    """

    def __init__(
        self,
        sources: Sequence[str | Path | bytes | Span | Example],
        config: DataConfig,
        *,
        num_frames: int,
        num_views: int = 1,
        allow_missing: bool = False,
        cache: FrameCache | None = None,
    ):
        spans = [Span.of(source) for source in sources]
        videos = (span.file for span in spans if isinstance(span.file, Path))
        self.reader = SpanReader(spans, clip_reader(config, num_frames, False, cache, videos), num_views)
        self.config = config
        self.allow_missing = allow_missing
        self.unreadable: dict[int, str] = {}

    def __len__(self) -> int:
        return -(-len(self.reader.spans) // self.config.batch_size)

    def __iter__(self) -> Iterator[tuple[list[int], UInt8[Tensor, "BV T C H W"]]]:
        numbers, size = range(len(self.reader.spans)), self.config.batch_size
        batches = (list(numbers[start : start + size]) for start in numbers[::size])
        reads = read_ahead(self.reader, batches, self.config.num_workers)
        for indices, frames, unreadable in reads:
            self.unreadable |= unreadable
            if unreadable and not self.allow_missing:
                for _, _, later in reads:
                    self.unreadable |= later
                if len(self.reader.spans) == 1:  # there is nothing to leave it out of
                    raise VideoError(*self.unreadable.values())
                raise unreadable_error(self.unreadable.values())
            if indices:
                yield indices, frames


class Planned(NamedTuple):
    """A batch to read."""

    epoch: int
    indices: list[int]


class Read(NamedTuple):
    """A batch that was read; `indices` are the examples in it, none where training cannot go on."""

    indices: list[int]
    frames: UInt8[Tensor, "B T C H W"]
    text_ids: Int[Tensor, "B L"]
    text_mask: Tensor
    labels: Int[Tensor, " B"] | None
    unreadable: dict[str, str]


class BatchReader(Dataset[Read]):
    """Reads whole batches; what workers run."""

    def __init__(
        self,
        examples: Sequence[Example],
        kinds: list[str],
        rows: list[list[int]],
        labels: list[int | None],
        clips: ClipReader,
        seed: int,
        pad_id: int,
        training: bool,
    ):
        self.examples = examples
        self.clips = clips
        self.seed = seed
        self.pad_id = pad_id
        self.training = training
        self.unreadable: dict[str, str] = {}
        # Flat arrays, since forked workers copy a Python list as soon as they count its references.
        self.tokens = np.fromiter(chain.from_iterable(rows), dtype=np.int32)
        self.ends = np.cumsum([len(row) for row in rows])
        self.last_row = np.cumsum([len(e.texts) for e in examples])
        self.kinds = np.array(kinds)
        self.has_label = np.array([label is not None for label in labels])
        self.labels = np.array([label or 0 for label in labels])

    def __getitem__(self, planned: Planned) -> Read:
        indices, frames = [], []
        unreadable: dict[str, str] = {}
        shown = {self.examples[i].video_id for i in planned.indices}
        for index in planned.indices:
            clip = self.try_read(planned.epoch, index, unreadable)
            if clip is None and self.training:
                index, clip = self.substitute(planned.epoch, index, shown, unreadable)
                if clip is None:  # so little can be read that training makes no sense
                    indices, frames = [], []
                    break
            if clip is not None:
                indices.append(index)
                frames.append(clip)
        text_ids, text_mask = pad([row for i in indices for row in self.rows(i)], self.pad_id)
        has_label = bool(indices) and bool(self.has_label[indices[0]])
        return Read(
            indices=indices,
            frames=stack(frames),
            text_ids=text_ids,
            text_mask=text_mask,
            labels=torch.from_numpy(self.labels[indices]) if has_label else None,
            unreadable=unreadable,
        )

    def rows(self, index: int) -> list[list[int]]:
        """The token ids of each text of an example."""
        first = self.last_row[index - 1] if index else 0
        begin = self.ends[first - 1] if first else 0
        return [self.tokens[a:b].tolist() for a, b in pairwise([begin, *self.ends[first : self.last_row[index]]])]

    @property
    def lengths(self) -> list[int]:
        """How many tokens the longest text of each example has."""
        lengths = np.diff(self.ends, prepend=0)
        return np.maximum.reduceat(lengths, np.concatenate([[0], self.last_row[:-1]])).tolist()

    def try_read(self, epoch: int, index: int, unreadable: dict[str, str]) -> UInt8[Tensor, "T C H W"] | None:
        """The clip of an example; None, and a note, if it cannot be read. What failed once is not opened again."""
        example = self.examples[index]
        if example.video_id not in self.unreadable:
            rng = np.random.default_rng((self.seed, epoch, index)) if self.training else None
            try:
                return self.clips.read(Span.of(example), rng)
            except VideoError as error:
                self.unreadable[example.video_id] = str(error)
        unreadable[example.video_id] = self.unreadable[example.video_id]
        return None

    def substitute(
        self, epoch: int, index: int, shown: set[str], unreadable: dict[str, str]
    ) -> tuple[int, UInt8[Tensor, "T C H W"] | None]:
        """Another example of the same kind, if possible of a video that the batch (`shown`) does not have yet."""
        rng = np.random.default_rng((self.seed, epoch, index, 1))
        same_kind = np.flatnonzero(self.kinds == self.kinds[index])
        for draw in range(MAX_DRAWS):
            other = int(rng.choice(same_kind))
            video_id = self.examples[other].video_id
            if video_id in shown and draw < MAX_DRAWS // 2:
                continue
            clip = self.try_read(epoch, other, unreadable)
            if clip is not None:
                shown.add(video_id)
                return other, clip
        return index, None

    @cached_property
    def digest(self) -> str:
        """A fingerprint of what the examples are, wherever their files lie."""
        digest = hashlib.blake2b(digest_size=8)
        for array in (self.tokens, self.ends, self.last_row, self.kinds, self.labels):
            digest.update(array.tobytes())
        for example in self.examples:
            digest.update(example.video_id.encode() + b"\0")
        return digest.hexdigest()


class SpanReader(Dataset[tuple[list[int], Tensor, dict[int, str]]]):
    """Reads batches of clips that have no text; what workers run."""

    def __init__(self, spans: list[Span], clips: ClipReader, num_views: int):
        self.spans = spans
        self.clips = clips
        self.num_views = num_views

    def __getitem__(self, indices: list[int]) -> tuple[list[int], Tensor, dict[int, str]]:
        frames, unreadable = [], {}
        for index in indices:
            views = range(self.num_views)
            try:
                frames += [self.clips.read(self.spans[index], None, view, self.num_views) for view in views]
            except VideoError as error:
                unreadable[index] = str(error)
        return [i for i in indices if i not in unreadable], stack(frames), unreadable


def stack(clips: list[Tensor]) -> UInt8[Tensor, "B T C H W"]:
    return torch.stack(clips) if clips else torch.empty(0, 0, 3, 0, 0, dtype=torch.uint8)


def clip_reader(
    config: DataConfig, num_frames: int, training: bool, cache: FrameCache | None, videos: Iterable[Path]
) -> ClipReader:
    transform = config.transform
    if not training:
        transform = replace(transform, random_crop=False, flip_prob=0.0, augment=0)
    if cache is None and config.cache_mb:
        cache = FrameCache(videos, config.cache_mb, transform.resize)
    if cache and cache.size != transform.resize:
        raise ValueError(f"the cache holds frames of size {cache.size}, but transform.resize is {transform.resize}")
    return ClipReader(num_frames, Transform(transform), cache, config.control)


def kind_of(example: Example) -> str:
    """Examples of one kind may share a batch."""
    return f"choices of {len(example.options)}" if example.options else f"{example.task}s"


def label_of(example: Example, answers: AnswerVocabulary | None, classes: Mapping[str, int]) -> int | None:
    """What is right, as a number (see `Batch`); None for captions."""
    match example.task:
        case "caption":
            return None
        case "question":
            return answers.index(example.answer) if answers is not None and example.answer else IGNORE
        case "choice" if example.clips:
            raise ValueError(f"{example.id or example.video_id}: a choice between clips is for evaluation alone")
        case "choice":
            return IGNORE if example.right is None else example.right
        case "number":
            return example.number
        case "label":
            if example.label is None or example.label not in classes:
                raise ValueError(f"{example.video_id}: no class {example.label!r} among {len(classes)}: classes=...")
            return classes[example.label]


def unreadable_error(reasons: Iterable[str]) -> VideoError:
    lines = list(dict.fromkeys(reasons))
    some, them = ("1 video", "it") if len(lines) == 1 else (f"{len(lines)} videos", "them")
    return VideoError("\n  ".join([f"{some} cannot be read (allow_missing leaves {them} out):", *lines]))


def read_ahead(reader: Dataset[T], items: Iterable[Any], num_workers: int) -> Iterator[T]:
    """Yield `reader[item]` for each item, in order.

    `num_workers` processes read, at most one for each processor of this machine; with 0 this process reads.
    """
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    num_workers = min(num_workers, cpus)
    yield from DataLoader(
        reader,
        batch_size=None,
        sampler=items,
        num_workers=num_workers,
        collate_fn=unchanged,
        pin_memory=torch.cuda.is_available(),
        multiprocessing_context=worker_context([__name__]) if num_workers else None,
        worker_init_fn=let_parent_decide,
        generator=torch.Generator(),  # or it draws from the global one, once an iteration
    )


def unchanged(item: T) -> T:
    return item


def let_parent_decide(worker: int) -> None:
    """Ctrl-C reaches every process, and workers leave it to their parent, whose handlers of SIGTERM are not theirs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
