"""Batches as worker processes read them: clips, and with them texts and labels."""

import os
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from allinone.data.clip_reader import ClipReader, Span
from allinone.data.example import Example
from allinone.data.table import ExampleTable
from allinone.processes import worker_context
from allinone.text.answers import AnswerVocabulary
from allinone.text.tokenizer import Tokenizer, pad
from allinone.types import IGNORE
from allinone.video import VideoError

T = TypeVar("T")

MAX_DRAWS = 200
"""Training stops if this many examples, tried instead of an unreadable one, cannot be read either."""


class Planned(NamedTuple):
    """A batch to read: the indices of its examples."""

    epoch: int
    indices: list[int]


class Read(NamedTuple):
    """What a worker returns for a planned batch. A dictionary, so that a loader can pin its tensors."""

    indices: list[int]
    """The examples in it: in training also those that replace unreadable ones, and none if training must stop."""
    fields: dict[str, Any]
    """Of a `Batch`; only `frames` if there are no texts."""
    unreadable: dict[Any, str]
    """The reason for each video that cannot be read: by `video_id`, or by index if there are no texts."""


@dataclass(frozen=True)
class TextReader:
    """Turns the texts and labels of examples into tensors."""

    tokenizer: Tokenizer
    max_len: int
    answers: AnswerVocabulary | None = None
    classes: Mapping[str, int] = field(default_factory=dict)

    def read(self, examples: Sequence[Example]) -> dict[str, Any]:
        """Return the fields of a `Batch` without its frames."""
        token_ids = self.tokenizer.tokenize([text for e in examples for text in e.texts], self.max_len)
        text_ids, text_mask = pad(token_ids, self.tokenizer.pad_id)
        labels = [self.label(example) for example in examples]
        return {
            "text_ids": text_ids,
            "text_mask": text_mask,
            "video_ids": tuple(example.video_id for example in examples),
            # A batch has one task, so either all examples have a label or none has.
            "labels": torch.tensor(labels) if labels and labels[0] is not None else None,
            "task": examples[0].task if examples else "caption",  # no example: all were unreadable
        }

    def label(self, example: Example) -> int | None:
        """Return the label as an integer (see `Batch`); None for captions."""
        match example.task:
            case "caption":
                return None
            case "question":
                return self.answers.index(example.answer) if self.answers is not None and example.answer else IGNORE
            case "choice":
                return IGNORE if example.right is None else example.right
            case "number":
                return example.number
            case "label":
                return self.classes[example.label or ""]

    def check(self, table: ExampleTable, kinds: Mapping[str, np.ndarray]) -> None:
        """Raise ValueError if examples have no valid texts or labels, before a worker meets one."""
        if "questions" in kinds and self.answers is None:
            raise ValueError("examples with questions need the vocabulary of their answers: answers=...")
        if "choices" in kinds:
            example = table[kinds["choices"][0]]
            name = example.id or example.video_id
            raise ValueError(f"{name}: a choice between clips is only for evaluation")
        for index in map(int, kinds.get("labels", ())):
            if (label := table.text_at("label", index)) not in self.classes:
                name = table[index].video_id
                raise ValueError(f"{name}: no class {label!r} among {len(self.classes)}: classes=...")


class BatchReader(Dataset[Read]):
    """Reads whole batches; what workers run.

    With a `seed`, moments and augmentations are random (training), and other examples of the same kind replace
    unreadable ones: every draw depends only on the seed, the epoch and the example. With `num_views` = V the clips of
    a source follow each other, B x V in a batch; view v looks at other moments.
    """

    def __init__(
        self,
        sources: Sequence[Example] | Sequence[Span],
        clips: ClipReader,
        texts: TextReader | None = None,
        *,
        seed: int | None = None,
        kinds: Mapping[str, np.ndarray] | None = None,
        num_views: int = 1,
    ):
        self.sources = sources
        self.clips = clips
        self.texts = texts
        self.seed = seed
        self.kinds = kinds or {}
        self.num_views = num_views
        self.unreadable: dict[Any, str] = {}

    def __getitem__(self, planned: Planned) -> Read:
        sources = [(index, self.sources[index]) for index in planned.indices]
        shown = {name_of(index, source) for index, source in sources}
        read: list[tuple[int, Any]] = []
        frames: list[Tensor] = []
        unreadable: dict[Any, str] = {}
        for index, source in sources:
            # Training always gets full batches; in evaluation unreadable videos leave a gap that the loader reports.
            clips = self.try_read(planned.epoch, index, source, unreadable)
            if clips is None and self.seed is not None:
                index, source, clips = self.substitute(planned.epoch, index, shown, unreadable)
                if clips is None:  # so little can be read that training makes no sense
                    read, frames = [], []
                    break
            if clips is not None:
                read.append((index, source))
                frames += clips
        fields = {"frames": torch.stack(frames) if frames else torch.empty(0, 0, 3, 0, 0, dtype=torch.uint8)}
        if self.texts is not None:
            fields |= self.texts.read([source for _, source in read])
        return Read([index for index, _ in read], fields, unreadable)

    def try_read(
        self, epoch: int, index: int, source: Example | Span, unreadable: dict[Any, str]
    ) -> list[UInt8[Tensor, "T C H W"]] | None:
        """Return the views of a source; None, and a note, if it cannot be read. What failed once is not tried again."""
        # Callers without texts know sources by index. With texts, all examples of a video share its failure.
        name = index if self.texts is None else name_of(index, source)
        if name not in self.unreadable:
            # Seeded by example, so that draws do not depend on the number of workers.
            rng = None if self.seed is None else np.random.default_rng((self.seed, epoch, index))
            span, views = Span.of(source), range(self.num_views)
            try:
                return [self.clips.read(span, rng, view, self.num_views) for view in views]
            except VideoError as error:
                self.unreadable[name] = str(error)
        unreadable[name] = self.unreadable[name]
        return None

    def substitute(
        self, epoch: int, index: int, shown: set[Any], unreadable: dict[Any, str]
    ) -> tuple[int, Any, list[UInt8[Tensor, "T C H W"]] | None]:
        """Read another example of the same kind, preferably of a video that the batch (`shown`) does not have yet."""
        # The draws depend only on the example, so that a resumed run substitutes the same ones.
        # The last 1 keeps these draws apart from those of `try_read`.
        rng = np.random.default_rng((self.seed or 0, epoch, index, 1))
        same_kind = next(rows for rows in self.kinds.values() if is_among(rows, index))
        for draw in range(MAX_DRAWS):
            other = int(same_kind[rng.integers(len(same_kind))])
            source = self.sources[other]
            name = name_of(other, source)
            # After half of the draws any video will do: there may be none that is not in the batch.
            if name in shown and draw < MAX_DRAWS // 2:
                continue
            clips = self.try_read(epoch, other, source, unreadable)
            if clips is not None:
                shown.add(name)
                return other, source, clips
        return index, self.sources[index], None


def name_of(index: int, source: Example | Span) -> int | str:
    """Return what a source shows: examples with the same `video_id` show the same; a span has only its index."""
    return source.video_id if isinstance(source, Example) else index


def is_among(rows: np.ndarray, index: int) -> bool:
    """Return whether an index is one of ascending indices."""
    place = int(np.searchsorted(rows, index))
    return place < len(rows) and int(rows[place]) == index


def read_ahead(reader: Dataset[T], items: Iterable[Any], num_workers: int) -> Iterator[T]:
    """Yield `reader[item]` for each item, in order.

    `num_workers` processes read, at most one for each processor of this machine; with 0 this process reads.
    """
    # A container or `taskset` may allow fewer processors than the machine has.
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
        worker_init_fn=leave_signals_to_parent,
        generator=torch.Generator(),  # without one it draws from the global generator at every iteration
    )


def unchanged(item: T) -> T:
    """Collate nothing: the reader returns whole batches."""
    return item


def leave_signals_to_parent(worker: int) -> None:
    """Ignore Ctrl-C, which reaches every process: the parent ends its workers. Its SIGTERM handlers are not theirs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
