"""The training data of a run: its sources, and how their examples become batches of each process."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from allinone.data.cache import FrameCache
from allinone.data.completeness import Tables
from allinone.data.example import Dataset, HasClasses
from allinone.data.loader import DataConfig, Loader, example_loader
from allinone.data.table import ExampleTable
from allinone.text.answers import AnswerVocabulary
from allinone.text.tokenizer import Tokenizer

log = logging.getLogger(__name__)


@runtime_checkable
class HasFolder(Protocol):
    """A source or an evaluator: its data set is in `folder` below the root of the run's data."""

    @property
    def folder(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class Data(DataConfig):
    """How examples become batches, and the folder in which the data sets look for their files.

    An incomplete data set is an error before the first step, unless `allow_missing`; then every score says how much is
    missing.

    An update takes `global_batch` clips, whatever the number of processes: each adds up the gradients of as many
    batches of `batch_size` as that needs. With None an update takes one batch of each process. The negatives of a
    contrastive loss are in the batches that the processes have at the same time, so fewer processes mean fewer
    negatives.
    """

    root: str = "."
    allow_missing: bool = False
    global_batch: int | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.global_batch is not None and self.global_batch < 1:
            raise ValueError(f"global_batch must be at least 1, got {self.global_batch}")

    def folder(self, owner: HasFolder) -> Path:
        """Return the folder of the data set of a source or of an evaluator."""
        return Path(self.root) / owner.folder

    def accumulate(self, num_processes: int) -> int:
        """Return how many batches each process adds up for an update."""
        if self.global_batch is None:
            return 1
        num_batches, rest = divmod(self.global_batch, self.batch_size * num_processes)
        if num_batches and not rest:
            return num_batches
        # Not possible: suggest the largest batch size that is, or else a global batch that the processes can divide.
        clips = self.global_batch // num_processes
        fitting = [size for size in range(1, min(self.batch_size, clips) + 1) if clips % size == 0]
        raise ValueError(
            f"an update of data.global_batch={self.global_batch} clips cannot be made of batches of {self.batch_size} "
            f"in {num_processes} processes; "
            + (
                f"set data.batch_size={fitting[-1]}"
                if clips * num_processes == self.global_batch
                else f"set data.global_batch to a multiple of {num_processes}"
            )
        )


@dataclass(frozen=True, kw_only=True)
class Source:
    """Training data, and how it is drawn.

    Args:
        sampling_weight: how often a step takes its batch from here, relative to the other sources.
        batch_size: by default that of `Data`.
        group_size: 2 keeps the pairs of a data set of pairs in one batch.
        num_frames: for sources with shorter clips than the model's; images have one frame.
        folder: of the data set below `data.root`, in a mixture.
    """

    data: Dataset
    sampling_weight: float = 1.0
    batch_size: int | None = None
    group_size: int = 1
    num_frames: int | None = None
    folder: str = ""

    def __post_init__(self):
        if self.sampling_weight <= 0:
            raise ValueError(f"sampling_weight must be positive, got {self.sampling_weight}")
        for name in ("batch_size", "group_size", "num_frames"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")


class TrainingData:
    """The examples of all sources of a run, read and checked once.

    `tables` are those that the run has open already.

    Raises:
        ValueError: if a data set is incomplete and `data.allow_missing` is false.
    """

    def __init__(self, sources: Mapping[str, Source], data: Data, tables: Tables | None = None):
        tables = tables or Tables()
        self.sources = sources
        self.data = data
        self.examples = {
            name: tables.open(
                allowing(source.data, data.allow_missing), data.folder(source), data.allow_missing
            ).examples
            for name, source in sources.items()
        }

    def texts(self) -> Iterable[str]:
        """Return every text that a tokenizer should know; they are read from the tables at each iteration."""
        return _Texts(list(self.examples.values()))

    def answers(self, max_size: int | None) -> AnswerVocabulary | None:
        """Return the most frequent answers; None where there are no open questions."""
        answers = chain.from_iterable(table.values_of("answer") for table in self.examples.values())
        # The first is taken to see whether there are any; the others are streamed.
        first = next(answers, None)
        return None if first is None else AnswerVocabulary.build(chain([first], answers), max_size)

    def classes(self) -> tuple[str, ...]:
        """Return the classes of all sources: all that a data set lists, or else those of its examples."""
        classes: dict[str, None] = {}
        for name, source in self.sources.items():
            shown = set(self.examples[name].values_of("label"))
            data = allowing(source.data, self.data.allow_missing)
            listed = data.classes(self.data.folder(source)) if isinstance(data, HasClasses) else ()
            # Listed classes first: then their indices do not depend on which of them a split has.
            classes |= dict.fromkeys([*listed, *sorted(shown)])
        return tuple(classes)

    def loaders(
        self,
        data: Data,
        tokenizer: Tokenizer,
        *,
        num_frames: int,
        max_text_len: int,
        answers: AnswerVocabulary | None = None,
        classes: tuple[str, ...] = (),
        rank: int = 0,
        world_size: int = 1,
        cache: FrameCache | None = None,
    ) -> dict[str, Loader]:
        """Return a loader for each source. They share one cache of decoded videos, made here if none is given.

        `data` may have other settings than those that the examples were read with.
        """
        if cache is None and data.cache_mb:
            videos = chain.from_iterable(table.files() for table in self.examples.values())
            cache = FrameCache(videos, data.cache_mb, data.transform.resize)
        return {
            name: example_loader(
                self.examples[name], tokenizer, replace(data, batch_size=size), training=True,
                num_frames=self.sources[name].num_frames or num_frames, max_text_len=max_text_len,
                group_size=self.sources[name].group_size, answers=answers, classes=classes, rank=rank,
                world_size=world_size, cache=cache,
            )
            for name, size in batch_sizes(self.sources, data).items()
        }  # fmt: skip


@dataclass(frozen=True)
class _Texts(Iterable[str]):
    tables: Sequence[ExampleTable]

    def __iter__(self) -> Iterator[str]:
        for table in self.tables:
            yield from table.texts()
            yield from table.values_of("label")


def batch_sizes(sources: Mapping[str, Source], data: Data) -> dict[str, int]:
    """Return the number of clips in a batch of each source."""
    return {name: source.batch_size or data.batch_size for name, source in sources.items()}


def num_accumulated(sources: Mapping[str, Source], data: Data, num_processes: int, is_size_chosen: bool = False) -> int:
    """Return how many batches each process adds up for an update; log how many clips that are.

    Warns if a user has chosen `data.batch_size` without effect, because all sources have their own.

    Raises:
        ValueError: if no number of batches makes `data.global_batch` clips.
    """
    sizes = batch_sizes(sources, data)
    listed = ", ".join(f"train_data.{name}.batch_size={size}" for name, size in sizes.items())
    if is_size_chosen and data.batch_size not in sizes.values():
        log.warning("data.batch_size=%d is for evaluation here; in training: %s", data.batch_size, listed)
    size = next(iter(sizes.values()))
    if len(set(sizes.values())) == 1:
        accumulate = replace(data, batch_size=size).accumulate(num_processes)
        total = accumulate * size * num_processes
        batches = f": {accumulate} x {size} clips in each of {num_processes} processes" if total > size else ""
        log.info("an update takes %d clips%s", total, batches)
        return accumulate
    if data.global_batch is not None:
        raise ValueError(f"data.global_batch needs batches of one size, got {listed}; set these alike")
    log.info("an update takes a batch of one source in each of %d processes: %s", num_processes, listed)
    return 1


def allowing(dataset: Dataset, allowed: bool) -> Dataset:
    """Return the data set with a reader that accepts missing files, if that is allowed; most readers do anyway."""
    reader: Any = dataset
    return replace(reader, allow_missing=True) if allowed and hasattr(reader, "allow_missing") else dataset
